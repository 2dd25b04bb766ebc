"""Scoring by a state: batches as single requests, the champion behind the canary, an outcome for each, shadows."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.errors import DataError, FdsError, RefusedError, UnavailableError
from fds_mlflow.scoring.requests.names import RequestNames
from fds_mlflow.scoring.requests.rows import FeaturedRow, Lack
from fds_mlflow.scoring.state import ServingState
from fds_mlflow.scoring.timed import Timed
from fds_mlflow.serving.disk.spool import SpooledOutcome
from fds_mlflow.serving.disk.version_cache import VersionCache
from fds_mlflow.serving.worker.engine import Answer, Bands, Engine, risk_of
from tests.support.effort import at_most
from tests.support.version_caches import put, table, version_cache

ROWS = st.lists(
    st.tuples(st.none() | st.floats(0, 500), st.none() | st.floats(0, 24), st.none() | st.sampled_from(["shop", "?"])),
    min_size=1,
    max_size=12,
)


def serving(there: VersionCache, **more: Any) -> tuple[Engine, ServingState]:
    """An engine that has taken over the table, and its state."""
    engine = Engine(there, **more)
    assert engine.follow()
    assert engine.state is not None
    return engine, engine.state


def names(count: int, prefix: str = "K") -> list[RequestNames]:
    """Identities, keys and transactions."""
    return [RequestNames(f"R{prefix}{place}", f"{prefix}{place}", f"T{prefix}{place}") for place in range(count)]


def one(engine: Engine, state: ServingState, row: Sequence[Any], name: RequestNames) -> Answer | str:
    """The answer to one row, or why there is none."""
    try:
        return engine.answer(state, row, name)
    except FdsError as error:
        return error.what


def facts(outcome: SpooledOutcome) -> dict[str, Any]:
    """Everything but the time."""
    return {name: value for name, value in msgspec.structs.asdict(outcome).items() if name not in _TIMES}


_TIMES = ("time", "latency_ms")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> VersionCache:
    """Champion 1, and canary 2 with 40 % of the traffic, a column of its own, and scores that are none."""
    there = version_cache(tmp_path_factory.mktemp("cache"))
    put(
        there, 2, low=0.2, high=1.5, inputs={"amount": "double", "age": "double", "channel": "string", "hour": "double"}
    )
    there.write_table(table(weight=4_000))
    return there


@at_most(50)
@given(rows=ROWS, ages=st.lists(st.none() | st.just(msgspec.UNSET) | st.floats(0, 9), min_size=12, max_size=12))
def test_a_batch_is_many_single_requests(two: VersionCache, rows: list[Any], ages: list[Any]) -> None:
    """A batch gives answers and outcomes as each row alone would, rows that the canary cannot score among them."""
    engine, state = serving(two)
    full = [(*row, age) for row, age in zip(rows, ages, strict=False)]
    together = engine.answers(state, full, names(len(full)))
    first = engine.fetched()
    alone = [one(engine, state, row, name) for row, name in zip(full, names(len(full)), strict=True)]
    assert together == alone
    assert [facts(outcome) for outcome in first] == [facts(outcome) for outcome in engine.fetched()]


def test_each_outcome_is_fetched_once_while_others_come(two: VersionCache) -> None:
    """Outcomes that are fetched while requests are answered are all there, once."""
    engine, state = serving(two)
    found: list[SpooledOutcome] = []
    ended = threading.Event()

    def fetch() -> None:
        while not ended.is_set():
            found.extend(engine.fetched())

    fetching = threading.Thread(target=fetch)
    fetching.start()
    for name in names(3_000):
        one(engine, state, (20.0, 1.0, "shop", 1.0), name)
    ended.set()
    fetching.join()
    found.extend(engine.fetched())
    assert [outcome.request_id for outcome in found] == [name.request_id for name in names(3_000)]


class Moody(Timed):
    """A model without a compiled scorer, that does what it is told."""

    def __init__(self, answer: Any) -> None:
        super().__init__(lambda frame: answer(frame["amount"].to_numpy()))


def raises(_: Any) -> Any:
    """As a model out of order."""
    raise RuntimeError("out\0 of order")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Engine, ServingState]:
    """Champion 1 and canary 2, half of the traffic each."""
    there = version_cache(tmp_path)
    there.write_table(table(weight=5_000))
    return serving(there, canary_timeout=0.05)


def raw_row(lack: Lack) -> FeaturedRow:
    """A row whose features were computed."""
    row = FeaturedRow({"raw": True}, lack)
    row += [1.0, 2.0, "shop", 3.0]
    return row


@pytest.mark.parametrize("rows", [1, 9])
def test_a_canary_is_barred_from_rows_whose_features_lack_something(tmp_path: Path, rows: int) -> None:
    """The champion answers for it, and is not degraded for that; no outcome is evidence, and none is shadowed."""
    there = version_cache(tmp_path)
    put(
        there, 2, low=0.2, high=0.4, inputs={"amount": "double", "age": "double", "channel": "string", "hour": "double"}
    )
    there.write_table(table(weight=5_000))
    engine, state = serving(there, shadow=1.0)
    barred = Lack("cold", None, "cold", RefusedError("it lacks a window", fix="load it"))
    if rows == 1:
        answers = [engine.answer(state, raw_row(barred), name) for name in names(20)]
    else:
        answers = engine.answers(state, [raw_row(barred)] * 20, names(20))
    assert {answer.version for answer in answers} == {1}
    assert all(answer.degraded is msgspec.UNSET for answer in answers)
    outcomes = engine.fetched()
    assert all(one.degraded for one in outcomes)
    assert {(one.assigned, one.served, one.error) for one in outcomes} == {
        ("champion", "champion", None),
        ("canary", "champion", "it lacks a window"),
    }
    assert not engine.shadowed
    said = [engine.answer(state, raw_row(Lack("slow", "slow", "slow")), name) for name in names(20)]
    assert {(answer.version, answer.degraded, answer.degraded_reason) for answer in said} == {
        (1, True, "slow"),
        (2, True, "slow"),
    }


def made_moody(loaded: Any, answer: Any) -> None:
    """Put another model in a version's place."""
    loaded.compiled, loaded._pyfunc = None, Moody(answer)


