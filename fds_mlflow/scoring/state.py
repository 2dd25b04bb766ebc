"""Everything that answers a request at one moment: the table, the versions in memory, and the type of a request."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fds_mlflow.core.routing.exploration import Exploration
from fds_mlflow.core.routing.routing import Split
from fds_mlflow.core.weight import FULL
from fds_mlflow.errors import DataError, UnavailableError
from fds_mlflow.scoring.columns import DECODED, cell
from fds_mlflow.scoring.loaded import Loaded
from fds_mlflow.scoring.requests.rows import Piece, Row, UnfitError
from fds_mlflow.scoring.served import Table

_ANY = "any"
"""The type of a column that no version has."""

_KEY = str | int | float | bool | None
"""What a routing key or transaction may be in JSON, where it is no column of the model."""


@dataclass
class ServingState:
    """Everything that answers a request, never changed once made.

    Attributes:
        table: What is served.
        champion: The champion.
        canary: The canary where a rollout takes traffic and it loaded.
        key: Column of the routing key.
        transaction: Column that labels are joined on.
        shadow: Share of the champion's requests that the canary scores as well, in [0, 1]; a key always or never. The
            plan of the rollout may ask for more.
        explore: Which of the flagged requests are let pass; None for none.
    """

    table: Table
    champion: Loaded
    canary: Loaded | None
    key: str
    transaction: str
    shadow: float = 0.0
    explore: Exploration | None = None
    kinds: dict[str, str] = field(init=False)
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        rollout = self.table.routing.rollout
        self.rollout_id = rollout.id if rollout else None
        self.step = rollout.step if rollout else 0
        self.weight = rollout.weight if rollout else 0
        self.segments = rollout.plan.segments if rollout else None
        self.to_canary = self.table.routing.split.takes if self.weight else _no_key
        self.shadow = max(self.shadow, rollout.plan.shadow / 100) if rollout and self.canary else 0.0
        self.to_shadow = Split(self.rollout_id or "", self.shadow * FULL, salt="shadow:").takes
        # What the champion's callers may send, and how it is read, does not change with a canary.
        own, canary = self.champion.inputs, self.canary or self.champion
        self.kinds = {**own, **{name: kind for name, kind in canary.inputs.items() if name not in own}}
        self.signature = tuple(self.kinds)
        # What is looked at beside the scores may be no column of any version: whatever it is, it is taken as it comes.
        others = [] if self.explore is None or self.explore.cap is None else [self.explore.column]
        others += [] if self.segments is None else [self.segments.column]
        self.kinds |= {name: _ANY for name in others if name not in self.kinds}
        # A code may come as a number or a boolean, and is spelled alike.
        codes = self.champion.codes
        self.read_as = {name: "code" if name in codes or kind == _ANY else kind for name, kind in self.kinds.items()}
        self.required = self.champion.required
        self.loose = self.champion.loose
        self.names = tuple(self.kinds)
        self.width = len(self.names)
        self._places = {name: place for place, name in enumerate(self.names)}
        self._whole = self.width == len(own)
        self._needed = canary.required - self.champion.required
        in_order = list(canary.inputs.items()) == list(own.items())
        self._same = not self._needed and in_order and canary.loose == self.loose
        self._canary_places = {name: self._places[name] for name in canary.names or self.champion.names}
        inline = all(one is None or one.compiled is not None for one in (self.champion, self.canary))
        self.inline = inline and not self.loose and not canary.loose
        self.row_type = self._row_type()
        self.decode = msgspec.json.Decoder(self.row_type).decode

    def serves(self, table: Table) -> bool:
        """Whether this is what a table asks for, everything loaded."""
        loaded = self.canary is not None or table.routing.rollout is None
        return loaded and (table.routing, table.versions) == (self.table.routing, self.table.versions)

    def read_again(self, table: Table) -> ServingState:
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
            kind_type = DECODED.get(kind, Any) if name in self.champion.inputs else Any  # a canary's are its own affair
            if name in (self.key, self.transaction) and kind_type == DECODED["double"]:
                kind_type |= int  # as a float it would lose digits
            required = name in self.required
            fields.append((f"f{place}", kind_type) if required else (f"f{place}", kind_type, msgspec.UNSET))
        for field_name, name in (("key", self.key), ("transaction", self.transaction)):
            if name not in self.kinds and name not in names.values():
                names[field_name] = name
                fields.append((field_name, _KEY, None))
        return msgspec.defstruct("Row", fields, rename=names, kw_only=True, gc=False)

    def require_canary(self) -> Loaded:
        """The canary.

        Raises:
            UnavailableError: It is not loaded.
        """
        if self.canary is None:
            raise UnavailableError("the canary is not loaded", fix="look at /health")
        return self.canary

    def champion_score(self, values: Row) -> float:
        """The champion's score of a row, given in the order of `names`; errors as for `Loaded.row`."""
        return self.champion.row(self.for_champion(values))

    def canary_score(self, values: Row) -> float:
        """The canary's, which may not be loaded; errors as for `Loaded.row`, `for_canary` and `require_canary`."""
        return self.require_canary().row(self.for_canary(values))

    def for_champion(self, values: Row) -> Row:
        """The champion's columns among `names`, which are the first."""
        if self._whole or isinstance(values, (Piece, dict)):
            return values
        return values[: len(self.champion.names)]

    def propensity(self, values: Row) -> float:
        """The chance that a request is let pass if it is flagged."""
        if self.explore is None:
            return 0.0
        return self.explore.propensity(None if self.explore.cap is None else self._given(values, self.explore.column))

    def segment(self, values: Row) -> str | None:
        """The segment of a request by the plan of the rollout; None where there is no such plan."""
        return None if self.segments is None else self.segments.of(self._given(values, self.segments.column))

    def _given(self, values: Row, column: str) -> Any:
        """What a request has in a column, of a model or not; None where it has none."""
        if isinstance(values, Piece):
            return values.batch.column(column)[values.place]
        value = values[self._places[column]]  # type: ignore[index] # rows by name are the canary's alone
        return None if value is msgspec.UNSET else value

    def for_canary(self, values: Row) -> Row:
        """The canary's columns among `names`.

        Raises:
            UnfitError: A value does not fit a column of the canary's.
            DataError: The request lacks one.
        """
        if self._same or self.canary is None:
            return self.for_champion(values)
        if isinstance(values, Piece):
            if not self.canary.names:  # no signature that names columns: it takes what the champion takes
                return values
            batch, place = values.batch, values.place
            given = {name: batch.column(name, msgspec.UNSET)[place] for name in self._canary_places}
        else:
            assert isinstance(values, Sequence)
            given = {name: values[there] for name, there in self._canary_places.items()}
        lacking = [name for name in self._needed if given.get(name, msgspec.UNSET) is msgspec.UNSET]
        if lacking:
            raise DataError(
                f"the request lacks columns of the canary: {', '.join(sorted(lacking))}",
                fix="send them, or wait until callers do",
            )
        if self.canary.loose:
            return {name: value for name, value in given.items() if value is not msgspec.UNSET}
        return [self._fitted(name, value) for name, value in given.items()]

    def _fitted(self, name: str, value: Any) -> Any:
        """A value as the canary's column takes it."""
        assert self.canary is not None
        kind = self.canary.inputs[name]
        if value is msgspec.UNSET or self.champion.inputs.get(name) == kind:
            return value
        try:
            return cell(value, kind)
        except ValueError as error:
            raise UnfitError(f"column `{name}` ({kind}): {error}", fix="send what the canary takes") from None


def _no_key(_key: str) -> bool:
    return False
