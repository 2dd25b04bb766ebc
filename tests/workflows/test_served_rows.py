"""Training from what was served: features as they were, labels as they are known, and an account that adds up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow import ManagedModel, OutcomeStore
from fds_mlflow.cli.main import main
from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import ConfigError, DataError, RefusedError
from fds_mlflow.features.declaration import KEY, Declared, digest
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.outcomes.records import OutcomeRecord, Vector
from fds_mlflow.simulator import simulate
from fds_mlflow.training.pipeline import train
from fds_mlflow.training.split import stratified
from fds_mlflow.workflows import feature_state, served_rows
from fds_mlflow.workflows.preparation import as_served, prepare, prepare_for
from fds_mlflow.workflows.served_rows import REASONS, Account
from fds_mlflow.workflows.source import Source
from tests.support.effort import at_most
from tests.support.samples import DAY, NOON, case, outcome
from tests.workflows.test_skew import SPEC as FULL

SPEC = FeatureSpec(numeric=("amount",), categorical=("country",))
SCHEMA = Schema.of(
    transaction_id="id", time="t", amount="amount", entities={"customer": "c"}, categorical=["country"], label="y",
    label_known_at="k", labels_mature="30d",
)  # fmt: skip
NOW = NOON + 60 * DAY


class Model:
    """Stands for a model with a champion: what `rows` asks of one."""

    name = "fraud"

    def __init__(self, store: OutcomeStore, schema: Schema = SCHEMA) -> None:
        self.outcomes = store
        self._declared = Declared(SPEC, schema, digest(SPEC, schema))
        self.session = self
        self.store = self

    @property
    def digest(self) -> str:
        """Of the declaration."""
        return self._declared.digest

    def overview(self) -> Any:
        """Version 1 is champion."""
        return type("Overview", (), {"champion": 1})

    def declared(self, _: int) -> Declared:
        """Every version declares the same."""
        return self._declared

    def versions(self, _: str) -> list[Any]:
        """Version 1 declares it by its tag, version 2 something else."""
        view = lambda number, tags: type("View", (), {"version": number, "tags": tags})  # noqa: E731
        return [view(1, {KEY: self.digest}), view(2, {})]


def served(model: Model, number: int, kind: str) -> tuple[OutcomeRecord | None, str | None]:
    """An outcome, and the status of its label, so that the transaction ends as its kind says."""
    spec: str | None = model.digest if number % 2 else None
    changes: dict[str, Any] = {"time": NOON, "version": 1, "flagged": False}
    status: str | None = "confirmed" if number % 3 == 0 else "genuine"
    vector: Vector | None = Vector({"amount": float(number), "country": "IT"}, None, spec)
    match kind:
        case "suspected":
            status = "suspected"
        case "unscored":
            return None, status
        case "immature" | "young and silent":
            changes["time"] = NOW - 3 * DAY
        case "unrecorded":
            vector = None
        case "degraded":
            changes["degraded"] = True
        case "other":
            vector = Vector({"amount": 1.0}, None, None if number % 2 else "sha256:other")
            changes["version"] = 2
        case "flagged and silent":
            changes["flagged"] = True
        case "blocked":
            changes |= {"flagged": True, "propensity": 0.25}
        case "explored":
            changes |= {"flagged": True, "propensity": 0.25, "explored": True}
    if kind.endswith("silent"):
        status = None
    record = outcome(key=f"T{number}", request_id=f"R{number}", rollout_id=None, weight=0, vector=vector, **changes)
    return record, status


OUT = ("suspected", "unscored", "immature", "unrecorded", "degraded", "other", "blocked")
KINDS = ("used", "explored", "silent", "young and silent", "flagged and silent", *OUT)
LEFT = dict(zip(OUT, REASONS, strict=True))


@at_most(40)
@given(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=30))
def test_the_account_adds_up(kinds: list[str]) -> None:
    """Every label is used once or left out for the one reason that holds, and every used one is a row."""
    with OutcomeStore("sqlite://") as store:
        model = Model(store)
        for number, kind in enumerate(kinds):
            record, status = served(model, number, kind)
            if record is not None:
                store.record([record])
            if status is not None:
                store.label([case(transaction_id=f"T{number}", status=status, known_at=NOW - DAY)])
        used = [number for number, kind in enumerate(kinds) if kind in ("used", "explored")]
        silent = [number for number, kind in enumerate(kinds) if kind == "silent"]
        if not used and not silent:
            with pytest.raises(DataError, match="no transaction"):
                served_rows.rows(model, NOW)  # type: ignore[arg-type]
            return
        table, account = served_rows.rows(model, NOW)  # type: ignore[arg-type]
    assert account.labels == account.used + sum(account.left_out.values())
    assert account.labels == sum("silent" not in kind for kind in kinds)
    assert (account.used, account.silent) == (len(used), len(silent))
    assert account.left_out == {LEFT[kind]: kinds.count(kind) for kind in LEFT if kind in kinds}
    assert sorted(table.frame["transaction_id"]) == sorted(f"T{number}" for number in [*used, *silent])
    told = dict(zip(table.frame["transaction_id"], table.y.tolist(), strict=True))
    assert told == {f"T{n}": int(n in used and n % 3 == 0) for n in [*used, *silent]}
    assert table.frame["amount"].tolist() == [float(name[1:]) for name in table.frame["transaction_id"]]
    each = np.ones(len(table)) if table.weight is None else table.weight
    weights = dict(zip(table.frame["transaction_id"], each, strict=True))
    assert weights == {f"T{n}": 4.0 if kinds[n] == "explored" else 1.0 for n in [*used, *silent]}
    assert account.sentences[0] in table.notes


def test_a_transaction_is_one_row_however_often_it_was_served() -> None:
    """The first sound vector of the declaration is taken, and the label as it is known by now."""
    with OutcomeStore("sqlite://") as store:
        model = Model(store)
        for number, (amount, degraded) in enumerate([(1.0, True), (2.0, False), (3.0, False)]):
            vector = Vector({"amount": amount, "country": "IT"}, None, model.digest)
            store.record([
                outcome(request_id=f"R{number}", time=NOON + timedelta(hours=number), degraded=degraded, vector=vector)
            ])  # fmt: skip
        for status, day in (("suspected", 1), ("confirmed", 2), ("false_positive", 3)):
            store.label([case(status=status, known_at=NOON + day * DAY)])
        table, account = served_rows.rows(model, NOW)  # type: ignore[arg-type]
        assert (table.frame["amount"].tolist(), table.y.tolist(), account.used) == ([2.0], [0], 1)
        then, _ = served_rows.rows(model, NOON + 2 * DAY + DAY * 30)  # type: ignore[arg-type]
        assert then.frame["label_known_at"].iloc[0] == pd.Timestamp((NOON + 3 * DAY).replace(tzinfo=None))


@pytest.fixture
def world(mlflow_uri: str, tmp_path: Path) -> Iterator[tuple[ManagedModel, str]]:
    """A champion that was served 900 raw transactions, all of whose features and labels are recorded."""
    raw = simulate.transactions(900, seed=4, fraud_rate=0.15)
    raw.to_parquet(tmp_path / "history.parquet")
    with OutcomeStore(f"sqlite:///{tmp_path}/outcomes.db") as store:
        model = ManagedModel("fraud", outcomes=store)
        parts = prepare(Source(str(tmp_path / "history.parquet"), "simulator"), features=FULL, split="stratified")
        train(parts, params={"n_estimators": 5}, model_name="fraud")
        model.promote(1)
        feature_state.load(tmp_path / "state", [FULL], None, complete=True)  # nothing came before: no row is cold
        with model.router(state=tmp_path / "state", vector_sample=100) as router:
            for row in raw.drop(columns=["is_fraud", "label_known_at"]).to_dict("records"):
                plain = {name: None if pd.isna(value) else value for name, value in row.items()}
                router.score({**plain, "time": row["time"].isoformat()})
        frauds = zip(raw["transaction_id"], raw["is_fraud"], strict=True)
        store.label([
            case(transaction_id=name, status="confirmed" if fraud else "genuine", known_at=NOON)
            for name, fraud in frauds
        ])  # fmt: skip
        yield model, mlflow_uri


@pytest.mark.slow
def test_a_version_learns_from_what_was_served_and_is_compared_on_it(world: tuple[ManagedModel, str]) -> None:
    """`--data outcomes:fraud` trains, retrains and compares; a version declares what it took, and tells it."""
    model, uri = world
    table = as_served(Source("outcomes:fraud", model=model))
    declared = model.declared(1)
    assert declared is not None
    assert (table.spec, table.schema, len(table)) == (declared.spec, declared.schema, 900)
    assert set(declared.schema.entities) <= set(table.frame.columns)
    words = ["--tracking-uri", uri, "--outcomes", model.outcomes.url]
    asked = ["--data", "outcomes:fraud", "--split", "stratified", "--json"]
    made = CliRunner().invoke(main, [*words, "train", "fraud", *asked, "--param", "n_estimators=5"])
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout)
    assert "900 of 900 labelled transactions are used as they were served" in told["notes"]
    assert sum(part["rows"] for part in told["parts"].values()) == 900
    learned = model.declared(told["version"])
    assert learned is not None
    assert learned.digest == declared.digest
    compared = CliRunner().invoke(main, [*words, "compare", "fraud", "1", str(told["version"]), *asked])
    assert compared.exit_code == 0, compared.output
    again = CliRunner().invoke(main, [*words, "retrain", "fraud", "--algorithm", "lightgbm", *asked])
    assert again.exit_code == 0, again.output
    other = stratified(table)
    np.testing.assert_array_equal(other.parts["test"].x.columns, list(declared.spec.names))


@pytest.mark.slow
def test_what_cannot_come_from_what_was_served_is_refused(world: tuple[ManagedModel, str]) -> None:
    """Other features, a schema beside it, a version of other features, and verbs that need transactions say so."""
    model, uri = world
    source = Source("outcomes:fraud", model=model)
    with pytest.raises(ConfigError, match="features that were served"):
        prepare(source, features="default")
    with pytest.raises(ConfigError, match="no model"):
        as_served(Source("outcomes:", model=model))
    with pytest.raises(ConfigError, match="no transactions"):
        source.read()
    with pytest.raises(ConfigError, match="no transactions"):
        source.described()
    train(prepare(Source("simulator:2000"), features=SPEC_OTHER, split="stratified"), params={"n_estimators": 3},
          model_name="fraud")  # fmt: skip
    with pytest.raises(RefusedError, match="version 2 takes other features"):
        prepare_for(model, [1, 2], source)
    told = CliRunner().invoke(main, ["--tracking-uri", uri, "train", "nobody", "--data", "outcomes:nobody"])
    assert told.exit_code == 1


SPEC_OTHER = FeatureSpec(numeric=("amount", "account_age_days"))


def test_an_account_is_told_in_sentences() -> None:
    """Whoever trains reads how many labels were used, and why others were not."""
    account = Account(10, 6, {REASONS[0]: 3, REASONS[3]: 1}, silent=5)
    assert account.sentences == (
        "6 of 10 labelled transactions are used as they were served, and 5 that nobody reported as genuine ones",
        f"3 labelled transactions are left out: {REASONS[0]}",
        f"1 labelled transactions are left out: {REASONS[3]}",
    )
