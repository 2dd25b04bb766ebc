"""What is remembered of the past, by the features that are to be computed of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import xxhash

from fds_mlflow.errors import ConfigError
from fds_mlflow.features import meaning
from fds_mlflow.features.spec import LABEL_AGGREGATES, FeatureSpec


@dataclass(frozen=True)
class Layout:
    """What is remembered. Names are only ever added, at the end: their places stand for them.

    Attributes:
        roles: Entity roles whose past is kept.
        numbers: Numeric columns of which something is aggregated.
        pairs: Role and counted role of each ``distinct``.
        span: Length of the longest window of transactions, microseconds.
        label_span: The same of labels; 0 where no feature looks at them.
        label_delay: Age from which labels may be used, microseconds.
        gaps: Whether an entity's last transaction is kept however old it is.
    """

    roles: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    span: int = 0
    label_span: int = 0
    label_delay: int = 0
    gaps: bool = False

    @classmethod
    def of(cls, specs: Iterable[FeatureSpec]) -> Self:
        """What the features of some specifications need.

        Raises:
            ConfigError: They use labels from different ages on.
        """
        layout = cls()
        for spec in specs:
            layout = layout.joined(cls._of(spec))
        return layout

    @classmethod
    def _of(cls, spec: FeatureSpec) -> Self:
        spans = {of_labels: [0] for of_labels in (False, True)}
        for item in spec.windows:
            spans[item.aggregate in LABEL_AGGREGATES].append(meaning.reach(spec, item))
        return cls(
            tuple(meaning.roles(spec)),
            tuple(meaning.aggregated(spec)),
            tuple(dict.fromkeys((i.entity, i.column) for i in spec.windows if i.aggregate == "distinct")),
            max(spans[False]),
            max(spans[True]),
            meaning.micros(spec.label_delay) if spec.label_delay and spec.uses_labels else 0,
            bool(spec.gaps),
        )

    def joined(self, other: Layout) -> Self:
        """This layout with what another one needs beside it.

        Raises:
            ConfigError: They use labels from different ages on.
        """
        if self.label_span and other.label_span and self.label_delay != other.label_delay:
            raise ConfigError(
                "two versions use labels from different ages on (label_delay), and one state cannot serve both",
                fix="train them with the same label_delay, or keep a state for each",
            )
        return replace(
            self,
            roles=tuple(dict.fromkeys((*self.roles, *other.roles))),
            numbers=tuple(dict.fromkeys((*self.numbers, *other.numbers))),
            pairs=tuple(dict.fromkeys((*self.pairs, *other.pairs))),
            span=max(self.span, other.span),
            label_span=max(self.label_span, other.label_span),
            label_delay=self.label_delay if self.label_span else other.label_delay,
            gaps=self.gaps or other.gaps,
        )

    def to_json(self) -> bytes:
        """The layout as it is kept with the past."""
        return json.dumps(list(self.__dict__.values())).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """The layout that was kept."""
        roles, numbers, pairs, *rest = json.loads(text)
        return cls(tuple(roles), tuple(numbers), tuple((role, other) for role, other in pairs), *rest)


def entity(role: str, value: str) -> bytes:
    """The key of an entity: 16 bytes, so that any value may be one, and a store keeps no names."""
    return xxhash.xxh3_128_digest(f"{role}\0{value}".encode("utf-8", "surrogatepass"))
