"""Before a version gets traffic it is compared with the champion, where labelled rows are at hand."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.data.pandas_dataset import PandasDataset, from_pandas
from mlflow.entities import DatasetInput, InputTag

from fds_mlflow import ManagedModel, Plan
from fds_mlflow.cli.main import main
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.errors import DataError, RefusedError
from fds_mlflow.features.test_set import FILE
from fds_mlflow.registry.transaction import Result
from fds_mlflow.simulator import simulate
from tests.conftest import FakeClock
from tests.support import tiny_models
from tests.support.effort import graded

MODEL = "fraud"
BETTER, WORSE = tiny_models.GOOD, tiny_models.WORSE
WIDE = f"{tiny_models.GOOD} * rows['device_age']"
FIT = {
    "better": (BETTER, tiny_models.EXAMPLE),
    "worse": (WORSE, tiny_models.EXAMPLE),
    "large": ("(1 - 1 / (1 + rows['amount'])).to_numpy()", tiny_models.EXAMPLE[["amount"]]),
    "small": ("(1 / (1 + rows['amount'])).to_numpy()", tiny_models.EXAMPLE[["amount"]]),
    "narrow": (BETTER, tiny_models.EXAMPLE[["amount"]]),
    "wide": (WIDE, tiny_models.EXAMPLE.assign(device_age=1.0)),
}


def labelled(rows: int = 400, frauds: int = 60, **columns: object) -> pd.DataFrame:
    """Rows whose largest amounts are mostly the frauds."""
    random = np.random.default_rng(1)
    amount = random.random(rows)
    suspicious = np.argsort(-(amount + 0.2 * random.normal(size=rows)))[:frauds]
    frame = pd.DataFrame({"amount": amount, "hour": 12.0, **columns})
    return frame.assign(label=np.isin(np.arange(rows), suspicious).astype(np.int8))


@dataclass
class Offline:
    """A model on MLflow whose versions rank frauds well, or the wrong way round."""

    model: ManagedModel
    saved: dict[str, Path]
    folder: Path

    def register(self, name: str, test_set: pd.DataFrame | None = None) -> int:
        """The next version, with a run, and its labelled test set if there is one."""
        version = tiny_models.register(MODEL, self.saved[name], metrics={"recall": 0.5})
        if test_set is not None:
            test_set.to_parquet(self.folder / FILE)
            MlflowClient().log_artifact(self.run_id(version), str(self.folder / FILE))
        return version

    def run_id(self, version: int) -> str:
        """The run of a version."""
        return str(MlflowClient().get_model_version(MODEL, str(version)).run_id)

    def log_parts(self, version: int, training: str, testing: str, digest: str) -> None:
        """Log the periods of the two parts to a version's run, as a training does."""
        for context, period in (("training", training), ("testing", testing)):
            data: PandasDataset = from_pandas(tiny_models.EXAMPLE, name=context, digest=f"{digest}-{context}")
            told = [InputTag("mlflow.data.context", context), InputTag("period", period)]
            MlflowClient().log_inputs(self.run_id(version), [DatasetInput(data._to_mlflow_entity(), told)])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The models on disk, saved once."""
    folder = tmp_path_factory.mktemp("tiny")
    return {name: tiny_models.save(folder, name, *how) for name, how in FIT.items()}


@pytest.fixture
def offline(mlflow_uri: str, saved: dict[str, Path], fake_clock: FakeClock, tmp_path: Path) -> Offline:
    """A model on an MLflow of its own."""
    logging.getLogger("fds_mlflow").setLevel(logging.CRITICAL)
    model = ManagedModel(MODEL, clock=fake_clock, actor="ann", outcomes="sqlite://", trust=True)
    return Offline(model, saved, tmp_path)


Verb = Callable[..., Result]


@pytest.fixture(params=graded(["promote", "canary start"], tested=1))
def verb(request: pytest.FixtureRequest, offline: Offline) -> Verb:
    """Both verbs that give a version traffic."""
    return offline.model.promote if request.param == "promote" else offline.model.canary.start


@pytest.mark.slow
def test_a_clearly_worse_version_gets_no_traffic(offline: Offline, verb: Verb) -> None:
    """The rows its own run was tested on show it; the refusal has the numbers and the way round, and nothing moves."""
    offline.register("better")
    offline.register("worse", labelled())
    assert offline.model.promote(1).comparison is None
    with pytest.raises(
        RefusedError, match=r"version 2 is clearly worse than champion 1 on version 2's own test rows"
    ) as e:
        verb(2, reason="weekly")
    for said in ("400 with 60 frauds", "average precision", "95 % interval"):
        assert said in e.value.what
    for said in ("fds compare MODEL", "--force --reason", "force=True"):
        assert said in e.value.fix
    assert [event.kind for event in offline.model.history()] == [Kind.PROMOTE]


@pytest.mark.slow
def test_a_person_may_force_a_clearly_worse_version_and_must_say_why(offline: Offline, verb: Verb) -> None:
    """Force alone is refused, with a reason it goes on, and both the answer and the history say so."""
    offline.register("better")
    offline.register("worse", labelled())
    offline.model.promote(1)
    for reason in ("", "  "):
        with pytest.raises(RefusedError, match="reason"):
            verb(2, force=True, reason=reason)
    done = verb(2, force=True, reason="the old one leaks")
    assert "by force; offline clearly worse than champion 1" in done.message
    assert done.comparison is not None
    assert done.comparison.clearly_worse
    assert offline.model.history()[0].forced


@pytest.mark.slow
def test_a_better_version_passes_with_its_numbers(offline: Offline, verb: Verb) -> None:
    """What the comparison said is part of the answer; force that was not needed is not recorded as force."""
    offline.register("worse")
    offline.register("better", labelled())
    offline.model.promote(1)
    done = verb(2, force=True, reason="weekly")
    assert "offline clearly better than champion 1 on version 2's own test rows" in done.message
    assert done.event is not None
    assert not done.event.forced


@pytest.mark.slow
def test_an_equal_version_passes(offline: Offline, verb: Verb) -> None:
    """Only an interval below zero speaks against a version: no clear difference is no reason to refuse."""
    offline.register("better")
    offline.register("better", labelled())
    offline.model.promote(1)
    assert "neither clearly better nor clearly worse" in verb(2).message


@pytest.mark.slow
def test_without_labelled_rows_it_says_so_and_goes_on(offline: Offline, verb: Verb) -> None:
    """A version of another pipeline has no test set here: nothing is compared, and the answer says how it could be."""
    offline.register("better")
    offline.register("worse")
    offline.model.promote(1)
    done = verb(2)
    assert done.changed
    assert "not compared offline: no labelled rows are logged with version 2 (give some: `--data`" in done.message


@pytest.mark.slow
def test_given_rows_take_the_place_of_the_test_set(offline: Offline, verb: Verb) -> None:
    """Rows that a person brings are what counts, whatever was logged with the run."""
    offline.register("better")
    offline.register("worse", labelled().assign(label=lambda rows: (rows["amount"] < 0.2).astype(int)))
    offline.model.promote(1)
    with pytest.raises(RefusedError, match="on the given rows, 400 with 60 frauds"):
        verb(2, data=labelled())
    assert "clearly better" in verb(2).message


@pytest.mark.slow
@pytest.mark.tested(2)
@pytest.mark.parametrize(
    ("rows", "says"),
    graded(
        [
            (labelled().drop(columns="label"), "no label column"),
            (labelled().assign(label=2), "values other than 0 and 1"),
            (labelled().drop(columns="hour"), "version 2 needs columns"),
            (labelled().assign(label=0), "0 of the 400 rows are fraud"),
        ]
    ),
)
def test_given_rows_that_cannot_be_compared_on_are_refused(
    offline: Offline, verb: Verb, rows: pd.DataFrame, says: str
) -> None:
    """Who brings rows wants them used: what is wrong with them is said, and nothing moves."""
    offline.register("narrow")
    offline.register("worse")
    offline.model.promote(1)
    with pytest.raises(DataError, match=says) as error:
        verb(2, data=rows, allow_new_columns=True)
    assert error.value.fix
    assert len(offline.model.history()) == 1


@pytest.mark.slow
def test_a_champion_that_cannot_score_the_rows_is_no_reason_to_keep_it(offline: Offline, verb: Verb) -> None:
    """Each version is scored with the columns it needs; where the champion's are missing, that is said."""
    offline.register("wide")
    offline.register("worse", labelled())
    offline.model.promote(1)
    done = verb(2)
    assert done.changed
    assert "not compared offline: champion 1 cannot score these rows (version 1 needs columns" in done.message
    assert "device_age" in done.message