@pytest.mark.parametrize("rows", [3, 10])
def test_a_champion_that_fails_in_a_batch_leaves_an_outcome_for_each_row(
    pair: tuple[Engine, ServingState], rows: int
) -> None:
    """Where the champion fails the batch is refused, and each of its rows has an outcome that says why."""
    engine, state = pair
    made_moody(state.champion, raises)
    with pytest.raises(DataError, match=r"out. of order"):
        engine.answers(state, [(20.0, 1.0, "shop")] * rows, names(rows))
    kept = engine.fetched()
    assert [outcome.request_id for outcome in kept] == [name.request_id for name in names(rows)]
    failed = [outcome for outcome in kept if outcome.assigned == "champion"]
    assert failed
    assert all(outcome.score is None and not outcome.flagged for outcome in failed)
    assert all("\0" not in (outcome.error or "\0") for outcome in failed)
    assert {outcome.served for outcome in kept if outcome.assigned == "canary"} <= {"canary"}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (raises, "RuntimeError"),
        (lambda amounts: amounts * float("nan"), "one float in"),
        (lambda amounts: amounts + 2, "one float in"),
        (lambda amounts: amounts[:0], "one float in"),
        (lambda amounts: ["fraud"] * len(amounts), "ValueError"),
        (lambda _: threading.Event().wait(2), "took longer than 0.05 s"),
    ],
    ids=["raises", "nan", "too high", "too few", "classes", "hangs"],
)
def test_a_canary_that_fails_in_a_batch_is_answered_for(
    pair: tuple[Engine, ServingState], answer: Any, why: str
) -> None:
    """Rows of a canary that fails are answered by the champion; only their outcomes carry the error."""
    engine, state = pair
    assert state.canary is not None
    made_moody(state.canary, answer)
    answers = engine.answers(state, [(20.0, 1.0, "shop")] * 10, names(10))
    assert {(said.variant, said.version, said.score) for said in answers} == {("champion", 1, 0.1)}
    kept = engine.fetched()
    assert {outcome.assigned for outcome in kept} == {"champion", "canary"}
    for outcome in kept:
        assert (outcome.served, why in (outcome.error or "")) == ("champion", outcome.assigned == "canary")


