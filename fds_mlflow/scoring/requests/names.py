"""Which routing key and transaction a row has, and how they are written."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from fds_mlflow.core.keys import Spelling, spelled
from fds_mlflow.display.characters import acting
from fds_mlflow.errors import DataError
from fds_mlflow.scoring.columns import NUMBERS
from fds_mlflow.scoring.state import ServingState

LONGEST_KEY = 255
"""Characters of a routing key or transaction: what the outcome store takes."""


class RequestNames(msgspec.Struct, frozen=True, gc=False):
    """What one request goes by.

    Attributes:
        request_id: Its identity: a retry has the same, and is recorded once.
        key: The routing key.
        transaction_id: What labels are joined on.
    """

    request_id: str
    key: str
    transaction_id: str


class NameReader:
    """Writes the routing key and the transaction of rows for one state.

    Args:
        state: It says which columns they are in; its rollout, how keys are written.
    """

    def __init__(self, state: ServingState) -> None:
        self.columns = (state.key, state.transaction)
        self.same = state.key == state.transaction and state.table.routing.spelling is Spelling.CANONICAL
        self._spelling = state.table.routing.spelling
        self._booleans = {name for name in self.columns if state.kinds.get(name) == "boolean"}
        self._numbers = {name for name in self.columns if state.kinds.get(name) in NUMBERS}

    def key(self, value: Any) -> str | None:
        """The routing key; None where there is none.

        Raises:
            DataError: No store takes it.
        """
        return self._name(value, self.columns[0], self._spelling)

    def transaction(self, value: Any) -> str | None:
        """What labels are joined on; as `key`, and not bound to the spelling of a rollout."""
        return self._name(value, self.columns[1], Spelling.CANONICAL)

    def _name(self, value: Any, column: str, spelling: Spelling) -> str | None:
        if value is None or value is msgspec.UNSET:
            return None
        if type(value) is not str and hasattr(value, "__len__") and not isinstance(value, bytes):
            raise DataError("a key is no text and no number", fix="send one of them")
        if column in self._numbers:
            value = _float(value) if spelling is Spelling.BY_COLUMN else _number(value)
        elif column in self._booleans and value in (0, 1):
            value = bool(value)
        name = value if type(value) is str else spelled(value, spelling)
        if name is None or (len(name) <= LONGEST_KEY and name.isascii() and name.isprintable()):
            return name or None
        if len(name) > LONGEST_KEY:
            raise DataError(f"a key has {len(name):,} characters > {LONGEST_KEY}", fix="shorten it")
        sign = acting(name)
        if sign is not None:
            raise DataError(
                f"the key {name[:50]!r} has the control character {sign}, which no store takes", fix="leave it out"
            )
        return name


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        raise DataError("a key has more digits than any number here", fix="send it as text") from None


def _number(value: Any) -> Any:
    """A number that was written in quotes or in CSV, all of its digits kept."""
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, str):
        return value
    try:
        return Decimal(value)
    except ArithmeticError:
        return float(value)
