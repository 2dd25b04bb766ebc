"""`fds score`: a file's rows get the scores that a router gives them, and their outcomes are recorded once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from fds_mlflow import ManagedModel, Plan
from fds_mlflow.cli import main
from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import ConfigError, DataError, FdsError, NotFoundError, RefusedError
from fds_mlflow.simulator import simulate
from fds_mlflow.workflows import Source, prepare, train
from fds_mlflow.workflows.batch.batch import Engine, rebatched, score
from fds_mlflow.workflows.batch.versions import Choice, Versions
from tests.support import batch_world

pytestmark = pytest.mark.slow  # MLflow gets runs and models


def scored(model: ManagedModel, source: str = "computed.parquet", **more: Any) -> pd.DataFrame:
    """What is in the output."""
    score(model, source, "out.parquet", choice=more.pop("choice", Choice()), **more)
    return pd.read_parquet("out.parquet")


def test_a_batch_is_what_a_router_answers(model: ManagedModel) -> None:
    """Scores, flags, versions and the outcomes that are recorded are the router's, by both algorithms, with gaps."""
    frame = pd.read_parquet("computed.parquet")
    wanted, found = model.router().predict(frame), scored(model)
    np.testing.assert_allclose(found["score"], wanted["score"], rtol=0, atol=1e-12)
    assert found["served"].tolist() == wanted["variant"].tolist()
    for name in ("flagged", "version"):
        assert found[name].tolist() == wanted[name].tolist()
    kept = {one.key: one for one in model.outcomes.recent("fraud", limit=batch_world.ROWS)}
    for row in found.to_dict("records"):
        one = kept[row["key"]]
        assert (one.inputs_digest, one.assigned, one.step, one.weight, one.rollout_id) == tuple(
            row[name] for name in ("inputs_digest", "assigned", "step", "weight", "rollout_id")
        )


def test_a_batch_is_what_a_server_answers(model: ManagedModel) -> None:
    """The compiled form that `/score` asks, row by row, gives the same scores."""
    frame, versions = pd.read_parquet("computed.parquet").head(200), Versions(model, Choice())
    found, router = scored(model).head(200), versions.router()
    for number in (1, 2):
        loaded = router.loaded(number)
        own = frame[(found["version"] == number).to_numpy()]
        rows = [
            [None if pd.isna(value) else value for value in row] for row in own[list(loaded.names)].to_numpy(object)
        ]
        wanted = [loaded.row(row) for row in rows]
        np.testing.assert_allclose(found.loc[own.index, "score"], wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("choice", "version"), [(Choice(2), 2), (Choice(alias="champion"), 1), (Choice(alias="canary"), 2)]
)
def test_one_version_scores_all(model: ManagedModel, choice: Choice, version: int) -> None:
    """By its number or its alias; what is recorded then belongs to no rollout."""
    found = scored(model, choice=choice, record=True)
    assert set(found["version"]) == {version}
    wanted = model.scorer(version).score(pd.read_parquet("computed.parquet"))
    np.testing.assert_allclose(found["score"], wanted, rtol=0, atol=1e-12)
    assert {one.rollout_id for one in model.outcomes.recent("fraud", limit=10_000)} == {None}


def test_text_has_the_scores_of_parquet(model: ManagedModel) -> None:
    """A file of text, a packed one, and a folder of two say the same."""
    frame, wanted = pd.read_parquet("computed.parquet"), scored(model)
    Path("folder").mkdir()
    frame.head(700).to_csv("folder/a.csv", index=False)
    frame.tail(-700).to_csv("folder/b.csv.gz", index=False)
    found = scored(model, "folder")
    for name in ("key", "score", "version", "inputs_digest"):
        assert found[name].tolist() == wanted[name].tolist()


def test_raw_transactions_have_the_scores_of_their_features(model: ManagedModel) -> None:
    """Each version's features are computed from the file's own rows, as its declaration says."""
    wanted, found = scored(model, "whole.parquet"), scored(model, "raw.parquet")
    for name in ("key", "served", "score", "inputs_digest"):
        assert found[name].tolist() == wanted[name].tolist()


