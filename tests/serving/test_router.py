"""The router: it follows the aliases, never splits wrongly, and a bad canary costs nobody an answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fds_mlflow.core.keys import Spelling
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.core.routing.routing import Route, Variant, bucket
from fds_mlflow.core.weight import FULL
from fds_mlflow.errors import DataError, UnavailableError
from fds_mlflow.outcomes.records import OutcomeRecord, outcome_rows
from fds_mlflow.registry import tags
from fds_mlflow.registry.store import DeleteAlias, SetAlias, SetVersionTag, VersionView
from fds_mlflow.scoring.scorer import Scorer
from fds_mlflow.serving.router import Router
from tests.support.registry_model import MODEL, WatchedStore, World

KEYS = [f"TX{number:04d}" for number in range(200)]
FRAME = pd.DataFrame({"transaction_id": KEYS, "amount": np.linspace(0, 1, len(KEYS))}, index=range(1_000, 1_200))


class Recorded(list[OutcomeRecord]):
    """Outcomes in a list."""

    def record(self, outcomes: Sequence[OutcomeRecord]) -> int:
        """Keep them."""
        self.extend(outcomes)
        return len(outcomes)


@dataclass
class Setting:
    """A world with a router in it; version N scores every row `amount * N / 10`."""

    world: World = field(default_factory=World)
    predict: dict[int, Callable[[Any], Any]] = field(default_factory=dict)
    loaded: list[int] = field(default_factory=list)
    outcomes: Recorded = field(default_factory=Recorded)

    def load(self, version: int) -> Scorer:
        """Load a version, as the registry would."""
        self.loaded.append(version)
        scorer = self.predict.get(version, lambda rows: rows["amount"] * version / 10)
        return Scorer(version, 0.05, {"amount": "double"}, None, scorer)

    def router(self, **more: Any) -> Router:
        """A router that polls every two seconds by the world's clock."""
        more = {"store": self.world.store, "recorder": self.outcomes, **more}
        return Router(MODEL, load=self.load, clock=self.world.clock, poll_seconds=2.0, **more)

    def rollout(self, weight: int = 1_000) -> str:
        """Champion 1, canary 2 at a weight; the rollout's id."""
        self.world.do(Kind.PROMOTE, 1)
        self.world.do(Kind.START, 2)
        if weight != 1_000:
            self.world.do(Kind.ADVANCE, weight=weight, force=True)
        rollout = tags.decode_rollout(self.world.store.models[MODEL].versions[2].tags[tags.ROLLOUT])
        assert rollout is not None
        return rollout.id


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


# --- following the aliases ----------------------------------------------------------------------------------


def test_without_a_rollout_the_champion_gets_everything() -> None:
    """Every key goes to the champion, without a bucket."""
    setting = Setting()
    setting.world.do(Kind.PROMOTE, 3)
    assert setting.router().route("TX1") == Route(Variant.CHAMPION, 3, None)


def test_keys_below_the_weight_go_to_the_canary() -> None:
    """The router splits by the published hash of rollout id and key."""
    setting = Setting()
    rollout = setting.rollout(2_500)
    router = setting.router()
    for key in KEYS:
        number = bucket(rollout, key)
        expected = Route(Variant.CANARY, 2, number) if number < 2_500 else Route(Variant.CHAMPION, 1, number)
        assert router.route(key) == expected


def test_two_replicas_route_alike() -> None:
    """Routers share nothing and agree on every key."""
    setting = Setting()
    setting.rollout(5_000)
    one, other = setting.router(), setting.router()
    assert [one.route(key) for key in KEYS] == [other.route(key) for key in KEYS]


def test_the_table_is_read_again_when_it_is_old() -> None:
    """Within the poll interval no call reaches the registry; after it, a new champion is followed."""
    setting = Setting()
    setting.world.do(Kind.PROMOTE, 1)
    router = setting.router()
    assert router.route("x").version == 1
    setting.world.do(Kind.PROMOTE, 2)
    setting.world.clock.seconds += 1.9
    assert router.route("x").version == 1
    setting.world.clock.seconds += 0.1
    assert router.route("x").version == 2


def test_a_refresh_does_not_wait_for_the_interval() -> None:
    """A wake-up, such as a webhook, reads the aliases at once."""
    setting = Setting()
    setting.world.do(Kind.PROMOTE, 1)
    router = setting.router()
    assert router.route("x").version == 1
    setting.world.do(Kind.PROMOTE, 2)
    assert router.refresh().champion == 2
    assert router.route("x").version == 2


