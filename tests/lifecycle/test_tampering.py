"""Files that somebody changed after they were registered are refused wherever a version is loaded, and never serve."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner

from fds_mlflow import ManagedModel, Plan
from fds_mlflow.cli import main
from fds_mlflow.errors import FdsError, RefusedError, UnservableError
from fds_mlflow.registry import tags
from fds_mlflow.registry.doctor import Severity
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.runtime import model_files
from fds_mlflow.scoring.fetched import fetching
from fds_mlflow.serving.disk.version_cache import VersionCache
from fds_mlflow.serving.host.follower import Follower
from fds_mlflow.serving.host.prepare import prepare
from fds_mlflow.serving.worker.engine import Engine
from fds_mlflow.workflows import adopt
from tests.conftest import FakeClock
from tests.support import tiny_models
from tests.support.effort import graded

MODEL = "fraud"
CHANGED = "not those that were recorded"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three LightGBM models, trained once."""
    folder = tmp_path_factory.mktemp("boosters")
    return [tiny_models.booster(folder / str(number), seed=number) for number in range(3)]


class Place:
    """A model whose versions lie in folders that anybody may write to."""

    def __init__(self, folder: Path, saved: list[Path]) -> None:
        self.folders = [
            Path(shutil.copytree(path, folder / f"version {place + 1}")) for place, path in enumerate(saved)
        ]
        self.model = ManagedModel(MODEL, actor="ann", outcomes="sqlite://")

    def register(self, *, digest: bool = True) -> None:
        """All three, in order."""
        for folder in self.folders:
            tiny_models.register(MODEL, folder, digest=digest)

    def change(self, version: int) -> None:
        """Turn its scores round, past everybody."""
        tiny_models.negated(self.folders[version - 1])

    def other(self) -> ManagedModel:
        """The same model in a process that has loaded nothing yet."""
        return ManagedModel(MODEL, actor="bob", outcomes="sqlite://")

    def server(self, folder: Path, clock: FakeClock) -> tuple[Follower, Engine]:
        """What a server's host and its worker do, on a cache."""
        cache = VersionCache(folder, MODEL, "here")
        store = MlflowStore()
        follower = Follower(MODEL, store, cache, lambda version, place: prepare(store, MODEL, version, place), clock)
        return follower, Engine(cache)


@pytest.fixture
def place(mlflow_uri: str, tmp_path: Path, saved: list[Path]) -> Place:
    """A model whose versions are three boosters."""
    return Place(tmp_path, saved)


DOORS: dict[str, Callable[[ManagedModel], object]] = {
    "promote": lambda model: model.promote(2),
    "canary start": lambda model: model.canary.start(2, plan=Plan([10, 100])),
    "scorer": lambda model: model.scorer(2),
    "compare": lambda model: model.compare(1, 2, data=tiny_models.EXAMPLE.assign(label=[0, 1, 0])),
    "adopt": lambda model: adopt(model, 2, threshold=0.5),
    "adopt its source": lambda model: adopt(model, "models:/fraud/2", threshold=0.5),
}


@pytest.mark.parametrize("door", graded(DOORS))
@pytest.mark.tested(6)
def test_no_door_opens_to_changed_files(place: Place, door: str) -> None:
    """The refusal comes before anything is loaded, shows both digests, and nothing has changed."""
    place.register()
    place.model.promote(1)
    place.change(2)
    with pytest.raises(RefusedError, match=CHANGED) as caught:
        DOORS[door](place.other())
    assert "as a new version" in caught.value.fix
    assert place.model.overview().champion == 1
    assert len(place.model.history()) == 1


@pytest.mark.slow
def test_a_canary_that_was_changed_is_not_completed_and_may_be_aborted(place: Place) -> None:
    """What a rollout was about must be what becomes champion; stopping it needs no files."""
    place.register()
    place.model.promote(1)
    place.model.canary.start(2, plan=Plan([10]))
    place.change(2)
    with pytest.raises(RefusedError, match=CHANGED):
        place.other().canary.complete(force=True, reason="it looks good")
    place.model.canary.abort(reason="its files were changed")
    assert place.model.overview().rollout is None