@pytest.mark.slow
def test_each_version_is_scored_with_the_columns_it_needs(offline: Offline, verb: Verb) -> None:
    """A version with more columns than the champion is compared on the same rows."""
    offline.register("worse")
    offline.register("wide", labelled(device_age=1.0))
    offline.model.promote(1)
    assert "clearly better" in verb(2, allow_new_columns=True).message


@pytest.mark.slow
def test_a_champion_that_does_not_load_is_no_reason_to_keep_it_either(
    offline: Offline, verb: Verb, tmp_path: Path
) -> None:
    """Moving away from a broken champion goes on without a comparison."""
    tiny_models.register(MODEL, tmp_path / "nothing here")
    offline.register("worse", labelled())
    MlflowClient().set_registered_model_alias(MODEL, "champion", "1")
    done = verb(2)
    assert done.changed
    assert "champion 1 cannot score these rows" in done.message


@pytest.mark.campaign
@pytest.mark.tested(2)
@pytest.mark.slow
@pytest.mark.parametrize("broken", graded(["garbage", "one class", "few frauds", "no label"]))
def test_a_test_set_that_tells_nothing_stops_nobody(offline: Offline, verb: Verb, broken: str) -> None:
    """Damaged rows, rows of one class and three frauds speak neither for nor against a version."""
    offline.register("better")
    rows = {
        "garbage": labelled(),
        "one class": labelled(frauds=0),
        "few frauds": labelled(frauds=3),
        "no label": labelled().drop(columns="label"),
    }[broken]
    version = offline.register("worse", rows)
    if broken == "garbage":
        (offline.folder / FILE).write_text("not a table")
        MlflowClient().log_artifact(offline.run_id(version), str(offline.folder / FILE))
    offline.model.promote(1)
    done = verb(2)
    assert done.changed
    says = {
        "garbage": "the test set of version 2 cannot be read",
        "one class": "0 of the 400 rows are fraud",
        "few frauds": "too few rows of one class",
        "no label": "no label column",
    }
    assert says[broken] in done.message