class _AliasesInOrder(WatchedStore):
    """Keeps the order in which aliases are read, and lets something happen after the first."""

    def __init__(self, world: World) -> None:
        super().__init__(world.store, world.clock)
        self.order: list[str] = []
        self.between: Callable[[], object] = lambda: None

    def by_alias(self, model: str, alias: str) -> VersionView | None:
        """As MemoryStore."""
        if len(self.order) == 1:
            self.between()
        self.order.append(alias)
        return super().by_alias(model, alias)


def test_the_canary_is_read_before_the_champion() -> None:
    """A rollout completed between the two reads is never paired with the old champion."""
    setting = Setting()
    setting.rollout(FULL)
    store = _AliasesInOrder(setting.world)
    store.between = lambda: setting.world.do(Kind.COMPLETE)
    table = setting.router(store=store).table
    assert store.order == ["canary", "champion", "canary"]
    assert (table.champion, table.rollout) == (2, None)


def test_a_canary_is_inert_after_a_hand_moved_the_champion() -> None:
    """The moment the champion alias moves, all traffic goes there, before anything else is tidied up."""
    setting = Setting()
    setting.rollout(FULL)
    setting.world.by_hand(SetAlias(tags.CHAMPION, 3))
    assert {setting.router().route(key) for key in KEYS} == {Route(Variant.CHAMPION, 3, None)}


@pytest.mark.parametrize("what", ["not ready", "tag damaged", "tag gone", "alias gone", "aborted"])
def test_a_canary_that_is_not_whole_gets_nothing(what: str) -> None:
    """Not READY, without a readable rollout, without an alias or ended: the champion serves."""
    setting = Setting()
    setting.rollout(FULL)
    version = setting.world.store.models[MODEL].versions[2]
    if what == "not ready":
        version.status = "FAILED_REGISTRATION"
    elif what == "tag damaged":
        version.tags[tags.ROLLOUT] = version.tags[tags.ROLLOUT][:-1]
    elif what == "tag gone":
        del version.tags[tags.ROLLOUT]
    elif what == "alias gone":
        setting.world.by_hand(DeleteAlias(tags.CANARY))
    else:
        setting.world.do(Kind.ABORT)
    assert setting.router().route("x") == Route(Variant.CHAMPION, 1, None)


# --- when the registry fails --------------------------------------------------------------------------------


def test_a_registry_that_fails_leaves_the_last_table_in_force() -> None:
    """While the registry is away the router serves on as before, says why it is degraded, and recovers by itself."""
    setting = Setting()
    setting.rollout(5_000)
    store = WatchedStore(setting.world.store, setting.world.clock)
    router = setting.router(store=store)
    before = [router.route(key) for key in KEYS]
    assert router.degraded is None
    store.fail_before = lambda _number, _write: UnavailableError("the registry is down", fix="wait")
    setting.world.clock.seconds += 10
    assert [router.route(key) for key in KEYS] == before
    assert router.degraded == "the registry is down"
    store.fail_before = lambda _number, _write: None
    setting.world.do(Kind.ABORT)
    setting.world.clock.seconds += 10
    assert router.route(KEYS[0]).variant is Variant.CHAMPION
    assert router.degraded is None


@pytest.mark.parametrize("what", ["champion deleted", "champion not ready"])
def test_a_champion_that_vanishes_leaves_the_last_table_in_force(what: str) -> None:
    """Without a champion a running router keeps its last good version rather than answering nobody."""
    setting = Setting()
    setting.world.do(Kind.PROMOTE, 1)
    router = setting.router()
    assert router.route("x").version == 1
    if what == "champion deleted":
        setting.world.store.delete_version(MODEL, 1)
    else:
        setting.world.store.models[MODEL].versions[1].status = "FAILED_REGISTRATION"
    setting.world.clock.seconds += 10
    assert router.route("x").version == 1
    assert router.degraded is not None
    assert "champion" in router.degraded
    assert len(router.predict(FRAME)) == len(FRAME)


