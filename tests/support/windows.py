"""What every engine of features is held to: frames full of edges, and their features by plain loops."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from fds_mlflow.core.text.duration import parse_duration
from fds_mlflow.features.expressions import names_in
from fds_mlflow.features.spec import Expression
from fds_mlflow.features.table import FeatureSpec, Gap, Window
from fds_mlflow.runtime.text_column import text_column

WINDOWS = ("1s", "3s", "1m", "3000w")
EPOCH = pd.Timestamp("2026-01-01")
AMOUNTS = (0.0, 0.1, 2.5, 1e6, -3.0, 1e12, 1e12 + 0.5, -1e12)


def everything(delay: str | None = None) -> FeatureSpec:
    """Every aggregate over every window, and the time since the previous transaction."""
    plain = tuple(
        Window(entity="customer", aggregate=aggregate, windows=WINDOWS, of=of)
        for aggregate, of in (
            ("count", None),
            ("sum", None),
            ("mean", "extra"),
            ("mean", "amount"),
            ("max", None),
            ("min", "extra"),
            ("std", None),
            ("distinct", "device"),
        )
    )
    earlier = tuple(
        Window(entity="customer", aggregate=aggregate, windows=WINDOWS, earlier=True)
        for aggregate in ("count", "sum", "mean", "median", "max", "min", "std")
    )
    beyond = (
        Window(entity="customer", aggregate="median", windows=WINDOWS, of="extra"),
        Window(entity="customer", aggregate="count", windows=WINDOWS, of="extra", above=1),
    )
    late = tuple(Window(entity="device", aggregate=aggregate, windows=WINDOWS) for aggregate in LABELS)
    return FeatureSpec(
        windows=plain + earlier + beyond + expressed("customer") + late,
        gaps=(Gap(entity="customer"),),
        expressions=EXPRESSIONS,
        hidden=("beyond",),
        label_delay=delay,
    )


LABELS: tuple[Any, ...] = ("known", "frauds", "risk", "fraud_run", "since_first_fraud", "since_last_fraud")

EXPRESSIONS = (
    Expression(name="ratio", of="amount / customer_earlier_median_amount_3s"),
    Expression(name="beyond", of="coalesce(extra, 3) * customer_count_1s - customer_earlier_count_3s"),
)


def expressed(entity: str, windows: tuple[str, ...] = WINDOWS) -> tuple[Window, ...]:
    """Windows over expressions."""
    return (
        Window(entity=entity, aggregate="max", windows=windows, expression="ratio"),
        Window(entity=entity, aggregate="median", windows=windows, expression="ratio", earlier=True),
        Window(entity=entity, aggregate="count", windows=windows, expression="ratio", above=2.5),
        Window(entity=entity, aggregate="sum", windows=windows, expression="beyond"),
    )


def arriving(frame: pd.DataFrame, delays: list[int | None]) -> pd.DataFrame:
    """A frame whose rows arrived so many microseconds after they took place; None where nobody says."""
    moment = frame["time"] + pd.to_timedelta(pd.Series([delay or 0 for delay in delays]), unit="us")
    return frame.assign(arrived_at=moment.mask([delay is None for delay in delays]).astype("datetime64[us]"))


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """Small canonical frames in any order, full of ties in time, missing entities, values and labels, and delays."""
    n = draw(st.integers(1, 14))
    rows = st.lists(
        st.tuples(
            st.integers(0, 6),  # seconds
            st.sampled_from([0, 1, 999_999]),  # microseconds
            st.sampled_from(["a", "b", None]),
            st.sampled_from(["x", "y", None]),
            st.sampled_from(AMOUNTS),
            st.sampled_from([1.0, 7.25, None]),
            st.sampled_from([0, 1, None]),
            st.sampled_from([None, 0, 1, 1_000_000, 3_000_000, 2_000_001]),  # microseconds until the label is known
        ),
        min_size=n,
        max_size=n,
    )
    drawn = draw(rows)
    time = np.array([s * 1_000_000 + us for s, us, *_ in drawn], dtype="timedelta64[us]") + EPOCH.to_datetime64()
    time = time.astype("datetime64[us]")
    labels = [1, *(r[6] for r in drawn[1:])]  # files without any label are refused
    known = [
        np.datetime64("NaT") if d is None or label is None else t + np.timedelta64(d, "us")
        for t, (*_, d), label in zip(time, drawn, labels, strict=True)
    ]
    return pd.DataFrame(
        {
            "transaction_id": [str(i) for i in range(n)],
            "time": time,
            "amount": np.array([r[4] for r in drawn], dtype=np.float64),
            "customer": text_column([r[2] for r in drawn]),
            "device": text_column([r[3] for r in drawn]),
            "label": pd.array(labels, dtype="Int8") if None in labels else np.array(labels, dtype=np.int8),
            "label_known_at": np.array(known, dtype="datetime64[us]"),
            "extra": np.array([np.nan if r[5] is None else r[5] for r in drawn], dtype=np.float64),
        }
    )


def reference(frame: pd.DataFrame, spec: FeatureSpec, *, every_row: bool = False) -> dict[str, list[float]]:
    """The same features of the labelled rows, or of every row, by plain loops, written from the definition alone."""
    rows = frame.to_dict("records")
    delay = pd.Timedelta(parse_duration(spec.label_delay or "0s"))
    for i, row in enumerate(rows):
        arrived = row.get("arrived_at", pd.NaT)
        row["arrived"] = (row["time"] if pd.isna(arrived) else arrived, i)
        row["order"] = (row["time"], row["arrived"])
        row["usable"] = max(row["label_known_at"], row["time"] + delay) if pd.notna(row["label_known_at"]) else None

    def past(now: dict[str, Any], item: Window, window: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
        """The rows of a window that ends with one, of what is there when another one asks."""
        age, own = parse_duration(window), [now] * pd.notna(now[item.entity])
        return [
            r
            for r in rows
            if same(r, now, item.entity)
            and now["time"] - r["time"] < age
            and r["order"] < now["order"]
            and (r is asked or r["arrived"] <= asked["arrived"])
        ] + own * (not item.earlier)

    def number(row: dict[str, Any], item: Window, asked: dict[str, Any]) -> float:
        if item.expression is None:
            return float(row[item.column])
        names = {name: float(row[name]) for name in ("amount", "extra")}
        for each in spec.windows:
            for window in each.windows:
                if each.stands_alone(item.entity) and each.feature(window) in spec_reads[item.expression]:
                    names[each.feature(window)] = aggregated(row, each, window, asked)
        return EXPRESSED[item.expression](names)

    def aggregated(row: dict[str, Any], item: Window, window: str, asked: dict[str, Any]) -> float:
        there = past(row, item, window, asked)
        if not item.of_numbers and item.aggregate == "count":
            return float(len(there))
        if item.aggregate == "distinct":
            return RULES["distinct"]([r[item.column] for r in there if pd.notna(r[item.column])])
        values = [v for r in there if not math.isnan(v := number(r, item, asked))]
        return float(sum(v > item.above for v in values)) if item.above is not None else RULES[item.aggregate](values)

    def labels(now: dict[str, Any], entity: str, window: str) -> list[tuple[pd.Timestamp, int]]:
        found = []
        for r in rows:
            if not same(r, now, entity) or r["usable"] is None:
                continue
            if not (r["usable"] <= now["time"] and now["time"] - r["usable"] < parse_duration(window)):
                continue
            if not before(r, now) or max(r["label_known_at"], r["arrived"][0]) > now["arrived"][0]:
                continue  # not yet told: of the rows of its own moment, only those that arrive later may know it
            found.append((r["usable"], int(r["label"])))
        return found

    spec_reads = {name: {one.name for one in names_in(node)} for name, node in spec.nodes.items()}
    asked = [row for row in rows if every_row or pd.notna(row["label"])]
    out: dict[str, list[float]] = {}
    for item in spec.windows:
        for window in item.windows:
            if item.aggregate in LABELS:
                told = [(row["time"], labels(row, item.entity, window)) for row in asked]
                values = [of_labels(item.aggregate, known, time) for time, known in told]
            else:
                values = [aggregated(row, item, window, row) for row in asked]
            out[item.feature(window)] = values
    for gap in spec.gaps:
        earlier = [[r for r in rows if same(r, now, gap.entity) and before(r, now)] for now in asked]
        out[gap.feature] = [
            (now["time"] - max(r["time"] for r in those)).total_seconds() if those else math.nan
            for now, those in zip(asked, earlier, strict=True)
        ]
    return out


def before(row: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a row took place before another one, and had arrived."""
    return bool(row["order"] < now["order"] and row["arrived"] < now["arrived"])


