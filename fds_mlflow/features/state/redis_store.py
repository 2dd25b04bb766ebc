"""Values in a Redis or Valkey that several replicas share.

A transaction is one script, which the server runs whole: it gives the number, appends the rows to the open runs and
answers with these and with the names of the sealed ones, of which a client fetches those that it does not know. So a
transaction sees exactly what has a smaller number, and nobody waits for a lock. Whoever fills an open run seals it
afterwards, by a second script that does nothing where somebody else did so. What else is written is read first, and
written by a script that does nothing where any of it has changed.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha1
from importlib import resources
from itertools import islice
from typing import Any

from fds_mlflow.display.redaction import redacted, remember_address
from fds_mlflow.errors import ConfigError, DataError, NotFoundError, UnavailableError
from fds_mlflow.features.state import logs
from fds_mlflow.features.state.entry import COUNT, META, NUMBER, Added, Entry, Label, changed
from fds_mlflow.features.state.fetched import RUNS, Fetched, Place, Runs, parted, place_of
from fds_mlflow.features.state.remembered import ENTITY, Remembered
from fds_mlflow.features.state.rows import OPEN
from fds_mlflow.features.state.store import KEY, ChangedError, Part, Value, Values

SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss"}
"""Schemes of addresses, and what the client calls them."""

EXAMPLE = "redis://host:6379/0?namespace=fraud"

TIMEOUT = 0.5
"""Seconds within which the server has to be connected, and has to answer."""

_TOKEN = b"token"
_EXACT = 2**53
_LOOKED_AT = 200
"""Entities that one script looks through."""

log = logging.getLogger(__name__)


class RedisStore:
    """Values in a Redis or Valkey.

    Args:
        address: ``redis://[[user]:password@]host[:port][/database][?namespace=...]``; `SCHEMES`. A namespace parts the
            states that one database holds.
        timeout: Seconds to connect, and to be answered.
        cached: Bytes of sealed runs to keep in this process.
        begin: Whether a state is made where there is none.

    Raises:
        ConfigError: The package is not installed, the address cannot be used, or the server may drop keys.
        NotFoundError: There is no state.
        UnavailableError: It cannot be reached.
    """

    def __init__(self, address: str, *, timeout: float = TIMEOUT, cached: int = RUNS, begin: bool = True) -> None:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError:
            raise ConfigError(
                "the state is in a Redis, and the package that talks to it is not installed",
                fix="pip install 'fds-mlflow[redis]'",
            ) from None
        remember_address(address)
        self._redis, self._shown = redis, redacted(address)
        scheme, _, rest = address.partition("://")
        rest, namespace = parted(rest, EXAMPLE)
        self._prefix = f"fds:{namespace}:".encode()
        self._runs = Runs(cached)
        # A connection that the server has closed is opened anew, once; what came twice by that counts once.
        retry = Retry(NoBackoff(), 1, supported_errors=(redis.exceptions.ConnectionError,))
        try:
            self._client = redis.Redis.from_url(
                f"{SCHEMES[scheme]}://{rest}",
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                retry=retry,
                retry_on_error=[],
                redis_connect_func=self._connected,
            )
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{self._shown} cannot be used: {error}", fix=f"write it like {EXAMPLE}") from None
        self._script = self._client.register_script(_script())
        self._token = b""
        with self._told():
            self._check(self._client.info("memory"), self._client.info("persistence"))
            meta = self._prefix + META
            if begin:
                self._client.hsetnx(meta, _TOKEN, secrets.token_bytes(8))
            token = self._client.hget(meta, _TOKEN)
        if token is None:
            raise NotFoundError(f"there is no state in {self._shown}", fix="name what --state names, or load one first")
        self._token = token

    def _connected(self, connection: Any) -> None:
        connection.on_connect()
        self._runs.clear()

    def _check(self, memory: Mapping[str, Any], persistence: Mapping[str, Any]) -> None:
        policy = memory.get("maxmemory_policy", "noeviction")
        if memory.get("maxmemory") and policy.startswith("allkeys"):
            raise ConfigError(
                f"{self._shown} drops keys when its memory is full (maxmemory-policy {policy}), and windows with them",
                fix="set its maxmemory-policy to noeviction, or name a server of its own",
            )
        if not persistence.get("aof_enabled"):
            log.warning("%s has no append-only file: what it holds is lost when it ends (appendonly yes)", self._shown)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._redis.exceptions.RedisError as error:
            said, fix = str(error), "see that it runs, can be reached, and is not overloaded; then do the same again"
            if "LOST" in said:
                said = "it was emptied, or begun anew, since this process opened it"
                fix = "load a history into it (fds features load), and start the server again"
            elif "maxmemory" in said:
                fix = "give it more memory (maxmemory), or keep shorter windows; nothing was written"
            raise UnavailableError(f"the state in {self._shown} is not available: {said}", fix=fix) from error

    def _run(self, act: str, *given: Any) -> Any:
        with self._told():
            return self._script(args=[self._prefix, self._token, OPEN, act, *given])

    # --- transactions --------------------------------------------------------------------------------------

    def _fetched(self, keys: Sequence[bytes] = (), parts: Sequence[Part] = ()) -> Fetched:
        """What is there of keys and parts, as of one moment."""
        found = Fetched(self._whole, self._one)
        while True:
            asked: list[Any] = [len(keys), *keys, len(parts)]
            for key, part in parts:
                asked += [place_of(key, part), part]
            wholes, ones = self._run("read", *asked)
            found.ones = dict(zip(parts, ones, strict=True))
            if self._hold(found, keys, wholes):
                return found

    def _hold(self, found: Fetched, places: Sequence[Place], wholes: Sequence[Sequence[Any]]) -> bool:
        """Take what a script told of places; whether all of their sealed runs were still there to be fetched."""
        unknown: list[tuple[dict[bytes, Value], Place, bytes]] = []
        for place, flat in zip(places, wholes, strict=True):
            held: dict[bytes, Value] = {}
            for part, value in zip(flat[::2], flat[1::2], strict=True):
                kept = self._runs.get(place, part, value) if isinstance(value, int) else value
                if kept is None:
                    unknown.append((held, place, part))
                else:
                    held[part] = kept
            found.wholes[place] = held
        if not unknown:
            return True
        with self._told():
            pipeline = self._client.pipeline(transaction=False)
            for _, place, part in unknown:
                pipeline.hget(self._prefix + place, part)
            values = pipeline.execute()
        for (held, place, part), value in zip(unknown, values, strict=True):
            if value is not None:
                held[part] = value
                self._runs.put(place, part, value)
        return None not in values

    def _whole(self, place: Place) -> Mapping[bytes, Value]:
        return self._fetched([place]).wholes[place]

    def _one(self, key: bytes, part: bytes) -> Value | None:
        return self._fetched(parts=[(key, part)]).ones[key, part]

    @contextmanager
    def reading(self, keys: Sequence[bytes] = (), parts: Sequence[Part] = ()) -> Iterator[Values]:
        """See `Store`: of one moment is what was said to be asked for."""
        yield self._fetched(keys, parts) if keys or parts else Fetched(self._whole, self._one)

    @contextmanager
    def writing(self, keys: Sequence[bytes] = (), parts: Sequence[Part] = ()) -> Iterator[Values]:
        """See `Store`."""
        found = self._fetched(keys, parts) if keys or parts else Fetched(self._whole, self._one)
        yield found
        if found.written and not self._run("write", *_expected(found), *_written(found)):
            raise ChangedError(f"the state in {self._shown} was changed meanwhile", fix="do the same again")

    @contextmanager
    def adding(self, entry: Entry) -> Iterator[Added]:
        """See `Store`."""
        of = entry.remembered
        if not -_EXACT < of.time < _EXACT:
            raise DataError("a time lies beyond the year 2255, up to which Redis counts exactly", fix="correct it")
        places, _ = entry.looked_at
        given: list[Any] = [entry.layout, entry.key, of.written(), entry.record, len(entry.record) // 8, entry.since]
        given.append(len(places))
        for place, counted in zip(places, entry.counted, strict=True):
            given += [place, len(counted), *(one for at, value in counted for one in (bytes([at]), value))]
        added = self._run("add", *given)
        if added is None:
            raise changed()
        told, last, wholes, full = added
        kept = None if told is None else Remembered.read(told)
        number, found = last if kept is None else kept.number, Fetched(self._whole, self._one)
        if not self._hold(found, places, wholes):  # a run was merged meanwhile
            found = self._fetched(places, [NUMBER])
            last = COUNT.unpack(found.get(*NUMBER) or bytes(COUNT.size))[0]
        yield Added(kept, number, last, [dict(found.parts(place)) for place in places])
        self._seal(full, found)

    def label(self, label: Label) -> bool:
        """See `Store`."""
        there, full = self._run("label", label.key, int(label.fraud), label.known, label.delay, int(label.logged))
        self._seal(full, Fetched(self._whole, self._one))
        return bool(there)

    def _seal(self, full: Sequence[bytes], found: Values) -> None:
        """Seal open runs, each named by its place and log."""
        for place, name in zip(full[::2], full[1::2], strict=True):
            parts = found.parts(place)
            opened = logs.open_part(name)
            rows = dict(parts).get(opened)
            if rows is not None:
                gone, part, sealed = logs.sealing(name, logs.open_columns(rows), parts)
                if self._run("seal", place, opened, bytes(rows), part, sealed, len(gone), *gone):
                    self._runs.put(place, part, sealed)

    # --- all of it -----------------------------------------------------------------------------------------

    def keys(self, kind: bytes, *, until: int | None = None) -> Iterator[bytes]:
        """See `Store`."""
        found = self._keys(kind)
        if until is None:
            yield from found
            return
        while some := list(islice(found, _LOOKED_AT)):
            yield from self._run("stale", until, len(some), *some)

    def _keys(self, kind: bytes) -> Iterator[bytes]:
        with self._told():
            for name in self._client.scan_iter(match=self._prefix + kind + b"*", count=1_000):
                yield name[len(self._prefix) :]

    def bytes(self) -> int:
        """See `Store`; as the server counts it."""
        total = 0
        with self._told():
            names = self._client.scan_iter(match=self._prefix + b"*", count=1_000)
            while some := list(islice(names, 1_000)):
                pipeline = self._client.pipeline(transaction=False)
                for name in some:
                    pipeline.memory_usage(name)
                total += sum(size or 0 for size in pipeline.execute())
        return total

    def sync(self) -> None:
        """See `Store`: when the disk has it is up to the server."""

    def close(self) -> None:
        """See `Store`."""
        self._client.close()


def _expected(found: Fetched) -> list[Any]:
    """What has to be as it was looked at; see `acts.write` in the script."""
    ones: dict[Place, dict[bytes, Value | None]] = {}
    for (key, part), value in found.ones.items():
        ones.setdefault(place_of(key, part), {})[part] = value
    given: list[Any] = [len(found.wholes) + len(ones)]
    for places, whole in ((found.wholes, True), (ones, False)):
        for place, parts in places.items():
            given += [place, len(parts) if whole else -1, len(parts)]
            for part, value in parts.items():
                given += [part, _seen(place, part, value)]
    return given


def _seen(place: Place, part: bytes, value: Value | None) -> Any:
    if value is None:
        return b""
    if place[:1] == ENTITY and len(place) == KEY and logs.is_sealed(part):
        return len(value)
    return sha1(value, usedforsecurity=False).hexdigest()


def _written(found: Fetched) -> Iterable[Any]:
    every = [(place, part, value) for place, parts in found.written.items() for part, value in parts.items()]
    gone = [(place, part) for place, part, value in every if value is None]
    put = [(place, part, value) for place, part, value in every if value is not None]
    yield len(gone)
    for one in gone:
        yield from one
    yield len(put)
    for three in put:
        yield from three


@lru_cache
def _script() -> str:
    return resources.files(__package__).joinpath("redis.lua").read_text(encoding="utf-8")