@pytest.mark.parametrize(
    ("what", "fix"), [("no champion", "promote"), ("no model", "register"), ("registry down", "wait")]
)
def test_a_fresh_router_without_a_champion_cannot_serve(what: str, fix: str) -> None:
    """A router that has never seen a champion raises unavailable (a server answers 503) and names the cause's fix."""
    setting = Setting()
    store = WatchedStore(setting.world.store, setting.world.clock)
    if what == "registry down":
        store.fail_before = lambda _number, _write: UnavailableError("down", fix="wait")
        setting.world.do(Kind.PROMOTE, 1)
    if what == "no model":
        setting.world.store.models.clear()
    router = setting.router(store=store)
    with pytest.raises(UnavailableError, match="cannot be served") as error:
        router.route("x")
    assert fix in error.value.fix
    with pytest.raises(UnavailableError):
        router.predict(FRAME)


# --- scoring ------------------------------------------------------------------------------------------------


def test_every_row_is_scored_by_its_own_version() -> None:
    """The answer keeps the frame's order and index, and each row has the score of the version it was routed to."""
    setting = Setting()
    rollout = setting.rollout(5_000)
    answer = setting.router().predict(FRAME)
    canary = np.array([bucket(rollout, key) < 5_000 for key in KEYS])
    assert 0 < canary.sum() < len(KEYS)
    assert answer.index.equals(FRAME.index)
    assert list(answer.columns) == ["score", "flagged", "variant", "version"]
    assert answer["score"].to_numpy() == pytest.approx(np.where(canary, 0.2, 0.1) * FRAME["amount"])
    assert (answer["version"] == np.where(canary, 2, 1)).all()
    assert (answer["variant"] == np.where(canary, "canary", "champion")).all()
    assert (answer["flagged"] == (answer["score"] >= 0.05)).all()
    assert answer.dtypes[["score", "flagged", "version"]].astype(str).tolist() == ["float64", "bool", "int64"]


def test_every_row_leaves_an_outcome_with_the_weight_in_force() -> None:
    """One outcome a row: key, assigned variant, version, score, rollout, step and weight, at the clock's time."""
    setting = Setting()
    rollout = setting.rollout(5_000)
    answer = setting.router().predict(FRAME)
    assert sorted(outcome.key for outcome in setting.outcomes) == KEYS
    by_key = {outcome.key: outcome for outcome in setting.outcomes}
    for key, row in zip(KEYS, answer.itertuples(), strict=True):
        outcome = by_key[key]
        assert (outcome.score, outcome.flagged, outcome.version) == (row.score, row.flagged, row.version)
        assert outcome.assigned.value == outcome.served.value == row.variant
        assert (outcome.rollout_id, outcome.step, outcome.weight) == (rollout, 1, 5_000)
        assert (outcome.model, outcome.time, outcome.error) == (MODEL, setting.world.clock.now(), None)
        assert outcome.latency_ms >= 0


def _raises(_: Any) -> Any:
    raise RuntimeError("the tree fell")


BROKEN: dict[str, Callable[[Any], Any]] = {
    "raises": _raises,
    "classes": lambda rows: ["fraud"] * len(rows),
    "above 1": lambda rows: np.full(len(rows), 1.01),
    "below 0": lambda rows: np.full(len(rows), -0.01),
    "NaN": lambda rows: np.full(len(rows), np.nan),
    "one NaN": lambda rows: np.r_[np.full(len(rows) - 1, 0.5), np.nan],
    "too few": lambda rows: np.full(len(rows) - 1, 0.5),
    "two columns": lambda rows: np.full((len(rows), 2), 0.5),
    "None": lambda _: None,
    "a scalar": lambda _: 0.5,
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_canary_costs_nobody_an_answer(broken: str) -> None:
    """A canary that raises or breaks the scorer contract: the champion answers its rows, and the outcomes say so."""
    setting = Setting(predict={2: BROKEN[broken]})
    rollout = setting.rollout(5_000)
    answer = setting.router().predict(FRAME)
    assert (answer["variant"] == "champion").all()
    assert answer["score"].to_numpy() == pytest.approx(FRAME["amount"] / 10)
    for outcome in setting.outcomes:
        assigned = Variant.CANARY if bucket(rollout, outcome.key) < 5_000 else Variant.CHAMPION
        assert outcome.assigned is assigned
        assert outcome.served is Variant.CHAMPION
        assert outcome.version == 1
        assert (outcome.error is not None) == (assigned is Variant.CANARY)
        if outcome.error is not None:
            assert "version 2" in outcome.error


def test_a_canary_that_does_not_load_costs_nobody_an_answer() -> None:
    """Artifacts that are gone are a failure of the canary's, not of the request's."""
    setting = Setting()
    setting.rollout(FULL)
    load = setting.load

    def missing(version: int) -> Scorer:
        if version == 2:
            raise UnavailableError("its artifacts are gone", fix="-")
        return load(version)

    setting.load = missing  # type: ignore[method-assign]
    answer = setting.router().predict(FRAME)
    assert (answer["version"] == 1).all()
    assert {outcome.error for outcome in setting.outcomes} == {"its artifacts are gone"}


def test_a_champion_that_cannot_score_is_an_error() -> None:
    """There is nobody to answer for the champion: the caller gets an error that names version and cause."""
    setting = Setting(predict={1: _raises})
    setting.world.do(Kind.PROMOTE, 1)
    with pytest.raises(DataError, match="version 1 could not score 200 rows: RuntimeError: the tree fell"):
        setting.router().predict(FRAME)


def test_a_missing_feature_is_named() -> None:
    """Rows without a column that the version needs are refused with its name."""
    setting = Setting()
    setting.world.do(Kind.PROMOTE, 1)
    with pytest.raises(DataError, match="amount"):
        setting.router().predict(FRAME[["transaction_id"]])


def test_a_missing_key_column_is_named() -> None:
    """Without the routing key's column there is no routing; the message lists the columns there are."""
    setting = Setting()
    setting.world.do(Kind.PROMOTE, 1)
    with pytest.raises(DataError, match="no column 'customer'") as error:
        setting.router().predict(FRAME, key="customer")
    assert "transaction_id, amount" in error.value.fix


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA, pd.NaT])
def test_a_key_with_gaps_is_refused(gap: object) -> None:
    """A request without a key would be routed arbitrarily: refused with how many there are."""
    setting = Setting()
    setting.rollout()
    frame = FRAME.assign(transaction_id=pd.Series([gap, *KEYS[1:]], index=FRAME.index, dtype=object))
    with pytest.raises(DataError, match="missing in 1 of 200 rows"):
        setting.router().predict(frame)
    assert setting.outcomes == []


