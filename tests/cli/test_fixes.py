"""Every error's fix is the right one: what it names exists and parses, and doing it helps."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import mlflow
import pandas as pd
import pytest
from click.testing import CliRunner

import fds_mlflow
from fds_mlflow.cli.main import main
from tests.cli.test_main import COMMANDS, fds, strict
from tests.support import tiny_models
from tests.support.effort import graded

PACKAGE = Path(fds_mlflow.__file__).parent
FOREIGN = {"--experiment-id", "--name", "--backend-store-uri"}
"""Options of MLflow's own command line."""

WORDS = {"MODEL": "fraud", "VERSION": "1", "WHY": "because", "NUMBER": "1", "X": "1"}
"""What the capital words in a fix stand for, and what a value in it is replaced by."""


@cache
def texts() -> tuple[tuple[str, str], ...]:
    """Every text of the package that is no docstring, with its place; a value in it is an X."""
    return tuple(_texts())


def _texts() -> Iterator[tuple[str, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if id(node) in silent | parts:
                continue
            if isinstance(node, ast.JoinedStr):
                said = "".join(str(p.value) if isinstance(p, ast.Constant) else "X" for p in node.values)
                yield f"{path.name}:{node.lineno}", said
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{path.name}:{node.lineno}", node.value


def command_of(words: list[str]) -> click.Command:
    """Parse a whole call, as far as its verb's own arguments; wrong usage raises."""
    ctx, command = None, main
    while True:
        ctx = click.Context(command, parent=ctx) if isinstance(command, click.Group) else None
        if not isinstance(command, click.Group) or ctx is None:
            return command
        name, found, words = command.resolve_command(ctx, words)
        assert found is not None
        assert name is not None
        if not isinstance(found, click.Group):
            found.make_context(name, list(words), parent=ctx)
            return found
        command = found


def named_commands(text: str) -> list[str]:
    """What a text has in backticks of our command line."""
    return re.findall(r"`(fds [^`]*)`", text)


@pytest.mark.slow
def test_every_command_that_a_message_names_parses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `fds …` in a message of the package is a whole call that the command line takes as it stands."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("")
    found = [(place, call) for place, text in texts() for call in named_commands(text)]
    assert len(found) > 20
    for place, call in found:
        words = [WORDS.get(word, word) for word in shlex.split(call)[1:]]
        try:
            command_of(words)
        except click.UsageError as error:
            raise AssertionError(f"{place}: {call}: {error.format_message()}") from None


@pytest.mark.slow
def test_no_message_names_half_a_command() -> None:
    """A verb in backticks stands with `fds` before it, so that it can be copied."""
    verbs = {words for words in COMMANDS if words}
    for place, text in texts():
        for quoted in re.findall(r"`([a-z][a-z ]+[^`]*)`", text):
            words = quoted.split()
            half = any(" ".join(words[:n]) in verbs for n in (1, 2)) and len(words) > 1
            assert not half, (place, quoted)


@pytest.mark.slow
def test_every_option_that_a_message_names_exists() -> None:
    """Each --option in a message of the package is one of the command line's, spelled as it is there."""
    known = {option for command in COMMANDS.values() for p in command.params for option in (*p.opts, *p.secondary_opts)}
    known |= {"--help"}
    for place, text in texts():
        if place.startswith(
            ("demo.py", "reproducibility.py", "plots.py", "rollout")
        ):  # other programs' options, and CSS
            continue
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text):
            assert option in known | FOREIGN, (place, option)


# --- what a fix says, done ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three tiny models on disk; the last needs a column more."""
    folder = tmp_path_factory.mktemp("tiny")
    more = tiny_models.EXAMPLE.assign(country=[1.0, 2.0, 3.0])
    made = (("good", tiny_models.GOOD, None), ("better", tiny_models.BETTER, None), ("wide", tiny_models.GOOD, more))
    return [tiny_models.save(folder, name, code, tiny_models.EXAMPLE if e is None else e) for name, code, e in made]


@pytest.fixture
def fraud(mlflow_uri: str, saved: list[Path]) -> None:
    """Model `fraud`: 1 and 2 may serve, 3 has no threshold, 4 needs a column more than they do."""
    good, better, wide = saved
    for source, threshold in ((good, "0.5"), (better, "0.5"), (good, None), (wide, "0.5")):
        tiny_models.register("fraud", source, threshold=threshold)


def refused(words: list[str]) -> str:
    """The fix of a call that is refused."""
    result = fds(*words, "--json")
    assert result.exit_code in (1, 2), result.output
    said = strict(result.stdout.splitlines()[-1])
    return str(said["fix"])


START = ["canary", "start", "fraud", "2", "--steps", "30,50,100"]
PROMOTE = ["promote", "fraud", "1"]
# What is done first, what is refused then, which of the commands in the fix is done, and what its VERSION is.
SITUATIONS: dict[str, tuple[list[list[str]], list[str], str, str]] = {
    "no champion": ([], START, "promote", "1"),
    "a rollout is active": ([PROMOTE, START], ["promote", "fraud", "2"], "abort", ""),
    "no rollout to advance": ([PROMOTE], ["canary", "advance", "fraud"], "start", "2"),
    "no rollout to look at": ([PROMOTE], ["canary", "status", "fraud"], "start", "2"),
    "no rollout to run": ([PROMOTE], ["canary", "abort", "fraud", "--reason", "x"], "start", "2"),
    "no rollout to report": ([PROMOTE], ["canary", "report", "fraud"], "start", "2"),
    "below the last step": ([PROMOTE, START], ["canary", "complete", "fraud"], "advance", ""),
    "never champion": ([PROMOTE], ["rollback", "to", "fraud", "2", "--reason", "x"], "promote", "2"),
    "nowhere to go back to": ([PROMOTE], ["rollback", "emergency", "fraud", "--reason", "x"], "promote", "2"),
    "nobody serves": ([], ["route", "fraud", "TX1"], "promote", "1"),
    "every former champion was rolled back from": (
        [PROMOTE, ["promote", "fraud", "2"], ["rollback", "to", "fraud", "1", "--reason", "x"]],
        ["rollback", "emergency", "fraud", "--reason", "x"],
        "rollback to",
        "2",
    ),
}


@pytest.mark.tested(2)
@pytest.mark.slow
@pytest.mark.parametrize("situation", graded(SITUATIONS))
def test_the_command_in_the_fix_helps(situation: str, fraud: None) -> None:
    """Doing what the fix says makes the same call go through."""
    before, words, which, version = SITUATIONS[situation]
    for call in before:
        assert fds(*call).exit_code == 0
    fix = refused(words)
    (call,) = [call for call in named_commands(fix) if f" {which} " in f"{call} "]
    stands_for = {**WORDS, "VERSION": version}
    for _ in range(2 if which == "advance" else 1):
        done = fds(*(stands_for.get(word, word) for word in shlex.split(call)[1:]))
        assert done.exit_code == 0, done.output
    again = fds(*words)
    known = "already" in again.output or situation in ("every former champion was rolled back from",)
    assert again.exit_code == 0 or known, again.output


@pytest.mark.slow
def test_complete_by_force_is_spelled_out(fraud: None) -> None:
    """Below the last step, the other way that the fix names goes through as it stands."""
    for call in (PROMOTE, START):
        assert fds(*call).exit_code == 0
    call = named_commands(refused(["canary", "complete", "fraud"]))[-1]
    assert fds(*(WORDS.get(word, word) for word in shlex.split(call)[1:])).exit_code == 0


@pytest.mark.tested(1)
@pytest.mark.parametrize("verb", graded([["promote"], ["canary", "start"]]))
@pytest.mark.slow
def test_a_missing_threshold_is_set_by_what_the_fix_says(verb: list[str], fraud: None) -> None:
    """The fix of a version without a threshold is the very call that gives it one."""
    assert fds(*PROMOTE).exit_code == 0
    words = [*verb, "fraud", "3"]
    code = re.search(r"mlflow\.MlflowClient\(\)\..*?\)(?=$|;)", refused(words))
    assert code is not None
    eval(code[0], {"mlflow": mlflow})
    assert fds(*words).exit_code == 0


@pytest.mark.slow
def test_the_doctor_says_how_to_set_a_threshold(fraud: None) -> None:
    """A champion that lost its threshold is fixed by what the doctor's finding says."""
    assert fds(*PROMOTE).exit_code == 0
    mlflow.MlflowClient().delete_model_version_tag("fraud", "1", "fds.threshold")
    (finding,) = strict(fds("doctor", "fraud", "--json").stdout)
    code = finding["fix"].split(": ", 1)[1].replace("MODEL", "fraud")
    eval(code, {"mlflow": mlflow})
    assert fds("doctor", "fraud").exit_code == 0


@pytest.mark.tested(1)
@pytest.mark.parametrize("verb", graded([["promote"], ["canary", "start"]]))
@pytest.mark.slow
def test_new_columns_are_allowed_by_the_option_in_the_fix(verb: list[str], fraud: None) -> None:
    """The fix of a version with more columns is the option that takes them."""
    assert fds(*PROMOTE).exit_code == 0
    words = [*verb, "fraud", "4"]
    (option,) = re.findall(r"--[a-z-]+", refused(words))
    assert fds(*words, option).exit_code == 0


@pytest.mark.slow
@pytest.mark.tested(3)
@pytest.mark.parametrize(
    ("words", "told"),
    graded(
        [
            (["show", "fraud", "--tracking-uri", "{uri}"], "fraud"),
            (["--json", "canary", "--actor", "ann", "status", "--registry-uri={uri}", "fraud"], "no active rollout"),
            (["show", "--tracking-uri={uri}", "fraud"], "fraud"),
            (["--json", "show", "fraud"], '"versions"'),
            (["canary", "status", "fraud", "--actor", "ann"], "no active rollout"),
            (["canary", "--json", "status", "fraud"], '"error"'),
            (["promote", "fraud", "1", "--outcomes", "sqlite:///o.db", "--reason", "x"], "version 1"),
            (["--reason", "the first", "promote", "fraud", "1"], "version 1"),
        ],
        quick=2,
    ),
    ids=str,
)
def test_an_option_may_stand_anywhere(words: list[str], told: str, fraud: None) -> None:
    """Options of the whole command line may stand behind the verb, and those of the verb before it."""
    done = fds(*(word.format(uri=mlflow.get_tracking_uri()) for word in words))
    assert told in done.output
    assert "Usage" not in done.output


@pytest.mark.parametrize("words", [["show", "fraud", "--verb"], ["--verb", "show"], ["show", "fraud", "--steps", "5"]])
def test_an_option_that_the_verb_has_not_is_wrong_wherever_it_stands(words: list[str], mlflow_uri: str) -> None:
    """It is not taken for another verb's, and the fix names the verb's own."""
    said = fds(*words)
    assert said.exit_code == 2
    assert "No such option" in said.output
    assert "--help tells more" in said.output


@pytest.mark.parametrize("words", [["canary", "--json"], ["--json", "canary"], ["canary", "--actor", "ann"]], ids=str)
def test_a_call_without_a_verb_is_told_the_verbs(words: list[str], mlflow_uri: str) -> None:
    """An option cannot be put in its place before a verb is named: the fix names them all."""
    said = fds(*words)
    assert said.exit_code == 2
    fix = said.stderr.split("Fix: ")[1]
    assert "in its place" not in fix
    assert all(verb in fix for verb in main.commands["canary"].commands)  # type: ignore[attr-defined]


@pytest.mark.tested(1)
@pytest.mark.parametrize("weight", graded(["100", "40"]))
@pytest.mark.slow
def test_what_the_plan_forbids_is_said_before_a_reason_is_asked_for(weight: str, fraud: None) -> None:
    """A weight beyond the plan: the options that the fix names at once are all that is missing."""
    for call in (PROMOTE, ["canary", "start", "fraud", "2", "--steps", "10,30,100"]):
        assert fds(*call).exit_code == 0
    words = ["canary", "advance", "fraud", "--to", weight]
    assert "--force --reason WHY" in refused(words)
    assert fds(*words, "--force", "--reason", "because").exit_code == 0


@pytest.mark.parametrize(
    "words",
    [
        ["compare", "fraud", "1", "2", "--n-boot", "0"],
        ["simulate", "y.csv", "--seed", "-1"],
        ["simulate", "y.csv", "--rows", "0"],
        ["train", "fraud", "--seed", "-1"],
        ["show", ""],
    ],
    ids=str,
)
def test_a_value_that_nothing_works_with_is_wrong_usage(words: list[str], mlflow_uri: str) -> None:
    """A negative seed, no samples, no rows or an empty name: exit code 2, and the parameter is named."""
    said = fds(*words)
    assert said.exit_code == 2
    assert "Invalid value for" in said.stderr


def test_such_values_are_refused_in_python_too() -> None:
    """Without the command line, the same values are a ConfigError that says what to choose."""
    from fds_mlflow.simulator.simulate import transactions

    calls: list[Callable[[], Any]] = [
        lambda: transactions(0),
        lambda: transactions(100, seed=-1),
        lambda: fds_mlflow.ManagedModel(" "),
    ]
    for call in calls:
        with pytest.raises(fds_mlflow.errors.ConfigError):
            call()


@pytest.mark.slow
@pytest.mark.tested(2)
@pytest.mark.parametrize(
    ("words", "fix"),
    graded(
        [
            (["show", "nobody"], "fds list"),
            (["promote", "fraud", "9"], "fds show MODEL"),
            (["stage", "fraud", "9"], "fds show MODEL"),
            (["rollback", "validate", "fraud", "9"], "fds show MODEL"),
            (["status", "fraud"], "fds canary status"),
            (["promote", "fraud"], "fds promote [OPTIONS] MODEL VERSION"),
            (["route", "nobody", "TX1"], "fds list"),
        ],
        quick=2,
    ),
    ids=str,
)
def test_what_is_not_known_is_listed(words: list[str], fix: str, fraud: None) -> None:
    """An unknown model, version or verb, or a missing argument: the fix names where to look or how to write it."""
    said = fds(*words, "--json")
    assert said.exit_code in (1, 2)
    assert fix in said.stdout.replace("main ", "fds "), said.stdout
    for call in named_commands(said.stdout):
        done = fds(*(WORDS.get(word, word) for word in shlex.split(call)[1:]))
        assert done.exit_code == 0


def _latin_labels(folder: Path) -> tuple[list[str], Callable[[str], Any]]:
    file = folder / "labels.csv"
    file.write_bytes("transaction_id,status,known_at\nTXé,genuine,2026-03-08T12:00:00Z\n".encode("cp1252"))

    def convert(fix: str) -> None:
        command = re.search(r"`(iconv [^`]*)`", fix)
        assert command is not None
        new = folder / "new.csv"
        call = command[1].replace("NEW_FILE", str(new)).replace("FILE", str(file))
        subprocess.run(call, shell=True, check=True)
        new.replace(file)

    return ["label", "import", str(file)], convert


def _no_plan(folder: Path) -> tuple[list[str], Callable[[str], Any]]:
    def template(fix: str) -> None:
        (call,) = named_commands(fix)
        (folder / "plan.yaml").write_text(fds(*shlex.split(call)[1:]).stdout)

    return ["plan", "check", str(folder / "plan.yaml")], template


def _bad_times(folder: Path) -> tuple[list[str], Callable[[str], Any]]:
    file = folder / "labels.csv"
    file.write_text("transaction_id,status,known_at\nT,genuine,Sunday\n")

    def correct(fix: str) -> None:
        time = re.search(r"write times like (\S+);", fix)
        assert time is not None
        file.write_text(file.read_text().replace("Sunday", time[1]))

    return ["label", "import", str(file)], correct


def _unknown_labels_columns(folder: Path) -> tuple[list[str], Callable[[str], Any]]:
    file = folder / "labels.csv"
    file.write_text("id,state,when\nT,genuine,2026-03-08T12:00:00Z\n")

    def rename(fix: str) -> None:
        names = fix.split("name the columns as here: ")[1].split(", ")[:3]
        file.write_text(file.read_text().replace("id,state,when", ",".join(names)))

    return ["label", "import", str(file)], rename


def _workbook(folder: Path) -> tuple[list[str], Callable[[str], Any]]:
    file = folder / "labels.csv"
    file.write_bytes(b"PK\x03\x04")
    rows = pd.DataFrame({"transaction_id": ["T"], "status": ["genuine"], "known_at": ["2026-03-08T12:00:00Z"]})
    return ["label", "import", str(file)], lambda _: rows.to_csv(file, index=False)


@pytest.mark.parametrize("make", [_latin_labels, _no_plan, _bad_times, _unknown_labels_columns, _workbook])
def test_a_file_mended_by_the_fix_is_taken(make: Callable[[Path], Any], tmp_path: Path) -> None:
    """Doing to a file what the fix says makes the same call go through."""
    words, fix = make(tmp_path)
    words = ["--outcomes", f"sqlite:///{tmp_path}/o.db", *words]
    fix(refused(words))
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output


@pytest.mark.slow
@pytest.mark.parametrize("age", re.findall(r"\d+\w+", "30m, 12h, 7d or 1h30m"))
def test_every_way_to_write_a_duration_is_one(age: str, tmp_path: Path) -> None:
    """Each example in the fix of a wrong duration is taken."""
    words = ["--outcomes", f"sqlite:///{tmp_path}/o.db", "outcomes", "prune", "fraud", "--older-than"]
    assert age in refused([*words, "soon"])
    assert fds(*words, age).exit_code == 0


def test_a_webhook_secret_is_made_by_what_the_fix_says(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program in the fix of a wrong secret prints one that is taken."""
    monkeypatch.setenv("FDS_WEBHOOK_URL", "http://127.0.0.1:1/hook")
    monkeypatch.setenv("FDS_WEBHOOK_SECRET", "short")
    code = re.search(r'python -c "(.*)"', refused(["notify", "test", "fraud"]))
    assert code is not None
    printed: list[str] = []
    exec(code[1], {"print": printed.append})
    monkeypatch.setenv("FDS_WEBHOOK_SECRET", printed[0])
    from fds_mlflow.notifications.notifier import from_environment

    assert len(from_environment().receivers) == 1


def test_a_deleted_experiment_is_restored_by_what_the_fix_says(mlflow_uri: str, tmp_path: Path) -> None:
    """The fix of a deleted experiment names the very experiment."""
    from fds_mlflow.training.pipeline import experiment_id

    client = mlflow.MlflowClient()
    made = client.create_experiment("fds/fraud")
    client.delete_experiment(made)
    with pytest.raises(fds_mlflow.errors.ConfigError) as error:
        experiment_id("fds/fraud", given=None)
    assert error.value.fix.endswith(f"mlflow experiments restore --experiment-id {made}")
    client.restore_experiment(made)
    assert experiment_id("fds/fraud", given=None) == made


@pytest.mark.slow
def test_a_split_that_lacks_frauds_is_cut_as_the_fix_says(tmp_path: Path) -> None:
    """The option that the fix of a poor split names is taken and helps."""
    from fds_mlflow.errors import DataError
    from fds_mlflow.workflows.preparation import prepare
    from fds_mlflow.workflows.source import Source

    source = Source("simulator:3000")
    with pytest.raises(DataError) as error:
        prepare(source)
    option = re.search(r"--split (\w+)", error.value.fix)
    assert option is not None
    assert prepare(source, split=option[1]).test.y.sum() > 0
