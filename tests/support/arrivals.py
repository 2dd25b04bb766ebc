"""Transactions that arrive in a process of their own, until it is killed."""

from __future__ import annotations

import sys
from pathlib import Path

from fds_mlflow.features.spec import FeatureSpec, Window
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.lmdb_store import LmdbStore
from fds_mlflow.features.state.state import Arriving, State

SPEC = FeatureSpec(
    windows=(
        Window(entity="customer", aggregate="count", windows=("1d",)),
        Window(entity="customer", aggregate="distinct", of="device", windows=("1d",)),
    )
)


def past(folder: Path) -> State:
    """The past in a folder."""
    return State(LmdbStore(folder, limit=2**28), Layout.of([SPEC]))


def arriving(name: str, number: int) -> Arriving:
    """One transaction of a customer, the same one for all."""
    return Arriving(f"{name}{number}", number, {"customer": "c", "device": f"d{number % 7}"}, {})


if __name__ == "__main__":
    known = past(Path(sys.argv[1]))
    for number in range(int(sys.argv[3])):
        known.arrive(arriving(sys.argv[2], number), lambda arrival: arrival.again)
        print(number, flush=True)
