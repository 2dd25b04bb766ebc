"""What one would write by hand: a compiled two-pointer pass over sorted arrays, for the features of `default_spec`.

It knows the simulator's schema and nothing else: counts, mean amounts, distinct customers, known labels and risks, over
the windows given. It keeps running sums in plain floats. numba compiles it; the benchmark alone needs numba.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pandas as pd

HOUR = 3_600_000_000
WINDOWS = np.array([HOUR, 24 * HOUR, 7 * 24 * HOUR, 30 * 24 * HOUR])
DISTINCT = 2  # the window of a week, by number
_jit = numba.njit(nogil=True)


@_jit
def grouped(codes: Any, order: Any, groups: int) -> Any:
    """A counting sort by entity that keeps `order`: first places of the entities, and their rows."""
    begin = np.zeros(groups + 1, np.int64)
    for code in codes:
        if code >= 0:
            begin[code + 1] += 1
    begin = np.cumsum(begin)
    at, rows = begin.copy(), np.empty(begin[-1], np.int64)
    for row in order:
        if codes[row] >= 0:
            rows[at[codes[row]]] = row
            at[codes[row]] += 1
    return begin, rows


@_jit
def own_pass(begin: Any, rows: Any, time: Any, amount: Any, windows: Any, count: Any, mean: Any) -> None:
    """Counts and means of each entity's transactions: one pointer a window that follows the row."""
    for group in range(len(begin) - 1):
        first = np.full(len(windows), begin[group])
        total = np.zeros(len(windows))
        for p in range(begin[group], begin[group + 1]):
            row = rows[p]
            for w in range(len(windows)):
                total[w] += amount[p]
                while time[first[w]] <= time[p] - windows[w]:
                    total[w] -= amount[first[w]]
                    first[w] += 1
                count[w, row] = p + 1 - first[w]
                mean[w, row] = total[w] / (p + 1 - first[w])


@_jit
def distinct_pass(begin: Any, rows: Any, time: Any, other: Any, others: int, window: int, out: Any) -> None:
    """Distinct values in the window, by how often each is in it."""
    times = np.zeros(others, np.int64)
    for group in range(len(begin) - 1):
        first, distinct = begin[group], 0
        for p in range(begin[group], begin[group + 1]):
            row = rows[p]
            if other[p] >= 0:
                distinct += times[other[p]] == 0
                times[other[p]] += 1
            while time[first] <= time[p] - window:
                gone = other[first]
                if gone >= 0:
                    times[gone] -= 1
                    distinct -= times[gone] == 0
                first += 1
            out[row] = distinct
        for p in range(first, begin[group + 1]):
            if other[p] >= 0:
                times[other[p]] = 0


@_jit
def label_pass(
    begin: Any, rows: Any, event_begin: Any, time: Any, known: Any, label: Any, windows: Any, out: Any
) -> None:
    """Labels that became known in each window: two pointers a window along them. Shape of out: (2, windows, rows)."""
    for group in range(len(begin) - 1):
        end, last = event_begin[group], event_begin[group + 1]
        first = np.full(len(windows), end)
        number, frauds = np.zeros(len(windows)), np.zeros(len(windows))
        for p in range(begin[group], begin[group + 1]):
            row = rows[p]
            while end < last and known[end] <= time[p]:
                number += 1
                frauds += label[end]
                end += 1
            for w in range(len(windows)):
                while first[w] < end and known[first[w]] <= time[p] - windows[w]:
                    number[w] -= 1
                    frauds[w] -= label[first[w]]
                    first[w] += 1
                out[0, w, row] = number[w]
                out[1, w, row] = frauds[w] / number[w] if number[w] else 0.0


def compiled(frame: pd.DataFrame, roles: tuple[str, ...]) -> dict[str, Any]:
    """The windows of `default_spec` for a canonical frame: name -> values in its order."""
    n = len(frame)
    time = frame["time"].to_numpy().astype("datetime64[us]").astype(np.int64)
    known = frame["label_known_at"].to_numpy().astype("datetime64[us]").astype(np.int64)
    amount, label = frame["amount"].to_numpy(), frame["label"].to_numpy()
    order = np.argsort(time, kind="stable")
    arrival = np.argsort(known, kind="stable")
    arrival = arrival[~frame["label_known_at"].isna().to_numpy()[arrival]]
    coded = {role: pd.factorize(frame[role]) for role in roles}
    customer, customers = coded["customer"]
    found: dict[str, Any] = {}
    names = ("1h", "1d", "7d", "30d")
    for role, (codes, values) in coded.items():
        begin, rows = grouped(codes, order, len(values))
        sorted_time = time[rows]
        count, mean = np.zeros((4, n)), np.full((4, n), np.nan)
        own_pass(begin, rows, sorted_time, amount[rows], WINDOWS, count, mean)
        found |= {f"{role}_count_{name}": count[w] for w, name in enumerate(names)}
        found |= {f"{role}_mean_amount_{name}": mean[w] for w, name in enumerate(names) if w}
        if role == "customer":
            continue
        distinct = np.zeros(n)
        distinct_pass(begin, rows, sorted_time, customer[rows], len(customers), WINDOWS[DISTINCT], distinct)
        event_begin, events = grouped(codes, arrival, len(values))
        labels = np.zeros((2, 3, n))
        label_pass(begin, rows, event_begin, sorted_time, known[events], label[events], WINDOWS[1:], labels)
        found[f"{role}_distinct_customer_7d"] = distinct
        for w, name in enumerate(names[1:]):
            found[f"{role}_known_{name}"], found[f"{role}_risk_{name}"] = labels[0, w], labels[1, w]
    return found
