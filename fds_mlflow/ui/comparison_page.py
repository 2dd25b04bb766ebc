"""Two versions beside each other, by what was logged when they were trained: neither is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fds_mlflow.registry import tags
from fds_mlflow.registry.store import VersionView
from fds_mlflow.ui import asked, registry
from fds_mlflow.ui.render import page

if TYPE_CHECKING:
    from flask import Response

FIRST = ("average_precision", "roc_auc", "recall", "precision", "false_positive_rate")
"""Figures that come first, where they were logged."""


@dataclass(frozen=True)
class Figure:
    """One figure of both versions.

    Attributes:
        name: As it was logged.
        one: Of the first version; None where it has none.
        other: Of the second one.
    """

    name: str
    one: float | None
    other: float | None

    @property
    def difference(self) -> float | None:
        """The second one's less the first one's; None where one is missing."""
        return None if self.one is None or self.other is None else self.other - self.one


@dataclass(frozen=True)
class Said:
    """What a tag or a parameter says of both versions.

    Attributes:
        name: Key of the catalogue, or the parameter's own name.
        one: Of the first version.
        other: Of the second one.
    """

    name: str
    one: str
    other: str


TAGS = {
    "algorithm": tags.ALGORITHM,
    "threshold": tags.THRESHOLD,
    "target_fpr": tags.TARGET_FPR,
    "source": "fds.source",
    "period": "fds.period",
    "digest": tags.DIGEST,
}
"""What else is told of a version, by its key in the catalogue."""


def show() -> Response:
    """The page."""
    name, numbers = asked.word("name"), (asked.version("a"), asked.version("b"))
    session = registry.readable(name)
    one, other = (session.version(number) for number in numbers)
    return page(
        "compare.html.j2",
        name=name,
        one=one,
        other=other,
        facts=_facts(one, other),
        figures=_figures(session.figures(one.run_id), session.figures(other.run_id)),
    )


def _facts(one: VersionView, other: VersionView) -> list[Said]:
    found = [Said(key, one.tags.get(tag, ""), other.tags.get(tag, "")) for key, tag in TAGS.items()]
    found.append(Said("description", one.description, other.description))
    return [each for each in found if each.one or each.other]


def _figures(one: Mapping[str, float], other: Mapping[str, float]) -> list[Figure]:
    names = sorted(
        one.keys() | other.keys(), key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name)
    )
    return [Figure(name, one.get(name), other.get(name)) for name in names]
