"""Segments: parts of the traffic that are judged by themselves as well, by a column of the request."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite, isnan
from typing import Any

from fds_mlflow.core.text.checks import check_keys, is_number
from fds_mlflow.core.text.numbers import whole
from fds_mlflow.errors import ConfigError

MOST = 50
"""Segments that a plan may name; what is none of them is `OTHER`."""

LONGEST = 64
"""Characters of a segment's name."""

OTHER = "other"
"""What belongs to no segment that is named: other values, none at all, or no number where bands are asked for."""

EXAMPLE = "segments: {column: country, values: [KR, US]}, or {column: amount, edges: [50, 500]}"
SEGMENT_KEYS = ("column", "values", "edges", "share")


@dataclass(frozen=True)
class Segments:
    """Parts of the traffic that every guardrail is judged in as well, each with its part of alpha.

    Attributes:
        column: The column of the request.
        values: Its values, each with its weight in alpha; a list gives all the same. Empty where there are edges.
        edges: Where bands of numbers begin and end, rising: a value of an edge belongs to the band above it.
        share: Part of the plan's alpha that the segments get, in (0, 1); the whole traffic keeps the rest. It is split
            by the weights, and what is `OTHER` weighs 1.

    Raises:
        ConfigError: A value is out of range, or there are neither values nor edges, both, or more than `MOST`.
    """

    column: str
    values: Mapping[str, float] | Iterable[str] = field(default=(), hash=False)
    edges: tuple[float, ...] = ()
    share: float = 0.5

    def __post_init__(self) -> None:
        given = self.values
        listed = given if isinstance(given, Mapping) else dict.fromkeys(map(_named, _listed("values", given)), 1.0)
        object.__setattr__(self, "values", {_named(name): weight for name, weight in listed.items()})
        object.__setattr__(self, "edges", tuple(_listed("edges", self.edges)))
        self._check(len(given) if isinstance(given, list | tuple) else len(listed))

    def _check(self, given: int) -> None:
        if not isinstance(self.column, str) or not self.column:
            raise ConfigError(f"segments: column is {self.column!r}", fix="name a column of the request")
        if bool(self.values) == bool(self.edges):
            raise ConfigError("segments: give either values or edges", fix=f"write {EXAMPLE}")
        if max(given, len(self.edges)) > MOST:
            raise ConfigError(
                f"segments: {max(given, len(self.edges))} are named, more than {MOST}",
                fix=f"name the largest {MOST}; the rest are {OTHER!r}",
            )
        assert isinstance(self.values, Mapping)
        if len(self.values) < given or OTHER in self.values:
            raise ConfigError(f"segments: a value is named twice, or is {OTHER!r}", fix="name each value once")
        for name, weight in self.values.items():
            if not 0 < len(name) <= LONGEST:
                raise ConfigError(f"segments: {name!r} has {len(name)} characters", fix=f"name 1 to {LONGEST}")
            if not is_number(weight) or weight <= 0:
                raise ConfigError(f"segments: the weight of {name!r} is {weight!r}", fix="give a number above 0")
        if not all(map(is_number, self.edges)) or any(a >= b for a, b in pairwise(self.edges)):
            raise ConfigError(f"segments: edges are {list(self.edges)}", fix="list rising numbers, such as [50, 500]")
        if not is_number(self.share) or not 0 < self.share < 1:
            raise ConfigError(f"segments: share is {self.share!r}, not in (0, 1)", fix="give a share such as 0.5")

    @property
    def weights(self) -> Mapping[str, float]:
        """Every segment's part of `share`: they add up to 1. Bands weigh the same."""
        assert isinstance(self.values, Mapping)
        named = self.values or dict.fromkeys(self._bands, 1.0)
        total = sum(named.values()) + 1.0
        return {name: weight / total for name, weight in {**named, OTHER: 1.0}.items()}

    @property
    def _bands(self) -> tuple[str, ...]:
        first, last = self.edges[0], self.edges[-1]
        return f"below {first:g}", *(f"{a:g} to {b:g}" for a, b in pairwise(self.edges)), f"from {last:g}"

    def of(self, value: Any) -> str:
        """The segment that a value of the column belongs to."""
        if not self.edges:
            name = _named(value)
            return name if name in self.values else OTHER
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            return OTHER
        return OTHER if isnan(number) else self._bands[bisect_right(self.edges, number)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values; defaults are left out."""
        found: dict[str, Any] = {"column": self.column}
        if self.edges:
            found["edges"] = [whole(edge) for edge in self.edges]
        else:
            assert isinstance(self.values, Mapping)
            alike = set(self.values.values()) == {1.0}
            found["values"] = list(self.values) if alike else {k: whole(v) for k, v in self.values.items()}
        return found | ({} if self.share == Segments.share else {"share": self.share})

    @classmethod
    def from_dict(cls, values: Any) -> Segments:
        """Read segments from plain values.

        Raises:
            ConfigError: A key is unknown or missing, or a value is out of range.
        """
        if not isinstance(values, Mapping) or "column" not in values:
            raise ConfigError(f"segments is {values!r}, without a column", fix=f"write {EXAMPLE}")
        check_keys("the segments", values, SEGMENT_KEYS)
        return cls(**values)


def _named(value: Any) -> str:
    """A value as a text: whole numbers without a fraction, whatever reader they come from."""
    if isinstance(value, float) and isfinite(value) and value == int(value):
        value = int(value)
    return str(value)


def _listed(name: str, values: Any) -> Iterable[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ConfigError(f"segments: {name} is {values!r}, not a list", fix=f"write {EXAMPLE}")
    return values
