"""An action, first as a dry run that shows what would happen, then done: two requests, the second one a POST."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fds_mlflow.errors import AwaitsApprovalError, ConfigError, RefusedError
from fds_mlflow.ui import actions, asked, registry
from fds_mlflow.ui.actions import Action
from fds_mlflow.ui.permissions import access
from fds_mlflow.ui.render import NotAllowedError, page, redirect, url

if TYPE_CHECKING:
    from flask import Response


def preview() -> Response:
    """The page that shows what an action would do, and the form that does it."""
    name, action = asked.word("name"), actions.named(asked.word("do"))
    session = registry.readable(name)
    view = actions.settled(session)
    made = actions.dry_run(session, view, action, **_about(action))
    level = access().level(name)
    return page(
        "action.html.j2",
        name=name,
        view=view,
        made=made,
        needs=action.needs(view),
        allowed=level >= action.needs(view),
        reason=asked.word("reason"),
    )


def act() -> Response:
    """Do what was shown; then back to the model's page, which says what was done."""
    _require_same_site()
    name, action = asked.word("name"), actions.named(asked.word("do"))
    session = registry.readable(name)
    reason, state = asked.word("reason", most=4_000), asked.word("state")
    try:
        result = actions.perform(session, action, actor=_actor(), reason=reason, state=state, **_about(action))
    except AwaitsApprovalError as error:
        return redirect(url("model", name=name, waits=error.request))
    return redirect(url("model", name=name, done=result.event.sequence if result.event else None))


def _about(action: Action) -> dict[str, Any]:
    """What an action is about, as far as a person chooses it."""
    found: dict[str, Any] = {"version": asked.version("version")} if action.asks_version else {}
    return found | ({"answers": asked.word("request", most=100)} if action.asks_request else {})


def _actor() -> str:
    """Who acts: whoever is signed in; where nobody signs in, whoever they say they are.

    Raises:
        ConfigError: Nobody signs in, and no name was given.
    """
    user = access().user()
    if user is not None:
        return user
    named = asked.word("actor", most=200).strip()
    if not named:
        raise ConfigError("nobody signs in to this server, so the history cannot tell who acts", fix="give your name")
    return named


def _require_same_site() -> None:
    """Refuse what another site's page has sent, beside MLflow's own check, which a server may have turned off.

    Raises:
        NotAllowedError: The browser says that it comes from elsewhere.
    """
    from flask import request

    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise NotAllowedError("the page of another site has sent this", fix="open the page here, and act on it")
    if request.mimetype != "application/x-www-form-urlencoded":
        raise RefusedError(f"what was sent is {request.mimetype!r:.100}, and no form", fix="send the page's form")
