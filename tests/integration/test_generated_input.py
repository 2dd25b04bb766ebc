"""Generated input at every door, the same few each time here; `python -m benchmarks.fuzz` tries a million."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fuzz import mutate
from benchmarks.fuzz.fuzz import MILLION, parts
from benchmarks.fuzz.target import made, why
from benchmarks.fuzz.worker import Part, attempt, targets, tried
from fds_mlflow.data.schema import Schema
from fds_mlflow.data.transactions import load
from fds_mlflow.errors import ConfigError, FdsError
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.outcomes.label_file import import_labels
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.registry import transfer
from fds_mlflow.rollouts.plan.file import load_plan
from tests.support.effort import graded
from tests.support.places import ROOT
from tests.support.refusals import taken_or_refused

QUICK = ("values", "histories", "plans")
NAMES = sorted(targets(), key=lambda name: (name not in QUICK, name))
CAMPAIGN = ("command line",)
"""Targets that make a registry first."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder for a target; the process's folder, environment and log are as before afterwards."""
    before, settings = Path.cwd(), dict(os.environ)
    yield tmp_path / "inputs"
    logging.disable(logging.NOTSET)
    os.chdir(before)
    os.environ.clear()
    os.environ.update(settings)


@pytest.mark.tested(99)
@pytest.mark.parametrize("name", graded([name for name in NAMES if name not in CAMPAIGN], quick=len(QUICK)))
def test_no_input_does_what_none_may(name: str, place: Path) -> None:
    """Each door takes what is given or refuses it with a fix: no traceback, no hang, no sign that a terminal obeys."""
    target = targets()[name]
    told = attempt(target, Part(name, 1, 0, target.quick), place)
    assert told["failures"] == []


@pytest.mark.campaign
@pytest.mark.parametrize("name", CAMPAIGN)
def test_no_command_line_does_what_none_may(name: str) -> None:
    """The same with the words of every verb, in a process of its own, since some verbs are only parsed there."""
    assert tried(Part(name, 1, 0, targets()[name].quick)).failures == ()


BEGINNINGS = (
    b"",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\x1f\x8b\x08",
    b"BZh9",
    b"\xfd7zXZ\x00",
    b"PAR1",
    b"PK\x03\x04",
    b"a,b\n",
)
FILES: dict[str, tuple[tuple[str, ...], Callable[[Path], Any]]] = {
    "plan": ((".yaml",), load_plan),
    "schema": ((".yaml",), Schema.load),
    "features": ((".yaml",), FeatureSpec.load),
    "labels": ((".csv", ".parquet"), lambda path: import_labels(OutcomeStore("sqlite://"), path)),
    "data": (
        (".csv", ".parquet", ".xlsx"),
        lambda path: load(path, Schema(transaction_id=None, time=None, amount="a")),
    ),
    "history": ((".jsonl",), lambda path: transfer.parse(path.read_text("utf-8", "replace").splitlines())),
}


@pytest.mark.tested(99)
@pytest.mark.parametrize("kind", FILES)
@given(data=st.data())
def test_any_bytes_are_a_file_or_refused(kind: str, data: st.DataObject, tmp_path_factory: Any) -> None:
    """Whatever a file holds, it is read or refused with what is wrong and the fix, whatever its name says."""
    endings, read = FILES[kind]
    path = tmp_path_factory.mktemp("bytes") / f"it{data.draw(st.sampled_from(endings))}"
    path.write_bytes(data.draw(st.sampled_from(BEGINNINGS)) + data.draw(st.binary(max_size=60)))
    taken_or_refused(lambda: read(path))


