"""MLflow's client at the edge: addresses checked before it tries them for minutes, and its errors as ours."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fds_mlflow.display.redaction import remember_address
from fds_mlflow.errors import (
    ConfigError,
    ConflictError,
    DataError,
    FdsError,
    NotFoundError,
    RefusedError,
    StaleError,
    UnavailableError,
)
from fds_mlflow.runtime.streams import safe_prints

if TYPE_CHECKING:
    from mlflow import MlflowClient

HTTP_TIMEOUT = 10.0
"""Seconds one HTTP request may take. MLflow's own 120 s would make a dead operation look alive for minutes."""

_CALL_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(int(HTTP_TIMEOUT)),
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # whoever ends a run would have its address, password included
}
_settings_lock = threading.Lock()
_settings_users = 0
_settings_before: dict[str, str | None] = {}

EXAMPLE = "sqlite:///mlflow.db or http://127.0.0.1:5000"

TRANSIENT = frozenset(
    # BAD_REQUEST is how MLflow reports an integrity error of two first writes, or a deadlock. ENDPOINT_NOT_FOUND is how
    # its client reads a 404 that is no answer of MLflow's: a load balancer without a server behind it.
    (
        "BAD_REQUEST",
        "ENDPOINT_NOT_FOUND",
        "RESOURCE_EXHAUSTED",
        "INTERNAL_ERROR",
        "TEMPORARILY_UNAVAILABLE",
        "REQUEST_LIMIT_EXCEEDED",
        "DEADLINE_EXCEEDED",
    )
)
DATABASE_TIMEOUT = 20.0
"""Seconds to wait for a database: as long as MLflow's own connections wait for an SQLite file's lock."""

_CODES: tuple[tuple[type[FdsError], str], ...] = (
    (NotFoundError, "RESOURCE_DOES_NOT_EXIST"),
    (StaleError, "RESOURCE_CONFLICT"),
    (ConflictError, "RESOURCE_CONFLICT"),
    (UnavailableError, "TEMPORARILY_UNAVAILABLE"),
    (RefusedError, "INVALID_STATE"),
    (ConfigError, "INVALID_PARAMETER_VALUE"),
    (DataError, "INVALID_PARAMETER_VALUE"),
)
"""MLflow's code of each of our errors, the narrower ones first."""

_LOGIN = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
_FIXES = {"UNAUTHENTICATED": f"set {_LOGIN}, to who may"}


def client(tracking_uri: str | None, registry_uri: str | None, *, timeout: float = DATABASE_TIMEOUT) -> MlflowClient:
    """MLflow's client, with both its stores open.

    Args:
        tracking_uri: None for the one MLflow resolves.
        registry_uri: None for the one MLflow resolves.
        timeout: Seconds to wait for a database.

    Raises:
        ConfigError: An address is malformed, of no known kind, or its driver is not installed.
        UnavailableError: A database cannot be reached, or is none.
    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    from fds_mlflow.runtime import databases

    tracking = tracking_uri or mlflow.get_tracking_uri()
    shown = registry_uri or tracking
    remember_address(tracking)
    remember_address(shown)
    try:
        _check(tracking, timeout)
        made = mlflow.MlflowClient(tracking_uri=tracking_uri, registry_uri=registry_uri)
        shown = str(made._registry_uri)
        if shown != tracking:
            _check(shown, timeout)
        made._get_registry_client()  # opens the store, which checks the address
    except (MlflowException, SQLAlchemyError, OSError, ValueError, ImportError) as error:
        raise ConfigError(
            f"{shown} cannot be used as a registry: {databases.reason(error)[:300].strip()}",
            fix=f"give a tracking URI such as {EXAMPLE}, by --tracking-uri before the verb or MLFLOW_TRACKING_URI",
        ) from None
    return made


def _check(address: str, timeout: float) -> None:
    """Refuse an address that cannot work; MLflow would try a database ten times, for minutes."""
    from mlflow.store.db.db_types import DATABASE_ENGINES

    from fds_mlflow.runtime import databases

    scheme = address.partition("://")[0].partition("+")[0].lower()
    if scheme in DATABASE_ENGINES:
        databases.reach(address, named="the MLflow database", timeout=timeout)
    elif scheme in ("http", "https") and not is_server(address):
        raise ValueError("it does not name a host, or its port is no number")


def is_server(address: str) -> bool:
    """Whether an address is one of a server: a scheme, a host, and no port that is none."""
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an open bracket, or a port that is no number: the text quotes what may be a password
        return False


def named(name: str, found: Any) -> Any:
    """What MLflow answered about a model or an experiment.

    Raises:
        ConnectionError: It is about another one.
    """
    require_about(name, found.name)
    return found


def require_about(name: str, answered: object) -> None:
    """Refuse an answer about another model or experiment: a proxy's empty answer is no model without versions.

    Raises:
        ConnectionError: It is about another one.
    """
    if answered != name:
        raise ConnectionError(f"the answer is not about {name!r}, so it is not MLflow's")


def is_absent_alias(error: Exception) -> bool:
    """Whether MLflow says that a model has no such alias, or no such version; every other error says nothing of it.

    Servers up to 3.16 keep the alias of a version that was deleted; later ones delete both.
    """
    absent = {"INVALID_PARAMETER_VALUE": "alias", "RESOURCE_DOES_NOT_EXIST": "model version"}
    said = absent.get(getattr(error, "error_code", ""))
    return said is not None and said in str(error).lower()


@contextmanager
def absent_tag_is_fine(kind: type[Exception]) -> Iterator[None]:
    """Pass over MLflow's saying that the tag to delete is not there; `kind` is what its client raises."""
    try:
        yield
    except kind as error:
        if getattr(error, "error_code", "") != "RESOURCE_DOES_NOT_EXIST" or "tag" not in str(error).lower():
            raise


