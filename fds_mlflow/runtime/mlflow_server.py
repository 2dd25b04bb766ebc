"""An MLflow server, asked without MLflow: importing all of it takes seconds that an emergency does not have.

The address and the credentials are read as MLflow's client reads them (`mlflow/utils/credentials.py`), and requests
leave by the same library, with its proxies, certificates and `.netrc`.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from contextlib import suppress
from http import HTTPStatus
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from fds_mlflow.display.redaction import remember, remember_address
from fds_mlflow.runtime.mlflow_client import is_server

if TYPE_CHECKING:
    import requests

_LEFT_TO_MLFLOW = (
    *("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4"),
    *("MLFLOW_WORKSPACE", "MLFLOW_ENABLE_WORKSPACES"),
    "DATABRICKS_RUNTIME_VERSION",
)
"""Variables that change how MLflow's client signs or addresses its requests."""

_PLUGINS = ("mlflow.request_header_provider", "mlflow.model_registry_store")
"""Groups of entry points by which a package adds headers to requests, or another store for an address."""

_STATUS: Mapping[int, str] = {
    HTTPStatus.BAD_REQUEST: "BAD_REQUEST",
    HTTPStatus.UNAUTHORIZED: "UNAUTHENTICATED",
    HTTPStatus.FORBIDDEN: "PERMISSION_DENIED",
    HTTPStatus.NOT_FOUND: "ENDPOINT_NOT_FOUND",
    HTTPStatus.CONFLICT: "RESOURCE_CONFLICT",
    HTTPStatus.TOO_MANY_REQUESTS: "REQUEST_LIMIT_EXCEEDED",
}
"""What a status says where the answer is none of MLflow's: a proxy's, or a login's."""


_CANNOT_SAY = ("ENDPOINT_NOT_FOUND", "PERMISSION_DENIED", "RESOURCE_DOES_NOT_EXIST")
"""What a server answers that does not know who is signed in: everybody may ask that where there is an answer."""


class ServerError(Exception):
    """What a server refused, or that it did not answer.

    Attributes:
        error_code: MLflow's name of it.
    """

    def __init__(self, message: str, error_code: str) -> None:
        super().__init__(message)
        self.error_code = error_code


def address(tracking_uri: str | None, registry_uri: str | None) -> str | None:
    """The registry's server, if requests to it need nothing that only MLflow can do: plugins, SigV4, Spark, databases.

    Args:
        tracking_uri: None for the one MLflow resolves.
        registry_uri: None for the one MLflow resolves.
    """
    tracking = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    named = registry_uri or os.environ.get("MLFLOW_REGISTRY_URI")
    registry = named or tracking
    spark_may_name_one = named is None and "pyspark" in sys.modules
    if not registry or not is_server(registry) or spark_may_name_one:
        return None
    verified = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") and os.environ.get("MLFLOW_TRACKING_INSECURE_TLS")
    if verified or any(os.environ.get(name) for name in _LEFT_TO_MLFLOW):
        return None
    found = entry_points()
    return None if any(found.select(group=group) for group in _PLUGINS) else registry


def signed_in_as(address: str) -> str | None:
    """The user whose credentials are sent to a server: a name, or a token's subject; None where none are sent.

    Only the server can tell whether the credentials are right, and refuses where they are not. Those in an address go
    before those of `.netrc`, and those before the environment's, as the library that sends them has it.
    """
    from requests.utils import get_netrc_auth

    parts = urlsplit(address)
    if parts.username and parts.password:
        return unquote(parts.username)
    kept = get_netrc_auth(address)
    if kept is not None:
        return str(kept[0])
    user, password = _login()
    if user and password:
        return user
    return _subject(os.environ.get("MLFLOW_TRACKING_TOKEN", ""))


def sends_credentials(address: str) -> bool:
    """Whether requests to a server say who asks."""
    return signed_in_as(address) is not None or bool(_headers())


