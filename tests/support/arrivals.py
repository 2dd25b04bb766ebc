"""Transactions that arrive in a process of their own, until it is killed."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from fds_mlflow.errors import UnavailableError
from fds_mlflow.features.engines.online import Online
from fds_mlflow.features.spec import FeatureSpec, Window
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.opening import Address, opened
from fds_mlflow.features.state.state import Arriving, State

Found = TypeVar("Found")

SPEC = FeatureSpec(
    windows=(
        Window(entity="customer", aggregate="count", windows=("1d",)),
        Window(entity="customer", aggregate="distinct", of="device", windows=("1d",)),
    )
)


def past(address: Address) -> State:
    """The past at an address."""
    return State(opened(address), Layout.of([SPEC]))


def arriving(name: str, number: int) -> Arriving:
    """One transaction of a customer, the same one for all."""
    return Arriving(f"{name}{number}", number, {"customer": "c", "device": f"d{number % 7}"}, {})


def mixed(count: int) -> list[Arriving]:
    """Transactions of few customers and devices, in ties and out of order."""
    chance = random.Random(5)
    return [
        Arriving(
            f"M{number}",
            1_767_225_600_000_000 + (number + chance.randrange(-20, 20)) // 3 * 100_000,
            {"customer": chance.choice("ab"), "device": chance.choice(["x", "y", "z", None])},
            {"amount": chance.choice([0.1, 2.5, 1e9]), "extra": chance.choice([1.0, float("nan")])},
        )
        for number in range(count)
    ]


def answered(ask: Callable[[], Found]) -> Found:
    """Ask until there is an answer: what is sent again counts once, and a busy machine is no fault of the store."""
    while True:
        try:
            return ask()
        except UnavailableError:
            continue


def _acknowledged(address: str, name: str, count: int) -> None:
    known = past(address)
    for number in range(count):
        answered(partial(known.arrive, arriving(name, number), lambda arrival: arrival.again))
        print(number, flush=True)


def _told(address: str, name: str, count: int) -> None:
    """Send all of the mixed ones in an order of one's own, and tell the features of each."""
    from tests.features.state.test_online import everything

    spec = everything()
    state = State(opened(address), Layout.of([spec]))
    engine = Online(spec, state.layout)
    rows = mixed(count)
    random.Random(name).shuffle(rows)
    found = {row.id: answered(partial(state.arrive, row, partial(engine.features, row.time))) for row in rows}
    print(json.dumps(found))


if __name__ == "__main__":
    {"acknowledged": _acknowledged, "told": _told}[sys.argv[1]](sys.argv[2], sys.argv[3], int(sys.argv[4]))
