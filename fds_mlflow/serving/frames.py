"""A frame as each version takes it: as it is, or where its rows are raw transactions, with what it declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from fds_mlflow.core.routing.routing import RoutingTable
    from fds_mlflow.serving.featured import Featured
    from fds_mlflow.serving.inputs import Origin
    from fds_mlflow.serving.raw import Raw


@dataclass(frozen=True)
class Frames:
    """Rows, and what versions take of them.

    Attributes:
        given: The rows as they came.
        featured: Of each row, its features; None where all came computed.
        raw: Each row as it came, by column; None where all came computed.
        origin: Tells where a version's features come from; None where all came computed.
    """

    given: pd.DataFrame
    featured: Sequence[Featured] | None = None
    raw: Sequence[Mapping[str, Any]] | None = None
    origin: Callable[[int], Origin] | None = None
    _made: dict[int, pd.DataFrame] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, raw: Raw | None, frame: pd.DataFrame, table: RoutingTable, *, record: bool) -> Frames:
        """The rows of a frame, raw ones in their order: each finds those before it in the state.

        Args:
            raw: Computes the features of raw transactions; None where all are computed already.
            frame: The rows, all of them raw or none.
            table: Which versions are on trial.
            record: Take raw transactions into the state.

        Raises:
            DataError: A row does not fit; those before it are in the state.
        """
        if raw is None or raw.computed(frame.columns, table.champion):
            return cls(frame)
        if frame.empty:
            made = cls(frame, [])
            made._made[table.champion] = frame.reindex(columns=raw.spec(table.champion).names)
            return made
        trial = [] if table.rollout is None else [table.rollout.canary]
        named = frame.astype(object).where(frame.notna(), None).set_axis(frame.columns.map(str), axis=1)
        rows: list[dict[str, Any]] = named.to_dict("records")  # type: ignore[assignment] # their names are texts
        found = [raw.featured(row, table.champion, trial, record=record) for row in rows]
        return cls(frame, [one for one in found if one is not None], rows, raw.origin)

    def taken(self, version: int) -> pd.DataFrame:
        """The rows as a version takes them.

        Raises:
            FdsError: It can have none of them, since it cannot have one.
        """
        if self.featured is None:
            return self.given
        if version not in self._made:
            import pandas as pd

            rows: list[Any] = [one.of(version) for one in self.featured]
            self._made[version] = pd.DataFrame(rows, index=self.given.index)
        return self._made[version]

    def came(self, row: int, version: int) -> tuple[Mapping[str, Any] | None, Origin | None]:
        """A row as it came, and where what a version took of it comes from; None where it came computed."""
        if self.raw is None or self.origin is None:
            return None, None
        return self.raw[row], self.origin(version)

    def degraded(self) -> list[bool]:
        """Which rows' outcomes are no evidence."""
        if self.featured is None:
            return [False] * len(self.given)
        return [one.degraded is not None for one in self.featured]

    def told(self, answer: pd.DataFrame) -> pd.DataFrame:
        """Answers, with why the features of each are not what they would be."""
        if self.featured is None:
            return answer
        import pandas as pd

        why = [one.lacks(int(by)) for one, by in zip(self.featured, answer["version"], strict=True)]
        column = pd.Series([None if one is None else str(one) for one in why], answer.index, object)
        return answer.assign(degraded=column)