def versions_of(model: str) -> str:
    """The filter that finds a model's versions, in MLflow's language, which knows no escape."""
    quote = '"' if "'" in model else "'"
    return f"name={quote}{model}{quote}"


def translated(
    error: Exception,
    address: str,
    *,
    about: str,
    what: str = "registry",
    user: str | None = None,
    needs: str | None = None,
) -> FdsError:
    """What MLflow's client says, as one of our errors.

    Args:
        error: From MLflow, or from a library below it.
        address: Where the request went.
        about: What was asked for, such as `model 'fraud'`.
        what: Which of the two was asked: the registry, or tracking.
        user: Who is signed in.
        needs: The permission that it takes, as MLflow's servers call it; None where that is not known.
    """
    unknown = "NOT_IMPLEMENTED" if isinstance(error, NotImplementedError) else "INTERNAL_ERROR"
    code = getattr(error, "error_code", unknown)
    lines = [line for line in str(error).splitlines() if not line.startswith("(raised as a result")]
    text = (lines or [type(error).__name__])[0][:400]
    if code == "RESOURCE_DOES_NOT_EXIST":
        return NotFoundError(
            f"the {what} does not know it ({about}): {text}",
            fix="see what there is with `fds list` and `fds show MODEL`",
        )
    if code in TRANSIENT:
        return UnavailableError(
            f"the {what} at {address} did not answer: {text}",
            fix="check that the server runs and the tracking URI is right, then try again",
            # What MLflow's client raises in the course of a library's error is about the way, not from the server.
            answered=code == "INTERNAL_ERROR" and error.__context__ is None and hasattr(error, "error_code"),
        )
    if isinstance(error, NotImplementedError):
        return RefusedError(f"the {what} at {address} has no such thing ({about}): {text}", fix="use another one")
    if code == "PERMISSION_DENIED":
        which = "permission" if needs is None else f"permission {needs}"
        return RefusedError(
            f"permission denied: {user or 'whoever is not signed in'} may not do this ({about}, {what} {address})",
            fix=f"ask who runs the server for the {which}, or set {_LOGIN}, to who has it",
        )
    return RefusedError(f"the {what} refused ({code}): {text}", fix=_FIXES.get(code, "correct what the message names"))


@contextmanager
def answered(address: str, about: str) -> Iterator[None]:
    """Ask the registry at an address once, in short, and turn what MLflow raises about it into our errors.

    Raises:
        FdsError: It cannot be reached, does not know it, or refuses.
    """
    from mlflow.exceptions import MlflowException

    try:
        with short_requests():
            yield
    except (MlflowException, OSError, NotImplementedError) as error:
        raise translated(error, address, about=about) from None


@contextmanager
def as_mlflow() -> Iterator[None]:
    """Raise MLflow's error in place of ours, where MLflow asks us: the same message, with the fix, and its code.

    Raises:
        MlflowException: As above.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode

    try:
        yield
    except FdsError as error:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), "INTERNAL_ERROR")
        raise MlflowException(str(error), error_code=ErrorCode.Value(code)) from error


@contextmanager
def tracking(about: str) -> Iterator[None]:
    """Check MLflow's addresses, then turn what it raises about tracking into our errors; ours go through.

    Raises:
        ConfigError: An address cannot work.
        FdsError: The tracking server cannot be reached, does not know it, or refuses.
    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    client(None, None)
    try:
        with safe_prints(mlflow.get_tracking_uri()):
            yield
    except (MlflowException, SQLAlchemyError, OSError) as error:  # artifacts are uploaded past MLflow's own errors
        raise translated(error, mlflow.get_tracking_uri(), about=about, what="tracking server") from None


@contextmanager
def short_requests() -> Iterator[None]:
    """Turn MLflow's own HTTP retries, its long timeout and its prints off while our calls to it are under way.

    They are settings of the process in MLflow, so users are counted, and the last one puts them back.
    """
    global _settings_users  # noqa: PLW0603
    with _settings_lock:
        if _settings_users == 0:
            for name, value in _CALL_SETTINGS.items():
                _settings_before[name] = os.environ.get(name)
                os.environ[name] = value
        _settings_users += 1
    try:
        yield
    finally:
        with _settings_lock:
            _settings_users -= 1
            if _settings_users == 0:
                for name, before in _settings_before.items():
                    if before is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = before


def active_experiment(client: MlflowClient, name: str) -> str | None:
    """The id of an experiment; None where there is none of that name.

    Raises:
        ConfigError: It was deleted.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        return None
    if named(name, found).lifecycle_stage != "active":
        raise ConfigError(
            f"the experiment {name!r} was deleted",
            fix=f"restore it: mlflow experiments restore --experiment-id {found.experiment_id}",
        )
    return str(found.experiment_id)


def ensured_experiment(client: MlflowClient, name: str, tags: Mapping[str, str] | None = None) -> str:
    """The id of an experiment, made where there is none of that name, with tags.

    Raises:
        ConfigError: It was deleted.
    """
    from mlflow.exceptions import MlflowException

    found = active_experiment(client, name)
    if found is None:
        try:
            return str(client.create_experiment(name, tags=dict(tags or {})))
        except MlflowException as error:
            found = active_experiment(client, name)  # somebody else may have just made it
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
                raise
    return found
