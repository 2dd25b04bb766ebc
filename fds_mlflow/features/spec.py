"""Features declared as data: which entity, which aggregate, which window."""

from __future__ import annotations

import difflib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from pydantic import model_validator

from fds_mlflow.data.schema import FEATURES_SUFFIX, Declaration, Duration, Zone, read_yaml, validated
from fds_mlflow.errors import ConfigError
from fds_mlflow.features.expressions import Node, names_in, unknown
from fds_mlflow.features.parts import AMOUNT_AGGREGATES, LABEL_AGGREGATES, Expression, Flag, Gap, Window

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "AMOUNT_AGGREGATES",
    "LABEL_AGGREGATES",
    "Expression",
    "FeatureSpec",
    "Flag",
    "Gap",
    "Need",
    "Window",
    "genuine_labels",
    "handbook_spec",
]


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
    def _aggregates_what_one_entity_tells(self) -> Self:
        nodes = self.nodes
        for item in self.windows:
            if item.expression is None:
                continue
            first = item.feature(item.windows[0])
            if item.expression not in nodes:
                near = difflib.get_close_matches(item.expression, nodes, n=1)
                hint = f"did you mean {near[0]!r}?" if near else "declare it under 'expressions'"
                raise ValueError(f"{first!r} aggregates the expression {item.expression!r}, and there is none: {hint}")
            derived = {*self.computed} - {*self.numeric}
            plain = {
                own.feature(window) for own in self.windows if own.stands_alone(item.entity) for window in own.windows
            }
            for found in names_in(nodes[item.expression]):
                if found.name in derived - plain:
                    raise ValueError(
                        f"{first!r} aggregates the expression {item.expression!r}, which reads {found.name!r}: only"
                        f" numeric columns, and counts and aggregates of columns over the {item.entity}'s transactions,"
                        " may be in it"
                    )
        return self

    @model_validator(mode="after")
    def _hides_what_is_read(self) -> Self:
        read = {found.name for item in self.expressions for found in names_in(item.node)}
        read |= {item.expression for item in self.windows if item.expression is not None}
        derived = [name for name in self.computed if name not in (*self.numeric, *self.categorical)]
        for name in self.hidden:
            if name not in derived:
                near = difflib.get_close_matches(name, derived, n=1)
                hint = f"did you mean {near[0]!r}?" if near else "only flags, windows, gaps and expressions can be"
                raise ValueError(f"{name!r} cannot be hidden: {hint}")
            if name not in read:
                raise ValueError(f"{name!r} is hidden, and no expression or window reads it: leave it out")
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
            if item.expression is None and (item.of_numbers or item.aggregate == "distinct"):
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
                fix="give 'label' in the schema, or leave out the windows over labels",
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
            ConfigError: Windows, gaps or flags over rows without a time; ``known``, ``risk`` or ``fraud_run`` over
                labels that become known for frauds only: each known label then is a fraud, and a risk is 0 or 1.
        """
        timeless = {*self.numeric, *self.categorical, *(item.name for item in self.expressions)}
        needing = [name for name in self.computed if name not in timeless]
        if not timed and needing:
            raise ConfigError(
                f"feature {needing[0]!r} needs the time of the transactions, and {where} has none",
                fix="name the column under 'time' in the schema, or leave out windows, gaps and flags",
            )
        shares = [
            item.feature(item.windows[0]) for item in self.windows if item.aggregate in ("known", "risk", "fraud_run")
        ]
        if shares and genuine and not genuine_known:
            raise ConfigError(
                f"feature {shares[0]!r} compares frauds with all known labels, and {where} says of none of its "
                f"{genuine:,} genuine rows when the label became known",
                fix="give labels_mature in the schema: the age at which a transaction that nobody reported counts as "
                "genuine, such as 30d; or leave out known, risk and fraud_run",
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
