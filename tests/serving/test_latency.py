"""The latency of an outcome: what was waited for its own version, alone and in a batch, by a server and a router."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fds_mlflow.runtime import clock
from fds_mlflow.scoring.requests.names import RequestNames
from fds_mlflow.scoring.timed import Timed
from fds_mlflow.serving.worker import asking
from tests.support import both_ways
from tests.support.both_ways import BothWays

ROWS = [
    {"transaction_id": f"TX{n}", "amount": amount, "hour": 3.0, "channel": "web"}
    for n, amount in enumerate([20.0, 150.0, 900.0, 300.0] * 10)
]
WAYS = [(way, together) for way in ("engine", "router") for together in (False, True)]


class Time:
    """A clock that stands still but while a model scores."""

    now = 100.0

    def perf_counter(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Iterator[Time]:
    """The time by which scores are timed."""
    made = Time()
    for module in (clock, asking):
        monkeypatch.setattr(module.time, "perf_counter", made.perf_counter)
    return made


class Untimed(Timed):
    """A model that is asked in this thread."""

    def __init__(self, call: Callable[[Any], Any]) -> None:
        self.call = call

    def __call__(self, argument: Any, seconds: float) -> Any:
        """Ask it."""
        return self.call(argument)


def slow(time: Time, seconds: float, *, fails: Callable[[Any], bool] = lambda _: False) -> Callable[[Any], Any]:
    """A model that takes a time for a call, of however many rows, and may fail at its end."""

    def answer(rows: Any) -> Any:
        time.now += seconds
        if fails(rows["amount"].to_numpy()):
            raise RuntimeError("out of order")
        return np.where(rows["amount"] > 100, 0.9, 0.1)

    return answer


def served(folder: Path, champion: Callable[[Any], Any], canary: Callable[[Any], Any], way: str) -> BothWays:
    """Both versions scored by functions of a frame."""
    there = BothWays(folder)
    state = there.engine.state
    assert state is not None
    if way == "engine":
        for loaded, answer in ((state.champion, champion), (state.canary, canary)):
            assert loaded is not None
            loaded.compiled, loaded._pyfunc = None, Untimed(answer)
        state.inline = False
    return there


def latencies(there: BothWays, way: str, *, together: bool) -> dict[str, set[float]]:
    """The milliseconds of each variant's outcomes."""
    keep: list[Any] = []
    fetched = there.engine.fetched
    there.engine.fetched = lambda: keep.extend(fetched()) or keep  # type: ignore[method-assign, func-returns-value]
    getattr(there, f"by_{way}")(ROWS, together=together)
    found: dict[str, set[float]] = {}
    for one in keep or there.kept:
        found.setdefault(str(getattr(one.assigned, "value", one.assigned)), set()).add(round(one.latency_ms, 6))
    return found


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets what a router's versions are."""

    def put(champion: Callable[[Any], Any], canary: Callable[[Any], Any], load: Callable[[int], None]) -> None:
        def scorer(version: int) -> Any:
            load(version)
            answer = champion if version == 1 else canary
            return both_ways.Scorer(version, 0.5, dict(both_ways.INPUTS), None, answer)

        monkeypatch.setattr(both_ways, "_scorer", scorer)

    return put  # type: ignore[return-value]


@pytest.mark.parametrize(("way", "together"), WAYS)
def test_each_outcome_has_the_time_of_its_own_version(
    tmp_path: Path, time: Time, models: Any, way: str, *, together: bool
) -> None:
    """A canary of 33 ms beside a champion of 0.2 ms looks like that, in a batch, too; loading is not counted."""
    champion, canary = slow(time, 0.0002), slow(time, 0.033)
    models(champion, canary, lambda _: setattr(time, "now", time.now + 5))
    found = latencies(served(tmp_path, champion, canary, way), way, together=together)
    assert found == {"champion": {0.2}, "canary": {33.0}}


@pytest.mark.parametrize(("way", "together"), WAYS)
def test_what_the_champion_answers_for_a_canary_took_both(
    tmp_path: Path, time: Time, models: Any, way: str, *, together: bool
) -> None:
    """A canary that fails costs its requests its own time and the champion's; others wait for the champion alone."""
    champion = slow(time, 0.001)
    canary = slow(time, 0.03, fails=lambda _: True)
    models(champion, canary, lambda _: None)
    found = latencies(served(tmp_path, champion, canary, way), way, together=together)
    assert found["champion"] == {1.0}
    if way == "router" or not together:
        assert found["canary"] == {31.0}
    else:  # asked again for halves of its rows, until they stand alone: all of that was waited for
        (canarys,) = found["canary"]
        calls = (canarys - 1.0) / 30
        assert calls == pytest.approx(round(calls))
        assert calls > 10


def test_calls_for_halves_of_a_batch_are_waited_for_by_its_rows_alone(tmp_path: Path, time: Time) -> None:
    """Where one row of a batch fails the canary is asked for parts: its rows have waited for all of them together."""
    there = served(tmp_path, slow(time, 0.001), slow(time, 0.01, fails=lambda amounts: 666.0 in amounts), "engine")
    state = there.engine.state
    assert state is not None
    mine = [row for row in ROWS if state.to_canary(row["transaction_id"])][:4]
    others = [row for row in ROWS if not state.to_canary(row["transaction_id"])][:3]
    rows = [(666.0 if row is mine[0] else 20.0, 3.0, "web") for row in (*mine, *others)]
    names = [RequestNames(row["transaction_id"], row["transaction_id"], "T") for row in (*mine, *others)]
    there.engine.answers(state, rows, names)
    kept = there.engine.fetched()
    # 4 rows, then 2 and 2 (well), then 1 and 1: five calls of the canary; the champion answers the row that fails.
    assert [round(one.latency_ms, 6) for one in kept] == [51.0, *[50.0] * 3, *[1.0] * 3]


def test_few_rows_of_a_compiled_scorer_are_timed_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where rows are scored one after the other, each has its own time."""
    ticks = itertools.count()
    monkeypatch.setattr(asking.time, "perf_counter", lambda: next(ticks) / 1_000)
    there = BothWays(tmp_path)
    assert there.engine.state is not None
    answers = there.engine.timed(
        there.engine.state, [(20.0, 1.0, "web")] * 3, [RequestNames(f"R{n}", f"K{n}", "T") for n in range(3)]
    )
    assert [round(took, 6) for _, took in answers] == [1.0, 1.0, 1.0]
    assert [round(one.latency_ms, 6) for one in there.engine.fetched()] == [1.0, 1.0, 1.0]
