"""Which implementation of the registry port an address calls for."""

from __future__ import annotations

from fds_mlflow.registry.server_store import ServerStore
from fds_mlflow.registry.store import ListedStore
from fds_mlflow.runtime import mlflow_server


def connect(tracking_uri: str | None = None, registry_uri: str | None = None) -> ListedStore:
    """The registry at an address: asked by requests of ours where that will do, else by MLflow's client.

    Args:
        tracking_uri: None for the one MLflow resolves.
        registry_uri: None for the one MLflow resolves.

    Raises:
        ConfigError: An address is malformed, of no known kind, or its driver is not installed.
        UnavailableError: A database cannot be reached, or is none.
    """
    server = mlflow_server.address(tracking_uri, registry_uri)
    if server is not None:
        return ServerStore(server)
    from fds_mlflow.registry.mlflow_store import MlflowStore

    return MlflowStore(registry_uri=registry_uri, tracking_uri=tracking_uri)
