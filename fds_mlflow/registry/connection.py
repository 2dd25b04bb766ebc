"""Which implementation of the registry port an address calls for."""

from __future__ import annotations

from fds_mlflow.errors import ConfigError
from fds_mlflow.registry.server_store import ServerStore
from fds_mlflow.registry.store import ListedStore
from fds_mlflow.runtime import environment, mlflow_server


def connect(
    tracking_uri: str | None = None, registry_uri: str | None = None, *, database: str | None = None
) -> ListedStore:
    """The registry at an address: asked by requests of ours where that will do, else by MLflow's client.

    A registry that cannot hold our tags gets a database beside it.

    Args:
        tracking_uri: None for the one MLflow resolves.
        registry_uri: None for the one MLflow resolves.
        database: SQLAlchemy URL of that database; None for `FDS_OUTCOMES_URI`.

    Raises:
        ConfigError: An address is malformed, of no known kind, or its driver is not installed.
        UnavailableError: A database cannot be reached, or is none.
    """
    server = mlflow_server.address(tracking_uri, registry_uri)
    if server is not None:
        return ServerStore(server)
    from fds_mlflow.registry.mlflow_store import MlflowStore

    store = MlflowStore(registry_uri=registry_uri, tracking_uri=tracking_uri)
    if store.holds_tags:
        return store
    database = database or environment.setting(environment.OUTCOMES_URI)
    if not database:
        raise ConfigError(
            f"the registry {store.uri} cannot hold the tags of this package",
            fix="name a database that all share, to keep them in: FDS_OUTCOMES_URI, or --outcomes before the verb",
        )
    from fds_mlflow.registry.beside import BesideStore

    return BesideStore(store, database)