@pytest.mark.tested(99)
@pytest.mark.parametrize(
    ("kind", "ending"), [(kind, ending) for kind in ("labels", "data") for ending in (".csv.gz", ".parquet", ".xlsx")]
)
def test_a_file_cut_off_anywhere_is_refused(kind: str, ending: str, tmp_path: Path) -> None:
    """A packed file, Parquet or a workbook that lacks its end is an error with the fix, and no half of the rows."""
    if (kind, ending) == ("labels", ".xlsx"):
        pytest.skip("labels come in no workbook")
    frame = pd.DataFrame({"transaction_id": ["T1"], "status": ["genuine"], "known_at": ["2026-03-08T12:00:00Z"]})
    frame = frame if kind == "labels" else frame.assign(a=[1.5])
    path = tmp_path / f"it{ending}"
    {".parquet": frame.to_parquet, ".xlsx": frame.to_excel}.get(ending, frame.to_csv)(path, index=False)
    whole = path.read_bytes()
    FILES[kind][1](path)
    for size in {0, 1, 5, 12, len(whole) // 2, len(whole) - 9, len(whole) - 1}:
        path.write_bytes(whole[:size])
        with pytest.raises(FdsError) as error:
            FILES[kind][1](path)
        assert error.value.fix


def test_an_input_comes_again_by_its_number() -> None:
    """A failure is named by target, seed and number, which give its input again on any machine."""
    for target in targets().values():
        assert repr(made(target, 7, 3)) == repr(made(target, 7, 3))
        assert repr([made(target, 7, n) for n in range(9)]) != repr([made(target, 8, n) for n in range(9)])
    rng = Random("a:b:1")
    assert mutate.text(rng, ("sample",)) == mutate.text(Random("a:b:1"), ("sample",))


def test_a_run_has_as_many_inputs_as_asked() -> None:
    """A million asked is a million tried, at the least, and every target gets some."""
    for inputs in (1_000, MILLION):
        planned = list(parts(list(targets()), inputs, 42))
        assert sum(part.count for part in planned) >= inputs
        assert {part.target for part in planned} == set(targets())
        for name in targets():
            own = [part for part in planned if part.target == name]
            assert [part.first for part in own] == [sum(p.count for p in own[:n]) for n in range(len(own))]


def _fails(given: str) -> str | None:
    match given:
        case "traceback":
            raise KeyError("a")
        case "no fix":
            raise ConfigError("it is wrong", fix=" ")
        case "refusal":
            raise ConfigError("it is wrong", fix="do better")
        case "escape":
            return "a \x1b[31m"
        case "direction":
            return "a \u202e"
        case "hang":
            while True:
                pass
        case "memory":
            raise MemoryError
        case "exit":
            raise SystemExit(3)
    return given


@pytest.mark.tested(99)
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("traceback", "KeyError"),
        ("no fix", "says too little"),
        ("escape", "printed '\\x1b'"),
        ("direction", "printed '\\u202e'"),
        ("hang", "more than 0.05 s"),
        ("memory", "out of memory"),
        ("exit", "SystemExit"),
        ("refusal", None),
        ("fine\n\tthing", None),
    ],
)
def test_what_no_door_may_do_is_a_failure(given: str, says: str | None) -> None:
    """An error of a library, a refusal without a fix, a hang and a control character are found; a refusal is none."""
    reason, _ = why(_fails, given, seconds=0.05)
    assert reason is None if says is None else reason is not None and says in reason


PLANTED = """
import os, time
from benchmarks.fuzz.target import Target

def take(number):
    if number == 3:
        os.abort()

numbers = iter(range(99))
TARGETS = [Target("planted", 1, lambda rng: next(numbers), lambda folder: take)]
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process is told what its parent had")
def test_a_process_is_not_charged_for_the_memory_of_who_started_it() -> None:
    """What the process of a large test run tries has room of its own."""
    large = b"x" * (300 * 2**20)
    script = "from benchmarks.fuzz.target import peak_mib; print(peak_mib())"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert float(told.stdout) < 100 < len(large) / 2**20


@pytest.mark.slow
def test_what_ends_a_process_is_a_failure_of_its_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run goes on behind an input that kills its process, and names it."""
    (tmp_path / "planted_targets.py").write_text(PLANTED)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{tmp_path}")
    monkeypatch.syspath_prepend(str(tmp_path))
    result = tried(Part("planted", 1, 0, 4, ("planted_targets",)))
    assert result.inputs == 4
    (killed,) = result.failures
    assert (killed.number, killed.why) == (3, "the process ended: exit code -6")
