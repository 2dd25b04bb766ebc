"""A state by its address: a folder, or the URL of a server that replicas share."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path

from fds_mlflow.errors import ConfigError, NotFoundError
from fds_mlflow.features.state.store import Store

Address = str | PathLike[str]
"""A folder, which the processes of one machine share, or the URL of a Redis, a Valkey or a PostgreSQL."""


def opened(address: Address, *, begin: bool = True) -> Store:
    """The store at an address.

    Args:
        address: The address.
        begin: Whether one is made where there is none.

    Raises:
        ConfigError: It is no such address, or the package that it needs is not installed.
        NotFoundError: There is none.
        UnavailableError: It cannot be read or written.
    """
    text = fspath(address)
    scheme, mark, _ = text.partition("://")
    if not mark:
        from fds_mlflow.features.state.lmdb_store import FILE, LmdbStore

        if not begin and not (Path(text) / FILE).is_file():
            raise NotFoundError(f"there is no state in {text}", fix="name what --state names, or load one first")
        return LmdbStore(Path(text))
    from fds_mlflow.features.state import redis_store

    if scheme in redis_store.SCHEMES:
        return redis_store.RedisStore(text, begin=begin)
    from fds_mlflow.features.state import sql_store

    if scheme.partition("+")[0] == "postgresql":
        return sql_store.SqlStore(text, begin=begin)
    raise ConfigError(
        f"a state cannot be kept in {scheme}://", fix=f"name a folder, {redis_store.EXAMPLE} or {sql_store.EXAMPLE}"
    )
