"""What is explored: the same by a server and a router, alone and in a batch, and in every outcome's propensity."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fds_mlflow.core.routing.exploration import Exploration
from fds_mlflow.errors import ConfigError, UnavailableError
from fds_mlflow.model import ManagedModel
from fds_mlflow.outcomes.records import OutcomeRecord, outcome_rows
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.scoring.requests.names import RequestNames
from fds_mlflow.serving.router import Router
from tests.support.both_ways import BothWays
from tests.support.registry_model import MODEL

ROWS: list[dict[str, Any]] = [
    {"transaction_id": f"TX{n}", "amount": amount, "hour": 3.0, "channel": "web"}
    for n, amount in enumerate([20.0, 150.0, 900.0, 300.0, 180.0, 499.0, 501.0] * 40)
]
WAYS = [(way, together) for way in ("engine", "router") for together in (False, True)]


def asked(there: BothWays, way: str, *, together: bool) -> Any:
    """What is told and recorded of `ROWS`."""
    return getattr(there, f"by_{way}")(ROWS, together=together)


@pytest.mark.parametrize(("way", "together"), WAYS)
def test_a_share_of_what_is_flagged_is_let_pass_and_recorded(tmp_path: Path, way: str, *, together: bool) -> None:
    """Each outcome has its propensity, 0 above the cap; those that the hash takes are answered as not flagged."""
    explore = Exploration(MODEL, 0.3, cap=500.0)
    told, kept = asked(BothWays(tmp_path, explore=explore), way, together=together)
    passed = 0
    for row, (_, flagged, explored, variant, _), (key, assigned, _, _, would, chance, let, _) in zip(
        ROWS, told, kept, strict=True
    ):
        expected = 0.3 if row["amount"] <= 500 else 0.0
        reaches = row["amount"] > 100
        passes = reaches and expected > 0 and explore.explores(row["transaction_id"], 0.3)
        assert (key, assigned, chance, would, let) == (row["transaction_id"], variant, expected, reaches, passes)
        assert (flagged, explored) == (reaches and not passes, passes)
        passed += passes
    assert 20 < passed < 80


def test_every_way_explores_the_same(tmp_path: Path) -> None:
    """A server and a router, one row and a batch tell and record the same, whatever the cap's column is."""
    for number, explore in enumerate(
        (Exploration(MODEL, 0.5), Exploration(MODEL, 0.5, 200.0), Exploration(MODEL, 0.5, 200.0, "value"), None)
    ):
        there = BothWays(tmp_path / str(number), explore=explore)
        found = [asked(there, way, together=together) for way, together in WAYS]
        for told, kept in found[1:]:
            assert [(*one[:2], bool(one[2]), *one[3:]) for one in told] == [
                (*one[:2], bool(one[2]), *one[3:]) for one in found[0][0]
            ]
            assert kept == found[0][1]


@pytest.mark.parametrize(("way", "together"), WAYS)
def test_a_cap_on_a_column_that_no_version_has_is_kept(tmp_path: Path, way: str, *, together: bool) -> None:
    """The amount may be sent beside the model's columns; where it is not, nothing is let pass."""
    there = BothWays(tmp_path, explore=Exploration(MODEL, 1.0, 200.0, "value"))
    rows = [{**ROWS[1], "transaction_id": f"V{n}", "value": value} for n, value in enumerate([50.0, 500.0, None])]
    told, kept = getattr(there, f"by_{way}")(rows, together=together)
    assert [one[2] for one in told] == [True, False, False]
    assert [one[5] for one in kept] == [1.0, 0.0, 0.0]
    told, kept = getattr(there, f"by_{way}")(ROWS[:2], together=together)
    assert {one[5] for one in kept} == {0.0}
    assert not any(one[2] for one in told)


@pytest.mark.parametrize(("way", "together"), WAYS)
def test_nothing_is_drawn_where_nothing_is_explored(tmp_path: Path, way: str, *, together: bool) -> None:
    """Without exploration no outcome has a propensity, and answers say nothing of it."""
    told, kept = asked(BothWays(tmp_path), way, together=together)
    assert {(one[5], one[6]) for one in kept} == {(None, False)}
    assert {one[2] for one in told} == ({msgspec.UNSET} if way == "engine" else {False})
    assert any(one[1] for one in told)


@pytest.mark.parametrize(("way", "together"), WAYS)
def test_a_rollout_at_a_weight_of_nought_sends_its_canary_nothing(tmp_path: Path, way: str, *, together: bool) -> None:
    """While a rollout only shadows, the champion answers every key, and the outcomes are the rollout's all the same."""
    there = BothWays(tmp_path, weight=0, plan={"shadow": 100})
    _, kept = asked(there, way, together=together)
    assert {(one[1], one[2]) for one in kept} == {("champion", "champion")}
    assert there.rollout is not None
    assert {(one.rollout_id, one.weight) for one in there.kept} <= {(there.rollout.id, 0)}
    assert bool(there.engine.shadowed) == (way == "engine")


def test_a_request_without_an_outcome_is_not_let_pass(tmp_path: Path) -> None:
    """Where a header chose the variant nothing is recorded, so nothing would be learnt: it stays flagged."""
    engine = BothWays(tmp_path, explore=Exploration(MODEL, 1.0)).engine
    assert engine.state is not None
    answer = engine.answer(engine.state, (900.0, 3.0, "web"), RequestNames("R", "K", "T"), variant="champion")
    assert (answer.flagged, answer.explored, answer.band) == (True, False, "block")
    answer = engine.answer(engine.state, (900.0, 3.0, "web"), RequestNames("R", "K", "T"))
    assert (answer.flagged, answer.explored, answer.band) == (False, True, "approve")
    assert answer.score > 0.5


