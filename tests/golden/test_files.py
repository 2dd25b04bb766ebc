"""Files that earlier commits read or wrote: plans, schemas, labels, trained models, a server's disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from mlflow import MlflowClient

from fds_mlflow import ManagedModel, OutcomeStore
from fds_mlflow.errors import DataError
from tests.golden.support import (
    FILES,
    HERE,
    MODEL,
    MODELS,
    FeatureSpec,
    Loaded,
    Recorder,
    compute,
    fds,
    load_plan,
    load_transactions,
    read,
    server_folder,
)

# --- written by people ------------------------------------------------------------------------------------------------


def test_a_plan_with_every_key_reads_as_it_did() -> None:
    """Each key and each guardrail of a plan's file means what it meant; today's test judges what starts with it."""
    assert load_plan(FILES / "plan.yaml").to_dict() == read(FILES / "plan.json") | {"test": 2}


def test_the_template_of_an_earlier_release_is_still_a_plan() -> None:
    """Who edited a printed template goes on with it."""
    assert load_plan(FILES / "template.yaml").to_dict() == {"steps": [10, 25, 50, 100], "test": 2}


def test_transactions_and_features_come_out_as_they_did() -> None:
    """Every key of a schema, every aggregate, every value: a model trained before is asked the same questions."""
    golden = read(FILES / "features.json")
    transactions = load_transactions(FILES / "transactions.csv", FILES / "schema.yaml")
    assert transactions.digest == golden["digest"]
    assert [moment.isoformat() for moment in transactions.period] == golden["period"]
    table = compute(transactions, FeatureSpec.load(FILES / "features.yaml"))
    assert (table.features, table.categorical) == (golden["features"], golden["categorical"])
    for number, row in golden["rows"].items():
        expected = [value if isinstance(value, str) else pytest.approx(value, nan_ok=True) for value in row]
        given = [None if pd.isna(value) else value for value in table.x.iloc[int(number)]]
        assert given == expected, number
    sums = {name: float(table.x[name].astype(float).sum()) for name in golden["sums"]}
    assert sums == pytest.approx(golden["sums"])


def test_a_schema_with_known_times_reads_as_it_did() -> None:
    """Times without an offset are read in the schema's zone, in the hour that comes twice as well."""
    found = load_transactions(FILES / "known.csv", FILES / "known.yaml")
    assert found.digest == read(FILES / "features.json")["known"]["digest"]


@pytest.mark.parametrize(("name", "rows"), [("labels.csv", 4), ("labels.parquet", 2)])
def test_labels_are_imported_as_they_were(name: str, rows: int, tmp_path: Path) -> None:
    """All columns, all states, ids that went through a float."""
    url = f"sqlite:///{tmp_path / 'outcomes.db'}"
    done = fds("--outcomes", url, "label", "import", str(FILES / name), "--json")
    assert json.loads(done.stdout) == {"rows": rows, "changed": rows}
    with OutcomeStore(url) as store:
        (case,) = store.cases(["1000"]).values()
    assert (case.status, case.known_at.isoformat()) == ("confirmed", "2026-03-08T12:00:00+00:00")


# --- written by a training --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_trained_models_score_as_they_did(trained: ManagedModel) -> None:
    """Each algorithm's logged model gives the scores that it gave when it was trained."""
    for number, name in enumerate(MODELS, start=1):
        golden = read(HERE / "models" / f"{name}.json")
        scorer = trained.scorer(number)
        assert scorer.score(pd.DataFrame(golden["rows"])) == pytest.approx(golden["scores"], abs=1e-12)
        assert scorer.threshold == golden["threshold"]


