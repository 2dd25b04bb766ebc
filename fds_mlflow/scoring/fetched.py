"""A version's files in a folder of one's own, held against what is recorded of them."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from fds_mlflow.errors import FdsError, RefusedError
from fds_mlflow.registry.history import read_history
from fds_mlflow.registry.recorded import Recorded, looked_at, recorded
from fds_mlflow.registry.store import RegistryStore, VersionView
from fds_mlflow.runtime import model_files
from fds_mlflow.scoring.code import code_in, trust_fix


@dataclass(frozen=True)
class Fetched:
    """A version's files, on disk.

    Attributes:
        model: Registered model.
        view: The version as the registry has it.
        folder: Where they are.
        digest: Theirs.
        recorded: What is recorded of them.
        code: What of them is code that runs when the version is loaded; None where they are data.
    """

    model: str
    view: VersionView
    folder: str
    digest: str
    recorded: Recorded
    code: str | None

    @property
    def noted(self) -> str:
        """What an event keeps of them."""
        return looked_at(self.digest, self.view)

    def require_allowed(self) -> None:
        """Refuse code that nobody has allowed to run.

        Raises:
            RefusedError: There is some.
        """
        if self.code is not None and not self.recorded.allows_code(self.digest):
            raise RefusedError(
                f"loading it would run code that came with it: {self.code}; nobody has allowed that",
                fix=trust_fix(self.model, self.view.version),
            )


@contextlib.contextmanager
def fetching(*, keep: bool = True) -> Iterator[str]:
    """A new folder for a model's files, readable by its owner alone; it is removed where anything goes wrong.

    Args:
        keep: Leave it there where nothing does.
    """
    folder = tempfile.mkdtemp(prefix="fds-model-")
    kept = False
    try:
        yield folder
        kept = keep
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def fetched(
    store: RegistryStore,
    model: str,
    view: VersionView,
    folder: str,
    *,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    held: bool = True,
) -> Fetched:
    """Fetch a version's files into an empty folder.

    Args:
        store: The registry.
        model: Registered model.
        view: The version as the registry has it.
        folder: Where to put them.
        tracking_uri: None for the one MLflow resolves.
        registry_uri: None for the one MLflow resolves.
        held: Hold them against what is recorded.

    Raises:
        RefusedError: They are not those that are recorded, or cannot be fetched.
        UnavailableError: The registry cannot be reached.
    """
    import mlflow

    known = recorded(read_history(store.read(model).tags), view)
    # MLflow 3.17 resolves models:/ at its own address whatever it is told, and writes a file of its own into the
    # folder that it finds there; so we ask for the place ourselves.
    client = mlflow.MlflowClient(tracking_uri, registry_uri)
    try:
        place = client.get_model_version_download_uri(model, str(view.version))
        found = model_files.download(place, folder, tracking_uri=tracking_uri)
    except FdsError as error:
        what = f"the artifacts of version {view.version} of {model!r} do not load: {error.what}"
        raise RefusedError(what, fix=error.fix) from error
    except Exception as error:
        raise RefusedError(
            f"the artifacts of version {view.version} of {model!r} do not load: {type(error).__name__}: {error}",
            fix="check the artifact store and the model's files, or register it again",
        ) from error
    if held:
        known.require(found)
    return Fetched(model, view, folder, found, known, code_in(folder))
