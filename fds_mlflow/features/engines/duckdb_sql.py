"""A feature specification becomes SQL: per entity a query of range windows, and one of known labels.

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

The range frame is only counted; the other aggregates take the last ``count`` rows, a frame by rows, which costs an
eighth of finding the same end again by range.

Labels
------
A label that becomes known is an event: the entity, and the key of the moment it became known with offset 0, so that
it lies before the transactions of that moment (a label known at exactly t counts at t). Where it became known in the
moment of its own transaction its offset is ``2 + 2 * tie``: just after that transaction, which therefore never sees
its own label. Known labels and frauds are counted up along each entity's events; a window is the difference of two
counts, which are whole numbers, so nothing is lost. Looking a count up is a join on the latest event at or before a
key (ASOF); its cost does not grow with the number of events per entity, as that of a window over both would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta

from fds_mlflow.core.text.duration import parse_duration
from fds_mlflow.features.spec import AMOUNT_AGGREGATES, LABEL_AGGREGATES, FeatureSpec, Window

_MICROSECOND = timedelta(microseconds=1)
#: Aggregates that are 0 over nothing; the others are missing.
_ZERO = frozenset({"count", "sum", "distinct", "known", "frauds", "risk"})


def inputs(spec: FeatureSpec) -> dict[str, str]:
    """The canonical columns that the queries read, each with its name in the staged table.

    The names are numbers: a column called "row", or two that differ in case only, cannot meet anything else in SQL.
    """
    names: dict[str, None] = dict.fromkeys(gap.entity for gap in spec.gaps)
    for item in spec.windows:
        names[item.entity] = None
        if item.aggregate in AMOUNT_AGGREGATES | {"distinct"}:
            names[item.column] = None
    return {name: f"c{number}" for number, name in enumerate(names)}


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
    """The queries of one entity: own transactions, and known labels.

    Args:
        spec: The specification.
        entity: Role of the entity.
        table: Has row, ts, tie, the columns of `inputs`, and label and known (microseconds) when labels are used.
        stride: M, see the module's docstring.

    Returns:
        Pairs of feature names and the SELECT of row and those features in that order (DOUBLE, named f0, f1, ...), for
        the rows that have the entity.
    """
    items = [item for item in spec.windows if item.entity == entity]
    own = [item for item in items if item.aggregate not in LABEL_AGGREGATES]
    late = [item for item in items if item.aggregate in LABEL_AGGREGATES]
    gaps = [gap.feature for gap in spec.gaps if gap.entity == entity]
    column = inputs(spec)
    found = []
    if own or gaps:
        found.append(_own(own, gaps, entity=entity, column=column, table=table, stride=stride))
    if late:
        found.append(_late(late, column[entity], table, stride, spec.label_delay))
    return found


def _own(
    items: list[Window], gaps: list[str], *, entity: str, column: dict[str, str], table: str, stride: int
) -> tuple[list[str], str]:
    """Aggregates of an entity's own transactions."""
    aggregated = [item for item in items if item.aggregate != "count"]
    needed = list(dict.fromkeys(column[item.column] for item in aggregated))
    windows = list(dict.fromkeys(window for item in items for window in item.windows))
    rows = (
        f"SELECT {_list('row', 'ts', 'tie', f'{column[entity]} AS entity', *needed)}, "
        f"{_key('ts', '1 + 2 * tie', stride)} AS key FROM {table} WHERE {column[entity]} IS NOT NULL"
    )
    ends = [f"count(*) OVER {_name(window)} AS {_name(window)}" for window in windows]
    if gaps:
        ends.append("ts - lag(ts) OVER (PARTITION BY entity ORDER BY key) AS gap")
    counted = f"SELECT {_list('row', 'entity', 'key', *needed, *ends)} FROM ({rows})" + _frames(
        windows,
        lambda window: f"RANGE BETWEEN ({micros(window)}::HUGEINT * {stride} + 1 + 2 * tie - {stride}) PRECEDING",
    )
    frames = _frames(
        [window for item in aggregated for window in item.windows],
        lambda window: f"ROWS BETWEEN ({_name(window)} - 1) PRECEDING",
    )
    columns = {
        item.feature(window): _aggregate(item, column.get(item.column, ""), _name(window))
        for item in items
        for window in item.windows
    }
    columns |= dict.fromkeys(gaps, "gap / 1e6")
    return list(columns), f"SELECT row, {_select(columns.values())} FROM ({counted}){frames}"


