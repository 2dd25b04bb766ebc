"""What a version's tags say is in doubt about it, for whoever gives it traffic."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from fds_mlflow.registry.grammar import UNREADABLE, text

TRAINING = "fds.warnings"
ADOPTION = "fds.adopted_warnings"


def written(warnings: Iterable[str]) -> str:
    """The value of a tag of warnings."""
    return json.dumps(list(warnings), ensure_ascii=False)


def warnings_of(tags: Mapping[str, str]) -> tuple[str, ...]:
    """The warnings of a version's training and of its adoption; what cannot be parsed is told as it stands."""
    found: list[str] = []
    for name in (TRAINING, ADOPTION):
        try:
            found += [text(one) for one in json.loads(tags.get(name, "[]")) or ()]
        except UNREADABLE:
            found.append(tags[name])
    return tuple(found)