def test_keys_may_be_numbers() -> None:
    """A numeric key is routed as its text, so a CSV and a database agree."""
    setting = Setting()
    rollout = setting.rollout(5_000)
    frame = pd.DataFrame({"customer": [7, 8, 9, 10], "amount": 0.5})
    answer = setting.router().predict(frame, key="customer")
    expected = ["canary" if bucket(rollout, str(key)) < 5_000 else "champion" for key in (7, 8, 9, 10)]
    assert answer["variant"].tolist() == expected


@pytest.mark.parametrize("weight", [0, 5_000, FULL])
def test_no_rows_give_no_answer_and_no_outcome(weight: int) -> None:
    """An empty batch is answered with an empty frame of the same columns."""
    setting = Setting()
    setting.rollout(weight)
    answer = setting.router().predict(FRAME.iloc[:0])
    assert list(answer.columns) == ["score", "flagged", "variant", "version"]
    assert len(answer) == 0
    assert setting.outcomes == []


def test_a_duplicated_index_mixes_no_rows() -> None:
    """Frames put together by concat have repeated index labels; each row still gets its own score."""
    setting = Setting()
    setting.rollout(5_000)
    frame = FRAME.set_axis([0] * len(FRAME))
    plain = setting.router().predict(FRAME)
    assert setting.router().predict(frame)["score"].tolist() == plain["score"].tolist()


def test_a_router_records_nothing_where_it_is_told_so() -> None:
    """Without a recorder predictions work all the same."""
    setting = Setting()
    setting.rollout()
    assert len(setting.router(recorder=None).predict(FRAME)) == len(FRAME)
    assert setting.outcomes == []


def test_an_outcome_store_that_fails_costs_nobody_an_answer() -> None:
    """While outcomes cannot be written, requests are still answered, and the router says that it is degraded."""

    class Broken:
        def record(self, outcomes: Sequence[OutcomeRecord]) -> int:
            raise UnavailableError("the outcome store is down", fix="wait")

    setting = Setting()
    setting.rollout()
    router = setting.router(recorder=Broken())
    assert len(router.predict(FRAME)) == len(FRAME)
    assert router.degraded == "the outcome store is down"


def test_versions_are_loaded_once_and_let_go() -> None:
    """A version is loaded when first needed, kept while it serves, and dropped when another takes its place."""
    setting = Setting()
    setting.rollout(5_000)
    router = setting.router()
    for _ in range(3):
        router.predict(FRAME)
    assert sorted(setting.loaded) == [1, 2]
    setting.world.do(Kind.COMPLETE, force=True)
    setting.world.do(Kind.PROMOTE, 3)
    setting.world.clock.seconds += 10
    router.predict(FRAME)
    assert sorted(setting.loaded) == [1, 2, 3]
    assert set(router._scorers) == {3}