@pytest.mark.slow
def test_the_history_outlives_a_tag_that_was_rewritten_with_the_files(place: Place) -> None:
    """Whoever rewrites the tag as well is found out by what the promotion recorded; doctor puts the tag right."""
    place.register()
    place.model.promote(1)
    event = place.model.history()[0]
    assert event.files is not None
    assert event.files.startswith(model_files.digest(place.folders[0]))
    place.change(1)
    client = mlflow.MlflowClient()
    client.set_model_version_tag(MODEL, "1", tags.FILES, model_files.digest(place.folders[0]))
    with pytest.raises(RefusedError, match=f"{CHANGED}.*the history says"):
        place.other().scorer(1)
    tiny_models.negated(place.folders[0])  # back again, but for how the numbers are written
    shutil.rmtree(place.folders[0])
    shutil.copytree(place.folders[0].parents[0] / "version 2", place.folders[0])
    with pytest.raises(RefusedError, match=CHANGED):
        place.other().scorer(1)


@pytest.mark.slow
def test_validate_and_doctor_say_it(place: Place) -> None:
    """A changed champion is a danger, a changed way back fails its validation, and both show it on the command line."""
    place.register()
    place.model.promote(1)
    place.model.promote(2)
    healthy = place.other().rollback.validate(1)
    assert "files sha256:" in healthy.checks[1].detail
    assert "as recorded" in healthy.checks[1].detail
    assert place.model.doctor() == []
    place.change(1)
    place.change(2)
    failed = place.model.rollback.validate(1)  # also by a process that had loaded it before
    assert not failed.passed
    assert CHANGED in failed.checks[1].detail
    found = place.model.doctor()
    assert [(one.severity, CHANGED in one.what) for one in found] == [(Severity.DANGER, True)] * 2
    told = CliRunner().invoke(main, ["doctor", MODEL])
    assert told.exit_code == 1
    assert CHANGED in " ".join(told.stdout.split())


def test_an_emergency_goes_first_and_says_it_loudly(place: Place) -> None:
    """The alias has moved before any file is read; then the error names the next candidate, and that one serves."""
    place.register()
    for version in (1, 2, 3):
        place.model.promote(version)
    place.change(2)
    moved: list[int] = []
    with pytest.raises(UnservableError, match=CHANGED) as caught:
        place.other().rollback.emergency(reason="it flags everybody", on_moved=moved.append)
    assert moved == [2]
    assert "version 1" in caught.value.fix
    assert place.other().rollback.emergency(reason="files were changed").event.to_version == 1  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_router_keeps_what_it_has_and_a_fresh_one_serves_nothing(place: Place) -> None:
    """Changed files reach nobody who had the right ones, and nobody who had none."""
    place.register()
    place.model.promote(1)
    frame = tiny_models.EXAMPLE.assign(transaction_id=["a", "b", "c"])
    router = place.other().router(record=False, poll_seconds=0.0)
    before = router.predict(frame)["score"].tolist()
    place.change(1)
    assert router.predict(frame)["score"].tolist() == before
    with pytest.raises(FdsError, match=CHANGED):
        place.other().router(record=False).predict(frame)


@pytest.mark.slow
def test_a_server_serves_from_its_verified_cache_or_not_at_all(
    place: Place, tmp_path: Path, fake_clock: FakeClock
) -> None:
    """With the right files in its cache a server starts; with none it does not, and says why."""
    place.register()
    place.model.promote(1)
    follower, engine = place.server(tmp_path / "cache", fake_clock)
    assert follower.poll(wait=True) is not None
    assert engine.follow()
    place.change(1)
    follower, engine = place.server(tmp_path / "cache", fake_clock)
    table = follower.poll(wait=True)
    assert table is not None
    assert table.problem is None
    assert engine.follow()
    fresh, empty = place.server(tmp_path / "another", fake_clock)
    assert fresh.poll(wait=True) is None
    assert CHANGED in (empty.cache.reason or "")
    assert not empty.follow()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["model/model.lgb", "native.txt", "native.json", "one more"])
