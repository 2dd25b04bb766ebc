"""Values in a table of a PostgreSQL database that several replicas share: slower than a Redis, and nothing is new.

Who takes in a transaction or a label holds the row of the number of arrivals meanwhile, so that one follows the other;
who dies or stops lets go of it. What is looked at is fetched in one statement, and what is written is so in one.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from socket import SHUT_RDWR, socket
from typing import Any, TypeVar

from fds_mlflow.errors import ConfigError, NotFoundError, UnavailableError
from fds_mlflow.features.state.entry import COUNT, NUMBER, Added, Entry, Label, add, add_label
from fds_mlflow.features.state.fetched import RUNS, Fetched, Place, Runs, parted
from fds_mlflow.features.state.remembered import Remembered, entity_key
from fds_mlflow.features.state.store import KEY, ChangedError, Part, Value, Values
from fds_mlflow.runtime import databases

EXAMPLE = "postgresql://user:password@host/database?namespace=fraud"

TIMEOUT = 2.0
"""Seconds within which the server has to be connected, and each transaction has to end."""

_PAGE = 1_000
"""Keys that one statement tells."""

Found = TypeVar("Found")

_MAKE = """
CREATE TABLE IF NOT EXISTS {table} (key bytea, part bytea, value bytea NOT NULL, PRIMARY KEY (key, part))
WITH (fillfactor = 70)
"""
_BEGIN = "INSERT INTO {table} VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
_HOLD = "SELECT value FROM {table} WHERE key = %s AND part = %s FOR UPDATE"
_LOOK = """
SELECT key, part, length(value), CASE WHEN substr(key, 1, 1) <> 'e' OR length(part) <= 3 THEN value END
FROM {table} WHERE key = ANY(%s) AND part < '\\xff'
UNION ALL
SELECT key, part, length(value), value
FROM unnest(%s::bytea[], %s::bytea[]) AS asked(key, part) JOIN {table} USING (key, part)
"""
_MANY = "SELECT part, value FROM {table} WHERE key = %s AND part >= '\\xff'"
_RUNS = """
SELECT key, part, value FROM unnest(%s::bytea[], %s::bytea[]) AS asked(key, part) JOIN {table} USING (key, part)
"""
_PUT = """
INSERT INTO {table} SELECT * FROM unnest(%s::bytea[], %s::bytea[], %s::bytea[])
ON CONFLICT (key, part) DO UPDATE SET value = EXCLUDED.value
"""
_DELETE = """
DELETE FROM {table} USING unnest(%s::bytea[], %s::bytea[]) AS gone(key, part)
WHERE {table}.key = gone.key AND {table}.part = gone.part
"""
_KEYS = "SELECT DISTINCT key FROM {table} WHERE key > %s AND key < %s {also} ORDER BY key LIMIT %s"
_FIRST = """
CASE WHEN part >= '\\xff' THEN length(value) - 8 WHEN length(part) > 3 THEN 16 ELSE 8 END
"""
"""Where the moment is that tells how old something is: the last that a value occurred, the first of a run's rows."""
_STALE = "AND " + " + ".join(f"(get_byte(value, {_FIRST} + {at})::bigint << {8 * at})" for at in range(8)) + " <= %s"