@pytest.mark.slow
def test_the_labelled_test_set_of_an_earlier_training_is_compared_on(trained: ManagedModel) -> None:
    """A promotion finds the rows that were kept with the run, and says what came of the comparison."""
    first = MODELS.index("lightgbm") + 1
    trained.promote(first, reason="first")
    result = trained.promote(first, reason="again")
    assert not result.changed
    other = MlflowClient().create_model_version(
        MODEL,
        source=MlflowClient().get_model_version(MODEL, str(first)).source,
        run_id=MlflowClient().get_model_version(MODEL, str(first)).run_id,
        tags={"fds.threshold": "0.15"},
    )
    assert trained.promote(int(other.version), reason="same model, another threshold").comparison is not None


# --- written by a server ----------------------------------------------------------------------------------------------


def test_a_server_starts_on_an_earlier_ones_table(tmp_path: Path) -> None:
    """While the registry is away, the table on disk says who serves, with which thresholds and weight."""
    shelf, _ = server_folder(tmp_path)
    table = shelf.table()
    assert table is not None
    rollout = table.routing.rollout
    assert rollout is not None
    assert (table.routing.champion, rollout.canary, rollout.weight) == (1, 2, 2_500)
    assert [(one.version, one.identity, one.threshold) for one in table.versions] == [
        (1, "identity1", 0.25),
        (2, "identity2", 0.25),
    ]
    assert (table.read_at.isoformat(), table.problem) == (
        "2026-03-01T12:00:00+00:00",
        "the registry does not answer: größer",
    )
    assert shelf.reason == "no champion yet"


def test_a_server_serves_the_versions_that_an_earlier_one_prepared(tmp_path: Path) -> None:
    """Boosted trees with categories, and a forest: the prepared files give the scores they gave."""
    shelf, _ = server_folder(tmp_path)
    scores = {}
    for version in (1, 2):
        prepared = shelf.prepared(version, f"identity{version}")
        assert prepared is not None
        loaded = Loaded.load(prepared, 0.5, 1.0)
        scores[version] = (loaded.row([50.0, 3.0, "web"]), loaded.row([150.0, None, "unheard of"]))
    assert scores == {1: (0.1, 0.9), 2: (0.2, 0.8)}
    forest = shelf.prepared(3, "identity3")
    assert forest is not None
    golden = read(HERE / "models" / "isolation_forest.json")
    rows = [list(row.values()) for row in golden["rows"]]
    assert list(Loaded.load(forest, 0.5, 1.0).rows(rows)) == pytest.approx(golden["scores"], abs=1e-12)


def test_what_an_earlier_server_had_not_stored_yet_is_stored(tmp_path: Path) -> None:
    """Outcomes, shadows and labels that waited on disk through an upgrade reach the store."""
    _, spool = server_folder(tmp_path)
    with OutcomeStore(f"sqlite:///{tmp_path / 'outcomes.db'}") as store:
        recorder = Recorder(MODEL, spool, lambda: store)
        assert recorder.drain()
        assert (recorder.recorded, recorder.refused) == (5, 0)
        assert list(spool.waiting()) == []
        first, second = sorted(store.recent(MODEL), key=lambda record: record.request_id)
        assert (first.key, first.transaction_id, first.rollout_id, first.assigned, first.weight, first.score) == (
            "K1", "TX1", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "canary", 2_500, 0.75,
        )  # fmt: skip
        assert (second.error, second.version, second.latency_ms) == ("time-out: größer", 1, 250.0)
        assert (first.time - second.time).total_seconds() == pytest.approx(-1)
        cases = store.cases(["TX1", "1000"])
        assert {name: case.status for name, case in cases.items()} == {"TX1": "confirmed", "1000": "genuine"}
        (stats,) = store.stats()
        assert (stats.outcomes, stats.shadows) == (2, 1)


