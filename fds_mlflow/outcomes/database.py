"""From a database URL to an engine with today's schema: drivers, SQLite's settings, migrations, errors."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool, StaticPool

from fds_mlflow.errors import ConfigError, DataError, RefusedError, UnavailableError
from fds_mlflow.outcomes.tables import SCHEMA_VERSION, VERSION_TABLE
from fds_mlflow.runtime import databases, environment, owned

DEFAULT_URL = "sqlite:///fds-outcomes.db"

DRIVERS = {"sqlite": ("pysqlite", "aiosqlite"), "postgresql": ("psycopg", "psycopg")}
"""Backend -> the sync and the async driver used where the URL names none, or one of the other kind."""

_SYNC_ONLY = {"pysqlite", "psycopg2", "pg8000"}
_ASYNC_ONLY = {"aiosqlite", "asyncpg", "psycopg_async"}
_UPGRADE_LOCK = 0x6664735F  # "fds_" as a number: the key of PostgreSQL's advisory lock
EXCLUSIVE = {"fds_exclusive": True}
"""Execution options of a connection whose transaction is to be the only writer from its beginning."""


def address(named: str | None) -> str:
    """Where outcomes are: what is named, else the environment's, else the default."""
    return named or environment.setting(environment.OUTCOMES_URI) or DEFAULT_URL


def parse(url: str | URL) -> URL:
    """The URL, checked.

    Raises:
        ConfigError: It is not a database URL, or its database is neither SQLite nor PostgreSQL.
    """
    parsed = databases.parse(url, named="the outcome store's address")
    if parsed.get_backend_name() not in DRIVERS:
        raise ConfigError(
            f"outcomes cannot be kept in {parsed.get_backend_name()!r}: their counts rely on case-sensitive "
            "keys, microseconds and ON CONFLICT, which were proven only on SQLite and PostgreSQL",
            fix="use a sqlite:/// or a postgresql:// URL",
        )
    return parsed


def in_memory(url: URL) -> bool:
    """Whether the database lives, and dies, with its one connection."""
    return url.get_backend_name() == "sqlite" and (
        url.database in {None, "", ":memory:"} or url.query.get("mode") == "memory"
    )


def sync_engine(url: URL, timeout: float) -> Engine:
    """An engine for `url`, whichever driver it names; `timeout` in seconds, for locks and connecting."""
    url = _with_driver(url, asynchronous=False)
    with databases.usable(url):
        engine = create_engine(url, **_options(url, timeout))
    return _tuned(engine, url, timeout)


def async_engine(url: URL, timeout: float) -> AsyncEngine:
    """The async twin of `sync_engine`."""
    url = _with_driver(url, asynchronous=True)
    with databases.usable(url):
        engine = create_async_engine(url, **_options(url, timeout))
    _tuned(engine.sync_engine, url, timeout)
    return engine


def is_current(connection: Connection) -> bool:
    """Whether the schema is today's.

    Raises:
        RefusedError: The schema is newer than this release knows; nothing was changed.
    """
    if not inspect(connection).has_table(VERSION_TABLE):
        return False
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    if found is not None and found > SCHEMA_VERSION:
        raise _unknown(connection, f"{found}, newer than {SCHEMA_VERSION}, the newest this release of fds-mlflow knows")
    return bool(found == SCHEMA_VERSION)


def _unknown(connection: Connection, schema: str) -> RefusedError:
    return RefusedError(
        f"{databases.shown(connection.engine.url)} has the outcome schema {schema}",
        fix="upgrade fds-mlflow here, or use another database",
    )


def require_there(url: URL) -> None:
    """Refuse a file that opening it would create.

    Raises:
        RefusedError: There is none.
    """
    if url.get_backend_name() == "sqlite" and url.database and not in_memory(url) and not Path(url.database).is_file():
        raise RefusedError(f"{databases.shown(url)} is not there", fix="name the outcome store (--outcomes URL)")


