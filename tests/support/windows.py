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
    late = tuple(Window(entity="device", aggregate=a, windows=WINDOWS) for a in ("known", "frauds", "risk"))
    return FeatureSpec(windows=plain + late, gaps=(Gap(entity="customer"),), label_delay=delay)


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

    def past(now: dict[str, Any], entity: str, window: str) -> list[dict[str, Any]]:
        age = parse_duration(window)
        return [r for r in rows if same(r, now, entity) and now["time"] - r["time"] < age and before(r, now)] + [
            now
        ] * pd.notna(now[entity])

    def labels(now: dict[str, Any], entity: str, window: str) -> list[int]:
        found = []
        for r in rows:
            if not same(r, now, entity) or r["usable"] is None:
                continue
            if not (r["usable"] <= now["time"] and now["time"] - r["usable"] < parse_duration(window)):
                continue
            if not before(r, now) or max(r["label_known_at"], r["arrived"][0]) > now["arrived"][0]:
                continue  # not yet told: of the rows of its own moment, only those that arrive later may know it
            found.append(int(r["label"]))
        return found

    asked = [row for row in rows if every_row or pd.notna(row["label"])]
    out: dict[str, list[float]] = {}
    for item in spec.windows:
        for window in item.windows:
            if item.aggregate in ("known", "frauds", "risk"):
                values = [RULES[item.aggregate](labels(row, item.entity, window)) for row in asked]
            elif item.aggregate == "count":
                values = [float(len(past(row, item.entity, window))) for row in asked]
            else:
                values = [
                    RULES[item.aggregate]([v for r in past(row, item.entity, window) if pd.notna(v := r[item.column])])
                    for row in asked
                ]
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


RULES: dict[str, Callable[[list[Any]], float]] = {
    "sum": math.fsum,
    "mean": lambda v: statistics.mean(v) if v else math.nan,  # of fractions, rounded once
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
