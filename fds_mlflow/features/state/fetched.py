"""Values of a store that is far away, as one transaction looked at them; what it writes is kept until it ends."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qsl, urlencode

from fds_mlflow.errors import ConfigError
from fds_mlflow.features.state.store import MANY, Part, Value

RUNS = 2**28
"""Bytes of sealed runs that a process keeps of a store."""

NAMESPACE = "fds"
"""Whose the state is where an address names no namespace."""

Place = bytes
"""A key, or a key and `MANY`: where parts lie that are told together."""


def place_of(key: bytes, part: bytes) -> Place:
    """Where a part is: the many of a key do not lie between the others."""
    return key + MANY if part[:1] == MANY else key


class Fetched:
    """See `Values`.

    Args:
        whole: Fetches all parts of a place.
        one: Fetches a part.

    Attributes:
        wholes: Places of which all parts were looked at.
        ones: Parts that were looked at one by one.
        written: By place, the new values of parts; None of those that go.
    """

    def __init__(
        self, whole: Callable[[Place], Mapping[bytes, Value]], one: Callable[[bytes, bytes], Value | None]
    ) -> None:
        self._whole, self._one = whole, one
        self.wholes: dict[Place, Mapping[bytes, Value]] = {}
        self.ones: dict[Part, Value | None] = {}
        self.written: dict[Place, dict[bytes, bytes | None]] = {}

    def get(self, key: bytes, part: bytes) -> Value | None:
        """See `Values`."""
        place = place_of(key, part)
        new = self.written.get(place, {})
        if part in new:
            return new[part]
        if place in self.wholes:
            return self.wholes[place].get(part)
        if (key, part) not in self.ones:
            self.ones[key, part] = self._one(key, part)
        return self.ones[key, part]

    def put(self, key: bytes, part: bytes, value: bytes) -> None:
        """See `Values`."""
        self.written.setdefault(place_of(key, part), {})[part] = value

    def delete(self, key: bytes, part: bytes) -> None:
        """See `Values`."""
        self.written.setdefault(place_of(key, part), {})[part] = None

    def parts(self, key: bytes, *, many: bool = False) -> Sequence[tuple[bytes, Value]]:
        """See `Values`."""
        place = key + MANY if many else key
        if place not in self.wholes:
            self.wholes[place] = self._whole(place)
        found: dict[bytes, Value | None] = {**self.wholes[place], **self.written.get(place, {})}
        return sorted((part, value) for part, value in found.items() if value is not None)


class Runs:
    """Sealed runs that were fetched, those that were asked for last: nobody changes them, so they are fetched once.

    A server that comes back without what it had last may give a name again: `clear` when it was away.

    Args:
        limit: Bytes that they may take.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._size = limit, 0
        self._kept: OrderedDict[tuple[Place, bytes, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, place: Place, part: bytes, length: int) -> bytes | None:
        """A run; None where it is not kept, or has lost rows since."""
        with self._lock:
            found = self._kept.get((place, part, length))
            if found is not None:
                self._kept.move_to_end((place, part, length))
            return found

    def put(self, place: Place, part: bytes, value: bytes) -> None:
        """Keep one."""
        with self._lock:
            if self._kept.setdefault((place, part, len(value)), value) is value:
                self._size += len(value)
            while self._size > self._limit:
                self._size -= len(self._kept.popitem(last=False)[1])

    def clear(self) -> None:
        """Keep none."""
        with self._lock:
            self._kept.clear()
            self._size = 0


def parted(address: str, example: str) -> tuple[str, str]:
    """An address without its namespace, and that: it parts the states that one database holds.

    Raises:
        ConfigError: It is none.
    """
    rest, mark, query = address.partition("?")
    parameters = parse_qsl(query, keep_blank_values=True)
    namespace = dict(parameters).get("namespace", NAMESPACE)
    if not re.fullmatch("[a-z][a-z0-9_]{0,39}", namespace):
        raise ConfigError(
            f"{namespace!a} is no namespace: up to 40 of a-z, 0-9 and _, a letter first", fix=f"write it like {example}"
        )
    kept = urlencode([one for one in parameters if one[0] != "namespace"])
    return rest + (mark + kept if kept else ""), namespace
