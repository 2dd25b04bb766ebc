"""What features mean beside their names, to tell whether two specifications mean the same by one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from fds_mlflow.core.text.duration import parse_duration
from fds_mlflow.features.expressions import names_in
from fds_mlflow.features.spec import LABEL_AGGREGATES, FeatureSpec, Window

Meaning = tuple[Any, ...]


def meanings(spec: FeatureSpec) -> dict[str, Meaning]:
    """Each name that is computed, and each column that an expression reads, with a value that is equal for equals."""
    found = dict(_direct(spec))
    for item in spec.windows:
        if item.expression is not None:
            of = _expressed(spec, item.expression, found)
            found |= {name: (*meaning, of) for name, meaning in _window(spec, item)}
    for name in spec.nodes:
        found[name] = _expressed(spec, name, found)
    return found


def _expressed(spec: FeatureSpec, name: str, found: dict[str, Meaning]) -> Meaning:
    node = spec.nodes[name]
    # Nodes are written alike where the texts say the same. Digests: expressions of expressions grow without end.
    read = {one.name: found[one.name] for one in names_in(node)}
    return "expression", hashlib.sha256(repr((node, read)).encode(errors="surrogatepass")).digest()


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
        if item.expression is None:
            yield from _window(spec, item)


def _window(spec: FeatureSpec, item: Window) -> Iterator[tuple[str, Meaning]]:
    of = item.column if item.expression is None and (item.of_numbers or item.aggregate == "distinct") else None
    delay = parse_duration(spec.label_delay or "0s") if item.aggregate in LABEL_AGGREGATES else None
    for window in item.windows:
        length = parse_duration(window)
        yield item.feature(window), ("window", item.entity, item.aggregate, of, length, delay, item.above, item.earlier)