# --- one transaction -----------------------------------------------------------------------------------------


def test_one_transaction_is_answered_like_its_row_in_a_frame() -> None:
    """`score` gives the score, flag, variant, version and outcome that `predict` gives for the same row."""
    setting = Setting()
    setting.rollout(2_500)
    router = setting.router()
    frame = router.predict(FRAME)
    rows = sorted(setting.outcomes, key=lambda outcome: outcome.key)
    setting.outcomes.clear()
    for row, expected, outcome in zip(FRAME.to_dict("records"), frame.itertuples(), rows, strict=True):
        answer = router.score(row)
        told = (answer.score, answer.flagged, answer.variant, answer.version)
        assert told == (expected.score, expected.flagged, expected.variant, expected.version)
        left = setting.outcomes.pop()
        assert replace(left, request_id="", latency_ms=0) == replace(outcome, request_id="", latency_ms=0)


def test_the_champion_answers_one_transaction_for_a_canary_that_fails() -> None:
    """A canary that raises costs nobody an answer, and the outcome counts against it."""
    setting = Setting()
    setting.rollout(FULL)

    def fails(rows: Any) -> Any:
        raise ValueError("broken")

    setting.predict[2] = fails
    answer = setting.router().score({"transaction_id": "TX1", "amount": 0.5})
    assert (answer.score, answer.variant, answer.version) == (0.05, Variant.CHAMPION, 1)
    (outcome,) = setting.outcomes
    assert (outcome.assigned, outcome.served, "broken" in str(outcome.error)) == (
        Variant.CANARY,
        Variant.CHAMPION,
        True,
    )


@pytest.mark.parametrize("missing", [{}, {"transaction_id": None}, {"transaction_id": float("nan")}])
def test_one_transaction_without_a_key_is_refused(missing: dict[str, Any]) -> None:
    """Without a routing key the variant would be arbitrary: the error names the column and what there is."""
    setting = Setting()
    setting.world.do(Kind.PROMOTE, 1)
    with pytest.raises(DataError, match="'transaction_id' to route by"):
        setting.router().score({"amount": 0.5, **missing})
    assert setting.outcomes == []


def test_a_column_of_request_ids_that_is_not_there_is_refused_before_any_score() -> None:
    """A wrong name for the requests' column is said at once, also where nothing is recorded."""
    setting = Setting()
    setting.world.do(Kind.PROMOTE, 1)
    with pytest.raises(DataError, match="'order'"):
        setting.router(recorder=None).predict(FRAME, request_id="order")
    assert setting.loaded == []


# --- keys, identities and what changes under a router --------------------------------------------------------


def _own_spelling(setting: Setting, weight: int = 5_000) -> str:
    """A rollout of this release, whose keys have the canonical spelling."""
    rollout = setting.rollout(weight)
    named = tags.decode_rollout(setting.world.store.models[MODEL].versions[2].tags[tags.ROLLOUT])
    assert named is not None
    assert named.spelling is Spelling.CANONICAL
    return rollout


@pytest.mark.parametrize("dtype", ["int64", "float64", "Int64", "object", "str"])
def test_a_number_is_routed_alike_whatever_type_carries_it(dtype: str) -> None:
    """Whole numbers are one key as integers, floats, objects or text, and as a server writes them."""
    setting = Setting()
    rollout = _own_spelling(setting)
    numbers = list(range(1_000, 1_050))
    frame = pd.DataFrame({"card": pd.Series(numbers).astype(dtype), "amount": 0.5})
    setting.router().predict(frame, key="card")
    assert sorted(one.key for one in setting.outcomes) == list(map(str, numbers))
    assert {one.key for one in setting.outcomes if one.assigned is Variant.CANARY} == {
        str(number) for number in numbers if bucket(rollout, str(number)) < 5_000
    }


def test_cards_of_nineteen_digits_stay_apart() -> None:
    """Whole numbers keep every digit; a column of floats, in which they are one, is refused before any score."""
    setting = Setting()
    setting.world.do(Kind.PROMOTE, 1)
    cards = [4_111_111_111_111_111_111, 4_111_111_111_111_111_112]
    frame = pd.DataFrame({"card": cards, "amount": 0.5})
    setting.router().predict(frame, key="card")
    assert [one.key for one in setting.outcomes] == list(map(str, cards))
    with pytest.raises(DataError, match="not all digits"):
        setting.router().predict(frame.astype({"card": "float64"}), key="card")
    with pytest.raises(DataError, match="not all digits"):
        setting.router().score({"card": float(cards[0]), "amount": 0.5}, key="card")


