"""From a file of the street to a registered version, by what a newcomer would call."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fds_mlflow.cli import main
from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import ConfigError
from fds_mlflow.workflows import Source, describe
from fds_mlflow.workflows.source import recognise
from tests.support.street_files import SHAPES, Shape, dollars, european, hours, world

TRAINED = ("dollars", "questions")
"""Shapes that every run of the slow tests trains on; the others are trained on in campaigns."""


def _marked(shape: Shape) -> object:
    mark = pytest.mark.slow if shape.name in TRAINED else (pytest.mark.slow, pytest.mark.campaign)
    return pytest.param(shape, marks=mark, id=shape.name)


@pytest.mark.tested(1)
@pytest.mark.parametrize("shape", [_marked(shape) for shape in SHAPES])
def test_two_commands_and_a_training(shape: Shape, tmp_path: Path, mlflow_uri: str) -> None:
    """`fds schema infer` and `fds data describe` lead to `fds train`, and that to a version."""
    if shape.name == "workbook":
        pytest.importorskip("openpyxl")
    source, options = shape.write(tmp_path, 3_000)
    further = [word for key, value in options.items() for word in (f"--{key}", value)]
    asked = ["--label", shape.label] if shape.label else []
    run = CliRunner()
    inferred = run.invoke(main, ["schema", "infer", source, *further, *asked])
    assert inferred.exit_code == 0, inferred.output
    schema = tmp_path / "file.schema.yaml"
    schema.write_bytes(inferred.stdout_bytes)
    described = run.invoke(main, ["data", "describe", source, *further, "--schema", str(schema), "--json"])
    assert described.exit_code == 0, described.output
    assert json.loads(described.stdout)["rows"] == 3_000
    trained = run.invoke(main, ["train", "street", "--data", source, *further, "--schema", str(schema), "--json"])
    assert trained.exit_code == 0, trained.output
    answer = json.loads(trained.stdout.splitlines()[-1])
    assert answer["version"] == 1
    assert answer["metrics"]["roc_auc"] > 0.6


def test_the_schema_stands_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `fds schema infer FILE > NAME.schema.yaml` writes is found by whoever is given FILE alone."""
    source, _ = european(tmp_path, 400)
    with pytest.raises(ConfigError) as error:
        recognise(source)
    assert error.value.fix == f"have it inferred: fds schema infer {source} > {tmp_path / 'european.schema.yaml'}"
    made = CliRunner().invoke(main, ["schema", "infer", source])
    (tmp_path / "european.schema.yaml").write_bytes(made.stdout_bytes)
    assert Schema.load(recognise(source)).amount == "Betrag"
    assert len(Source(source).read()) == 400


def test_an_empty_schema_of_a_refused_inference_is_passed_over(tmp_path: Path) -> None:
    """A shell makes the file even where `fds schema infer` refuses; that file is no schema."""
    source, _ = hours(tmp_path, 400)
    (tmp_path / "hours.schema.yaml").touch()
    with pytest.raises(ConfigError, match="no schema was given"):
        recognise(source)


def test_a_refusal_of_the_command_names_the_candidates(tmp_path: Path) -> None:
    """Without a label the command names what it may be, on standard error, and writes nothing."""
    source, _ = hours(tmp_path, 400)
    done = CliRunner().invoke(main, ["schema", "infer", source])
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "--label 'isFraud' or --label 'isFlaggedFraud'" in done.stderr


def test_the_profile_counts_what_is_there(tmp_path: Path) -> None:
    """Rows, frauds, duplicates, gaps, entities, missing values and features are those of the file."""
    frame = world(2_000).rename(columns={"fraud": "is_fraud"})
    quiet = (frame["time"] >= "2025-02-10") & (frame["time"] < "2025-02-20")
    frame = frame[~quiet].reset_index(drop=True)
    frame.loc[5, ["time", "amount", "customer", "merchant", "device", "country", "score", "is_fraud"]] = frame.loc[4]
    frame.loc[frame.index % 10 == 3, "score"] = None
    schema = Schema.of(
        transaction_id=None,
        time="time",
        amount="amount",
        entities={"customer": "customer", "device": "device"},
        label="is_fraud",
        numeric=["score"],
        categorical=["country"],
    )
    found = describe(frame, schema)
    assert (found.rows, found.frauds) == (len(frame), int(frame["is_fraud"].sum()))
    assert found.period is not None
    assert found.period[0].replace(tzinfo=None) == frame["time"].min()
    assert sum(span.rows for span in found.spans) == found.rows
    assert sum(span.frauds for span in found.spans) == found.frauds
    assert found.repeated_rows == 1
    assert found.number_of_gaps == 1
    assert found.gaps[0].start.date().isoformat() == "2025-02-09"
    customers = next(item for item in found.entities if item.role == "customer")
    assert customers.distinct == frame["customer"].nunique()
    assert found.missing["score"] == pytest.approx(frame["score"].isna().mean())
    assert "customer_count_7d" in found.features["windows"]
    assert any("when labels become known" in sentence for sentence in found.impossible)


def test_a_profile_without_a_time_says_so() -> None:
    """Without a time there is no period, and no windows are promised."""
    frame = world(300)[["amount", "score", "fraud"]]
    found = describe(
        frame, Schema.of(transaction_id=None, time=None, amount="amount", label="fraud", numeric=["score"])
    )
    assert found.period is None
    assert found.spans == ()
    assert set(found.features) == {"numbers"}
    assert any("names no time" in sentence for sentence in found.impossible)


def test_a_profile_fits_80_columns(tmp_path: Path) -> None:
    """On a terminal of 80 columns no line is longer, and nothing is cut."""
    source, _ = dollars(tmp_path, 800)
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(main, ["data", "describe", source])
    assert shown.exit_code == 0, shown.output
    assert "Fraud over time" in shown.stdout
    assert "card_count_7d" in shown.stdout
    tables = [line for line in shown.stdout.splitlines() if line.startswith(("│", "┃"))]
    assert max(map(len, tables)) <= 80


def test_a_label_beside_a_schema_is_refused() -> None:
    """The schema names the label; a second one is a contradiction."""
    with pytest.raises(ConfigError, match="named in the schema"):
        Source("file.csv", "ulb").described("Class")
