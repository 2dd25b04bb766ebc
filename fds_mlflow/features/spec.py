"""Features declared as data: which entity, which aggregate, which window."""

from __future__ import annotations

import difflib
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from fds_mlflow.core.text.duration import parse_duration
from fds_mlflow.data.schema import FEATURES_SUFFIX, Declaration, Duration, Zone, read_yaml, validated
from fds_mlflow.errors import ConfigError
from fds_mlflow.features.expressions import Node, names_in, parse, unknown

if TYPE_CHECKING:
    import pandas as pd

Aggregate = Literal["count", "sum", "mean", "max", "min", "std", "distinct", "known", "frauds", "risk"]
LABEL_AGGREGATES = frozenset({"known", "frauds", "risk"})
AMOUNT_AGGREGATES = frozenset({"sum", "mean", "max", "min", "std"})
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
        aggregate: ``count`` of transactions; ``sum``, ``mean``, ``max``, ``min``, ``std`` (population) of the column
            `of`; ``distinct`` count of the entity role `of`; ``known`` labels, ``frauds`` among them, or ``risk`` =
            frauds / known. Over nothing the counts, sums and risks are 0, the others missing.
        windows: Durations such as ``1h``, ``7d``.
        of: The numeric column of an amount aggregate (``amount`` by default), or the role counted by ``distinct``.
        name: Name of the feature. ``{window}`` and ``{days}`` stand for the window; by default
            ``{entity}_{aggregate}[_{of}]_{window}``.
    """

    entity: str
    aggregate: Aggregate
    windows: tuple[str, ...] = Field(min_length=1)
    of: str | None = None
    name: str = ""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for window in self.windows:
            if parse_duration(window) <= timedelta(0):
                raise ValueError(f"window {window!r} is empty: it must be longer than 0")
        if self.aggregate == "distinct" and self.of is None:
            raise ValueError("'distinct' needs 'of': the entity role to count")
        if self.of is not None and self.aggregate not in AMOUNT_AGGREGATES | {"distinct"}:
            raise ValueError(f"'{self.aggregate}' takes no 'of'")
        if "{days}" in self.name and any(parse_duration(window) % _DAY for window in self.windows):
            raise ValueError(f"name {self.name!r} says {{days}}, but not every window is whole days: use {{window}}")
        if len({self.feature(window) for window in self.windows}) < len(self.windows):
            raise ValueError(f"name {self.name!r} is the same for several windows: put {{window}} in it")
        return self

    @property
    def column(self) -> str:
        """The column that is aggregated."""
        return self.of or "amount"

    def feature(self, window: str) -> str:
        """Name of the feature over one window."""
        if self.name:
            days = str(parse_duration(window) // _DAY)
            return self.name.replace("{window}", window).replace("{days}", days)
        of = f"_{self.column}" if self.aggregate in AMOUNT_AGGREGATES | {"distinct"} else ""
        return f"{self.entity}_{self.aggregate}{of}_{window}"


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


class Need(NamedTuple):
    """A column that a feature reads.

    Attributes:
        column: The canonical column.
        kinds: What it may be: ``numeric``, ``categorical`` or ``entity``.
        feature: The feature; the first of a window's.
    """

    column: str
    kinds: tuple[str, ...]
    feature: str


class FeatureSpec(Declaration):
    """All features of a model, in the order in which it takes them.

    Attributes:
        numeric: Numeric columns taken as they are (``amount`` and extras).
        flags: Calendar flags.
        windows: Aggregates over entities' pasts.
        gaps: Times since entities' previous transactions.
        expressions: Numbers computed from numeric columns, from the above, and from earlier expressions.
        categorical: Categorical columns taken as they are.
        hidden: Names of flags, windows, gaps and expressions that are computed for expressions and are no features.
        label_delay: The least age at which a label may be used, besides its own known time. Needed where the
            transactions carry a label but not the time it became known.
        time_zone: IANA zone in which weekend and night are meant; UTC when not given.
    """

    numeric: tuple[str, ...] = ()
    flags: tuple[Flag, ...] = ()
    windows: tuple[Window, ...] = ()
    gaps: tuple[Gap, ...] = ()
    expressions: tuple[Expression, ...] = ()
    categorical: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    label_delay: Duration | None = None
    time_zone: Zone | None = None

    @classmethod
    def load(cls, source: str | Path) -> Self:
        """Read a specification from a YAML file, or a shipped one by name (``handbook``).

        Raises:
            ConfigError: No such file or name; unknown or missing keys; values that do not fit.
        """
        content, where = read_yaml(source, suffix=FEATURES_SUFFIX, what="feature specification")
        return validated(cls, content, where=where)

    @model_validator(mode="after")
    def _has_distinct_names(self) -> Self:
        computed = self.computed
        repeated = sorted(name for name, count in Counter(computed).items() if count > 1)
        if repeated:
            raise ValueError(
                f"several features are named {', '.join(repeated)}: give a window or flag another 'name', or leave out"
                " the column"
            )
        return self

    @model_validator(mode="after")
    def _reads_what_comes_before(self) -> Self:
        before = dict.fromkeys(item.name for item in self.expressions)
        for item in self.expressions:
            for found in names_in(item.node):
                if found.name in before:
                    which = "itself" if found.name == item.name else "a later one: write that one first"
                    raise ValueError(f"the expression {item.name!r} reads {found.name!r}, {which}")
                if found.name in self.categorical:
                    raise ValueError(f"the expression {item.name!r} reads {found.name!r}, which is a category")
            del before[item.name]
        return self

    @model_validator(mode="after")
    def _hides_what_is_read(self) -> Self:
        read = {found.name for item in self.expressions for found in names_in(item.node)}
        derived = [name for name in self.computed if name not in (*self.numeric, *self.categorical)]
        for name in self.hidden:
            if name not in derived:
                near = difflib.get_close_matches(name, derived, n=1)
                hint = f"did you mean {near[0]!r}?" if near else "only flags, windows, gaps and expressions can be"
                raise ValueError(f"{name!r} cannot be hidden: {hint}")
            if name not in read:
                raise ValueError(f"{name!r} is hidden, and no expression reads it: leave it out")
        return self

    @property
    def computed(self) -> list[str]:
        """The name of everything that is computed, in order: the features, and what is hidden."""
        return [
            *self.numeric,
            *(flag.feature for flag in self.flags),
            *(item.feature(window) for item in self.windows for window in item.windows),
            *(gap.feature for gap in self.gaps),
            *(item.name for item in self.expressions),
            *self.categorical,
        ]

    @property
    def names(self) -> list[str]:
        """Every feature's name, in order."""
        return [name for name in self.computed if name not in self.hidden]

    @property
    def inputs(self) -> list[str]:
        """The numeric columns that expressions read and that are no features, in order."""
        read = (found.name for item in self.expressions for found in names_in(item.node))
        computed = set(self.computed)
        return [name for name in dict.fromkeys(read) if name not in computed]

    @property
    def nodes(self) -> dict[str, Node]:
        """The expressions by name, in order: each reads what comes before it."""
        return {item.name: item.node for item in self.expressions}

    @property
    def uses_labels(self) -> bool:
        """Whether any feature looks at labels."""
        return any(item.aggregate in LABEL_AGGREGATES for item in self.windows)

    @property
    def needs(self) -> list[Need]:
        """The columns that the features read, those of expressions and labels apart."""
        numeric, entity = ("numeric",), ("entity",)
        found = [Need(name, numeric, name) for name in self.numeric]
        found += [Need(name, ("categorical", "entity"), name) for name in self.categorical]
        found += [Need(gap.entity, entity, gap.feature) for gap in self.gaps]
        for item in self.windows:
            first = item.feature(item.windows[0])
            found.append(Need(item.entity, entity, first))
            if item.aggregate in AMOUNT_AGGREGATES | {"distinct"}:
                found.append(Need(item.column, entity if item.aggregate == "distinct" else numeric, first))
        return found

    def check(self, columns: dict[str, str], *, where: str) -> None:
        """Check the specification against the columns at hand.

        Args:
            columns: Canonical column -> ``key``, ``entity``, ``numeric``, ``categorical`` or ``label``; an entity
                serves as a category too.
            where: Where they come from, for the message.

        Raises:
            ConfigError: A feature needs a column that is not there, or has the name of a key column.
        """
        for need in self.needs:
            if columns.get(need.column) not in need.kinds:
                there = ", ".join(sorted(c for c, k in columns.items() if k in need.kinds)) or "none"
                raise ConfigError(
                    f"feature {need.feature!r} needs the {need.kinds[0]} column {need.column!r}, which {where} does not"
                    f" have (it has: {there})",
                    fix="change the feature specification, or give the column a role in the schema",
                )
        self._check_expressions(columns, where)
        if self.uses_labels:
            self._check_labels(columns, where)
        clash = [n for n in self.computed if columns.get(n) in _KEYS and n not in self.categorical]
        if clash:
            raise ConfigError(
                f"features {', '.join(clash)} have the names of key columns", fix="give these features another name"
            )

    def _check_expressions(self, columns: dict[str, str], where: str) -> None:
        """Each name of an expression stands for one number."""
        derived = [name for name in self.computed if name not in (*self.numeric, *self.categorical)]
        there = [name for name, kind in columns.items() if kind == "numeric"]
        for item in self.expressions:
            for found in names_in(item.node):
                if found.name not in (*derived, *there):
                    raise ConfigError(
                        f"the expression {item.name!r} over {where}: {unknown(found, [*derived, *there])}",
                        fix="correct the name, declare the window, or give the column a role in the schema",
                    )
                if found.name in derived and found.name in there:
                    raise ConfigError(
                        f"the expression {item.name!r} reads {found.name!r}: a feature, and a column of {where}",
                        fix="give the feature another name",
                    )

    def _check_labels(self, columns: dict[str, str], where: str) -> None:
        if "label" not in columns:
            raise ConfigError(
                f"the specification uses labels, and {where} has none",
                fix="give 'label' in the schema, or leave out known, frauds and risk",
            )
        if "label_known_at" not in columns and self.label_delay is None:
            raise ConfigError(
                f"the specification uses labels, and {where} does not say when they became known",
                fix="give label_known_at or label_delay in the schema, or label_delay in the specification",
            )

    def check_rows(self, *, timed: bool, genuine: int, genuine_known: int, where: str) -> None:
        """Check the specification against what the rows hold.

        Args:
            timed: Whether the rows have a time.
            genuine: Rows with the label genuine.
            genuine_known: Those of them whose label ever became known.
            where: Where they come from, for the message.

        Raises:
            ConfigError: Windows, gaps or flags over rows without a time; ``known`` or ``risk`` over labels that become
                known for frauds only: each known label then is a fraud, and a risk is 0 or 1.
        """
        timeless = {*self.numeric, *self.categorical, *(item.name for item in self.expressions)}
        needing = [name for name in self.computed if name not in timeless]
        if not timed and needing:
            raise ConfigError(
                f"feature {needing[0]!r} needs the time of the transactions, and {where} has none",
                fix="name the column under 'time' in the schema, or leave out windows, gaps and flags",
            )
        shares = [item.feature(item.windows[0]) for item in self.windows if item.aggregate in ("known", "risk")]
        if shares and genuine and not genuine_known:
            raise ConfigError(
                f"feature {shares[0]!r} compares frauds with all known labels, and {where} says of none of its "
                f"{genuine:,} genuine rows when the label became known",
                fix="give labels_mature in the schema: the age at which a transaction that nobody reported counts as "
                "genuine, such as 30d; or leave out known and risk",
            )


_KEYS = ("key", "entity", "label")


def genuine_labels(frame: pd.DataFrame) -> tuple[int, int]:
    """The genuine rows of a canonical frame, and those of them whose label ever becomes known."""
    if "label" not in frame.columns:
        return 0, 0
    genuine = (frame["label"] == 0).fillna(value=False).to_numpy(dtype=bool)
    if "label_known_at" not in frame.columns:
        return int(genuine.sum()), int(genuine.sum())
    return int(genuine.sum()), int((genuine & frame["label_known_at"].notna().to_numpy()).sum())


def handbook_spec() -> FeatureSpec:
    """The 14 engineered columns of the Fraud Detection Handbook (chapter 3), under its own names, and the amount."""
    return FeatureSpec.load("handbook")
