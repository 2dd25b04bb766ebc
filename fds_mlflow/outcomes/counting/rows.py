"""Outcomes that are to be counted: which rows, and what is said of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, case, select

from fds_mlflow.core.routing.routing import Variant
from fds_mlflow.outcomes.tables import Outcome

Conditions = list[ColumnElement[bool]]


@dataclass(frozen=True)
class Rows:
    """Outcomes that are to be counted: conditions, and what is joined to each."""

    conditions: tuple[ColumnElement[bool], ...]
    joins: tuple[tuple[Any, ColumnElement[bool], bool], ...] = ()

    def where(self, *conditions: ColumnElement[bool]) -> Rows:
        """Those of them that meet further conditions."""
        return Rows(self.conditions + conditions, self.joins)

    def join(self, entity: Any, on: ColumnElement[bool], *, outer: bool = False) -> Rows:
        """The same, with a row of another table joined to each; `outer` keeps those that have none."""
        return Rows(self.conditions, (*self.joins, (entity, on, outer)))

    def select(self, *columns: Any) -> Select[Any]:
        """The query for columns of theirs."""
        query = select(*columns).select_from(Outcome)
        for entity, on, outer in self.joins:
            query = query.join(entity, on, isouter=outer)
        return query.where(*self.conditions)


def flag(condition: ColumnElement[bool]) -> ColumnElement[int]:
    """1 where a condition holds, else 0."""
    return case((condition, 1), else_=0)


def pair(own: ColumnElement[bool], other: ColumnElement[bool]) -> ColumnElement[int]:
    """2 where it happened to the champion alone, 1 to the canary alone, 3 to both, 0 to neither."""
    champion = Outcome.assigned == Variant.CHAMPION.value
    mine, others = flag(own), flag(other)
    return case((champion, 2 * mine + others), else_=mine + 2 * others)
