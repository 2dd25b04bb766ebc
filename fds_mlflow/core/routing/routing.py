"""Key -> bucket -> variant. Stateless: every replica, language and batch job computes the same answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import xxhash

from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.keys import Spelling
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.routing.hashing import xxh64
from fds_mlflow.core.weight import FULL

__all__ = ["SEED", "Route", "RoutingTable", "Split", "Variant", "bucket", "buckets", "effective_rollout"]

SEED = 42
"""Spark SQL's `xxhash64` is XXH64 with this seed, so a Spark job computes the same buckets without a UDF."""


_digest = xxhash.xxh64_intdigest


@dataclass(frozen=True)
class Route:
    """Where one request goes.

    Attributes:
        variant: Champion or canary.
        version: The version that scores it.
        bucket: The key's bucket in [0, 10000); None while no rollout is active.
    """

    variant: Variant
    version: int
    bucket: int | None


class Split:
    """The keys whose bucket lies below a bound; made once for a rollout, and asked for every request.

    Args:
        rollout_id: Of the rollout; it salts the hash.
        below: The bound, in basis points: 0 for no key, 10000 for all.
        salt: Comes before the rollout's id, where keys are to be split apart from the traffic.
    """

    __slots__ = ("_below", "_prefix")

    def __init__(self, rollout_id: str, below: float, *, salt: str = "") -> None:
        self._prefix = f"{salt}{rollout_id}:"
        self._below = below

    def bucket(self, key: str) -> int:
        """The key's bucket in [0, 10000)."""
        return _hashed(self._prefix + key)

    def takes(self, key: str) -> bool:
        """Whether this key is one of them; always the same answer."""
        return _hashed(self._prefix + key) < self._below


@dataclass(frozen=True)
class RoutingTable:
    """What a router needs to know: the champion, and the rollout where one takes traffic.

    Attributes:
        champion: Version that serves.
        rollout: The active rollout against this champion, else None.
    """

    champion: int
    rollout: Rollout | None = None

    @property
    def spelling(self) -> Spelling:
        """How keys are written while this table is in force."""
        return Spelling.CANONICAL if self.rollout is None else self.rollout.spelling

    @cached_property
    def split(self) -> Split:
        """The keys that the canary gets; none while no rollout is active."""
        return Split("", 0) if self.rollout is None else Split(self.rollout.id, self.rollout.weight)

    def route(self, key: str) -> Route:
        """The route of one key."""
        if self.rollout is None:
            return Route(Variant.CHAMPION, self.champion, None)
        number = self.split.bucket(key)
        if number < self.rollout.weight:
            return Route(Variant.CANARY, self.rollout.canary, number)
        return Route(Variant.CHAMPION, self.champion, number)

    def to_canary(self, keys: Iterable[str]) -> npt.NDArray[np.bool_]:
        """For each key, whether the canary gets it: shape (number of keys,), dtype bool."""
        if self.rollout is None:
            return np.zeros(sum(1 for _ in keys), dtype=np.bool_)
        return buckets(self.rollout.id, keys) < self.rollout.weight


def bucket(rollout_id: str, key: str) -> int:
    """XXH64(utf8(rollout_id + ":" + key), seed 42) mod 10000, the 64-bit value taken as unsigned.

    Source: the XXH64 specification, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
    """
    return _hashed(f"{rollout_id}:{key}")


def _hashed(text: str) -> int:
    try:
        encoded = text.encode()
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8; as half a character it has a bucket all the same
        encoded = text.encode(errors="surrogatepass")
    return _digest(encoded, SEED) % FULL


def buckets(rollout_id: str, keys: Iterable[str]) -> npt.NDArray[np.uint64]:
    """`bucket` of every key: shape (number of keys,), dtype uint64, each in [0, 10000).

    The hashing runs over arrays; no Python-level loop touches the keys one by one.
    """
    hashes = xxh64(f"{rollout_id}:", keys if isinstance(keys, (list, tuple)) else list(keys), SEED)
    return hashes - hashes // np.uint64(FULL) * np.uint64(FULL)  # NumPy divides faster than it takes remainders


def effective_rollout(champion: int | None, canary: int | None, rollout: Rollout | None) -> Rollout | None:
    """The rollout that takes traffic, given the two live aliases and the canary version's own tag.

    One rule covers every in-between state: the rollout must be active and must have been started by this
    canary against today's champion. The moment the champion alias moves, the canary is inert.
    """
    if champion is None or canary is None or rollout is None:
        return None
    live = rollout.active and rollout.champion == champion and rollout.canary == canary and canary != champion
    return rollout if live else None
