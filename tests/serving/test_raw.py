"""Raw transactions to a decision: a router computes what each version takes, from one state."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from fds_mlflow import ManagedModel, OutcomeStore, Plan
from fds_mlflow.core.routing.routing import Variant
from fds_mlflow.data.transactions import load
from fds_mlflow.errors import DataError, RefusedError
from fds_mlflow.features.spec import Expression, FeatureSpec, Gap, Window
from fds_mlflow.features.state import bulk
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.opening import Address, opened
from fds_mlflow.features.state.state import State
from fds_mlflow.features.table import compute
from fds_mlflow.outcomes.records import CaseRecord
from fds_mlflow.serving.guard import Why
from fds_mlflow.serving.raw import Raw
from fds_mlflow.serving.router import Router
from fds_mlflow.simulator import simulate
from fds_mlflow.training.pipeline import train
from fds_mlflow.training.split import stratified
from fds_mlflow.workflows.feature_state import lacking
from tests.support.holder import held
from tests.support.places import mlflow_in
from tests.support.redis_server import RedisServer
from tests.support.served import Served, until

FIRST = FeatureSpec(
    numeric=("amount",),
    windows=(
        Window(entity="card", aggregate="count", windows=("1h", "7d")),
        Window(entity="merchant", aggregate="risk", windows=("7d",)),
    ),
)
SECOND = FeatureSpec(
    numeric=("amount",),
    windows=(Window(entity="card", aggregate="mean", windows=("7d",)),),
    gaps=(Gap(entity="card"),),
    expressions=(Expression(name="to_mean", of="amount / card_mean_amount_7d"),),
)
HISTORY = 1_800

pytestmark = pytest.mark.slow  # MLflow gets runs and versions


@dataclass
class World:
    """A model with two versions of different features, a state that knows its history, and what comes after that."""

    model: ManagedModel
    state: Path
    raw: pd.DataFrame
    tables: dict[int, pd.DataFrame]
    history: pd.DataFrame

    def row(self, number: int) -> dict[str, Any]:
        """A raw transaction after the history, as JSON would have it."""
        row = self.raw.iloc[HISTORY + number].to_dict()
        return {name: None if pd.isna(value) else value for name, value in row.items()}

    def features(self, version: int, number: int) -> dict[str, Any]:
        """What training computes of it, for a version."""
        found: dict[str, Any] = self.tables[version].iloc[HISTORY + number].to_dict()
        return found


class Template(NamedTuple):
    """A folder with a registry and a state that are copied, and the tables of `World`."""

    folder: Path
    raw: pd.DataFrame
    tables: dict[int, pd.DataFrame]
    history: pd.DataFrame


@pytest.fixture(scope="module")
def template(migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Two trained versions, the first of which is champion; their artifacts stay here."""
    folder = tmp_path_factory.mktemp("raw")
    made = simulate.transactions(2_000, seed=4, fraud_rate=0.1)
    transactions = load(made, "simulator")
    tables = {}
    begin, known = transactions.frame["time"].iloc[HISTORY], transactions.frame["label_known_at"]
    told = transactions.frame.assign(label_known_at=known.where(known <= begin))
    with mlflow_in(folder, migrated_database):
        for spec in (FIRST, SECOND):
            table = compute(transactions, spec)
            trained = train(stratified(table), params={"n_estimators": 10}, model_name="fraud")
            assert trained.version is not None
            # By the labels that the state is told: what becomes known later would be in none of its answers.
            tables[trained.version] = compute(replace(transactions, frame=told), spec).x
        ManagedModel("fraud").promote(1)
    load_into(folder / "state", told.iloc[:HISTORY])
    raw = made.assign(time=made["time"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")).drop(
        columns=["is_fraud", "label_known_at"]
    )
    return Template(folder, raw, tables, told.iloc[:HISTORY])


@pytest.fixture
def world(template: Template, mlflow_uri: str, tmp_path: Path) -> Iterator[World]:
    """A copy of it, where the test runs."""
    shutil.copyfile(template.folder / "mlflow.db", tmp_path / "mlflow.db")
    shutil.copytree(template.folder / "state", tmp_path / "state")
    with OutcomeStore(f"sqlite:///{tmp_path}/outcomes.db") as outcomes:
        model = ManagedModel("fraud", outcomes=outcomes)
        yield World(model, tmp_path / "state", template.raw, template.tables, template.history)


def load_into(address: Address, history: pd.DataFrame) -> None:
    """Fill a state for both versions."""
    with closing(State(opened(address), Layout.of([FIRST, SECOND]))) as state:
        bulk.load(state, history)


@pytest.fixture
def router(world: World) -> Iterator[Router]:
    """A router with the state."""
    with world.model.router(state=world.state) as made:
        yield made


def test_a_raw_transaction_is_scored_as_its_computed_features(world: World, router: Router) -> None:
    """Its score, decision and version are those of the row that training computes; sent again, they are the same."""
    for number in range(20):
        raw = router.score(world.row(number))
        computed = world.model.router(record=False).score({**world.features(1, number), "transaction_id": "K"})
        assert (raw.score, raw.flagged, raw.version) == (computed.score, computed.flagged, 1)
    assert router.score(world.row(3)).score == router.score(world.row(3)).score
    told = world.model.outcomes.recent("fraud", limit=1)[0]
    assert told.transaction_id == world.row(3)["transaction_id"]


def test_a_frame_of_raw_transactions_is_scored_in_its_order(world: World, router: Router) -> None:
    """Each row finds those before it; scores are those of the rows that training computes, and nothing is degraded."""
    frame = pd.DataFrame([world.row(number) for number in range(25)])
    answer = router.predict(frame, reasons=2)
    computed = pd.DataFrame([world.features(1, number) for number in range(25)])
    wanted = world.model.router(record=False).predict(computed.assign(transaction_id=frame["transaction_id"]))
    assert answer["score"].tolist() == wanted["score"].tolist()
    assert answer["degraded"].isna().all()
    assert answer["reasons"].notna().all()
    assert "degraded" not in wanted
    assert router.predict(frame)["score"].tolist() == wanted["score"].tolist(), "sent again they are the same"
    assert len(world.model.outcomes.recent("fraud")) == 50


def test_no_raw_transactions_get_no_answers(world: World, router: Router) -> None:
    """A frame without rows is answered by one without rows, whose columns are those of any answer."""
    frame = pd.DataFrame([world.row(0)])
    none = router.predict(frame.iloc[:0], reasons=1)
    assert none.empty
    assert list(none.columns) == list(router.predict(frame, reasons=1).columns)


def test_a_label_needs_a_time_zone(world: World, router: Router) -> None:
    """A moment without one is refused with how to attach it, by routers with and without a state."""
    for each in (router, world.model.router()):
        with pytest.raises(DataError, match="time zone"):
            each.label("T", fraud=True, known=datetime(2026, 1, 1))  # noqa: DTZ001


def test_champion_and_canary_take_features_of_their_own_from_one_state(world: World, router: Router) -> None:
    """Each key gets the score of the version that it is routed to, computed by what that version declares."""
    world.model.canary.start(2, plan=Plan([50, 100]), allow_new_columns=True, force=True, reason="to see")
    router.refresh()
    seen = set()
    for number in range(30):
        scored = router.score(world.row(number))
        scorer = world.model.scorer(scored.version)
        assert scored.score == scorer.row(world.features(scored.version, number))
        seen.add(scored.variant)
    assert seen == {Variant.CHAMPION, Variant.CANARY}


def test_a_vector_has_the_transaction_and_what_was_computed_of_it(world: World) -> None:
    """What is kept is what training computes, with the columns of the schema and the digest of the declaration."""
    with world.model.router(state=world.state, vector_sample=100) as sampling:
        for number in range(5):
            sampling.score({**world.row(number), "passed_over": "x"})
    declared = world.model.declared(1)
    assert declared is not None
    kept = world.model.outcomes.vectors("fraud", version=1)
    assert [one.transaction_id for one in kept] == [world.row(number)["transaction_id"] for number in range(5)]
    for number, one in enumerate(kept):
        served, expected = dict(one.vector.features), world.features(1, number)
        if number:  # labels that became known since the history are told to nobody here
            served.pop("merchant_risk_7d")
            expected.pop("merchant_risk_7d")
        assert served == pytest.approx(expected, rel=1e-9)
        assert one.vector.raw == {name: world.row(number)[name] for name in one.vector.raw or {}}
        assert set(declared.schema.columns()) - {"is_fraud", "label_known_at"} == set(one.vector.raw or {})
        assert one.vector.spec == declared.digest


def test_a_frame_keeps_what_one_transaction_keeps(world: World) -> None:
    """Vectors of raw rows in a frame have the transaction, the declaration and the digest that `score` gives them."""
    with world.model.router(state=world.state, vector_sample=100) as sampling:
        sampling.predict(pd.DataFrame([world.row(number) for number in range(3)]))
        sampling.score(world.row(1))
    framed, alone = (
        one for one in world.model.outcomes.vectors("fraud") if one.transaction_id == world.row(1)["transaction_id"]
    )
    assert framed.vector == alone.vector
    assert framed.vector.raw is not None
    digests = {
        one.inputs_digest for one in world.model.outcomes.recent("fraud") if one.transaction_id == framed.transaction_id
    }
    assert len(digests) == 1


def test_a_canary_may_read_more_of_a_transaction_and_nothing_otherwise(world: World, tmp_path: Path) -> None:
    """A retry is no other transaction once a canary reads more; one that reads another amount gets no row."""
    declared = world.model.declared(1)
    assert declared is not None
    numeric, entities = ["is_foreign_ip"], {"card": "card_id", "merchant": "merchant_id"}
    less = declared.schema.model_copy(update={"numeric": numeric, "entities": entities})
    other = declared.schema.model_copy(update={"amount": "account_age_days", "numeric": numeric})
    versions = {1: declared._replace(schema=less), 2: declared, 3: declared._replace(schema=other)}
    raw = Raw(tmp_path / "raw", versions.get)
    row = {**world.row(0), "account_age_days": 1.5}
    with closing(raw):
        alone = raw.featured(row, 1)
        both = raw.featured(row, 1, [2, 3])
        assert alone is not None
        assert both is not None
        assert both.of(1) == alone.of(1)
        assert both.of(1)["amount"] == row["amount"]
        with pytest.raises(RefusedError, match="version 3 reads amount otherwise than the champion's"):
            both.of(3)


@pytest.mark.campaign
def test_a_canary_is_told_what_its_windows_lack(world: World, tmp_path: Path) -> None:
    """With the servers' state, and without it, the command is named; nothing is where the state has all of it."""
    assert lacking(world.model, 2, world.state) is None
    bare = tmp_path / "bare"
    State(opened(bare), Layout.of([FIRST])).close()
    for address, named in ((bare, str(bare)), (None, "STATE")):
        told = lacking(world.model, 2, address)
        assert told is not None
        assert f"fds features load --model fraud --data HISTORY --state {named}" in told
    assert lacking(world.model, 1, None) is None, "the champion's own windows are nothing new"


@pytest.mark.campaign
def test_what_is_not_to_be_remembered_is_scored_all_the_same(world: World, router: Router) -> None:
    """A transaction that is only looked at has its score, and the next one does not see it."""
    before = router.score(world.row(0), remember=False)
    again = {**world.row(0), "transaction_id": "other"}
    assert router.score(again).score == before.score
    found = router.score({**world.row(0), "transaction_id": "third"}, reasons="all")
    assert found.explanation is not None
    count = next(reason.value for reason in found.explanation.reasons if reason.feature == "card_count_1h")
    assert count == world.features(1, 0)["card_count_1h"] + 1


@pytest.mark.campaign
def test_labels_reach_the_features_of_what_comes_later(world: World, router: Router) -> None:
    """A fraud that becomes known raises its merchant's risk from then on."""
    first = world.row(0)
    router.score(first)
    later = {**first, "transaction_id": "later"}

    def risk(name: str) -> float:
        found = router.score({**later, "transaction_id": name}, reasons="all", remember=False).explanation
        assert found is not None
        value = next(reason.value for reason in found.reasons if reason.feature == "merchant_risk_7d")
        assert isinstance(value, float)
        return value

    before = risk("a")
    known = datetime.fromisoformat(first["time"]).astimezone(UTC)
    assert router.label(first["transaction_id"], fraud=True, known=known)
    assert risk("b") > before
    assert not router.label("nobody", fraud=True, known=known)
    assert not world.model.router(record=False).label(first["transaction_id"], fraud=True, known=known)


def test_what_is_neither_raw_nor_computed_is_refused_with_what_it_lacks(world: World, router: Router) -> None:
    """A row that lacks columns of both kinds, a value that does not fit, an id used twice: told, and not recorded."""
    row = world.row(0)
    with pytest.raises(DataError, match=r"neither raw \(it lacks merchant_id\) nor computed \(it lacks card_count_1h"):
        router.score({name: value for name, value in row.items() if name != "merchant_id"})
    with pytest.raises(DataError, match="amount"):
        router.score({**row, "amount": None})
    with pytest.raises(DataError, match="'time'"):
        router.score({**row, "time": "soon"})
    router.score(row)
    with pytest.raises(DataError, match="has arrived before, with another time, entity or amount"):
        router.score({**row, "amount": 1.0})
    computed = {**world.features(1, 0), "transaction_id": "K"}
    assert router.score(computed).score == world.model.scorer(1).row(computed)


@pytest.mark.campaign
def test_a_version_that_declares_nothing_takes_no_raw_transactions(world: World, router: Router) -> None:
    """A champion of another pipeline is refused raw rows with the fix; a canary that is costs nobody an answer."""
    bare = compute(load(simulate.transactions(2_000, seed=4, fraud_rate=0.1), "simulator").frame, FIRST)
    trained = train(stratified(bare), params={"n_estimators": 5}, model_name="fraud")
    assert trained.version == 3
    world.model.canary.start(3, plan=Plan([50, 100]), force=True, reason="to see")
    router.refresh()
    assert {router.score(world.row(number)).version for number in range(20)} == {1}
    errors = [one.error for one in world.model.outcomes.recent("fraud", limit=20) if one.error]
    assert errors
    assert all("declares no features" in error for error in errors)
    world.model.canary.abort(reason="it declares nothing")
    world.model.promote(3, force=True, reason="to see")
    router.refresh()
    with pytest.raises(RefusedError, match="version 3 declares no features") as told:
        router.score(world.row(50))
    assert "send all columns" in told.value.fix


@pytest.fixture
def served(world: World, mlflow_uri: str, tmp_path: Path) -> Iterator[Served]:
    """A server with two workers and the state, which is let go of before."""
    options = ("--workers", "2", "--state", str(world.state))
    made = Served(tmp_path / "server", mlflow_uri, tmp_path / "cache", *options, model="fraud")
    yield made.ready()
    made.kill()


def test_a_server_takes_raw_transactions_beside_computed_ones(world: World, served: Served) -> None:
    """Raw over HTTP is scored as the row that training computes, by either worker; sent again it is the same."""
    for number in range(12):
        said = served.client.post("/score", json=world.row(number), headers={"Connection": "close"}).json()
        again = served.client.post("/score", json=world.row(number), headers={"Connection": "close"}).json()
        features = {**world.features(1, number), "transaction_id": "K"}
        computed = served.client.post("/score", json=features).json()
        assert (said["score"], said["flagged"]) == (computed["score"], computed["flagged"]), said
        assert again["score"] == said["score"]
        assert said["key"] == world.row(number)["transaction_id"]


@pytest.mark.campaign
def test_rows_are_remembered_by_score_alone_unless_told(world: World, served: Served) -> None:
    """`/score` takes a transaction into the state unless `record=false`; `/invocations` only where `record=true`."""

    def seen(name: str) -> float:
        asked = served.client.post("/score?features=true&record=false", json={**world.row(0), "transaction_id": name})
        found: float = asked.json()["features"]["card_count_1h"]
        return found

    before = seen("a")
    assert seen("b") == before
    batch = {"dataframe_records": [{**world.row(0), "transaction_id": "c"}]}
    assert served.client.post("/invocations", json=batch).status_code == 200
    assert seen("d") == before
    assert served.client.post("/invocations?record=true", json=batch).status_code == 200
    assert seen("e") == before + 1
    assert served.client.post("/score", json={**world.row(0), "transaction_id": "f"}).status_code == 200
    assert seen("g") == before + 2
    assert served.client.post("/score?record=maybe", json=world.row(1)).status_code == 400


def test_labels_sent_to_a_server_reach_its_features(world: World, served: Served) -> None:
    """A fraud that is told at /labels raises its merchant's risk for what comes later; a suspicion does not."""
    first = world.row(0)
    served.client.post("/score", json=first)

    def risk() -> float:
        asked = served.client.post("/score?features=true&record=false", json={**first, "transaction_id": "later"})
        found: float = asked.json()["features"]["merchant_risk_7d"]
        return found

    before = risk()
    label = {"transaction_id": first["transaction_id"], "status": "suspected", "known_at": first["time"]}
    assert served.client.post("/labels", json=[label]).status_code == 200
    assert risk() == before
    assert served.client.post("/labels", json=[{**label, "status": "confirmed"}]).status_code == 200
    assert risk() > before


@pytest.mark.campaign
def test_a_server_refuses_what_is_neither_raw_nor_computed(world: World, served: Served) -> None:
    """400 with what lacks of both; a value that does not fit, and an id used twice, are the caller's as well."""
    row = world.row(0)
    for sent, words in (
        ({name: value for name, value in row.items() if name != "merchant_id"}, "it lacks merchant_id"),
        ({**row, "amount": "much"}, "amount"),
        ({**row, "time": "soon"}, "time"),
        ({"transaction_id": "K"}, "neither raw"),
    ):
        said = served.client.post("/score", json=sent)
        assert (said.status_code, words in said.json()["message"]) == (400, True), said.text
    assert served.client.post("/score", json=row).status_code == 200
    assert served.client.post("/score", json={**row, "amount": 1.0}).status_code == 400
    assert served.client.get("/health").json()["status"] == "ok"


def test_a_state_outlives_a_server_that_is_killed(
    world: World, served: Served, mlflow_uri: str, tmp_path: Path
) -> None:
    """What was acknowledged before `kill -9` is in the features of what the next server scores."""
    for number in range(3):
        sent = {**world.row(0), "transaction_id": f"K{number}"}
        assert served.client.post("/score", json=sent).status_code == 200
    served.kill()
    options = ("--state", str(world.state))
    after = Served(tmp_path / "after", mlflow_uri, tmp_path / "cache2", *options, model="fraud")
    try:
        said = after.ready().client.post("/score?features=true", json=world.row(0)).json()
        assert said["features"]["card_count_1h"] == world.features(1, 0)["card_count_1h"] + 3
    finally:
        after.kill()


def test_replicas_share_a_state(world: World, redis_server: RedisServer, mlflow_uri: str, tmp_path: Path) -> None:
    """Two servers and a router, on one Redis: whoever a transaction goes to, its counts are the batch's."""
    address = redis_server.url("replicas")
    load_into(address, world.history)
    servers = [
        Served(tmp_path / name, mlflow_uri, tmp_path / f"cache-{name}", "--state", address, model="fraud")
        for name in ("first", "second")
    ]
    try:
        with world.model.router(state=address) as router:
            for number in range(18):
                row, features = world.row(number), world.features(1, number)
                if number % 3 == 2:
                    router.score(row)
                else:
                    said = servers[number % 3].ready().client.post("/score?features=true", json=row).json()
                    told = said["features"]
                    counts = [name for name in features if name.startswith("card_count")]
                    assert [told[name] for name in counts] == [features[name] for name in counts]
    finally:
        for server in servers:
            server.kill()


def test_a_server_answers_while_its_state_does_not(world: World, served: Served) -> None:
    """A process stopped while it writes: answers go on, marked, counted and no evidence; nothing is lost in the end."""
    first = world.row(0)
    assert "degraded" not in served.client.post("/score", json=first).json()
    with held(world.state):
        for number in range(4):
            sent = {**first, "transaction_id": f"D{number}"}
            said = served.client.post("/score?features=true", json=sent)
            assert (said.status_code, said.json()["degraded"]) == (200, True)
            assert said.json()["degraded_reason"] in {"slow", "behind"}
            assert said.json()["features"]["card_count_1h"] == 1
        until(lambda: "the state does not answer" in str(served.health()["problem"]), "a problem")
        assert served.client.post("/score", json={**first, "amount": "much"}).status_code == 400
        label = {"transaction_id": "D0", "status": "confirmed", "known_at": first["time"]}
        assert served.client.post("/labels", json=[label]).status_code == 200
    until(lambda: served.health()["status"] == "ok", "an answer of the state")

    def count() -> float:
        asked = served.client.post("/score?features=true&record=false", json={**first, "transaction_id": "later"})
        found: float = asked.json()["features"]["card_count_1h"]
        return found

    wanted = world.features(1, 0)["card_count_1h"] + 5
    until(lambda: count() == wanted, "what the state missed")
    until(
        lambda: sum(served.metric(f'fds_state_degraded_total{{model="fraud",reason="{why}"}}') for why in Why), "counts"
    )
    with OutcomeStore(served.outcomes) as store:
        until(lambda: "later" in {one.transaction_id for one in store.recent("fraud")}, "outcomes")
        marked = {one.transaction_id: one.degraded for one in store.recent("fraud")}
    assert marked == {first["transaction_id"]: False, **{f"D{number}": True for number in range(4)}, "later": False}


@pytest.mark.campaign
def test_labels_that_a_server_is_not_sent_reach_its_features(world: World, served: Served) -> None:
    """A fraud that is loaded into the outcome store raises its merchant's risk for what comes later."""
    first = world.row(0)
    served.client.post("/score", json=first)

    def risk() -> float:
        asked = served.client.post("/score?features=true&record=false", json={**first, "transaction_id": "later"})
        found: float = asked.json()["features"]["merchant_risk_7d"]
        return found

    before, known = risk(), datetime.fromisoformat(first["time"])
    with OutcomeStore(served.outcomes) as store:
        store.label([CaseRecord(transaction_id=first["transaction_id"], status="confirmed", known_at=known)])
    until(lambda: risk() > before, "the label")


@pytest.mark.campaign
def test_a_server_may_require_its_state(world: World, mlflow_uri: str, tmp_path: Path) -> None:
    """With `--state-failure refuse` a raw transaction is answered 503 while the state does not answer."""
    options = ("--state", str(world.state), "--state-failure", "refuse", "--state-timeout", "0.1")
    server = Served(tmp_path / "server", mlflow_uri, tmp_path / "cache", *options, model="fraud")
    try:
        server.ready()
        assert server.client.post("/score", json=world.row(0)).status_code == 200
        with held(world.state):
            said = server.client.post("/score", json=world.row(1))
            assert (said.status_code, "does not answer" in said.json()["message"]) == (503, True)
            computed = {**world.features(1, 1), "transaction_id": "K"}
            assert server.client.post("/score", json=computed).status_code == 200
        until(lambda: server.client.post("/score", json=world.row(1)).status_code == 200, "an answer of the state")
    finally:
        server.kill()


def test_a_server_starts_while_the_server_of_its_state_is_down(world: World, mlflow_uri: str, tmp_path: Path) -> None:
    """It answers, marked as degraded, and says why; where the state is required it does not start."""
    address = "redis://127.0.0.1:1/0"
    made = Served(tmp_path / "server", mlflow_uri, tmp_path / "cache", "--state", address, model="fraud")
    try:
        said = made.ready().client.post("/score", json=world.row(0)).json()
        assert said["degraded"]
        assert said["degraded_reason"] in ("down", "slow")  # a busy machine takes its time to be told no
        assert "fraud starts without its state" in made.said
    finally:
        made.kill()
    refusing = ("--state", address, "--state-failure", "refuse")
    made = Served(tmp_path / "other", mlflow_uri, tmp_path / "cache2", *refusing, model="fraud")
    assert made.process.wait(60) != 0
    assert "is not available" in made.said
