"""Features that a team declares, from the training to the comparison, and what a version remembers of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import pytest
from click.testing import CliRunner

from fds_mlflow import ManagedModel
from fds_mlflow.cli import main
from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.features import declaration
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.runtime import model_files
from fds_mlflow.simulator import simulate
from fds_mlflow.workflows import Source, prepare, retrain, train

pytestmark = pytest.mark.slow  # MLflow gets runs and models

ROWS = Source("simulator:4000")
QUICK: dict[str, dict[str, Any]] = {"lightgbm": {"n_estimators": 10}, "isolation_forest": {"n_estimators": 10}}
SPEC = """\
numeric: [amount]
windows:
  - {entity: customer, aggregate: count, windows: [1d]}
  - {entity: customer, aggregate: mean, windows: [7d]}
  - {entity: device, aggregate: distinct, of: customer, windows: [7d]}
expressions:
  - {name: amount_to_mean, of: amount / customer_mean_amount_7d}
hidden: [customer_mean_amount_7d]
categorical: [country]
"""
NAMES = ["amount", "customer_count_1d", "device_distinct_customer_7d", "amount_to_mean", "country"]


@pytest.fixture
def spec(mlflow_uri: str, tmp_path: Path) -> Path:
    """A specification beside an empty registry."""
    assert mlflow_uri
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    return path


def trained(model: str, features: Any, algorithm: str = "lightgbm") -> Any:
    """A version by these features."""
    params = QUICK.get(algorithm)
    return train(prepare(ROWS, features=features, split="stratified"), model, algorithm=algorithm, params=params)


@pytest.mark.parametrize("algorithm", [*QUICK, "tests.support.own_algorithms:logistic"])
def test_a_version_tells_how_its_inputs_are_computed(algorithm: str, spec: Path) -> None:
    """Whatever fits it, a version has the features and the schema among its files, and their digest where one looks."""
    made = trained("fraud", spec, algorithm)
    declared = ManagedModel("fraud").declared(1)
    assert declared is not None
    assert (declared.spec, declared.schema) == (FeatureSpec.load(spec), Schema.load("simulator"))
    assert list(made.features) == declared.spec.names == NAMES
    version = mlflow.MlflowClient().get_model_version("fraud", "1")
    run = mlflow.get_run(made.run_id)
    logged = mlflow.get_logged_model(made.model_uri.removeprefix("models:/"))
    for tags in (version.tags, run.data.tags, logged.tags):
        assert tags[declaration.KEY] == declared.digest
    folder = mlflow.artifacts.download_artifacts(made.model_uri)
    assert {declaration.FEATURES, declaration.SCHEMA} <= {path.name for path in Path(folder).iterdir()}
    assert version.tags["fds.files"] == model_files.digest(folder)
    assert mlflow.models.get_model_info(made.model_uri).metadata[declaration.KEY] == declared.digest


def test_a_declaration_that_somebody_changed_is_not_used(spec: Path) -> None:
    """A file changed in the artifact store is found by the digest of the version's files, before it is read."""
    made = trained("fraud", spec)
    folder = Path(mlflow.artifacts.download_artifacts(made.model_uri))
    (folder / declaration.FEATURES).write_text(SPEC.replace("7d", "8d"))
    with pytest.raises(Exception, match="files"):
        ManagedModel("fraud").declared(1)


def test_a_retraining_keeps_the_champions_declaration(spec: Path, tmp_path: Path) -> None:
    """Without a word it reads and trains by what the champion declares; other features are taken where named."""
    rows = simulate.transactions(4_000, fraud_rate=0.05).rename(columns={"amount": "total"})
    rows.to_parquet(tmp_path / "new.parquet")
    new, plain = str(tmp_path / "new.parquet"), Schema.load("simulator").model_dump(exclude_defaults=True)
    (tmp_path / "shop.yaml").write_text(json.dumps({**plain, "amount": "total"}))
    (tmp_path / "lacking.yaml").write_text(json.dumps({**plain, "amount": "total", "categorical": []}))
    shop, lacking = (str(tmp_path / name) for name in ("shop.yaml", "lacking.yaml"))
    options: dict[str, Any] = {"algorithms": ["lightgbm"], "split": "stratified"}
    model = ManagedModel("fraud")
    train(prepare(Source(new, shop), features=spec, split="stratified"), "fraud", params=QUICK["lightgbm"])
    model.promote(1, reason="first")
    kept = retrain(model, Source(new), **options)
    assert list(kept.trained["lightgbm"].features) == NAMES
    assert "the schema and the features are those that champion 1 declares" in kept.trained["lightgbm"].notes
    assert kept.comparison is not None
    others = retrain(model, Source(new), features="default", **options)
    assert "customer_count_30d" in others.trained["lightgbm"].features
    assert "amount_to_mean" not in others.trained["lightgbm"].features
    assert others.comparison is not None  # the champion's features were computed beside them
    with pytest.raises(ConfigError, match=r"features that champion 1 declares cannot be computed: .*'country'") as why:
        retrain(model, Source(new, lacking), **options)
    assert "--features default" in why.value.fix
    spec.write_text(SPEC.replace("amount / customer", "2 * amount / customer"))
    with pytest.raises(ConfigError, match="mean different things by the feature 'amount_to_mean'"):
        retrain(model, Source(new), features=spec, **options)
    left = retrain(model, Source(new, lacking), features="default", **options)
    assert left.staged is None
    assert "champion 1 cannot be compared" in left.message


def test_versions_of_different_features_are_compared_on_the_same_rows(spec: Path, tmp_path: Path) -> None:
    """The command line computes what each version declares; what two mean differently by one name is never compared."""
    trained("fraud", spec)
    trained("fraud", None)
    other = tmp_path / "other.yaml"
    other.write_text(SPEC.replace("amount / customer", "2 * amount / customer"))
    trained("fraud", other)

    def fds(*words: str) -> Any:
        return CliRunner().invoke(main, [*words, "--json"])

    data = ("--data", "simulator:3000", "--split", "stratified")
    made = fds("compare", "fraud", "1", "2", *data)
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["rows"] > 100
    refused = fds("compare", "fraud", "1", "3", *data)
    assert refused.exit_code == 1
    assert "mean different things by the feature 'amount_to_mean'" in refused.output
    model = ManagedModel("fraud")
    rows = prepare(ROWS, features=other, split="stratified").test
    with pytest.raises(DataError, match="versions 1 and 3 mean different things by the feature 'amount_to_mean'"):
        model.compare(1, 3, data=rows)
    model.promote(1)
    assert "not compared offline: champion 1 cannot score these rows" in model.promote(3).message


def test_the_command_line_trains_by_a_file_or_a_shipped_name(spec: Path) -> None:
    """`fds train --features` takes a path or a name; a wrong one is refused before anything is read or registered."""
    options = ["--data", "simulator:2000", "--split", "stratified", "--param", "n_estimators=5", "--json"]
    made = CliRunner().invoke(main, ["train", "fraud", "--features", str(spec), *options])
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["features"] == NAMES
    wrong = CliRunner().invoke(main, ["train", "fraud", "--features", "handbok", *options])
    assert wrong.exit_code == 1
    assert "there is no shipped feature specification 'handbok'" in wrong.output
    unfit = CliRunner().invoke(main, ["train", "fraud", "--features", "handbook", *options])
    assert unfit.exit_code == 1
    assert "needs the entity column 'terminal'" in unfit.output
    assert len(ManagedModel("fraud").overview().versions) == 1