class SqlStore:
    """Values in PostgreSQL.

    Args:
        address: As SQLAlchemy writes it, with psycopg for its driver; ``?namespace=`` parts the states of one database.
        timeout: Seconds to connect, and for each transaction.
        cached: Bytes of sealed runs to keep in this process.
        begin: Whether a state is made where there is none.

    Raises:
        ConfigError: The address cannot be used, or the driver is not installed.
        NotFoundError: There is no state.
        UnavailableError: The server cannot be reached, or its database not be written.
    """

    def __init__(self, address: str, *, timeout: float = TIMEOUT, cached: int = RUNS, begin: bool = True) -> None:
        from sqlalchemy import create_engine, event

        rest, namespace = parted(address, EXAMPLE)
        url = databases.parse(rest, named="the state's address")
        if url.drivername not in ("postgresql", "postgresql+psycopg"):
            raise ConfigError(
                f"a state cannot be kept in {url.drivername}",
                fix=f"name a folder, which the processes of one machine share, or write {EXAMPLE}",
            )
        url = url.set(drivername="postgresql+psycopg")
        self._shown, self._timeout = databases.shown(url), timeout
        self._runs = Runs(cached)
        with databases.usable(url):
            import psycopg

            arguments = {"connect_timeout": max(1, round(timeout)), "options": _options(url.query, timeout)}
            self._engine = create_engine(url, hide_parameters=True, pool_timeout=timeout, connect_args=arguments)
        databases.strict(self._engine, url)
        event.listen(self._engine, "connect", lambda *_: self._runs.clear())
        self._table, self._error, self._watch = f"fds_state_{namespace}", psycopg.Error, _Watch(timeout + 0.5)
        if begin:
            self._run(self._make)
        elif not self._run(lambda of: self._execute(of, "SELECT to_regclass('{table}') IS NOT NULL").fetchone()[0]):
            raise NotFoundError(f"there is no state in {self._shown}", fix="name what --state names, or load one first")

    def _make(self, connection: Any) -> None:
        # Two that make it at once would not see each other's.
        self._execute(connection, "SELECT pg_advisory_xact_lock(hashtext('{table}'))")
        self._execute(connection, _MAKE)
        self._execute(connection, _BEGIN, *NUMBER, COUNT.pack(0, 0))

    def _execute(self, connection: Any, statement: str, *given: Any) -> Any:
        return connection.execute(statement.format(table=self._table), given or None, binary=True)

    @contextmanager
    def _told(self) -> Iterator[None]:
        from sqlalchemy import exc

        try:
            yield
        except (self._error, exc.SQLAlchemyError, OSError) as error:
            raise UnavailableError(
                f"the state in {self._shown} is not available: {databases.reason(error)}",
                fix="see that it can be reached and written, and has space left; then do the same again",
            ) from error

    def _run(self, work: Callable[[Any], Found]) -> Found:
        """Do something within a transaction of the database; once more where the connection turns out to be dead."""
        with self._told():
            for again in (False, True):
                pooled = self._engine.raw_connection()
                connection: Any = pooled.driver_connection
                try:
                    with self._watch.watched(connection) as ended:
                        found = work(connection)
                        connection.commit()
                except BaseException as error:
                    dead = isinstance(error, self._error) and connection.closed and not ended.is_set()
                    pooled.invalidate()
                    if again or not dead:
                        raise
                    self._engine.dispose()  # the others have died with it
                else:
                    pooled.close()
                    return found
        raise AssertionError

    # --- transactions --------------------------------------------------------------------------------------

    def _look(self, connection: Any, keys: Sequence[bytes], parts: Sequence[Part]) -> Fetched:
        """What is there of keys and parts, as of one moment."""
        found = Fetched(self._whole, self._one)
        found.wholes |= {key: {} for key in keys}
        found.ones |= dict.fromkeys(parts)
        asked = [list(one) for one in zip(*parts, strict=True)] or [[], []]
        unknown = []
        for key, part, length, value in self._execute(connection, _LOOK, list(keys), *asked):
            kept = value if value is not None else self._runs.get(key, part, length)
            if (key, part) in found.ones:
                found.ones[key, part] = kept
            elif kept is None:
                unknown.append((key, part))
            else:
                found.wholes[key][part] = kept  # type: ignore[index] # made here
        if unknown:
            for key, part, value in self._execute(connection, _RUNS, *map(list, zip(*unknown, strict=True))):
                found.wholes[key][part] = value  # type: ignore[index]
                self._runs.put(key, part, value)
        return found

    def _write(self, connection: Any, found: Fetched) -> None:
        every = [(place[:KEY], part, value) for place, of in found.written.items() for part, value in of.items()]
        gone = [(key, part) for key, part, value in every if value is None]
        put = [one for one in every if one[2] is not None]
        if gone:
            self._execute(connection, _DELETE, *map(list, zip(*gone, strict=True)))
        if put:
            self._execute(connection, _PUT, *map(list, zip(*put, strict=True)))

    def _whole(self, place: Place) -> Mapping[bytes, Value]:
        if len(place) == KEY:
            return self._run(lambda connection: self._look(connection, [place], ())).wholes[place]
        return dict(self._run(lambda connection: self._execute(connection, _MANY, place[:KEY]).fetchall()))

    def _one(self, key: bytes, part: bytes) -> Value | None:
        return self._run(lambda connection: self._look(connection, (), [(key, part)])).ones[key, part]

    @contextmanager
    def reading(self, keys: Sequence[bytes] = (), parts: Sequence[Part] = ()) -> Iterator[Fetched]:
        """See `Store`: of one moment is what was said to be asked for."""
        asked = keys or parts
        yield self._run(lambda of: self._look(of, keys, parts)) if asked else Fetched(self._whole, self._one)

    @contextmanager
    def writing(self, keys: Sequence[bytes] = (), parts: Sequence[Part] = ()) -> Iterator[Values]:
        """See `Store`."""
        with self.reading(keys, parts) as found:
            yield found
        if found.written:
            self._run(lambda connection: self._write_unchanged(connection, found))

    def _write_unchanged(self, connection: Any, found: Fetched) -> None:
        self._execute(connection, _HOLD, *NUMBER)
        own = [place for place in found.wholes if len(place) == KEY]
        now = self._look(connection, own, list(found.ones)) if own or found.ones else Fetched(self._whole, self._one)
        for place in found.wholes:
            if len(place) > KEY:
                now.wholes[place] = dict(self._execute(connection, _MANY, place[:KEY]).fetchall())
        if (now.wholes, now.ones) != (found.wholes, found.ones):
            raise ChangedError(f"the state in {self._shown} was changed meanwhile", fix="do the same again")
        self._write(connection, found)

    @contextmanager
    def adding(self, entry: Entry) -> Iterator[Added]:
        """See `Store`."""
        keys, parts = entry.looked_at

        def take(connection: Any) -> Added:
            self._execute(connection, _HOLD, *NUMBER)
            found = self._look(connection, keys, [*parts, (entry.key, b"")])
            added = add(found, found, entry)
            self._write(connection, found)
            return added

        yield self._run(take)

    def label(self, label: Label) -> bool:
        """See `Store`."""

        def take(connection: Any) -> bool:
            self._execute(connection, _HOLD, *NUMBER)
            found = self._look(connection, (), [NUMBER, (label.key, b"")])
            kept = found.ones[label.key, b""]
            if kept is not None and label.logged:
                entities = [entity_key(own) for own in Remembered.read(kept).entities]
                found.wholes |= self._look(connection, entities, ()).wholes
            there = add_label(found, label)
            self._write(connection, found)
            return there

        return self._run(take)

    # --- all of it -----------------------------------------------------------------------------------------

    def keys(self, kind: bytes, *, until: int | None = None) -> Iterator[bytes]:
        """See `Store`."""
        after, also = kind, () if until is None else (until,)
        statement = _KEYS.replace("{also}", _STALE if also else "")

        def page(connection: Any) -> list[tuple[bytes]]:
            given = (after, bytes([kind[0] + 1]), *also, _PAGE)
            found: list[tuple[bytes]] = self._execute(connection, statement, *given).fetchall()
            return found

        while some := self._run(page):
            for (key,) in some:
                yield key
            after = some[-1][0]

    def bytes(self) -> int:
        """See `Store`; with the table's index."""
        statement = "SELECT pg_total_relation_size('{table}')"
        return int(self._run(lambda connection: self._execute(connection, statement).fetchone()[0]))

    def sync(self) -> None:
        """See `Store`: the server does so before it acknowledges, unless it was told otherwise."""

    def close(self) -> None:
        """See `Store`."""
        self._engine.dispose()


