"""Everything that answers a request at one moment: the table, the versions in memory, and the type of a request."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import msgspec
import xxhash

from fds_mlflow.core.plan import FULL
from fds_mlflow.core.routing import SEED
from fds_mlflow.errors import DataError
from fds_mlflow.serving.columns import DECODED
from fds_mlflow.serving.loaded import Loaded
from fds_mlflow.serving.rows import Piece, Row
from fds_mlflow.serving.shelf import Table

_KEY = str | int | float | bool | None
"""What a routing key or transaction may be in JSON, where it is no column of the model."""


@dataclass
class State:
    """Everything that answers a request, never changed once made.

    Attributes:
        table: What is served.
        champion: The champion.
        canary: The canary where a rollout takes traffic and it loaded.
        key: Column of the routing key.
        transaction: Column that labels are joined on.
    """

    table: Table
    champion: Loaded
    canary: Loaded | None
    key: str
    transaction: str
    kinds: dict[str, str] = field(init=False)
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        rollout = self.table.routing.rollout
        self.rollout_id = rollout.id if rollout else None
        self.prefix = f"{rollout.id}:" if rollout else ""
        self.step = rollout.step if rollout else 0
        self.weight = rollout.weight if rollout else 0
        canary = self.canary or self.champion
        more = {name: kind for name, kind in canary.inputs.items() if name not in self.champion.inputs}
        self.kinds = {**self.champion.inputs, **more}
        self.required = (self.champion.required | canary.required) & self.champion.inputs.keys()
        self.loose = self.champion.loose or canary.loose
        self.names = tuple(self.kinds)
        self.width = len(self.names)
        same = self.canary is None or self.canary.names == self.champion.names
        self._champion_places = None if same else [self.names.index(n) for n in self.champion.names]
        self._canary_places = None if same or self.canary is None else [self.names.index(n) for n in self.canary.names]
        self._canary_needs = [self.names.index(name) for name in canary.required - self.required]
        inline = all(one is None or one.native is not None for one in (self.champion, self.canary))
        self.inline = inline and not self.loose
        self.row_type = self._row_type()
        self.decode = msgspec.json.Decoder(self.row_type).decode

    def serves(self, table: Table) -> bool:
        """Whether this is what a table asks for, everything loaded."""
        loaded = self.canary is not None or table.routing.rollout is None
        return loaded and (table.routing, table.versions) == (self.table.routing, self.table.versions)

    def read_again(self, table: Table) -> State:
        """The same by a younger table: a poll that finds nothing new costs no new types and decoders."""
        same = copy.copy(self)
        same.table = table
        return same

    def _row_type(self) -> type[msgspec.Struct]:
        """A type of one request, decoded and checked in one go; names that are no identifiers are renamed.

        A column that a request leaves out is unset, which is not the same as missing: a model may look for it.
        """
        fields: list[Any] = []
        names = {}
        for place, (name, kind) in enumerate(self.kinds.items()):
            names[f"f{place}"] = name
            kind_type = DECODED.get(kind, Any)
            if name in (self.key, self.transaction) and kind in ("double", "float"):
                kind_type |= int  # as a float it would lose digits
            required = name in self.required
            fields.append((f"f{place}", kind_type) if required else (f"f{place}", kind_type, msgspec.UNSET))
        for field_name, name in (("key", self.key), ("transaction", self.transaction)):
            if name not in self.kinds and name not in names.values():
                names[field_name] = name
                fields.append((field_name, _KEY, None))
        return msgspec.defstruct("Row", fields, rename=names, kw_only=True, gc=False)

    def to_canary(self, key: str) -> bool:
        """Whether the hash gives this key to the canary."""
        return xxhash.xxh64_intdigest((self.prefix + key).encode(), SEED) % FULL < self.weight

    def to_shadow(self, key: str, share: float) -> bool:
        """Whether the canary scores this key's champion requests as well; a key always or never."""
        if self.canary is None:
            return False
        return xxhash.xxh64_intdigest(f"shadow:{self.prefix}{key}".encode(), SEED) % FULL < share * FULL

    def for_champion(self, values: Row) -> Row:
        """The champion's columns among `names`."""
        if self._champion_places is None or isinstance(values, Piece):
            return values
        return [values[i] for i in self._champion_places]

    def for_canary(self, values: Row) -> Row:
        """The canary's columns among `names`.

        Raises:
            DataError: The request lacks one.
        """
        if self._canary_places is None or isinstance(values, Piece):
            return values
        if any(values[place] is msgspec.UNSET for place in self._canary_needs):
            raise DataError("the request lacks columns of the canary", fix="send them, or wait until callers do")
        return [values[i] for i in self._canary_places]
