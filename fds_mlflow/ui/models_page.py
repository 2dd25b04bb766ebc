"""All models at a glance: who serves, who is on trial and how it stands, and whether all is well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from fds_mlflow.core.weight import to_percent
from fds_mlflow.lifecycle.listing import is_managed
from fds_mlflow.lifecycle.rollback import reign
from fds_mlflow.registry import tags
from fds_mlflow.registry.view import View
from fds_mlflow.ui import registry
from fds_mlflow.ui.permissions import Level, access
from fds_mlflow.ui.render import page

if TYPE_CHECKING:
    from flask import Response
    from mlflow.entities import Run


@dataclass(frozen=True)
class Glance:
    """One model in the list.

    Attributes:
        name: Registered model.
        champion: Version that serves.
        since: Since when, by the history, UTC.
        canary: Version on trial.
        weight: Its share of the traffic, percent.
        is_watch: It is the control of a watch.
        verdict: The overall verdict at the autopilot's last look; "" where there was none.
        verdict_reason: Its sentence.
        health: Keys of what is not well, for the catalogue.
    """

    name: str
    champion: int | None
    since: datetime | None
    canary: int | None
    weight: float | None
    is_watch: bool
    verdict: str
    verdict_reason: str
    health: tuple[str, ...]


def show() -> Response:
    """The page."""
    models = {name: live for name, live in registry.store().models().items() if access().level(name) >= Level.READ}
    managed = {name: registry.viewed(name, live) for name, live in models.items() if is_managed(live)}
    runs = registry.running() if any(view.rollout for view in managed.values()) else {}
    glances = [glance(name, view, runs) for name, view in managed.items()]
    return page("models.html.j2", glances=glances, others=len(models) - len(managed))


def glance(name: str, view: View, runs: Mapping[str, Run]) -> Glance:
    """What the list says of a model."""
    rollout, champion = view.rollout, view.champion_alias
    run = runs.get(rollout.id) if rollout is not None else None
    said = run.data.tags.get(tags.VERDICT, "") if run is not None else ""
    verdict, _, reason = said.partition(": ")
    return Glance(
        name=name,
        champion=champion,
        since=None if champion is None else reign(view.history.events, champion)[0],
        canary=rollout.canary if rollout is not None else None,
        weight=to_percent(rollout.weight) if rollout is not None else None,
        is_watch=rollout is not None and rollout.is_watch,
        verdict=verdict,
        verdict_reason=reason,
        health=tuple(health(view)),
    )


def health(view: View) -> list[str]:
    """What of a model is not well, as far as one look at it tells; the model's own page says it in full."""
    found = {
        "health.unnamed": view.unnamed is not None,
        "health.nobody": view.champion_alias is None and bool(view.history.events),
        "health.changed": not view.agrees or view.edited is not None,
        "health.pending": bool(view.history.intents),
        "health.damaged": bool(view.history.damaged),
    }
    return [key for key, holds in found.items() if holds]
