"""Database addresses: read, and tried, wherever they come from (outcomes, registry, transactions)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, exc, make_url
from sqlalchemy.pool import NullPool

from fds_mlflow.display.redaction import redacted, remember_address
from fds_mlflow.errors import ConfigError, UnavailableError

EXAMPLE = "sqlite:///file.db or postgresql://user:password@host/database"

LONGEST = 4_096
"""Characters of an address; what looks for passwords in a longer one takes its time."""

_WAITING = {"sqlite": "timeout", "postgresql": "connect_timeout"}
"""Backend -> the driver's option for how many seconds it waits."""

_PACKAGES = {"psycopg": "'psycopg[binary]'", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
"""Module -> the package that brings it, where the two differ."""

_OPTION = re.compile(r"\?[\w.-]+=")


def _is_raw(address: str) -> bool:
    """Whether there is a space before the host, or a second @ before the query, which may have some."""
    rest = address.partition("://")[2]
    user, at, host = rest.partition("@")
    if not at or rest.startswith("/"):
        return False
    query = _OPTION.search(host)
    return re.search(r"\s", user) is not None or "@" in (host if query is None else host[: query.start()])


def parse(address: str | URL, *, named: str) -> URL:
    """A database address, checked.

    Args:
        address: As SQLAlchemy writes it.
        named: What it is the address of, for the message.

    Raises:
        ConfigError: It is no such address, or its user or password would be read as something else.
    """
    remember_address(address if isinstance(address, str) else address.render_as_string(hide_password=False))
    if isinstance(address, str) and len(address) > LONGEST:
        raise ConfigError(f"{named} has {len(address):,} characters", fix=f"write it like {EXAMPLE}")
    if isinstance(address, str) and _is_raw(address):
        # SQLAlchemy ends the password at the first @ and takes the rest for the host, which drivers then print.
        raise ConfigError(
            f"{named} has an @ or a space in its user or password",
            fix="write it percent-encoded: %40 for @, %20 for a space",
        )
    try:
        str(address).encode()  # what came as bytes that are no UTF-8 cannot be
        return make_url(address)
    except (exc.ArgumentError, ValueError):  # ValueError: a port that is no number
        raise ConfigError(f"{named} is not a database URL: {str(address)!a}", fix=f"write it like {EXAMPLE}") from None


def shown(url: URL) -> str:
    """The address for people: without any secret."""
    return redacted(url.render_as_string(hide_password=True))


@contextlib.contextmanager
def usable(url: URL) -> Iterator[None]:
    """Turn what SQLAlchemy says about an address while it makes an engine into an error that names the fix.

    Raises:
        ConfigError: The driver is unknown or not installed, or an option has a wrong value.
    """
    said = shown(url)
    try:
        yield
    except exc.NoSuchModuleError:
        raise ConfigError(
            f"{said} names a database or driver that SQLAlchemy does not know", fix=f"write it like {EXAMPLE}"
        ) from None
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{said} needs the Python package {error.name!r}, which is not installed",
            fix=f"pip install {_PACKAGES.get(error.name or '', error.name)}",
        ) from None
    except (exc.ArgumentError, TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{said} cannot be used: {error}", fix=f"write it like {EXAMPLE}") from None


def strict(engine: Engine, url: URL) -> None:
    """Have an engine refuse options that its driver does not know; what drivers raise then is no database's error."""

    @event.listens_for(engine, "do_connect")
    def _connect(dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
        with usable(url):
            try:
                return dialect.connect(*arguments, **options)
            except dialect.loaded_dbapi.ProgrammingError as error:
                raise ValueError(str(error)) from None


def reason(error: BaseException) -> str:
    """What a driver says, in one line and without SQL."""
    said = str(getattr(error, "orig", None) or error).strip()
    return said.splitlines()[0] if said else type(error).__name__


def reach(address: str, *, named: str, timeout: float) -> None:
    """Connect once, and read what tells a database from another file.

    Args:
        address: As SQLAlchemy writes it; the folder of an SQLite file is created.
        named: What it is the address of, for the message.
        timeout: Seconds to wait for an SQLite file's lock or for PostgreSQL.

    Raises:
        ConfigError: It is no database address, or its driver is not installed.
        UnavailableError: It cannot be reached or opened, is locked, or is not a database.
    """
    url = parse(address, named=named)
    lite = url.get_backend_name() == "sqlite"
    try:
        if lite and url.database and "uri" not in url.query:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        option = _WAITING.get(url.get_backend_name())
        with usable(url):
            engine = create_engine(url, poolclass=NullPool, connect_args={option: round(timeout)} if option else {})
        strict(engine, url)
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA schema_version" if lite else "SELECT 1")
    except (exc.SQLAlchemyError, OSError) as error:
        raise UnavailableError(
            f"{named} at {shown(url)} is not available: {reason(error)}",
            fix="check that it is a database, that it can be reached and written, and that it is not locked",
        ) from None