@pytest.mark.campaign
@pytest.mark.slow
def test_rows_that_the_champion_learned_from_are_not_fair(offline: Offline, verb: Verb) -> None:
    """Going back to an older version is not refused because its successor has seen the older one's test rows."""
    offline.register("better")
    offline.register("worse", labelled())
    offline.log_parts(1, "2026-01-01T00:00:00/2026-03-01T00:00:00", "2026-04-01T00:00:00/2026-05-01T00:00:00", "new")
    offline.log_parts(2, "2026-01-01T00:00:00/2026-01-20T00:00:00", "2026-02-01T00:00:00/2026-02-28T00:00:00", "old")
    offline.model.promote(1)
    done = verb(2)
    assert done.changed
    assert "no fair rows for champion 1: it learned from transactions up to 2026-03-01T00:00:00" in done.message


@pytest.mark.campaign
@pytest.mark.tested(2)
@pytest.mark.parametrize(
    ("learned", "digest"), graded([("2026-01-31T00:00:00", "old"), ("2026-03-01T00:00:00", "same")])
)
@pytest.mark.slow
def test_rows_after_the_champions_training_or_of_one_split_are_fair(
    offline: Offline, verb: Verb, learned: str, digest: str
) -> None:
    """A test set later than all the champion saw, or the champion's own test set, can speak against a version."""
    offline.register("better")
    offline.register("worse", labelled())
    offline.log_parts(1, f"2026-01-01T00:00:00/{learned}", "2026-02-01T00:00:00/2026-05-01T00:00:00", digest)
    offline.log_parts(2, "2026-01-01T00:00:00/2026-01-20T00:00:00", "2026-02-01T00:00:00/2026-02-28T00:00:00", "same")
    offline.model.promote(1)
    with pytest.raises(RefusedError, match="clearly worse"):
        verb(2)