def test_a_cache_that_was_changed_is_not_loaded_and_is_prepared_again(
    place: Place, tmp_path: Path, fake_clock: FakeClock, what: str
) -> None:
    """Any file of a prepared version: a worker refuses it, and the next server fetches the version anew."""
    place.register()
    place.model.promote(1)
    follower, engine = place.server(tmp_path / "cache", fake_clock)
    follower.poll(wait=True)
    (folder,) = engine.cache.folder.glob("version-1-*")
    path = folder / what
    path.write_bytes((path.read_bytes() if path.exists() else b"") + b"\n")
    with pytest.raises(FdsError, match="changed on this machine"):
        engine.follow()
    follower, engine = place.server(tmp_path / "cache", fake_clock)
    follower.poll(wait=True)
    assert engine.follow()


@pytest.mark.slow
def test_a_cache_of_an_earlier_release_is_held_against_the_history(
    place: Place, tmp_path: Path, fake_clock: FakeClock
) -> None:
    """Prepared without a digest, a version serves if its files are the recorded ones; else it is prepared again."""
    place.register()
    place.model.promote(1)
    follower, engine = place.server(tmp_path / "cache", fake_clock)
    follower.poll(wait=True)
    (folder,) = engine.cache.folder.glob("version-1-*")
    description = folder / "version.json"
    earlier = description.read_text().replace('"files"', '"_files"').replace('"seal"', '"_seal"')
    description.write_text(earlier)
    follower, engine = place.server(tmp_path / "cache", fake_clock)
    follower.poll(wait=True)
    assert description.read_text() == earlier
    assert engine.follow()
    tiny_models.negated(folder / "model")
    follower, engine = place.server(tmp_path / "cache", fake_clock)
    follower.poll(wait=True)
    assert description.read_text() != earlier
    assert engine.follow()


@pytest.mark.slow
def test_without_a_digest_a_version_serves_and_the_first_promotion_records_one(place: Place) -> None:
    """Versions that MLflow alone registered go on as they were, and are held to what their promotion looked at."""
    place.register(digest=False)
    assert "no digest is recorded" in place.model.rollback.validate(1).checks[1].detail
    place.model.promote(1)
    place.other().scorer(1)
    place.change(1)
    with pytest.raises(RefusedError, match=CHANGED):
        place.other().scorer(1)


@pytest.mark.slow
def test_doctor_records_what_serves_without_a_digest(place: Place) -> None:
    """A champion of an earlier release: doctor notes it, its fix records the files as they are, and then they count."""
    place.register(digest=False)
    client = mlflow.MlflowClient()
    client.set_registered_model_alias(MODEL, "champion", "1")
    place.model.settle()
    (found,) = [one for one in place.model.doctor() if "digest" in one.what]
    assert (found.severity, "the champion (version 1)" in found.what) == (Severity.NOTE, True)
    place.model.doctor(fix=True)
    assert client.get_model_version(MODEL, "1").tags[tags.FILES] == model_files.digest(place.folders[0])
    assert [one for one in place.model.doctor() if "digest" in one.what] == []
    place.change(1)
    with pytest.raises(RefusedError, match=CHANGED):
        place.other().scorer(1)


@pytest.mark.slow
def test_what_is_read_is_a_copy_of_ones_own(place: Place) -> None:
    """Between the check and the reading nobody gets in: the files are read where nobody else writes, and then go."""
    place.register()
    scorer = place.model.scorer(1)
    folder = Path(scorer.folder)
    assert place.folders[0] not in (folder, *folder.parents)
    assert folder.stat().st_mode & 0o077 == 0
    place.model.session._scorers.clear()
    del scorer
    assert not folder.exists()
    with pytest.raises(ZeroDivisionError), fetching() as folder_of_nothing:
        _ = 1 / 0
    assert not Path(folder_of_nothing).exists()
