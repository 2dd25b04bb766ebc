"""The parts of a specification: flags, gaps, windows and expressions."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from fds_mlflow.core.text.duration import parse_duration
from fds_mlflow.data.schema import Declaration
from fds_mlflow.features.expressions import Node, parse

Aggregate = Literal[
    "count",
    "sum",
    "mean",
    "median",
    "max",
    "min",
    "std",
    "distinct",
    "known",
    "frauds",
    "risk",
    "fraud_run",
    "since_first_fraud",
    "since_last_fraud",
]
LABEL_AGGREGATES = frozenset({"known", "frauds", "risk", "fraud_run", "since_first_fraud", "since_last_fraud"})
AMOUNT_AGGREGATES = frozenset({"sum", "mean", "median", "max", "min", "std"})
_DAY = timedelta(days=1)


class Flag(Declaration):
    """A calendar flag of the transaction itself, 0 or 1.

    Attributes:
        flag: ``weekend`` (Saturday or Sunday) or ``night`` (hour 0 to 6, both included, as the Fraud Detection
            Handbook has it).
        name: Name of the feature; the flag's by default.
    """

    flag: Literal["weekend", "night"]
    name: str = ""

    @property
    def feature(self) -> str:
        """The feature's name."""
        return self.name or self.flag


class Gap(Declaration):
    """Seconds since the entity's previous transaction; missing at its first one.

    Attributes:
        entity: Role of the entity.
        name: Name of the feature; ``{entity}_gap`` by default.
    """

    entity: str
    name: str = ""

    @property
    def feature(self) -> str:
        """The feature's name."""
        return self.name or f"{self.entity}_gap"


class Window(Declaration):
    """One aggregate over one entity's past, over one or several windows.

    A window w at time t is (t - w, t]: of the entity's transactions those later than t - w, up to and including the
    transaction itself; among equal times the input order decides. Label aggregates look at the time a label became
    known instead of the transaction's: what became known later than t - w, up to and including t.

    Attributes:
        entity: Role whose transactions are looked at. A transaction without one has an empty window.
        aggregate: ``count`` of transactions; ``sum``, ``mean``, ``median``, ``max``, ``min``, ``std`` (population) of a
            number; ``distinct`` count of the entity role `of`; ``known`` labels, ``frauds`` among them, or ``risk`` =
            frauds / known; ``fraud_run``: the frauds that became known since the last genuine label did;
            ``since_first_fraud`` and ``since_last_fraud``: seconds since the first and the last fraud of the window
            became known. Over nothing the counts, sums, runs and risks are 0, the others missing.
        windows: Durations such as ``1h``, ``7d``.
        of: The numeric column that an aggregate of a number, or a count of what is `above`, looks at (``amount`` by
            default), or the role counted by ``distinct``.
        expression: The name of an expression whose value is aggregated instead of a column, for each transaction of
            the window what it was at its own moment.
        above: Only those transactions are counted whose number is larger than this.
        earlier: Only earlier transactions are in the window, not the transaction itself.
        name: Name of the feature. ``{window}`` and ``{days}`` stand for the window; by default
            ``{entity}[_earlier]_{aggregate}[_{of}][_above_{above}]_{window}``.
    """

    entity: str
    aggregate: Aggregate
    windows: tuple[str, ...] = Field(min_length=1)
    of: str | None = None
    expression: str | None = None
    above: float | None = Field(default=None, allow_inf_nan=False)
    earlier: bool = False
    name: str = ""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for window in self.windows:
            if parse_duration(window) <= timedelta(0):
                raise ValueError(f"window {window!r} is empty: it must be longer than 0")
        if self.aggregate == "distinct" and self.of is None:
            raise ValueError("'distinct' needs 'of': the entity role to count")
        if "{days}" in self.name and any(parse_duration(window) % _DAY for window in self.windows):
            raise ValueError(f"name {self.name!r} says {{days}}, but not every window is whole days: use {{window}}")
        if len({self.feature(window) for window in self.windows}) < len(self.windows):
            raise ValueError(f"name {self.name!r} is the same for several windows: put {{window}} in it")
        return self

    @model_validator(mode="after")
    def _looks_at_what_it_can(self) -> Self:
        if self.above is not None and self.aggregate != "count":
            raise ValueError(f"'{self.aggregate}' takes no 'above': only 'count' does")
        if self.of is not None and not self.of_numbers and self.aggregate != "distinct":
            raise ValueError(f"'{self.aggregate}' takes no 'of'" + self._needs_above)
        if self.expression is not None and not self.of_numbers:
            raise ValueError(f"'{self.aggregate}' takes no 'expression'" + self._needs_above)
        if self.expression is not None and self.of is not None:
            raise ValueError("'of' names a column, and 'expression' an expression: leave out one of them")
        if self.earlier and (self.aggregate in LABEL_AGGREGATES or self.aggregate == "distinct"):
            raise ValueError(f"'{self.aggregate}' takes no 'earlier': only counts and aggregates of numbers do")
        return self

    @property
    def _needs_above(self) -> str:
        return " without 'above'" if self.aggregate == "count" else ""

    @property
    def of_numbers(self) -> bool:
        """Whether a numeric column, or an expression, is looked at."""
        return self.aggregate in AMOUNT_AGGREGATES or self.above is not None

    def stands_alone(self, entity: str) -> bool:
        """Whether it looks at an entity's transactions and their columns alone."""
        plain = self.aggregate not in LABEL_AGGREGATES and self.aggregate != "distinct"
        return plain and self.entity == entity and self.expression is None

    @property
    def column(self) -> str:
        """The column that is aggregated, or the expression."""
        return self.expression or self.of or "amount"

    def feature(self, window: str) -> str:
        """Name of the feature over one window."""
        if self.name:
            days = str(parse_duration(window) // _DAY)
            return self.name.replace("{window}", window).replace("{days}", days)
        of = f"_{self.column}" if self.of_numbers or self.aggregate == "distinct" else ""
        above = "" if self.above is None else f"_above_{self.above:g}"
        return f"{self.entity}{'_earlier' if self.earlier else ''}_{self.aggregate}{of}{above}_{window}"


class Expression(Declaration):
    """A number computed from others of the same transaction; `fds_mlflow.features.expressions` says what it means.

    Attributes:
        name: Name of the feature.
        of: The expression, such as ``amount / customer_mean_amount_30d``.
    """

    name: str = Field(min_length=1)
    of: str

    @field_validator("of")
    @classmethod
    def _is_read(cls, value: str) -> str:
        parse(value)
        return value

    @property
    def node(self) -> Node:
        """What was read."""
        return parse(self.of)