def test_outcomes_are_recorded_once_and_are_evidence(model: ManagedModel) -> None:
    """A batch that is started again adds nothing; its rows are the rollout's, by their keys."""
    for new in (batch_world.ROWS, 0):
        done = score(model, "computed.parquet", "out.parquet", choice=Choice(), record=True)
        assert (done.recorded, done.refused, done.rows) == (new, 0, batch_world.ROWS)
    rollout = model.router(record=False).table.rollout
    assert rollout is not None
    counts = model.outcomes.counts("fraud", rollout.id)
    assert [one.keys for one in counts] == [done.by_version[1], done.by_version[2]]


def test_the_output_is_complete_or_absent(model: ManagedModel) -> None:
    """A row that nobody can score leaves what was there before, and nothing beside it."""
    before, there = scored(model), set(Path.cwd().iterdir())
    broken = pd.read_parquet("computed.parquet").astype({"amount": object})
    broken.loc[1_400, "amount"] = "much"
    broken.to_csv("broken.csv", index=False)
    with pytest.raises(DataError, match="'much' is no number"):
        scored(model, "broken.csv")
    assert set(Path.cwd().iterdir()) - there == {Path.cwd() / "broken.csv"}
    pd.testing.assert_frame_equal(pd.read_parquet("out.parquet"), before)


