"""A version that runs code of its own gets no traffic unless somebody allowed it by name, and the history says who."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner

from fds_mlflow import ManagedModel, Plan
from fds_mlflow.cli import main
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.errors import RefusedError, UnservableError
from fds_mlflow.registry import tags
from fds_mlflow.registry.doctor import Severity
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.registry.store import SetModelTag
from fds_mlflow.registry.tags import event_tag
from fds_mlflow.serving.host.prepare import prepare
from fds_mlflow.workflows import adopt
from tests.support import tiny_models
from tests.support.effort import graded

MODEL = "fraud"
CODE = "rows['amount'].to_numpy(dtype=float) * 1.0"
ASKED = "would run code that came with it"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A model that is numbers, and one that is code."""
    folder = tmp_path_factory.mktemp("models")
    return [tiny_models.save(folder, "good", tiny_models.GOOD), tiny_models.save(folder, "code", CODE)]


@pytest.fixture
def model(mlflow_uri: str, saved: list[Path]) -> ManagedModel:
    """Version 1 is data and champion; version 2 is code."""
    for path in saved:
        tiny_models.register(MODEL, path)
    made = opened()
    made.promote(1)
    return made


def opened(*, trust: bool = False) -> ManagedModel:
    """The model in a process that has loaded nothing yet."""
    return ManagedModel(MODEL, actor="ann", outcomes="sqlite://", trust=trust)


def served(folder: Path, *, trust: bool = False) -> None:
    """As a server prepares version 2."""
    folder.mkdir()
    prepare(MlflowStore(), MODEL, 2, folder, trust=trust)


DOORS: dict[str, Callable[[ManagedModel], object]] = {
    "promote": lambda model: model.promote(2),
    "canary start": lambda model: model.canary.start(2, plan=Plan([10, 100])),
    "scorer": lambda model: model.scorer(2),
    "compare": lambda model: model.compare(1, 2, data=tiny_models.EXAMPLE.assign(label=[0, 1, 0])),
    "adopt": lambda model: adopt(model, 2, threshold=0.5),
}


@pytest.mark.parametrize("door", graded(DOORS))
def test_code_is_refused_unless_it_is_allowed(model: ManagedModel, door: str) -> None:
    """Each verb that loads a version refuses what is code, names the flag, and goes on with it."""
    with pytest.raises(RefusedError, match=ASKED) as caught:
        DOORS[door](model)
    assert "--trust" in caught.value.fix
    DOORS[door](opened(trust=True))


def test_the_history_says_who_allowed_it_and_then_everybody_may_load_it(model: ManagedModel, tmp_path: Path) -> None:
    """A promotion that trusts is in the history with its actor; from then on no router or server needs to be told."""
    with pytest.raises(RefusedError, match=ASKED):
        served(tmp_path / "before")
    done = CliRunner().invoke(main, ["--actor", "bob", "promote", MODEL, "2", "--trust", "--reason", "we made it"])
    assert done.exit_code == 0, done.output
    event = model.history()[0]
    assert (event.kind, event.trusted, event.actor) == (Kind.PROMOTE, True, "bob")
    assert opened().scorer(2).score(tiny_models.EXAMPLE).tolist() == tiny_models.EXAMPLE["amount"].tolist()
    served(tmp_path / "after")
    assert model.doctor() == []
    validation = opened().rollback.validate(2)
    assert "runs code of its own" in validation.checks[1].detail


@pytest.mark.slow
def test_an_adoption_that_trusts_is_enough_for_what_follows(model: ManagedModel) -> None:
    """The event that stages an adopted version keeps the trust: its promotion asks for none."""
    adopt(opened(trust=True), 2, threshold=0.5)
    assert (model.history()[0].kind, model.history()[0].trusted) == (Kind.STAGE, True)
    assert model.promote(2).changed


@pytest.mark.slow
def test_trust_is_of_these_files_alone(model: ManagedModel, saved: list[Path], tmp_path: Path) -> None:
    """Another version with other code is another question."""
    opened(trust=True).promote(2)
    tiny_models.register(MODEL, tiny_models.save(tmp_path, "other", f"{CODE} * 0.5"))
    with pytest.raises(RefusedError, match=ASKED):
        model.promote(3)


@pytest.mark.slow
def test_a_hand_in_the_registry_allows_nothing(model: ManagedModel, tmp_path: Path) -> None:
    """An alias that was moved past us loads no code; `--trust` on a promotion of what is champion already allows it."""
    mlflow.MlflowClient().set_registered_model_alias(MODEL, "champion", "2")
    model.settle()
    with pytest.raises(RefusedError, match=ASKED):
        served(tmp_path / "refused")
    (found,) = [one for one in model.doctor() if "runs code" in one.what]
    assert (found.severity, "--trust" in found.fix) == (Severity.DANGER, True)
    served(tmp_path / "told to", trust=True)
    assert opened(trust=True).promote(2).changed
    assert not opened(trust=True).promote(2).changed
    served(tmp_path / "served")


@pytest.mark.slow
def test_what_an_earlier_release_promoted_serves_on_and_is_reported(model: ManagedModel, tmp_path: Path) -> None:
    """A promotion without a digest was made before anybody asked: such a version loads, and doctor says so."""
    opened(trust=True).promote(2)
    event = model.history()[0]
    name, value = event_tag(event)
    earlier = value.replace(f'"files":"{event.files}",', "").replace(f',"files":"{event.files}"', "")
    model.session.store.write(MODEL, SetModelTag(name, earlier.replace(',"trusted":true', "")))
    assert (model.history()[0].files, model.history()[0].trusted) == (None, False)
    served(tmp_path / "served")
    opened().scorer(2)
    (found,) = [one for one in model.doctor() if "runs code" in one.what]
    assert (found.severity, "serves on" in found.means) == (Severity.WARNING, True)
    model.promote(1)
    assert model.rollback.to(2, reason="it was better").changed
    served(tmp_path / "after")


@pytest.mark.slow
def test_an_emergency_to_code_nobody_allowed_says_so(model: ManagedModel) -> None:
    """The alias moves first; then the check says that the version does not load, and what allows it."""
    opened(trust=True).promote(2)
    model.promote(1)
    event = next(one for one in model.history() if one.trusted)
    name, value = event_tag(event)
    model.session.store.write(MODEL, SetModelTag(name, value.replace(',"trusted":true', "")))
    with pytest.raises(UnservableError, match=ASKED):
        opened().rollback.emergency(reason="it flags everybody")
    assert model.overview().champion == 2


@pytest.mark.slow
@pytest.mark.apart
def test_a_promotion_runs_code_where_no_secret_is(
    model: ManagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a model's code sees of this process while it is promoted is no secret, whatever that is called."""
    monkeypatch.setenv("FDS_SERVE_TOKEN", "planted")
    monkeypatch.setenv("DATABASE_URL", "planted")
    seen = tmp_path / "seen"
    spy = f"(open({str(seen)!r}, 'a').write(open('/proc/self/environ').read() or 'x'), rows['amount'])[1]"
    tiny_models.register(MODEL, tiny_models.save(tmp_path, "spy", spy))
    seen.unlink(missing_ok=True)  # it was asked when it was saved
    assert opened(trust=True).promote(3).changed
    assert "PATH=" in seen.read_text()
    assert "planted" not in seen.read_text()
    assert tags.FILES in model.session.version(3).tags
