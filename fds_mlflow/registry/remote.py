"""What every road to MLflow's registry has: its address, how long its calls take, who is signed in, and its errors."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from fds_mlflow.errors import FdsError
from fds_mlflow.registry.store import DeleteAlias, Write
from fds_mlflow.runtime import mlflow_client, mlflow_server


class RemoteStore:
    """The part of the registry port that does not depend on how the registry is asked.

    Args:
        uri: Address of the registry.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._took: deque[float] = deque(maxlen=8)
        self._identified: tuple[str | None] | None = None

    @property
    def latency(self) -> float:
        """Seconds that the last calls took, on average; 0 before the first."""
        return sum(self._took) / len(self._took) if self._took else 0.0

    @property
    def user(self) -> str | None:
        """Whose credentials are sent to a server, if any; nobody signs in to a database's file."""
        return mlflow_server.signed_in_as(self.uri) if self.uri.startswith("http") else None

    def signed_in(self) -> str | None:
        """The user as whom the server itself knows us, asked once; None where it cannot be told.

        It says nothing where the server does not answer: what happened is recorded all the same, as unverified.
        """
        if not self.uri.startswith("http") or not mlflow_server.sends_credentials(self.uri):
            return None
        if self._identified is None:
            try:
                server = mlflow_server.Server(self.uri, timeout=mlflow_client.HTTP_TIMEOUT)
                self._identified = (server.current_user(),)
            except (mlflow_server.ServerError, OSError):
                return None
        return self._identified[0]

    @contextmanager
    def _measured(self) -> Iterator[None]:
        """Measure a call, if it succeeds: one that fails says how long it was waited for."""
        began = time.monotonic()
        yield
        self._took.append(time.monotonic() - began)

    def _translated(self, error: Exception, model: str, write: Write | None) -> FdsError:
        """What was raised while a model was asked about, or written to, as one of our errors."""
        about, needs = f"model {model!r}", _permission(write)
        return mlflow_client.translated(error, self.uri, about=about, user=self.user, needs=needs)


def _permission(write: Write | None) -> str:
    """What a user needs on the registered model, as MLflow's servers call it, for a write, or to read (None)."""
    if write is None:
        return "READ"
    return "MANAGE" if isinstance(write, DeleteAlias) else "EDIT"