def test_an_old_rollout_keeps_the_keys_it_began_with() -> None:
    """In a rollout of an earlier release a float column is written as Python writes it, as it was from the start."""
    setting = Setting()
    setting.rollout(5_000)
    versions = setting.world.store.models[MODEL].versions
    named = tags.decode_rollout(versions[2].tags[tags.ROLLOUT])
    assert named is not None
    old = tags.encode_rollout(replace(named, spelling=Spelling.BY_COLUMN))
    setting.world.store.write(MODEL, SetVersionTag(2, tags.ROLLOUT, old))
    setting.router().predict(pd.DataFrame({"transaction_id": [7.0, 8.0], "amount": 0.5}))
    assert {(one.key, one.transaction_id) for one in setting.outcomes} == {("7.0", "7"), ("8.0", "8")}


class Picky(Recorded):
    """A store that refuses a batch for one bad key, as a database does."""

    def record(self, outcomes: Sequence[OutcomeRecord]) -> int:
        """All or none."""
        outcome_rows(outcomes)
        return super().record(outcomes)


@pytest.mark.parametrize("bad", ["", "x" * 400, "nul\0", "half \ud800"])
def test_a_key_that_no_store_takes_costs_only_its_own_outcome(bad: str) -> None:
    """Every row is answered, the outcomes of all others are kept, and the router says how many are missing."""
    setting = Setting(outcomes=Picky())
    setting.rollout(5_000)
    router = setting.router()
    keys = [*KEYS[:70], bad, *KEYS[71:]]
    frame = FRAME.assign(transaction_id=pd.Series(keys, index=FRAME.index, dtype=object))
    assert len(router.predict(frame)) == len(FRAME)
    assert {one.key for one in setting.outcomes} == set(keys) - {bad}
    assert router.unrecorded == 1
    assert router.degraded is not None


def test_transactions_under_one_request_id_are_outcomes_of_their_own() -> None:
    """A request id that a mesh gives to many transactions keeps them apart, and a retry still counts once."""
    setting = Setting()
    setting.world.do(Kind.PROMOTE, 1)
    router = setting.router()
    frame = FRAME.iloc[:3].assign(call="mesh")
    for _ in range(2):
        router.predict(frame, request_id="call")
        for row in frame.to_dict("records"):
            router.score(row, request_id="mesh")
    assert len({one.request_id for one in setting.outcomes}) == 3
    nameless = frame.drop(columns="transaction_id").assign(customer="C1")
    setting.outcomes.clear()
    for _ in range(2):
        router.predict(nameless, key="customer", request_id="call")
    assert len({one.request_id for one in setting.outcomes}) == 3


def test_a_changed_threshold_is_in_force_with_the_next_look() -> None:
    """The threshold belongs to the version's tag: a new value flags by it, and a value that is none changes nothing."""
    setting = Setting()
    setting.world.do(Kind.PROMOTE, 1)
    router = setting.router()
    row = {"transaction_id": "TX1", "amount": 0.9}
    assert router.score(row).flagged
    for value, flagged in (("0.5", False), ("0.01", True), ("high", True)):
        setting.world.store.write(MODEL, SetVersionTag(1, tags.THRESHOLD, value))
        router.refresh()
        assert router.score(row).flagged is flagged
    assert router.degraded is not None
    assert "threshold 'high'" in router.degraded
    assert setting.loaded == [1]


def test_a_version_registered_anew_under_an_old_number_is_loaded_anew() -> None:
    """A deleted version's number may be given again: what scores is what has the number now."""
    setting = Setting()
    setting.world.do(Kind.PROMOTE, 1)
    router = setting.router()
    row = {"transaction_id": "TX1", "amount": 0.9}
    assert router.score(row).score == pytest.approx(0.09)
    original = setting.world.store.by_alias

    def anew(model: str, alias: str) -> VersionView | None:
        view = original(model, alias)
        return view and replace(view, source="elsewhere")

    setting.world.store.by_alias = anew  # type: ignore[method-assign]
    setting.predict[1] = lambda rows: rows["amount"] / 2
    router.refresh()
    assert router.score(row).score == pytest.approx(0.45)
    assert setting.loaded == [1, 1]