def _aggregate(item: Window, column: str, window: str) -> str:
    over = f"OVER {window}"
    return {
        "count": window,
        "sum": f"coalesce(sum({column}) {over}, 0)",
        "mean": f"avg({column}) {over}",
        "max": f"max({column}) {over}",
        "min": f"min({column}) {over}",
        "std": f"stddev_pop({column}) {over}",
        "distinct": f"count(DISTINCT {column}) {over}",
    }[item.aggregate]


def _late(items: list[Window], entity: str, table: str, stride: int, delay: str | None) -> tuple[list[str], str]:
    """Aggregates of labels as they become known."""
    columns = {}
    for item in items:
        for window in item.windows:
            known = f"(coalesce(upto.known, 0) - coalesce({_name(window)}.known, 0))"
            frauds = f"(coalesce(upto.frauds, 0) - coalesce({_name(window)}.frauds, 0))"
            columns[item.feature(window)] = {
                "known": known,
                "frauds": frauds,
                "risk": f"CASE WHEN {known} = 0 THEN 0 ELSE {frauds}::DOUBLE / {known} END",
            }[item.aggregate]
    moment = f"greatest(known, ts + {micros(delay)})" if delay is not None else "greatest(known, ts)"
    after = f"CASE WHEN {moment} = ts THEN 2 + 2 * tie ELSE 0 END"
    events = (
        "SELECT entity, key, sum(known) OVER upto AS known, sum(frauds) OVER upto AS frauds FROM ("
        f"SELECT {entity} AS entity, {_key(moment, after, stride)} AS key, count(*) AS known, sum(label) AS frauds "
        f"FROM {table} WHERE {entity} IS NOT NULL AND known IS NOT NULL GROUP BY ALL"
        ") WINDOW upto AS (PARTITION BY entity ORDER BY key ROWS UNBOUNDED PRECEDING)"
    )
    ends = {"upto": _key("ts", "1 + 2 * tie", stride)}
    for window in (window for item in items for window in item.windows):
        # M - 1 is the largest offset: everything of the moment t - w is counted, so as to be taken off.
        ends[_name(window)] = _key(f"ts - {micros(window)}", str(stride - 1), stride)
    keys = (f"{key} AS {name}" for name, key in ends.items())
    rows = f"SELECT {_list('row', f'{entity} AS entity', *keys)} FROM {table} WHERE {entity} IS NOT NULL"
    joins = "".join(
        f" ASOF LEFT JOIN events AS {name} ON x.entity = {name}.entity AND x.{name} >= {name}.key" for name in ends
    )
    query = f"WITH events AS MATERIALIZED ({events}) SELECT row, {_select(columns.values())} FROM ({rows}) AS x{joins}"
    return list(columns), query


def _key(time: str, offset: str, stride: int) -> str:
    return f"({time})::HUGEINT * {stride} + {offset}"


def _list(*columns: str) -> str:
    return ", ".join(columns)


def _select(expressions: Iterable[str]) -> str:
    return _list(*(f"({expression})::DOUBLE AS f{number}" for number, expression in enumerate(expressions)))


def _name(window: str) -> str:
    return f"w{micros(window)}"


def _frames(windows: Iterable[str], start: Callable[[str], str]) -> str:
    frames = {
        _name(window): f"(PARTITION BY entity ORDER BY key {start(window)} AND CURRENT ROW)" for window in windows
    }
    return " WINDOW " + _list(*(f"{name} AS {frame}" for name, frame in frames.items())) if frames else ""