def test_what_is_wrong_is_said_before_spark_starts(model: ManagedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Input, columns, output and version are looked at while there is no Spark yet."""
    files = "fds_mlflow.workflows.batch.spark_files"
    monkeypatch.setattr(f"{files}.require_pyspark", lambda: None)
    monkeypatch.setattr(f"{files}.session", lambda: pytest.fail("Spark was asked for"))
    frame = pd.read_parquet("computed.parquet")
    frame.drop(columns=["amount"]).to_parquet("less.parquet")
    frame.rename(columns={"transaction_id": "id"}).to_parquet("id.parquet")
    Path("model.pkl").touch()
    Path("taken").mkdir()
    Path("taken/notes.txt").touch()
    for source, output, version, said in (
        ("nowhere.parquet", "out", 1, "nowhere.parquet"),
        ("model.pkl", "out", 1, "neither text, Parquet nor a workbook"),
        ("less.parquet", "out", 1, "version 1 needs: amount; and its transactions have"),
        ("id.parquet", "out", 1, "no column 'transaction_id' to route or join by"),
        ("computed.parquet", "taken", 1, "no folder of Parquet files that was written as an output"),
        ("computed.parquet", "out", 9, "version=9"),
    ):
        with pytest.raises(FdsError, match=said):
            score(model, source, output, choice=Choice(version), engine="spark")
    assert [path.name for path in Path.cwd().iterdir() if path.name.startswith(".")] == []


def test_what_cannot_be_scored_is_said_first(model: ManagedModel, tmp_path: Path) -> None:
    """Each refusal names what is missing and the way out."""
    frame = pd.read_parquet("computed.parquet")
    frame.drop(columns=["amount"]).to_parquet("less.parquet")
    frame.head(0).to_parquet("none.parquet")
    frame.rename(columns={"transaction_id": "id"}).to_parquet("id.parquet")
    with pytest.raises(DataError, match="version 1 needs: amount; and its transactions have"):
        scored(model, "less.parquet")
    with pytest.raises(DataError, match="no rows"):
        scored(model, "none.parquet")
    with pytest.raises(DataError, match="no column 'transaction_id'"):
        scored(model, "id.parquet", key="id", record=True)
    assert len(scored(model, "id.parquet", key="id")) == batch_world.ROWS
    with pytest.raises(ConfigError, match="no folder"):
        score(model, "computed.parquet", tmp_path / "not" / "there.parquet", choice=Choice())
    with pytest.raises(NotFoundError, match="alias 'shadow'"):
        scored(model, choice=Choice(alias="shadow"))
    files = ManagedModel("fraud", outcomes="parquet:files")
    with pytest.raises(ConfigError, match="is no database"):
        score(files, "computed.parquet", "recorded.parquet", choice=Choice(), record=True)
    assert not Path("recorded.parquet").exists()
    with pytest.raises(ConfigError, match="leave out one"):
        Choice(1, "champion")


def test_files_of_a_folder_are_scored_as_each_would_be_alone(model: ManagedModel) -> None:
    """A column that one of them lacks is no gap, and a number that one writes as text is that number."""
    frame = pd.read_parquet("computed.parquet")
    wanted = scored(model)
    Path("folder").mkdir()
    frame.head(700).to_parquet("folder/a.parquet")
    frame.tail(-700).astype({"amount": str}).to_parquet("folder/b.parquet")
    assert scored(model, "folder")["score"].tolist() == wanted["score"].tolist()
    frame.tail(-700).drop(columns=["amount"]).to_parquet("folder/b.parquet")
    with pytest.raises(DataError, match="version 1 needs columns that the rows do not have: amount"):
        scored(model, "folder")


def test_raw_files_of_a_folder_may_differ(model: ManagedModel) -> None:
    """Each raw row keeps the features of its own transaction, whatever columns its file has beside."""
    wanted, frame = scored(model, "raw.parquet"), pd.read_parquet("raw.parquet")
    Path("folder").mkdir()
    frame.head(700).assign(note="a").to_parquet("folder/a.parquet")
    frame.tail(-700).to_parquet("folder/b.parquet")
    assert scored(model, "folder")["score"].tolist() == wanted["score"].tolist()


def test_a_raw_field_of_text_that_says_nothing_is_no_key(model: ManagedModel) -> None:
    """Raw transactions of a file of text are refused where one has no key, as those of Parquet are."""
    frame = pd.read_parquet("raw.parquet")
    frame.loc[5, "customer_id"] = None
    frame.to_parquet("nobody.parquet")
    frame.to_csv("nobody.csv", index=False)
    for source in ("nobody.parquet", "nobody.csv"):
        with pytest.raises(DataError, match="'customer_id' is missing in 1 of"):
            scored(model, source, key="customer_id")


@pytest.mark.parametrize("engine", ["local", "spark"])
def test_an_output_never_takes_its_input_away(model: ManagedModel, engine: Engine) -> None:
    """Neither as the same file, through a link, nor as a folder around or beneath it; the input stays as it was."""
    Path("folder").mkdir()
    shutil.copy("computed.parquet", "folder")
    Path("link").symlink_to("computed.parquet")
    before = Path("computed.parquet").read_bytes()
    for source, output in (
        ("computed.parquet", "computed.parquet"),
        ("computed.parquet", "link"),
        ("folder", "folder/scores.parquet"),
        ("folder/computed.parquet", "folder"),
    ):
        with pytest.raises(RefusedError, match="is the input"):
            score(model, source, output, choice=Choice(), engine=engine)
    assert Path("computed.parquet").read_bytes() == Path("folder/computed.parquet").read_bytes() == before


@pytest.mark.parametrize("engine", ["local", "spark"])
def test_raw_text_is_read_as_the_version_declares(
    model: ManagedModel, engine: Engine, request: pytest.FixtureRequest
) -> None:
    """Separators and encodings stand in the schema of the transactions that a version was trained on."""
    if engine == "spark":
        request.getfixturevalue("spark")
    frame = simulate.transactions(3_000, seed=1)
    frame = frame.assign(country="Österreich").iloc[:, ::-1]
    frame.to_csv("old.csv", index=False, sep=";", encoding="cp1252")
    schema = Schema.load("simulator").model_dump(mode="json", exclude_defaults=True)
    schema = json.dumps(schema | {"separator": ";", "encoding": "cp1252"})
    Path("old.yaml").write_text(schema)
    Path("features.yaml").write_text(batch_world.SPEC)
    split = prepare(Source("old.csv", "old.yaml"), features="features.yaml", split="stratified")
    train(split, f"old_{engine}", params={"n_estimators": 2})
    old = ManagedModel(f"old_{engine}", outcomes=model.outcomes.url)
    score(old, "old.csv", "old.out", choice=Choice(1), engine=engine)
    found = pd.read_parquet("old.out").sort_values("transaction_id", ignore_index=True)
    frame.to_parquet("old.parquet")
    score(old, "old.parquet", "new.out", choice=Choice(1))
    wanted = pd.read_parquet("new.out").sort_values("transaction_id", ignore_index=True)
    for name in ("transaction_id", "score", "inputs_digest"):
        assert found[name].tolist() == wanted[name].tolist()


def test_versions_of_different_features(model: ManagedModel) -> None:
    """What a canary needs and the rows lack is said before it is charged with it; one name has one meaning."""
    frame = pd.read_parquet("raw.parquet")
    for number, (features, more) in enumerate(
        (("[1d]", ""), ("[1d, 2d]", ""), ("[1d]", "expressions: [{name: customer_count_2d, of: amount * 2}]\n")), 1
    ):
        windows = f"[{{entity: customer, aggregate: count, windows: {features}}}]"
        Path("features.yaml").write_text(f"numeric: [amount]\nwindows: {windows}\n{more}")
        split = prepare(Source("simulator:3000"), features="features.yaml", split="stratified")
        train(split, "several", params={"n_estimators": 2})
        if number == 1:
            table = split.test.x.assign(transaction_id=[f"T{i}" for i in range(len(split.test))])
    table.to_parquet("of_the_champion.parquet")
    several = ManagedModel("several", outcomes=model.outcomes.url)
    several.promote(1)
    several.canary.start(2, plan=Plan(steps=[40, 100]), force=True, allow_new_columns=True, reason="more")
    assert len(scored(several, "raw.parquet")) == len(frame)
    with pytest.raises(DataError, match="version 2 needs: customer_count_2d"):
        scored(several, "of_the_champion.parquet", record=True)
    assert not several.outcomes.recent("several", limit=1)
    several.canary.abort(reason="another one")
    several.promote(3, force=True, allow_new_columns=True, reason="another meaning")
    several.canary.start(2, plan=Plan(steps=[40, 100]), force=True, allow_new_columns=True, reason="a name")
    with pytest.raises(RefusedError, match="different things by the feature 'customer_count_2d'"):
        scored(several, "raw.parquet")
    assert set(scored(several, "raw.parquet", choice=Choice(3))["version"]) == {3}


def test_the_verb_says_what_became_of_the_rows(model: ManagedModel) -> None:
    """In JSON with how many were flagged, by whom, and what was recorded; which version scores has to be said."""
    words = [
        "--outcomes",
        model.outcomes.url,
        "score",
        "fraud",
        "--input",
        "computed.parquet",
        "--output",
        "out.parquet",
    ]
    told = CliRunner().invoke(main, [*words, "--rollout", "--record", "--json"])
    said = json.loads(told.stdout)
    assert said["rows"] == said["recorded"] == batch_world.ROWS == sum(said["by_version"].values())
    assert "1,500 rows scored" in CliRunner().invoke(main, [*words, "--version", "1"]).stdout
    for wrong in ([], ["--version", "1", "--rollout"]):
        assert CliRunner().invoke(main, [*words, *wrong]).exit_code == 2


def test_tables_are_cut_anew() -> None:
    """No row is lost or moved, whatever sizes they come in."""
    import pyarrow as pa

    tables = [pa.table({"a": range(start, end)}) for start, end in ((0, 0), (0, 3), (3, 10), (10, 11))]
    found = list(rebatched(tables, 4))
    assert [len(one) for one in found] == [4, 4, 3]
    others = [pa.table({"a": ["x"] * 3}), pa.table({"a": []}), *tables]
    assert [len(one) for one in rebatched(others, 4)] == [3, 4, 4, 3]
    assert pa.concat_tables(found).column("a").to_pylist() == list(range(11))