def _login() -> tuple[str | None, str | None]:
    """User and password, from the environment or from MLflow's file."""
    kept = ConfigParser(interpolation=None)
    with suppress(ConfigParserError, OSError, RuntimeError, UnicodeDecodeError):  # MLflow's client says so
        kept.read(Path("~/.mlflow/credentials").expanduser())
    names = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
    user, password = (os.environ.get(name) or kept.get("mlflow", name.lower(), fallback=None) for name in names)
    remember(password)
    return user, password


def _subject(token: str) -> str | None:
    """Who a JSON Web Token is about (RFC 7519, section 4.1.2), unverified: that is the server's to do."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        subject = claims.get("sub")
    except (ValueError, AttributeError, RecursionError):
        return None
    return str(subject) if subject else None


class Server:
    """Requests to an MLflow server's REST API, each of which is tried once.

    Args:
        address: `http://` or `https://`, with what MLflow's `--static-prefix` adds.
        timeout: Seconds one request may take.
    """

    def __init__(self, address: str, *, timeout: float) -> None:
        remember_address(address)
        self._address = address.rstrip("/")
        self._timeout = timeout
        self._sessions: dict[int, requests.Session] = {}  # by process: a forked one must not share the connections

    def current_user(self) -> str | None:
        """The user as whom the server knows whoever asks; None where it lets everybody in, whatever they send.

        A server, or a proxy before it, that cannot say so but lets nobody in without credentials has checked those that
        are sent: their user it is.

        Raises:
            ServerError: It refuses.
            OSError: It could not be reached in time.
        """
        try:
            found = self.call("GET", "users/current")["user"]["username"]
        except (ServerError, LookupError, TypeError) as error:
            if getattr(error, "error_code", "ENDPOINT_NOT_FOUND") not in _CANNOT_SAY:
                raise
            return None if self._lets_everybody_in() else signed_in_as(self._address)
        return str(found)

    def _lets_everybody_in(self) -> bool:
        import requests

        parts = urlsplit(self._address)
        place = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        answer = requests.get(
            f"{place}/api/2.0/mlflow/registered-models/search",
            params={"max_results": 1},
            auth=lambda asked: asked,  # no credentials, those of `.netrc` included
            timeout=self._timeout,
            allow_redirects=False,  # to where people sign in
            **_certificates(),
        )
        return answer.ok and not answer.is_redirect

    def call(self, method: str, endpoint: str, **values: Any) -> dict[str, Any]:
        """One request, such as `call("GET", "registered-models/get", name="fraud")`; its answer.

        Raises:
            ServerError: The server refused, or sent what is no answer of MLflow's.
            OSError: It could not be reached in time.
        """
        import requests

        given = {name: value for name, value in values.items() if value is not None}
        session = self._sessions.setdefault(os.getpid(), requests.Session())
        answer = session.request(
            method,
            f"{self._address}/api/2.0/mlflow/{endpoint}",
            params=given if method == "GET" else None,
            json=None if method == "GET" else given,
            headers=_headers(),
            timeout=self._timeout,
            **_certificates(),
        )
        try:
            found = answer.json() if answer.text.strip() else {}
        except requests.exceptions.JSONDecodeError:
            found = None
        if answer.ok and isinstance(found, dict):
            return found
        if isinstance(found, dict) and "error_code" in found:
            code = str(found["error_code"])
            raise ServerError(f"{code}: {found.get('message', found)}", code)
        code = "INTERNAL_ERROR" if answer.ok else _STATUS.get(answer.status_code, "INTERNAL_ERROR")
        raise ServerError(f"{endpoint} was answered {answer.status_code}, not by MLflow: {answer.text[:200]}", code)


def _certificates() -> dict[str, Any]:
    """What the library that sends requests is told of certificates."""
    return {
        "verify": os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or not _is_set("MLFLOW_TRACKING_INSECURE_TLS"),
        "cert": os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH"),
    }


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("true", "1")


def _headers() -> dict[str, str]:
    """What says who asks; read anew for each request, since tokens are renewed."""
    user, password = _login()
    if user and password:
        return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    remember(token)
    return {"Authorization": f"Bearer {token}"} if token else {}
