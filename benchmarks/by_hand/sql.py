"""What one would write by hand in SQL: range windows over an entity's transactions, and joins to its known labels.

For the simulator's schema and the features of `default_spec`. Transactions of the same microsecond see each other here.
"""

from __future__ import annotations

import duckdb
import pandas as pd

SPANS = {"1h": "1 hour", "1d": "1 day", "7d": "7 days", "30d": "30 days"}


def own(role: str) -> str:
    """Counts, means and distinct customers of the role's transactions."""
    windows = ", ".join(
        f"w{name} AS (PARTITION BY {role} ORDER BY time RANGE BETWEEN INTERVAL '{span}' - INTERVAL '1 microsecond' "
        "PRECEDING AND CURRENT ROW)"
        for name, span in SPANS.items()
    )
    wanted = [f"count(*) OVER w{name} AS {role}_count_{name}" for name in SPANS]
    wanted += [f"avg(amount) OVER w{name} AS {role}_mean_amount_{name}" for name in SPANS if name != "1h"]
    if role != "customer":
        wanted.append(f"count(DISTINCT customer) OVER w7d AS {role}_distinct_customer_7d")
    return f"SELECT row, {', '.join(wanted)} FROM tx WINDOW {windows} ORDER BY row"


def labels(role: str) -> str:
    """Known labels and risks: running counts along the labels, looked up at both ends of each window."""
    ends = {"upto": "time", **{f"w{name}": f"time - INTERVAL '{span}'" for name, span in SPANS.items() if name != "1h"}}
    joins = " ".join(
        f"ASOF LEFT JOIN events AS {name} ON tx.{role} = {name}.{role} AND {at} >= {name}.at"
        for name, at in ends.items()
    )
    wanted = []
    for name in list(ends)[1:]:
        known, frauds = (f"(coalesce(upto.{one}, 0) - coalesce({name}.{one}, 0))" for one in ("known", "frauds"))
        wanted.append(f"{known} AS {role}_known_{name[1:]}")
        wanted.append(f"CASE WHEN {known} = 0 THEN 0 ELSE {frauds} / {known} END AS {role}_risk_{name[1:]}")
    return (
        f"WITH events AS MATERIALIZED (SELECT {role}, label_known_at AS at, count(*) OVER upto AS known, "
        f"sum(label) OVER upto AS frauds FROM tx WINDOW upto AS (PARTITION BY {role} ORDER BY label_known_at)) "
        f"SELECT row, {', '.join(wanted)} FROM tx {joins} ORDER BY row"
    )


def windows(frame: pd.DataFrame, roles: tuple[str, ...], threads: int) -> dict[str, pd.Series]:
    """The windows of `default_spec` for a canonical frame: name -> values in its order."""
    found: dict[str, pd.Series] = {}
    columns = ["time", "amount", "label", "label_known_at", *roles]
    with duckdb.connect(":memory:", config={"threads": threads}) as connection:
        connection.register("given", frame[columns].assign(row=range(len(frame))))
        connection.execute("CREATE TABLE tx AS SELECT * FROM given")
        for role in roles:
            for query in (own(role), labels(role))[: 1 if role == "customer" else 2]:
                result = connection.execute(query).df()
                found |= {name: result[name].astype("float64") for name in result if name != "row"}
    return found