def same(row: dict[str, Any], now: dict[str, Any], entity: str) -> bool:
    """Whether two rows share an entity; nobody shares a missing one."""
    return bool(pd.notna(now[entity]) and row[entity] == now[entity])


def of_labels(aggregate: str, known: list[tuple[pd.Timestamp, int]], time: pd.Timestamp) -> float:
    """One aggregate of labels, each with its moment."""
    frauds = [moment for moment, fraud in known if fraud]
    if aggregate == "fraud_run":
        return float(sum(all(moment > other for other, fraud in known if not fraud) for moment in frauds))
    if aggregate.startswith("since"):
        chosen = min if aggregate == "since_first_fraud" else max
        return (time - chosen(frauds)).total_seconds() if frauds else math.nan
    return RULES[aggregate]([fraud for _, fraud in known])


def divided(x: float, y: float) -> float:
    """A quotient where it is finite."""
    return x / y if y and math.isfinite(x / y) else math.nan


EXPRESSED: dict[str, Callable[[dict[str, float]], float]] = {
    "ratio": lambda row: divided(row["amount"], row["customer_earlier_median_amount_3s"]),
    "beyond": lambda row: (
        (3.0 if math.isnan(row["extra"]) else row["extra"]) * row["customer_count_1s"]
        - row["customer_earlier_count_3s"]
    ),
}
"""What the expressions say."""

RULES: dict[str, Callable[[list[Any]], float]] = {
    "sum": math.fsum,
    "mean": lambda v: statistics.mean(v) if v else math.nan,  # of fractions, rounded once
    "median": lambda v: statistics.median(v) if v else math.nan,
    "max": lambda v: max(v) if v else math.nan,
    "min": lambda v: min(v) if v else math.nan,
    "std": lambda v: statistics.pstdev(v) if v else math.nan,  # the same
    "distinct": lambda v: float(len(set(v))),
    "known": lambda v: float(len(v)),
    "frauds": lambda v: float(sum(v)),
    "risk": lambda v: sum(v) / len(v) if v else 0.0,
}


def plain(times: list[str], *, label: list[int] | None = None, known: list[str] | None = None) -> pd.DataFrame:
    """A canonical frame of one customer's transactions of amount 1."""
    frame = pd.DataFrame(
        {
            "transaction_id": [str(i) for i in range(len(times))],
            "time": np.array(times, dtype="datetime64[us]"),
            "amount": np.ones(len(times)),
            "customer": text_column(["a"] * len(times)),
        }
    )
    if label is not None:
        frame["label"] = np.array(label, dtype=np.int8)
    if known is not None:
        frame["label_known_at"] = np.array(known, dtype="datetime64[us]")
    return frame
