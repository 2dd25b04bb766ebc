"""What is asked of a source: which columns, and how a file of text writes them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import DataError

Progress = Callable[[float], None]
"""Is told the share of a source that was read, from 0 to 1."""


@dataclass(frozen=True)
class Request:
    """What is asked of a source.

    Attributes:
        source: What messages call it.
        schema: Names the columns; None for all that there are.
        separator: Sign between the fields of a text file; by the file's name where None.
        encoding: Of a text file; by how it begins where None.
        sheet: Of a workbook; the first where None.
        progress: Is told the share that was read.
    """

    source: str
    schema: Schema | None = None
    separator: str | None = None
    encoding: str | None = None
    sheet: str | None = None
    progress: Progress | None = None

    @classmethod
    def of(cls, source: str, schema: Schema, progress: Progress | None = None) -> Self:
        """Ask for the columns of a schema."""
        return cls(source, schema, schema.separator, schema.encoding, schema.sheet, progress)

    @property
    def order(self) -> list[str]:
        """The columns by which a table is ordered."""
        roles = self.schema.roles() if self.schema is not None else {}
        return [*roles.get("time", ()), *roles.get("transaction_id", ())]

    def wanted(self, present: Sequence[str]) -> list[str]:
        """The columns to read of those that there are.

        Raises:
            DataError: A column that the schema names is not there, or there twice; names all of them.
        """
        names = list(present) if self.schema is None else self.schema.columns()
        twice = [name for name in names if names.count(name) > 1 or list(present).count(name) > 1]
        if twice:
            raise DataError(
                f"{self.source} has {list(present).count(twice[0])} columns named {twice[0]!r}",
                fix="rename all but one of them",
            )
        if self.schema is not None:
            _require(present, self.schema, self.source)
        return names

    def report(self, done: float, whole: float) -> None:
        """Tell that so much of the whole was read."""
        if self.progress is not None and whole > 0:
            self.progress(min(1.0, done / whole))

    def part(self, before: float, size: float, whole: float) -> Self:
        """The same request for one of several files, its progress a part of the whole."""
        progress = self.progress
        if progress is None or whole <= 0:
            return self
        return replace(self, progress=lambda share: progress(min(1.0, (before + share * size) / whole)))


def _require(present: Sequence[str], schema: Schema, source: str) -> None:
    lacking = [(role, name) for role, names in schema.roles().items() for name in names if name not in present]
    if not lacking:
        return
    shown = ", ".join(str(name) for name in present[:20]) + (", ..." if len(present) > 20 else "")
    close = {name: near for _, name in lacking if (near := _nearest(name, present)) is not None}
    if len(lacking) == 1:
        role, name = lacking[0]
        raise DataError(
            f"column {name!r} ({role}) is not in {source}, which has {len(present)} columns: {shown}",
            fix=f"name the right column under {role!r} in the schema"
            + (f" (did you mean {close[name]!r}?)" if name in close else ""),
        )
    raise DataError(
        f"columns {', '.join(f'{name!r} ({role})' for role, name in lacking)} are not in {source}, which has "
        f"{len(present)} columns: {shown}",
        fix="name the right columns in the schema"
        + (f" (did you mean {', '.join(f'{near!r} for {name!r}' for name, near in close.items())}?)" if close else ""),
    )


def _nearest(name: str, present: Sequence[str]) -> str | None:
    """The name that is most like another, small and capital letters and spaces around them aside."""
    folded = {str(one).strip().casefold(): str(one) for one in present}
    near = difflib.get_close_matches(name.strip().casefold(), folded, n=1, cutoff=0.6)
    return folded[near[0]] if near else None