def test_a_model_that_hangs_is_not_asked_for_ever_and_holds_up_no_other(pair: tuple[Engine, ServingState]) -> None:
    """Once all of a model's threads hang it is not asked again, until they are free; another model goes on."""
    engine, state = pair
    gate = threading.Event()
    assert state.canary is not None
    made_moody(state.canary, lambda amounts: gate.wait(30) and amounts * 0)
    made_moody(state.champion, lambda amounts: amounts * 0 + 0.5)
    for place in range(200):
        assert isinstance(one(engine, state, (20.0, 1.0, "shop"), names(200)[place]), Answer)
    errors = [outcome.error or "" for outcome in engine.fetched() if outcome.assigned == "canary"]
    assert sum("took longer than 0.05 s" in error for error in errors) == 4
    assert all("was not asked" in error for error in errors[4:])
    gate.set()
    for _ in range(3_000):
        if not state.canary._pyfunc._overdue:  # type: ignore[union-attr]
            break
        threading.Event().wait(0.01)
    answer = engine.answers(state, [(20.0, 1.0, "shop")] * 10, names(10))
    assert {said.variant for said in answer} == {"champion", "canary"}


def test_a_canary_that_becomes_champion_has_a_champions_time(tmp_path: Path) -> None:
    """A version keeps what it has in memory when its role changes, and gets the time and threshold of the new role."""
    there = version_cache(tmp_path)
    there.write_table(table(weight=10_000))
    engine, before = serving(there, canary_timeout=0.05, champion_timeout=30.0)
    assert before.canary is not None
    gate = threading.Event()
    made_moody(before.canary, lambda amounts: gate.wait(0.2) or amounts * 0 + 0.7)
    there.write_table(replace(table(champion=2, threshold=0.75)))
    engine.seen = 0
    assert engine.follow()
    assert engine.state is not None
    assert engine.state.champion._pyfunc is before.canary._pyfunc
    answer = one(engine, engine.state, (20.0, 1.0, "shop"), RequestNames("R", "K", "T"))
    assert isinstance(answer, Answer)
    assert (answer.version, answer.score, answer.flagged) == (2, 0.7, False)


def test_a_canary_without_its_files_is_answered_for_and_a_champion_keeps_what_serves(tmp_path: Path) -> None:
    """A missing canary is a fallback; a missing champion is an error that leaves the state as it was."""
    there = version_cache(tmp_path)
    for broken in ("{", "[]"):
        (there.folder / "version-2-identity2" / "version.json").write_text(broken)
        there.write_table(table(weight=10_000))
        engine, state = serving(there)
        answer = one(engine, state, (20.0, 1.0, "shop"), RequestNames("R", "K", "T"))
        assert isinstance(answer, Answer)
        assert answer.version == 1
        assert "not loaded" in (engine.fetched()[0].error or "")
    there.write_table(table(champion=7))
    engine.seen = 0
    with pytest.raises(UnavailableError, match="version 7 is not ready"):
        engine.follow()
    assert engine.state is state


def test_values_that_do_not_fit_a_version_are_its_failure_and_no_crash(tmp_path: Path) -> None:
    """A canary that wants a number where the champion has a text fails by itself, alone and in a batch."""
    there = version_cache(tmp_path)
    put(there, 2, inputs={"amount": "double", "hour": "double", "channel": "double"})
    there.write_table(table(weight=10_000))
    engine, state = serving(there)
    for answers in (
        [one(engine, state, (20.0, 1.0, "web"), names(1)[0])],
        engine.answers(state, [(20.0, 1.0, "web")] * 6, names(6)),
    ):
        assert {said.version for said in answers if isinstance(said, Answer)} == {1}
    assert all("version 2 could not score" in (outcome.error or "") for outcome in engine.fetched())