def test_a_server_goes_on_from_the_folder_that_060e196_left(tmp_path: Path) -> None:
    """Table, rollout, versions with their models, outcomes that waited: all of it, and the scores to the last digit."""
    shelf, spool = server_folder(tmp_path, "server.060e196")
    table = shelf.table()
    assert table is not None
    rollout = table.routing.rollout
    assert rollout is not None
    assert (rollout.canary, rollout.weight, rollout.spelling, rollout.plan.steps) == (2, 5_000, 2, (10, 50, 100))
    assert [(one.version, one.threshold) for one in table.versions] == [(1, 0.25), (2, 0.5)]
    for number, name in enumerate(MODELS, start=1):
        prepared = shelf.prepared(number, f"identity{number}")
        assert prepared is not None
        golden = read(HERE / "models" / f"{name}.json")
        rows = [[row[column] for column in prepared.inputs] for row in golden["rows"]]
        assert list(Loaded.load(prepared, 0.5, 1.0).rows(rows)) == pytest.approx(golden["scores"], abs=1e-12)
    with OutcomeStore(f"sqlite:///{tmp_path / 'outcomes.db'}") as store:
        recorder = Recorder(MODEL, spool, lambda: store)
        assert recorder.drain()
        assert (recorder.recorded, recorder.refused) == (5, 0)
        assert {name: case.loss_amount for name, case in store.cases(["TX1", "1000"]).items()} == {
            "TX1": 12.5,
            "1000": None,
        }


# --- written by a server of a later release ---------------------------------------------------------------------------


def grown(path: Path, change: Callable[[Any], None]) -> None:
    """Change a JSON file as a later release might have written it."""
    values = read(path)
    change(values)
    path.write_text(json.dumps(values), encoding="utf-8")


def test_what_a_later_server_wrote_beside_it_stops_no_earlier_one(tmp_path: Path) -> None:
    """After a downgrade, unknown fields in the table, of a version and of its rollout are left alone; it serves on."""
    shelf, _ = server_folder(tmp_path, "server.060e196")
    before = shelf.table()

    def table(values: Any) -> None:
        values["region"] = values["versions"][0]["region"] = {"name": "eu"}
        values["rollout"] = json.dumps({**json.loads(values["rollout"]), "region": "eu"})

    grown(shelf.folder / "table.json", table)
    after = shelf.table()
    assert before is not None
    assert after is not None
    assert (after.versions, after.read_at) == (before.versions, before.read_at)
    assert after.routing.rollout is not None
    assert json.loads(after.routing.rollout.later) == {"region": "eu"}
    shelf.write_table(after)
    assert "region" in json.loads(read(shelf.folder / "table.json")["rollout"])
    grown(shelf.folder / "version-1-identity1" / "version.json", lambda values: values.update(region="eu"))
    assert shelf.prepared(1, "identity1") is not None


def test_a_scorer_with_an_instruction_of_a_later_release_does_not_score(tmp_path: Path) -> None:
    """What a compiled scorer asks for and this release cannot do is never left out: it says so, and names the fix."""
    shelf, _ = server_folder(tmp_path, "server.060e196")
    grown(
        shelf.folder / "version-2-identity2" / "native.json",
        lambda values: values["columns"][0].update(clip=[0.0, 1.0]),
    )
    prepared = shelf.prepared(2, "identity2")
    assert prepared is not None
    with pytest.raises(DataError, match=r"version 2 does not load.*clip") as told:
        Loaded.load(prepared, 0.5, 1.0)
    assert "remove its folder from the cache" in told.value.fix


def test_outcomes_shadows_and_labels_of_a_later_server_reach_the_store(tmp_path: Path) -> None:
    """Fields that were added at the end are left out; the item itself is stored and not put aside."""
    _, spool = server_folder(tmp_path, "server.060e196")
    for path in spool.waiting():
        items = msgspec.to_builtins(spool.read(path))  # with all fields of today
        for item in items:
            item.update(region="eu") if isinstance(item, dict) else item.append("eu")
        path.write_bytes(msgspec.msgpack.encode(items))
    with OutcomeStore(f"sqlite:///{tmp_path / 'outcomes.db'}") as store:
        recorder = Recorder(MODEL, spool, lambda: store)
        assert recorder.drain()
        assert (recorder.recorded, recorder.refused) == (5, 0)
    assert not (spool.folder / "refused").exists()
