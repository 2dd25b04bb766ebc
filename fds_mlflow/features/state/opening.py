"""A state by its address: a folder, or the URL of a server that replicas share."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path

from fds_mlflow.errors import ConfigError
from fds_mlflow.features.state.store import Store

Address = str | PathLike[str]
"""A folder, or a URL: `redis_store.EXAMPLE`, `sql_store.EXAMPLE`."""


def opened(address: Address) -> Store:
    """The store at an address; begun where there is none.

    Raises:
        ConfigError: It is no such address, or the package that it needs is not installed.
        UnavailableError: It cannot be read or written.
    """
    text = fspath(address)
    scheme, mark, _ = text.partition("://")
    if not mark:
        from fds_mlflow.features.state.lmdb_store import LmdbStore

        return LmdbStore(Path(text))
    from fds_mlflow.features.state import redis_store

    if scheme in redis_store.SCHEMES:
        return redis_store.RedisStore(text)
    from fds_mlflow.features.state import sql_store

    if scheme.partition("+")[0] == "postgresql":
        return sql_store.SqlStore(text)
    raise ConfigError(
        f"a state cannot be kept in {scheme}://", fix=f"name a folder, {redis_store.EXAMPLE} or {sql_store.EXAMPLE}"
    )
