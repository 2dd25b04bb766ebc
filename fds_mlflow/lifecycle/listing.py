"""Registered models at a glance, from what one call of the registry tells of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fds_mlflow.core.lifecycle.decision import moves_champion
from fds_mlflow.core.lifecycle.state import Stage, fold
from fds_mlflow.core.weight import to_percent
from fds_mlflow.registry import alias_names
from fds_mlflow.registry.history import read_history
from fds_mlflow.registry.store import ModelView


@dataclass(frozen=True)
class Listed:
    """A registered model in a list.

    Attributes:
        model: Its name.
        champion: Version of the champion alias.
        since: When it became champion by the history, UTC; None where the history has another champion.
        canary: Version of the canary alias.
        weight: The canary's share of the traffic by the history, percent; None where no rollout is active.
        aliases: Version by alias, the team's own aliases included.
        stages: Versions by stage, as the history has them.
    """

    model: str
    champion: int | None
    since: datetime | None
    canary: int | None
    weight: float | None
    aliases: dict[str, int]
    stages: dict[str, list[int]]


def is_managed(model: ModelView) -> bool:
    """Whether a model has a history of ours, or names a champion."""
    return any(name.startswith("fds.") for name in model.tags) or "champion" in model.aliases


def listed(name: str, model: ModelView) -> Listed:
    """What a list says of a model.

    Args:
        name: Registered model.
        model: Its aliases and tags.
    """
    names, events = alias_names.decode(model.tags), read_history(model.tags).events
    champion, canary = model.aliases.get(names.champion), model.aliases.get(names.canary)
    state = fold(events)
    came = (event.time for event in reversed(events) if moves_champion(event))
    active = state.rollout is not None and state.rollout.canary == canary
    return Listed(
        name,
        champion,
        next(came, None) if champion is not None and champion == state.champion else None,
        canary,
        to_percent(state.rollout.weight) if state.rollout is not None and active else None,
        dict(model.aliases),
        {
            stage.value: sorted(version for version, at in state.stages.items() if at is stage)
            for stage in Stage
            if stage in state.stages.values()
        },
    )