def upgrade(connection: Connection) -> None:
    """Bring the schema up to date, in one transaction; the caller commits.

    Several processes may do so at once: SQLite lets only one exclusive transaction begin, PostgreSQL only one
    hold the advisory lock, and whoever waited finds nothing left to do.

    Raises:
        RefusedError: The schema is another release's; nothing was changed.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
    if is_current(connection):
        return
    from alembic import command
    from alembic.config import Config
    from alembic.script.revision import ResolutionError
    from alembic.util import CommandError

    config = Config()
    # Alembic interpolates %-signs, which a path may well contain.
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        if not isinstance(error.__cause__, ResolutionError):
            raise
        found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
        raise _unknown(connection, f"{found}, which this release of fds-mlflow does not know") from None


@contextlib.contextmanager
def translated(url: URL) -> Iterator[None]:
    """Turn a driver's errors into ours, which name the database without its password and the fix.

    Raises:
        UnavailableError: Not reachable, locked for too long, full, read-only, not a database.
        DataError: A value that the database itself refused.
    """
    try:
        yield
    except (exc.IntegrityError, exc.DataError) as error:
        raise DataError(
            f"{databases.shown(url)} refused a value: {error.orig}", fix="correct the value; nothing was written"
        ) from error
    except (exc.DBAPIError, exc.TimeoutError, OSError) as error:
        if isinstance(error, exc.ProgrammingError) and not _forbidden(error):
            raise  # a defect of ours, not a state of the database
        raise UnavailableError(
            f"the outcome store {databases.shown(url)} is not available: {databases.reason(error)}",
            fix="check that it can be reached and written, has space left and is not locked by a long "
            "transaction, then do the same again: what was stored already is not stored twice",
        ) from error


def _forbidden(error: exc.ProgrammingError) -> bool:
    """Whether PostgreSQL says that the user may not do this (SQLSTATE 42501, insufficient_privilege)."""
    return getattr(error.orig, "sqlstate", None) == "42501"


def _with_driver(url: URL, *, asynchronous: bool) -> URL:
    backend, _, driver = url.drivername.partition("+")
    unfit = _SYNC_ONLY if asynchronous else _ASYNC_ONLY
    if driver and driver not in unfit:
        return url
    return url.set(drivername=f"{backend}+{DRIVERS[backend][asynchronous]}")


def _options(url: URL, timeout: float) -> dict[str, Any]:
    # Errors and logs must not carry the batch's transactions.
    options: dict[str, Any] = {"hide_parameters": True}
    if url.get_backend_name() == "postgresql":
        name = "timeout" if url.get_driver_name() == "asyncpg" else "connect_timeout"
        arguments = {name: max(1, round(timeout))}
        return options | {"pool_pre_ping": True, "pool_timeout": timeout, "connect_args": arguments}
    if in_memory(url):
        return options | {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    if url.database and "uri" not in url.query:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    if url.database and url.query.get("mode") in (None, "rwc"):
        owned.claim(Path(url.database.removeprefix("file:").partition("?")[0]))
    # Before 2.0.38 SQLAlchemy opened an asynchronous SQLite file anew for each session.
    pool = AsyncAdaptedQueuePool if url.get_dialect().is_async else QueuePool
    return options | {"poolclass": pool, "pool_timeout": timeout, "connect_args": {"timeout": timeout}}


def _tuned(engine: Engine, url: URL, timeout: float) -> Engine:
    databases.strict(engine, url)
    if engine.dialect.name == "postgresql":
        _wait_at_most(engine, timeout)
    elif not in_memory(url):
        # In memory all sessions share one connection: with the driver's own implicit transactions a session
        # inside another joins it, where an explicit BEGIN would fail.
        _begin_explicitly(engine)
    return engine


def _wait_at_most(engine: Engine, timeout: float) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET lock_timeout = {max(1, round(timeout * 1000))}")
        cursor.execute("SET TIME ZONE 'UTC'")  # elsewhere the first and last hours of the calendar cannot be read
        cursor.close()
        connection.commit()


def _begin_explicitly(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        # The driver would begin transactions at the first write only, and never exclusively.
        connection.isolation_level = None
        cursor = connection.cursor()
        # Readers and the writer do not block each other. The switch, once per file, needs the file for
        # itself: where it is not granted the store works all the same, and the next connection tries again.
        with contextlib.suppress(sqlite3.Error):
            cursor.execute("PRAGMA journal_mode = WAL")
        # The upper pages of every index of ten million outcomes; the default, 2 MB, holds those of one.
        cursor.execute("PRAGMA cache_size = -32768")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        exclusively = connection.get_execution_options().items() >= EXCLUSIVE.items()
        connection.exec_driver_sql("BEGIN IMMEDIATE" if exclusively else "BEGIN")
