"""The feature engine against the Fraud Detection Handbook's own columns.

From the handbook's raw transactions the 14 engineered columns of its transformed file are computed anew and compared
on all its rows. A row matches when counts and flags are equal and averages and risks agree within 1e-9.

Ties in time. Four customers have two transactions in the same second within the compared period. The engine takes
ties in input order. The handbook sorted each customer's rows with an unstable sort, which left three of the pairs in
the file's order and turned one round (its own count column tells: the second row counts less than the first). The
input is given in the handbook's order; `mismatched_rows_file_order` says what comes out in the file's order.

    python -m benchmarks.oracle --json        # the full figures: 718,601 transactions, 201,295 rows compared
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.report import report

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "handbook"
RAW = DATA / "raw_2018-06-01_2018-08-14.parquet"
TRANSFORMED = DATA / "transformed_2018-07-25_2018-08-14.parquet"
TOLERANCE = 1e-9


def exact(column: str) -> bool:
    """Whether a column must be equal: counts and flags."""
    return "_NB_TX_" in column or "_DURING_" in column


def handbook_order(raw: pd.DataFrame, oracle: pd.DataFrame) -> pd.DataFrame:
    """The raw transactions with each customer's ties in the order in which the handbook counted them."""
    pair = ["CUSTOMER_ID", "TX_DATETIME"]
    tied = oracle[oracle.duplicated(pair, keep=False)].set_index("TRANSACTION_ID")
    counted = raw["TRANSACTION_ID"].map(tied["CUSTOMER_ID_NB_TX_30DAY_WINDOW"]).fillna(0.0)
    order = np.lexsort((counted.to_numpy(), raw["TX_DATETIME"].to_numpy()))
    return raw.iloc[order].reset_index(drop=True)


def compare(raw: pd.DataFrame, oracle: pd.DataFrame) -> tuple[dict[str, float], int]:
    """The largest absolute difference of each column, and the number of rows where any is too large."""
    from fds_mlflow.data.transactions import load
    from fds_mlflow.features.table import compute, handbook_spec

    table = compute(load(raw, "handbook"), handbook_spec())
    found = table.frame.set_index("transaction_id").loc[list(oracle["TRANSACTION_ID"].astype(str))]
    worst: dict[str, float] = {}
    wrong = np.zeros(len(oracle), dtype=bool)
    for column in table.features:
        if column == "amount":
            continue
        difference = np.abs(found[column].to_numpy() - oracle[column].to_numpy(dtype=np.float64))
        worst[column] = float(difference.max())
        wrong |= ~(difference <= (0.0 if exact(column) else TOLERANCE))
    return worst, int(wrong.sum())


def run() -> dict[str, Any]:
    """Compare both ways; the result that is printed."""
    raw, oracle = pd.read_parquet(RAW), pd.read_parquet(TRANSFORMED)
    worst, mismatched = compare(handbook_order(raw, oracle), oracle)
    _, in_file_order = compare(raw, oracle)
    return {
        "rows": len(oracle),
        "mismatched_rows": mismatched,
        "mismatched_rows_file_order": in_file_order,
        "max_abs_diff": worst,
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    as_json = parser.parse_args().json
    if not RAW.is_file():
        parser.error(f"the handbook's files are not in {DATA}")
    result = run()
    rows: list[list[object]] = [["column", "largest difference", "must be"]]
    rows += [
        [name, value, "equal" if exact(name) else f"within {TOLERANCE:g}"]
        for name, value in result["max_abs_diff"].items()
    ]
    title = f"{result['mismatched_rows']} of {result['rows']:,} rows differ from the handbook's columns"
    report(f"{title} ({result['mismatched_rows_file_order']} with ties in file order)", rows, result, as_json)


if __name__ == "__main__":
    main()