def _options(query: Mapping[str, Any], timeout: float) -> str:
    """What a session is told: to give up, and to let go of what it holds when its client stops."""
    limits = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    return " ".join([str(query.get("options", "")), *(f"-c {name}={round(timeout * 1000)}" for name in limits)])


class _Watch:
    """Cuts connections whose transaction takes too long: a server that has stopped keeps none of its own limits.

    Args:
        timeout: Seconds.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._due: dict[threading.Event, tuple[float, int]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watched(self, connection: Any) -> Iterator[threading.Event]:
        """Watch a connection; the event tells whether it was cut."""
        ended = threading.Event()
        with self._changed:
            self._due[ended] = (time.monotonic() + self._timeout, connection.fileno())
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="fds-state", daemon=True)
                self._thread.start()
            if len(self._due) == 1:
                self._changed.notify()
        try:
            yield ended
        finally:
            with self._changed:
                self._due.pop(ended, None)

    def _watch(self) -> None:
        while True:
            with self._changed:
                while not self._due:
                    self._changed.wait()
                for ended, (due, number) in list(self._due.items()):
                    if due <= time.monotonic():
                        del self._due[ended]
                        ended.set()
                        with suppress(OSError):
                            _cut(number)
            time.sleep(self._timeout / 8)


def _cut(number: int) -> None:
    """End both directions of a socket; whoever waits for it finds it closed."""
    with socket(fileno=os.dup(number)) as shared:
        shared.shutdown(SHUT_RDWR)
