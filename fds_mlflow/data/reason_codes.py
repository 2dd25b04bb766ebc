"""Which features a schema's codes of reasons are meant for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from fds_mlflow.data.schema import ReasonCode


def coded(reasons: Mapping[str, ReasonCode], features: Iterable[str]) -> dict[str, ReasonCode]:
    """The code of each feature that has one.

    A feature's own name comes before any pattern, and of the patterns that fit the first one holds.

    Args:
        reasons: Of a schema: by a feature's name, or a pattern in which ``*`` stands for any characters.
        features: The features' names.
    """
    patterns = [(_pattern(key), code) for key, code in reasons.items() if "*" in key]
    found = {}
    for name in features:
        fitting = [code for pattern, code in patterns if pattern.fullmatch(name)]
        if name in reasons or fitting:
            found[name] = reasons[name] if name in reasons else fitting[0]
    return found


def fitting_none(reasons: Mapping[str, ReasonCode], features: Iterable[str]) -> list[str]:
    """The names and patterns that fit no feature, in order."""
    names = list(features)
    return [key for key in reasons if key not in names and not any(_pattern(key).fullmatch(name) for name in names)]


def _pattern(key: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, key.split("*"))), re.DOTALL)
