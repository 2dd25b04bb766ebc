"""Raw transactions while their state does not answer, or lacks what is asked for: answered, marked, nothing lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import ConfigError, DataError, RefusedError, UnavailableError
from fds_mlflow.features.declaration import Declared
from fds_mlflow.features.spec import FeatureSpec, Gap, Window
from fds_mlflow.features.state import lmdb_store
from fds_mlflow.features.state.coverage import BEGINNING
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.lmdb_store import LmdbStore
from fds_mlflow.features.state.state import State
from fds_mlflow.serving.featured import Featured
from fds_mlflow.serving.guard import Guard, Why
from fds_mlflow.serving.raw import LOOK_SECONDS, Raw
from tests.support.holder import held
from tests.support.served import until

SCHEMA = Schema.of(
    transaction_id="id",
    time="time",
    amount="amount",
    entities={"customer": "customer", "device": "device"},
    label=None,
)
SPEC = FeatureSpec(
    numeric=("amount",),
    windows=(
        Window(entity="customer", aggregate="count", windows=("1h",)),
        Window(entity="customer", aggregate="sum", windows=("1h",)),
    ),
    gaps=(Gap(entity="customer"),),
)
OTHER = FeatureSpec(windows=(Window(entity="device", aggregate="count", windows=("1h",)),))
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


class StillClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.time = NOW
        self.seconds = 0.0

    def now(self) -> datetime:
        """The time."""
        return self.time

    def monotonic(self) -> float:
        """Seconds."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self.seconds += seconds


def declared(version: int) -> Declared | None:
    """What versions declare: the first counts customers, the second devices."""
    return {1: Declared(SPEC, SCHEMA, "1"), 2: Declared(OTHER, SCHEMA, "2")}.get(version)


def row(number: int, *, customer: str = "c", at: datetime = NOW) -> dict[str, Any]:
    """A raw transaction."""
    time = (at + timedelta(seconds=number)).isoformat()
    return {"id": f"T{number}", "time": time, "amount": 10.0 + number, "customer": customer, "device": "d"}


def accepted(folder: Path, *specs: FeatureSpec) -> Path:
    """An empty state of which it is said that nothing came before it."""
    state = State(LmdbStore(folder), Layout.of(specs))
    state.accept()
    state.close()
    return folder


def count(found: Featured | None, version: int = 1, name: str = "customer_count_1h") -> Any:
    """How many transactions were counted."""
    assert found is not None
    return found.of(version)[name]


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[Raw]:
    """What computes features, from an accepted state."""
    made = Raw(accepted(tmp_path, SPEC), declared, timeout=0.05, clock=StillClock())
    yield made
    made.close()


def test_a_writer_that_was_stopped_hangs_nobody(raw: Raw, tmp_path: Path) -> None:
    """A process stopped (SIGSTOP) in the middle of writing: the transaction is answered as its customer's first one.

    The next ones are answered at once, and are remembered, in order, once the other one goes.
    """
    assert count(raw.featured(row(0), 1)) == 1
    with held(tmp_path):
        first = raw.featured(row(1), 1)
        assert first is not None
        assert (first.why, first.degraded, first.lacks(1)) == (Why.SLOW, Why.SLOW, Why.SLOW)
        assert first.of(1)["customer_sum_amount_1h"] == 11.0
        assert count(first) == 1
        assert all(count(raw.featured(row(number), 1)) == 1 for number in range(2, 200))
        assert raw.guard.waiting == 199
        assert raw.guard.problem is not None
        assert "being written by another one" in raw.guard.problem
    until(lambda: raw.guard.problem is None, "an answer")
    found = raw.featured(row(200), 1)
    assert found is not None
    assert (found.why, count(found), raw.guard.waiting, raw.guard.missed) == (None, 201, 0, 0)
    assert count(raw.featured(row(150), 1)) == 151, "it was told in order"


def test_a_writer_that_goes_on_is_waited_for(raw: Raw, tmp_path: Path) -> None:
    """Let go on (SIGCONT), the other process ends its work, and the state answers again."""
    with held(tmp_path) as process:
        assert raw.featured(row(0), 1).why is Why.SLOW  # type: ignore[union-attr]
        process.send_signal(signal.SIGCONT)
        process.communicate("")
        until(lambda: raw.guard.problem is None, "an answer")
    assert count(raw.featured(row(1), 1)) == 2


