"""A feature specification becomes SQL: one query of range windows per entity.

How time and order become one number
------------------------------------
A range window needs one ordering key, but a transaction must not see a later row of the same microsecond. So the key
carries both: ``key = time * M + offset`` in 128-bit integers, where ``time`` is in microseconds, a transaction's
``offset`` is ``1 + 2 * tie`` (``tie`` = 0, 1, ... numbers the transactions of equal time in input order) and
``M`` is larger than every offset. Then, for a transaction at t with offset o:

- everything up to and including itself, and nothing after it, has ``key <= t * M + o``: the frame ends at the current
  row, and no other transaction shares its key;
- everything later than t - w has ``key >= (t - w) * M + M = key - (w * M + o - M)``: the lower end, a different
  distance for each row, is exactly exclusive however many rows tie.

A label that becomes known is an event of its own: the same entity, the key of the moment it became known with offset
0, so that it lies before the transactions of that moment (a label known at exactly t counts at t). Where it became
known in the moment of its own transaction, its offset is ``2 + 2 * tie``: just after that transaction, which
therefore never sees its own label. Windows over events are the same windows.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from fds_mlflow.training.feature_spec import LABEL_AGGREGATES, FeatureSpec, Window
from fds_mlflow.training.schema import parse_duration

_MICROSECOND = timedelta(microseconds=1)
#: Aggregates that are 0 over nothing; the others are missing.
_ZERO = frozenset({"count", "sum", "distinct", "known", "frauds", "risk"})


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def micros(duration: str) -> int:
    """A duration in microseconds."""
    return parse_duration(duration) // _MICROSECOND


def keyed(table: str) -> str:
    """SELECT that adds `tie` to a table with columns row and ts (microseconds)."""
    return f"SELECT *, row_number() OVER (PARTITION BY ts ORDER BY row) - 1 AS tie FROM {table}"


def stride(most_ties: int) -> int:
    """M: larger than every offset, given the largest tie number."""
    return 2 * most_ties + 3


def entities(spec: FeatureSpec) -> list[str]:
    """The entity roles that need a query, in order."""
    return list(dict.fromkeys([*(item.entity for item in spec.windows), *(gap.entity for gap in spec.gaps)]))


def defaults(spec: FeatureSpec) -> dict[str, float]:
    """Each window or gap feature with its value over nothing: 0 or NaN."""
    found = {
        item.feature(window): 0.0 if item.aggregate in _ZERO else float("nan")
        for item in spec.windows
        for window in item.windows
    }
    return found | {gap.feature: float("nan") for gap in spec.gaps}


def queries(spec: FeatureSpec, entity: str, table: str, stride: int) -> list[tuple[list[str], str]]:
    """The queries of one entity.

    Args:
        spec: The specification.
        entity: Role, a column of the table.
        table: Has row, ts, tie, the entities and aggregated columns, and label and known (microseconds) when used.
        stride: M, see the module's docstring.

    Returns:
        Pairs of feature names and the SELECT of row and those features (DOUBLE), for rows that have the entity.
    """
    own = [item for item in spec.windows if item.entity == entity and item.aggregate not in LABEL_AGGREGATES]
    late = [item for item in spec.windows if item.entity == entity and item.aggregate in LABEL_AGGREGATES]
    gaps = [gap.feature for gap in spec.gaps if gap.entity == entity]
    found = []
    if own or gaps:
        found.append(_own(own, gaps, quoted(entity), table, stride))
    if late:
        found.append(_late(late, quoted(entity), table, stride, spec.label_delay))
    return found


def _own(items: list[Window], gaps: list[str], entity: str, table: str, stride: int) -> tuple[list[str], str]:
    columns = {item.feature(window): _own_aggregate(item, window) for item in items for window in item.windows}
    if gaps:
        gap = f"(ts - lag(ts) OVER (PARTITION BY {entity} ORDER BY key)) / 1e6"
        columns |= dict.fromkeys(gaps, gap)
    needed = dict.fromkeys(quoted(item.column) for item in items if item.aggregate != "count")
    needed.pop(entity, None)
    inner = (
        f"SELECT row, ts, {_key('ts', '1 + 2 * tie', stride)} AS key, 1 + 2 * tie AS off, {entity}"
        f"{''.join(', ' + name for name in needed)} FROM {table} WHERE {entity} IS NOT NULL"
    )
    windows = _windows((window for item in items for window in item.windows), entity, stride)
    return list(columns), f"SELECT row, {_select(columns)} FROM ({inner}){windows}"


def _own_aggregate(item: Window, window: str) -> str:
    column, over = quoted(item.column), f"OVER {_window_name(window)}"
    return {
        "count": f"count(*) {over}",
        "sum": f"coalesce(sum({column}) {over}, 0)",
        "mean": f"avg({column}) {over}",
        "max": f"max({column}) {over}",
        "min": f"min({column}) {over}",
        "std": f"stddev_pop({column}) {over}",
        "distinct": f"count(DISTINCT {column}) {over}",
    }[item.aggregate]


def _late(items: list[Window], entity: str, table: str, stride: int, delay: str | None) -> tuple[list[str], str]:
    columns = {}
    for item in items:
        for window in item.windows:
            over = f"OVER {_window_name(window)}"
            known, frauds = f"count(label) {over}", f"coalesce(sum(label) {over}, 0)"
            columns[item.feature(window)] = {
                "known": known,
                "frauds": frauds,
                "risk": f"CASE WHEN {known} = 0 THEN 0 ELSE {frauds} / ({known}) END",
            }[item.aggregate]
    moment = f"greatest(known, ts + {micros(delay)})" if delay is not None else "greatest(known, ts)"
    after = f"CASE WHEN {moment} = ts THEN 2 + 2 * tie ELSE 0 END"
    inner = (
        f"SELECT row, {_key('ts', '1 + 2 * tie', stride)} AS key, 1 + 2 * tie AS off, {entity}, NULL::INTEGER AS label "
        f"FROM {table} WHERE {entity} IS NOT NULL UNION ALL "
        f"SELECT NULL, {_key(moment, after, stride)}, 0, {entity}, label::INTEGER "
        f"FROM {table} WHERE {entity} IS NOT NULL AND known IS NOT NULL"
    )
    windows = _windows((window for item in items for window in item.windows), entity, stride)
    select = f"SELECT row, {_select(columns)} FROM ({inner}){windows}"
    return list(columns), f"SELECT * FROM ({select}) WHERE row IS NOT NULL"


def _key(time: str, offset: str, stride: int) -> str:
    return f"({time})::HUGEINT * {stride} + {offset}"


def _select(columns: dict[str, str]) -> str:
    return ", ".join(f"({expression})::DOUBLE AS {quoted(name)}" for name, expression in columns.items())


def _window_name(window: str) -> str:
    return f"w{micros(window)}"


def _windows(windows: Iterable[str], entity: str, stride: int) -> str:
    frames = {
        _window_name(window): f"(PARTITION BY {entity} ORDER BY key RANGE BETWEEN "
        f"({micros(window)}::HUGEINT * {stride} + off - {stride}) PRECEDING AND CURRENT ROW)"
        for window in windows
    }
    return " WINDOW " + ", ".join(f"{name} AS {frame}" for name, frame in frames.items()) if frames else ""