@pytest.mark.campaign
@pytest.mark.slow
def test_a_way_back_never_compares(offline: Offline) -> None:
    """An emergency, and a rollback to a named version, go where they are told, however that version ranks."""
    offline.register("worse", labelled())
    offline.register("better", labelled())
    offline.model.promote(1)
    offline.model.promote(2)
    back = offline.model.rollback.emergency(reason="blocked customers")
    assert (back.changed, back.comparison) == (True, None)
    assert offline.model.rollback.to(2, reason="cleared").comparison is None
    assert offline.model.rollback.to(1, reason="again").changed


@pytest.mark.slow
def test_one_rollout_at_a_time_is_said_before_anything_is_compared(offline: Offline) -> None:
    """What the state forbids is refused at once, whatever the data."""
    offline.register("better")
    offline.register("better")
    offline.model.promote(1)
    offline.model.canary.start(2, plan=Plan([10, 100]))
    with pytest.raises(RefusedError, match="a rollout of version 2 is active"):
        offline.model.promote(2, force=True, reason="hurry", data=pd.DataFrame())


def _fds(*words: str) -> Any:
    return CliRunner().invoke(main, words)


@pytest.mark.campaign
@pytest.mark.slow
def test_the_command_line_compares_too(offline: Offline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused with exit code 1 and the fix; by force and a reason it is done, and JSON carries the numbers."""
    monkeypatch.setenv("FDS_ACTOR", "ann")
    offline.register("better")
    offline.register("worse", labelled())
    offline.model.promote(1)
    for words in (["promote", MODEL, "2"], ["canary", "start", MODEL, "2"]):
        refused = _fds(*words)
        assert refused.exit_code == 1
        assert "clearly worse" in refused.stderr
        assert "--force" in refused.stderr
        blank = _fds(*words, "--force", "--reason", " ")
        assert (blank.exit_code, "reason" in blank.stderr) == (1, True)
    done = _fds("canary", "start", MODEL, "2", "--force", "--reason", "to be seen", "--json")
    value = json.loads(done.stdout)
    assert value["event"]["forced"] is True
    assert value["comparison"]["frauds"] == 60


@pytest.mark.campaign
@pytest.mark.slow
def test_the_command_line_compares_on_data_that_a_person_names(offline: Offline) -> None:
    """The test part of the named transactions takes the place of the version's own test set."""
    offline.register("large")
    offline.register("small")
    simulate.sample().to_csv("sample.csv", index=False)
    data = ("--data", "sample.csv", "--schema", "sample")
    first = _fds("promote", MODEL, "1", *data, "--trust")
    assert "not compared offline: there is no champion to compare with" in " ".join(first.stdout.split())
    for words in (("promote", MODEL, "2"), ("canary", "start", MODEL, "2")):
        refused = _fds(*words, *data, "--trust", "--json")
        assert refused.exit_code == 1
        assert "clearly worse than champion 1 on the given rows" in json.loads(refused.stdout)["error"]


@pytest.mark.slow
def test_data_is_described_only_where_it_is_given(offline: Offline) -> None:
    """A schema without data is wrong usage, never silently dropped; an empty text is `mlflow run`'s way of none."""
    offline.register("better")
    assert _fds("promote", MODEL, "1", "--schema", "sample").exit_code == 2
    assert _fds("promote", MODEL, "1", "--data", "", "--schema", "").exit_code == 0


@pytest.mark.slow
def test_rows_that_cannot_be_used_do_not_open_the_way(offline: Offline, verb: Verb) -> None:
    """Given rows that are empty, lack a column of the version's or have no numbers for labels are an error."""
    offline.register("better")
    offline.register("worse", labelled())
    offline.model.promote(1, reason="first")
    for rows, words in (
        (labelled().iloc[:0], "no rows"),
        (labelled().drop(columns="amount"), "amount"),
        (labelled().assign(label="no"), "no numbers"),
    ):
        with pytest.raises(DataError, match=words):
            verb(2, data=rows, reason="new")
    assert offline.model.overview().champion == 1


@pytest.mark.slow
def test_rows_that_fit_no_champion_leave_the_version_s_own(offline: Offline, verb: Verb) -> None:
    """Where only the champion cannot score the given rows, the version's own test rows are compared on."""
    offline.register("wide")
    offline.register("worse", labelled(device_age=1.0))
    offline.model.promote(1, reason="first")
    with pytest.raises(RefusedError, match="own test rows"):
        verb(2, data=labelled(), reason="new")