def test_what_is_not_to_be_remembered_is_not(raw: Raw, tmp_path: Path) -> None:
    """What was only looked at while the state was away is not told to it later."""
    with held(tmp_path):
        raw.featured(row(0), 1)
        raw.featured(row(1), 1, record=False)
    until(lambda: raw.guard.problem is None, "an answer")
    assert count(raw.featured(row(2), 1)) == 2


def test_labels_wait_for_the_state_as_well(raw: Raw, tmp_path: Path) -> None:
    """A label that comes meanwhile reaches the state later; whether it is remembered cannot be said."""
    raw.featured(row(0), 1)
    with held(tmp_path):
        assert not raw.label("T0", fraud=True, known=0)
        assert raw.guard.waiting == 1
    until(lambda: raw.guard.problem is None, "an answer")
    assert raw.label("T0", fraud=True, known=0)


def test_a_callers_mistake_stays_one(raw: Raw, tmp_path: Path) -> None:
    """What does not fit is refused while the state is away, too; an id used twice is found later, and counted."""
    raw.featured(row(0), 1)
    with held(tmp_path):
        with pytest.raises(DataError, match="amount"):
            raw.featured({**row(1), "amount": "much"}, 1)
        raw.featured({**row(0), "amount": 5.0}, 1)
    until(lambda: raw.guard.problem is None, "an answer")
    assert raw.guard.missed == 1


def test_a_state_may_be_required(tmp_path: Path) -> None:
    """Where transactions are to be refused they are, at once after the first, and nothing is kept for later."""
    raw = Raw(accepted(tmp_path, SPEC), declared, timeout=0.05, on_failure="refuse", clock=StillClock())
    with held(tmp_path):
        for _ in range(3):
            with pytest.raises(UnavailableError, match="the state of raw transactions does not answer"):
                raw.featured(row(0), 1)
        with pytest.raises(UnavailableError):
            raw.label("T0", fraud=True, known=0)
        assert raw.guard.waiting == 0
    until(lambda: raw.guard.problem is None, "an answer")
    assert count(raw.featured(row(0), 1)) == 1
    raw.close()
    with pytest.raises(ConfigError, match="cannot be waited for"):
        Raw(tmp_path, declared, timeout=0)


def test_a_full_disk_costs_nobody_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its limit the state takes no more: answered all the same, and told once there is room."""
    accepted(tmp_path, SPEC)
    with monkeypatch.context() as small:
        small.setattr(lmdb_store.LmdbStore.__init__, "__kwdefaults__", {"limit": 2**18, "timeout": 0.05})
        raw = Raw(tmp_path, declared, clock=StillClock())
        number = 0
        while True:
            found = raw.featured(row(number), 1)
            assert found is not None
            if found.why is not None:
                break
            number += 1
        assert number > 50
        assert found.why is Why.DOWN
        assert raw.guard.problem is not None
        assert "has reached its limit" in raw.guard.problem
        raw.close()
    raw = Raw(tmp_path, declared, clock=StillClock())
    assert count(raw.featured(row(number), 1)) == number + 1
    raw.close()


def test_a_server_starts_without_its_state(tmp_path: Path) -> None:
    """What computes features is there while the state cannot be opened, and uses it once it can."""
    (tmp_path / "state").write_text("no folder")
    raw = Raw(tmp_path / "state", declared, clock=StillClock())
    found = raw.featured(row(0), 1)
    assert found is not None
    assert (found.why, count(found)) == (Why.DOWN, 1)
    (tmp_path / "state").unlink()
    until(lambda: raw.guard.problem is None, "an answer")
    assert count(raw.featured(row(1), 1)) == 2
    raw.close()
    (tmp_path / "other").write_text("no folder")
    with pytest.raises(UnavailableError):
        Raw(tmp_path / "other", declared, on_failure="refuse").close()


def test_a_state_that_began_empty_is_cold_until_windows_have_passed(tmp_path: Path) -> None:
    """Its counts are too small, and it says so; after the longest window they are whole."""
    clock = StillClock()
    raw = Raw(tmp_path, declared, clock=clock)
    found = raw.featured(row(0), 1)
    assert found is not None
    assert (found.why, found.degraded, found.lacks(1), count(found)) == (None, Why.COLD, Why.COLD, 1)
    error = raw.cold(1)
    assert error is not None
    assert "fds features load" in error.fix
    clock.time += timedelta(hours=2)
    clock.seconds += LOOK_SECONDS
    later = raw.featured(row(1, at=clock.time), 1)
    assert later is not None
    assert later.degraded is None
    assert raw.cold(1) is None
    assert raw.featured(row(2), 1).degraded is Why.COLD, "what comes that late has windows from before"  # type: ignore[union-attr]
    raw.close()


def test_a_canary_gets_nothing_while_the_state_lacks_its_windows(tmp_path: Path) -> None:
    """It joins: the champion's features are whole, the canary has none, and no outcome is evidence of either."""
    clock = StillClock()
    raw = Raw(accepted(tmp_path, SPEC), declared, clock=clock)
    raw.featured(row(0), 1)
    for wanted in ([1], [2]):
        found = raw.featured(row(1), 1, [2], wanted=wanted)
        assert found is not None
        assert (found.degraded, found.lacks(1), found.lacks(2)) == (Why.COLD, None, Why.COLD)
        assert count(found) == 2
        with pytest.raises(RefusedError, match="does not reach back as far as the windows of version 2"):
            found.of(2)
    clock.time += timedelta(hours=1)
    clock.seconds += LOOK_SECONDS
    found = raw.featured(row(2, at=clock.time - timedelta(seconds=1.5)), 1, [2])
    assert found is not None
    assert (found.degraded, count(found, 2, "device_count_1h")) == (None, 2)
    raw.close()


