"""How the past is laid out: the same words in every store.

A record of an entity's transaction is a row of 8-byte words: time (microseconds), arrival number, then one word a field:
the bits of a float64 for a numeric column, a 64-bit hash for an entity that ``distinct`` counts. Fields are only ever
added at the end, so an older record is a shorter one, and what it lacks is missing.

A label is five words: time of its transaction, when it became known, arrival number, and twice what it adds: to the known
labels, and to the frauds among them. A corrected label is taken back by one that adds the opposite.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import xxhash

from fds_mlflow.features import meaning
from fds_mlflow.features.spec import LABEL_AGGREGATES, FeatureSpec

Words = npt.NDArray[np.int64]

WORD = 8
HEAD = 2
"""Words before the fields of a record."""
LABEL = 5
"""Words of a label."""

_NUMBER, _ENTITY = "number", "entity"
_NAN = struct.pack("<d", float("nan"))
_NOTHING = bytes(WORD)


@dataclass(frozen=True)
class Layout:
    """What is remembered.

    Attributes:
        roles: Entity roles whose past is kept.
        fields: Kind (``number`` or ``entity``) and name of each field, in the order of their words.
        span: Length of the longest window of transactions, microseconds.
        label_span: The same of labels; 0 where no feature looks at them.
        gaps: Whether an entity's last transaction is kept however old it is.
    """

    roles: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = field(default=())
    span: int = 0
    label_span: int = 0
    gaps: bool = False

    @classmethod
    def of(cls, specs: Iterable[FeatureSpec]) -> Self:
        """What the features of some specifications need."""
        layout = cls()
        for spec in specs:
            spans = {of_labels: [0] for of_labels in (False, True)}
            for item in spec.windows:
                spans[item.aggregate in LABEL_AGGREGATES] += [meaning.micros(window) for window in item.windows]
            layout = layout.joined(
                cls(
                    tuple(meaning.roles(spec)),
                    (
                        *((_NUMBER, name) for name in meaning.aggregated(spec)),
                        *((_ENTITY, name) for name in meaning.counted(spec)),
                    ),
                    max(spans[False]),
                    max(spans[True]),
                    bool(spec.gaps),
                )
            )
        return layout

    def joined(self, other: Layout) -> Self:
        """This layout with what another one needs beside it, at the end."""
        return replace(
            self,
            roles=tuple(dict.fromkeys((*self.roles, *other.roles))),
            fields=tuple(dict.fromkeys((*self.fields, *other.fields))),
            span=max(self.span, other.span),
            label_span=max(self.label_span, other.label_span),
            gaps=self.gaps or other.gaps,
        )

    @property
    def width(self) -> int:
        """Words of a record."""
        return HEAD + len(self.fields)

    def word(self, kind: str, name: str) -> int:
        """The place of a field among the words of a record."""
        return HEAD + self.fields.index((kind, name))

    def widened(self, records: bytes, width: int) -> bytes:
        """Records of fewer words, with what they lack."""
        lacking = b"".join(_NAN if kind == _NUMBER else _NOTHING for kind, _ in self.fields[width - HEAD :])
        size = width * WORD
        return b"".join(records[at : at + size] + lacking for at in range(0, len(records), size))

    def to_json(self) -> bytes:
        """The layout as it is kept with the past."""
        return json.dumps([self.roles, self.fields, self.span, self.label_span, self.gaps]).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """The layout that was kept."""
        roles, fields, *rest = json.loads(text)
        return cls(tuple(roles), tuple((kind, name) for kind, name in fields), *rest)


def entity(role: str, value: str) -> bytes:
    """The key of an entity: 16 bytes, so that any value may be one, and a store keeps no names."""
    return xxhash.xxh3_128_digest(f"{role}\0{value}".encode())


def hashed(value: str | None) -> bytes:
    """The word of an entity that is counted; 0 for none."""
    return _NOTHING if value is None else struct.pack("<Q", xxhash.xxh3_64_intdigest(value.encode()) or 1)


def number(value: float) -> bytes:
    """The word of a numeric column."""
    return struct.pack("<d", value)


def words(data: bytes, width: int) -> Words:
    """Records or labels as a table: shape (rows, width), int64."""
    return np.frombuffer(data, dtype="<i8").reshape(-1, width)
