"""What has fooled a judge, measured: the constructions, how many of each are simulated, and what is shown of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.calibration.confounding import confounding
from benchmarks.calibration.keys import repeated_keys
from benchmarks.calibration.late import late_harm
from benchmarks.calibration.selective import selective

ATTACKS: dict[str, tuple[Callable[..., dict[str, Any]], tuple[str, ...]]] = {
    "late_harm": (late_harm, ("late_courses", "late_good")),
    "repeated_keys": (repeated_keys, ("keys", "keys_stored")),
    "confounding": (confounding, ("confounding",)),
    "selective": (selective, ("selective", "rehearsals")),
}
"""Each with the options that say how many."""

DEFAULTS: dict[str, tuple[int, str]] = {
    "late_courses": (100, "courses per delay after a change"),
    "late_good": (60, "good canaries per cell, a month each"),
    "keys": (40, "rollouts per cell with customers as keys, a month each"),
    "keys_stored": (3, "of these, rollouts that go through a real store of outcomes"),
    "confounding": (30, "rollouts per cell while rates move with the weight"),
    "selective": (30, "rollouts per cell while labels depend on the decision"),
    "rehearsals": (20, "replays per rehearsal of a selective history"),
}
"""How many by default, and of what."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """One option per count."""
    for name, (number, what) in DEFAULTS.items():
        text = f"{what} (default {number})"
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=number, metavar="NUMBER", help=text)


def run(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Simulate one of them."""
    attack, counts = ATTACKS[name]
    return attack(*(options[count] for count in counts))


def rows(name: str, found: Mapping[str, Any]) -> list[list[object]]:
    """Its headline figures."""
    return [[name.replace("_", " "), key.replace("_", " "), value] for key, value in found.items() if _is_figure(value)]


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
