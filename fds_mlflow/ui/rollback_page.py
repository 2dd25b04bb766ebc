"""Former champions that a model can be rolled back to, the latest to step down first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fds_mlflow.lifecycle.rollback import WATCHED_METRICS, candidate
from fds_mlflow.ui import asked, registry
from fds_mlflow.ui.actions import ACTIONS
from fds_mlflow.ui.permissions import access
from fds_mlflow.ui.render import page, url

if TYPE_CHECKING:
    from flask import Response

ROWS = 10
"""Candidates of a part: each one's figures are asked of its run."""


def show() -> Response:
    """The page."""
    name = asked.word("name")
    session = registry.readable(name)
    view = session.look()
    there = {version.version: version for version in session.versions()} if view.state.former else {}
    former = [version for version in reversed(view.state.former) if version in there]
    part = asked.part("part", len(former), ROWS)
    return page(
        "rollback.html.j2",
        name=name,
        view=view,
        candidates=[
            candidate(view, there[number], session.figures(there[number].run_id))
            for number in former[part.first : part.end]
        ],
        part=part,
        part_url=lambda number: url("rollback", name=name, part=number),
        metrics=WATCHED_METRICS,
        may=access().level(name) >= ACTIONS["rollback"].needs(view),
    )