def test_shadows_are_of_the_share_and_of_the_rollout_that_answered(tmp_path: Path) -> None:
    """A share of the champion's keys is scored by the canary as well, by the state that answered, each once."""
    there = version_cache(tmp_path)
    there.write_table(table(weight=5_000))
    engine, state = serving(there, shadow=0.5)
    for _ in range(2):
        engine.answers(state, [(20.0, 1.0, "shop")] * 400, names(400))
    kept = [outcome for outcome in engine.fetched() if outcome.assigned == "champion"]
    there.write_table(table())
    engine.seen = 0
    engine.follow()
    found = []
    while engine.shadowed:
        found += engine.shadows(most=50)
    assert {(shadow.version, shadow.score) for shadow in found} == {(2, 0.2)}
    assert {shadow.request_id for shadow in found} < {outcome.request_id for outcome in kept}
    assert 0.3 * len(kept) < len(found) < 0.7 * len(kept)
    counts = [sum(shadow.request_id == name.request_id for shadow in found) for name in names(400)]
    assert set(counts) == {0, 2}


@pytest.mark.parametrize("weight", [0, 5_000])
@pytest.mark.parametrize(("setting", "plan", "share"), [(0.0, 0, 0), (0.0, 50, 0.5), (0.5, 10, 0.5), (0.1, 100, 1.0)])
def test_the_plans_shadow_is_followed(tmp_path: Path, weight: int, setting: float, plan: float, share: float) -> None:
    """While its rollout is active the larger share of the server and the plan is shadowed, at a weight of 0, too."""
    there = version_cache(tmp_path)
    made = table(weight=weight)
    rollout = made.routing.rollout
    assert rollout is not None
    routing = replace(made.routing, rollout=replace(rollout, plan=Plan(shadow=plan)))
    there.write_table(replace(made, routing=routing))
    engine, state = serving(there, shadow=setting)
    engine.answers(state, [(20.0, 1.0, "shop")] * 400, names(400))
    for name in names(400, "A"):
        engine.answer(state, (20.0, 1.0, "shop"), name)
    kept = engine.fetched()
    champions = [outcome for outcome in kept if outcome.assigned == "champion"]
    assert (len(champions) == 800) == (weight == 0)
    assert {(outcome.rollout_id, outcome.weight) for outcome in kept} == {(rollout.id, weight)}
    assert abs(len(engine.shadowed) / len(champions) - share) < 0.12
    assert (len(engine.shadowed) == len(champions)) == (share == 1)
    there.write_table(table())
    engine.seen = 0
    engine.follow()
    assert engine.state is not None
    engine.shadowed.clear()
    engine.answers(engine.state, [(20.0, 1.0, "shop")] * 400, names(400))
    assert not engine.shadowed


def test_shadows_take_no_longer_than_they_may(tmp_path: Path) -> None:
    """A slow canary's shadows are left for the next time when the time is over, so that outcomes are not held up."""
    there = version_cache(tmp_path)
    there.write_table(table(weight=1))
    engine, state = serving(there, shadow=1.0)
    engine.answers(state, [(20.0, 1.0, "shop")] * 100, names(100))
    waiting = len(engine.shadowed)
    assert engine.shadows(seconds=0.0) == []
    assert len(engine.shadowed) == waiting > 90


@given(threshold=st.floats(0, 1), scores=st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_risk_is_a_scale(threshold: float, scores: list[float]) -> None:
    """Risk is in 0 to 100, grows with the score, and reaches 50 where the version flags."""
    low, high = (risk_of(score, threshold) for score in sorted(scores))
    assert 0 <= low <= high <= 100
    for score in scores:
        assert (risk_of(score, threshold) >= 50) == (score >= threshold)


def test_bands() -> None:
    """Bands begin at their bounds."""
    bands = Bands(step_up=40, block=90)
    assert [bands(risk) for risk in (0, 39.99, 40, 89.99, 90, 100)] == ["approve"] * 2 + ["step_up"] * 2 + ["block"] * 2


def test_whole_numbers_are_whole(tmp_path: Path) -> None:
    """A fraction in a column of whole numbers is refused by a model without a compiled scorer, and not cut off."""
    there = version_cache(tmp_path)
    put(there, 1, inputs={"amount": "long", "hour": "double"})
    there.write_table(table())
    engine, state = serving(there)
    made_moody(state.champion, lambda amounts: amounts / 10)
    assert isinstance(one(engine, state, (3.0, 1.0), names(1)[0]), Answer)
    assert "holds a fraction" in str(one(engine, state, (3.5, 1.0), names(1)[0]))
    assert "could not score" in str(one(engine, state, (None, 1.0), names(1)[0]))
