"""What features mean beside their names, to tell whether two specifications mean the same by one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from fds_mlflow.core.text.duration import parse_duration
from fds_mlflow.features.expressions import names_in
from fds_mlflow.features.spec import AMOUNT_AGGREGATES, LABEL_AGGREGATES, FeatureSpec

Meaning = tuple[Any, ...]


def meanings(spec: FeatureSpec) -> dict[str, Meaning]:
    """Each name that is computed, and each column that an expression reads, with a value that is equal for equals."""
    found = dict(_direct(spec))
    for name, node in spec.nodes.items():
        # Nodes are written alike where the texts say the same. Digests: expressions of expressions grow without end.
        read = {one.name: found[one.name] for one in names_in(node)}
        found[name] = ("expression", hashlib.sha256(repr((node, read)).encode(errors="surrogatepass")).digest())
    return found


def conflicts(spec: FeatureSpec, other: FeatureSpec) -> list[str]:
    """The names by which two specifications mean different things, in order."""
    mine, theirs = meanings(spec), meanings(other)
    return [name for name, meaning in mine.items() if name in theirs and theirs[name] != meaning]


def _direct(spec: FeatureSpec) -> Iterator[tuple[str, Meaning]]:
    for name in (*spec.numeric, *spec.inputs):
        yield name, ("number",)
    for name in spec.categorical:
        yield name, ("category",)
    for flag in spec.flags:
        yield flag.feature, ("flag", flag.flag, spec.time_zone or "UTC")
    for gap in spec.gaps:
        yield gap.feature, ("gap", gap.entity)
    for item in spec.windows:
        of = item.column if item.aggregate in AMOUNT_AGGREGATES | {"distinct"} else None
        delay = parse_duration(spec.label_delay or "0s") if item.aggregate in LABEL_AGGREGATES else None
        for window in item.windows:
            yield item.feature(window), ("window", item.entity, item.aggregate, of, parse_duration(window), delay)