def test_lists_in_the_order_of_the_signature_need_no_column_of_the_cap(tmp_path: Path) -> None:
    """A cap on a column of no model changes nothing in how the model's own are read."""
    from fds_mlflow.scoring.requests.formats import formats

    engine = BothWays(tmp_path, explore=Exploration(MODEL, 1.0, 5.0, "value")).engine
    assert engine.state is not None
    called = formats(engine.state, limit=10).invocation(b'{"instances": [[20.0, 1.0, "web"], [900.0, 1.0, "web"]]}')
    answers = engine.answers(engine.state, called.rows, [RequestNames(f"R{n}", f"K{n}", "T") for n in range(2)])
    assert [one.flagged for one in answers] == [False, True]


# --- a bound a day ------------------------------------------------------------------------------------------


@pytest.fixture
def store() -> Iterator[OutcomeStore]:
    """An empty store."""
    with OutcomeStore("sqlite://") as made:
        yield made


def test_the_store_counts_what_was_explored_of_a_model_since_a_time(store: OutcomeStore) -> None:
    """Other models, what was before, and what was blocked or not flagged are not counted."""
    there = {"key": "K", "assigned": "champion", "version": 1, "score": 0.9, "latency_ms": 1.0, "propensity": 0.5}
    noon = datetime.fromisoformat("2026-03-01T12:00:00+00:00")
    store.record(
        [
            OutcomeRecord(model=model, flagged=flagged, explored=explored, time=noon.replace(hour=hour), **there)
            for model, flagged, explored, hour in (
                *[("fraud", True, True, hour) for hour in (11, 12, 13)],
                ("fraud", True, False, 14),
                ("fraud", False, False, 14),
                ("returns", True, True, 14),
            )
        ]
    )
    assert store.explored("fraud", noon) == 2


def test_a_router_explores_no_more_than_a_day_has(tmp_path: Path, store: OutcomeStore) -> None:
    """From the poll that finds the day's number used up nothing is let pass, until midnight, and outcomes say so."""
    there = BothWays(tmp_path, explore=Exploration(MODEL, 1.0, per_day=2))
    router = there.router(recorder=store, count=lambda since: store.explored(MODEL, since))
    rows = iter([{**ROWS[1], "transaction_id": f"D{n}"} for n in range(20)])

    def explores() -> bool:
        return router.score(next(rows)).explored

    assert [explores(), explores(), explores()] == [True, True, True]  # by one poll interval
    there.world.clock.seconds += 2
    assert [explores(), explores()] == [False, False]
    assert [one.propensity for one in store.recent(MODEL)][:2] == [0.0, 0.0]
    assert router.degraded is None
    there.world.clock.seconds += 86_400
    assert explores()


def test_a_router_that_cannot_count_explores_nothing(tmp_path: Path) -> None:
    """While the store does not answer nothing is let pass, the router says why, and it goes on once the store does."""
    away = True

    def count(_since: datetime) -> int:
        if away:
            raise UnavailableError("the store is away", fix="start it")
        return 0

    there = BothWays(tmp_path, explore=Exploration(MODEL, 1.0, per_day=2))
    router = there.router(count=count)
    assert router.score(ROWS[1]).flagged
    assert "cannot be told: the store is away" in (router.degraded or "")
    assert [one.propensity for one in there.kept] == [0.0]
    away = False
    there.world.clock.seconds += 2
    assert router.score(ROWS[1]).explored
    assert router.degraded is None
    away = True
    there.world.clock.seconds += 2
    assert not router.score(ROWS[1]).explored


def test_an_old_answer_of_the_store_is_no_leave(tmp_path: Path) -> None:
    """Who was told long ago that there is room explores no more, though nobody said that there is none."""
    explore = Exploration(MODEL, 1.0, per_day=2)
    there = BothWays(tmp_path, explore=explore)
    there.engine.explore_until = 0.0
    told, kept = there.by_engine(ROWS[:20], together=True)
    assert {one[5] for one in kept} == {0.0}
    assert not any(one[2] for one in told)


def test_what_is_explored_is_always_counted(tmp_path: Path) -> None:
    """A router that records nothing, or cannot count a day's, is refused exploration; so are bounds on nothing."""
    there = BothWays(tmp_path, explore=Exploration(MODEL, 1.0, per_day=2))
    for more in ({}, {"recorder": None, "count": lambda _: 0}):
        with pytest.raises(ConfigError, match="counted nowhere"):
            there.router(**more)
    model = ManagedModel(MODEL, store=there.world.store, clock=there.world.clock, outcomes="sqlite://")
    for wrong in ({"explore": 0.5, "record": False}, {"explore_cap": 5.0}, {"explore": 101}, {"explore_per_day": 5}):
        with pytest.raises(ConfigError):
            model.router(**wrong)
    assert isinstance(model.router(explore=0.5, explore_cap=5.0, explore_column="value", explore_per_day=5), Router)


def test_what_is_kept_can_be_stored(tmp_path: Path) -> None:
    """The store takes every outcome of a router that explores."""
    there = BothWays(tmp_path, explore=Exploration(MODEL, 0.5, 300.0))
    there.by_router(ROWS, together=True)
    assert len(outcome_rows(there.kept)) == len(ROWS)