def test_what_removes_old_rows_makes_late_transactions_cold(tmp_path: Path) -> None:
    """A transaction older than what the state keeps is answered from what there is, and marked."""
    clock = StillClock()
    raw = Raw(accepted(tmp_path, SPEC), declared, clock=clock)
    raw.featured(row(0), 1)
    assert raw.featured(row(1, at=NOW - timedelta(days=30)), 1).degraded is None  # type: ignore[union-attr]
    clock.seconds += 3_600
    raw.tidy()
    raw.featured(row(2), 1)
    assert raw.featured(row(3), 1).degraded is None  # type: ignore[union-attr]
    assert raw.featured(row(4, at=NOW - timedelta(days=30)), 1).degraded is Why.COLD  # type: ignore[union-attr]
    raw.close()


def test_a_transaction_far_ahead_is_refused(raw: Raw) -> None:
    """More than a day ahead of the clock is a mistake, told with both times, and not remembered; less is not."""
    with pytest.raises(DataError, match="more than a day after now, 2026-06-01T12:00:00") as told:
        raw.featured(row(1, at=NOW + timedelta(days=1)), 1)
    assert "time zone" in told.value.fix
    assert count(raw.featured(row(0, at=NOW + timedelta(days=1)), 1)) == 1


def test_what_has_no_room_is_counted() -> None:
    """Of what a state is to be told later so much is kept; the rest is counted, and what is told comes in order."""
    down, told = [True], list[int]()

    def tell(number: int) -> None:
        told.append(number)

    def look() -> None:
        if down[0]:
            raise UnavailableError("it is away", fix="wait")

    guard = Guard(look, 1.0, room=2, retry_seconds=1_000.0)
    for number in range(3):
        assert guard.ask(look) is Why.DOWN
        guard.later(lambda number=number: tell(number))  # type: ignore[misc]
    assert (guard.waiting, guard.missed, guard.catch_up()) == (2, 1, False)
    down[0] = False
    assert guard.catch_up()
    assert (told, guard.problem, guard.ask(lambda: 5)) == ([0, 1], None, 5)


def test_while_it_catches_up_nobody_is_let_through() -> None:
    """What arrives while the state is told what it missed is told after that, and marked as behind."""
    answers, seen = [False], list[object]()

    def look() -> None:
        if not answers[0]:
            raise UnavailableError("it is away", fix="wait")

    guard = Guard(look, 1.0, retry_seconds=1_000.0)
    guard.ask(look)

    def second() -> None:
        seen.append(guard.ask(lambda: "answer"))
        if len(seen) < 3:
            guard.later(second)

    guard.later(lambda: None)
    guard.later(second)
    answers[0] = True
    assert guard.catch_up()
    assert seen == [Why.BEHIND] * 3
    assert guard.ask(lambda: "answer") == "answer"


def test_what_is_accepted_is_whole_from_the_beginning(tmp_path: Path) -> None:
    """Of an accepted state nothing is missing."""
    state = State(LmdbStore(accepted(tmp_path, SPEC, OTHER)), Layout())
    assert {since.time for since in state.coverage.since.values()} == {BEGINNING}
    state.close()
