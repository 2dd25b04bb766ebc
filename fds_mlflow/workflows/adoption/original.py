"""A model that is there already, wherever it was logged: found, fetched and loaded, and left as it is."""

from __future__ import annotations

import json
import re
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from fds_mlflow.display.redaction import redacted
from fds_mlflow.errors import ConfigError, DataError, FdsError, NotFoundError, RefusedError
from fds_mlflow.lifecycle.session import Session
from fds_mlflow.registry.recorded import recorded
from fds_mlflow.registry.store import VersionView
from fds_mlflow.runtime import mlflow_client, model_files
from fds_mlflow.scoring import apart
from fds_mlflow.scoring.code import code_in
from fds_mlflow.scoring.fetched import fetching
from fds_mlflow.scoring.scorer import opened

_RUN = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Original:
    """A model to adopt.

    Attributes:
        uri: Where MLflow loads it from.
        loaded: MLflow's pyfunc.
        folder: Its files, on disk.
        view: The version of the managed model that it is already; None where it is none.
        source: Where MLflow's registry finds it; None to have MLflow find that out.
        run_id: Run that logged it, as far as the registry knows.
        digest: Of its files.
    """

    uri: str
    loaded: Any
    folder: str
    view: VersionView | None = None
    source: str | None = None
    run_id: str | None = None
    digest: str = ""

    @property
    def called(self) -> str:
        """Its address for people and for the version's tag, without secrets."""
        return redacted(self.uri)

    @property
    def is_folder(self) -> bool:
        """Whether it lies in a folder of this machine, past MLflow: no server takes that for a source."""
        logged = self.source is not None or self.uri.startswith(("models:/", "runs:/"))
        return not logged and (self.uri.startswith("file:") or "://" not in self.uri)

    @property
    def model_id(self) -> str | None:
        """MLflow's id of the logged model; None for one of before MLflow 3."""
        return getattr(self.loaded.metadata, "model_id", None) or None


@contextmanager
def addressed(session: Session) -> Iterator[None]:
    """Have MLflow's own functions use a session's addresses, and say what goes wrong as our errors.

    Raises:
        FdsError: MLflow cannot be reached, does not know what it was asked for, or refuses.
    """
    import mlflow

    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    own = session.tracking_uri or before[0], session.registry_uri or session.tracking_uri or before[1]
    try:
        if own != before:
            mlflow.set_tracking_uri(own[0])
            mlflow.set_registry_uri(own[1])
        with mlflow_client.tracking(f"a model to adopt as {session.name!r}"):
            yield
    finally:
        if own != before:
            mlflow.set_tracking_uri(before[0])
            mlflow.set_registry_uri(before[1])


def original(session: Session, source: int | str) -> Original:
    """The model that a version, a run or an address names.

    Args:
        session: With the model that it is to become a version of.
        source: A version's number, a run's id, any address that MLflow loads a model from, or a folder.

    Raises:
        ConfigError: It names nothing.
        NotFoundError: There is no such version, run or model.
        RefusedError: The version is not READY, the run has several models, the model does not load, its files are not
            those that were recorded, or it brings code and the session does not trust it.
    """
    text = str(source).strip()
    if not text:
        raise ConfigError("no model is named", fix="name a version, a run or an address such as models:/NAME/3")
    if text.isdecimal():
        return _of_version(session, session.name, int(text))
    with addressed(session):
        uri = _of_run(text) if _RUN.fullmatch(text) else text
        name, version = _registered(uri)
    if name is not None and version is not None:
        return _of_version(session, name, version)
    found = _loaded(session, uri)
    known = _known(session, found)
    if known is not None:
        recorded(session.look().history, known).require(found.digest)
    return replace(found, view=known)


def tagged(session: Session, tag: str, uri: str) -> VersionView | None:
    """The newest version whose tag says that this was adopted as it; None where there is none."""
    return next((view for view in _versions(session) if view.tags.get(tag) == uri), None)


def _of_version(session: Session, name: str, number: int) -> Original:
    view = session.store.version(name, number)
    view.require_ready(name)
    found = _loaded(session, f"models:/{name}/{number}", (name, view))
    return replace(found, view=view if name == session.name else None, source=view.source, run_id=view.run_id)


def _loaded(session: Session, uri: str, version: tuple[str, VersionView] | None = None) -> Original:
    try:
        with addressed(session), fetching() as folder:
            if version is not None:
                files = session.fetched(*version, folder)
                digest, code, allowed = files.digest, files.code, files.recorded.allows_code(files.digest)
            else:
                digest, allowed = model_files.download(uri, folder), False
                code = code_in(folder)
            if code is not None and not (session.trust or allowed):
                raise RefusedError(
                    f"loading it would run code that came with it: {code}",
                    fix=f"if you know who made it, allow it by name: `fds adopt {session.name} {uri} --trust` (in"
                    " Python ManagedModel(NAME, trust=True))",
                )
            if code is None:
                apart.probe(folder, digest)
            loaded = opened(folder, None) if code is None else apart.loaded(folder)
            weakref.finalize(loaded, shutil.rmtree, folder, ignore_errors=True)
            return Original(uri, loaded, folder, digest=digest)
    except FdsError as error:
        if not isinstance(error, RefusedError | DataError):
            raise
        raise RefusedError(f"{uri} does not load: {error.what}", fix=error.fix) from None
    except Exception as error:
        raise RefusedError(
            f"{uri} does not load: {type(error).__name__}: {str(error)[:500]}",
            fix="check the address, and install the packages that the model names in its requirements.txt",
        ) from error


def _registered(uri: str) -> tuple[str | None, int | None]:
    """Name and version where an address names a registered model: by number, alias or stage."""
    if not uri.startswith("models:/") or re.fullmatch(r"models:/m-[0-9a-f]{32}", uri):
        return None, None
    from mlflow import MlflowClient
    from mlflow.store.artifact.utils.models import get_model_name_and_version

    name, version = get_model_name_and_version(MlflowClient(), uri)
    return str(name), int(version)


def _of_run(run_id: str) -> str:
    """The address of the one model that a run has logged."""
    from mlflow import MlflowClient

    client = MlflowClient()
    run = client.get_run(run_id)
    logged = client.search_logged_models(
        experiment_ids=[run.info.experiment_id], filter_string=f"source_run_id = '{run_id}'"
    )
    found = [str(model.model_uri) for model in logged]
    if not found:  # of before MLflow 3
        history = json.loads(run.data.tags.get("mlflow.log-model.history", "[]"))
        found = list(dict.fromkeys(f"runs:/{run_id}/{entry['artifact_path']}" for entry in history))
    if len(found) != 1:
        shown = ", ".join(found) or "none"
        raise RefusedError(
            f"the run {run_id} has logged {len(found)} models: {shown}",
            fix="name the one to adopt" if found else "name a run that has logged a model, or the model's address",
        )
    return found[0]


def _known(session: Session, found: Original) -> VersionView | None:
    """The version of the managed model that has the same source; None where there is none."""
    if found.model_id is None:
        return None
    places = (f"models:/{found.model_id}", f"/{found.model_id}/")
    return next((v for v in _versions(session) if v.source == places[0] or places[1] in v.source), None)


def _versions(session: Session) -> list[VersionView]:
    try:
        return session.versions()
    except NotFoundError:
        return []
