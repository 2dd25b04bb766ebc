"""For what a plan, or a model's policy, asks the approval of a second person."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from fds_mlflow.core.text.checks import to_enum
from fds_mlflow.errors import ConfigError


class Approval(StrEnum):
    """What can need an approval. Stopping never does: an emergency, a rollback, an abort and a pause go ahead."""

    START = "start"
    GATE = "gate"
    """To go on past a gate of the plan, or by force beyond its next step."""
    COMPLETE = "complete"
    """To make the canary champion, or to give it all of the traffic."""
    PROMOTE = "promote"
    """To make a version champion without a rollout, or by force before its rollout has come to its last step."""


def to_approvals(what: str, given: Any) -> tuple[Approval, ...]:
    """Approvals from their names, in one order, each once.

    Raises:
        ConfigError: It is no list, or one of them is unknown.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigError(f"{what} is {given!r}, not a list", fix=f"write {what}: [{', '.join(Approval)}]")
    named = {to_enum(Approval, what, each) for each in given}
    return tuple(each for each in Approval if each in named)
