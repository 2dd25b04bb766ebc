"""What a hand may do to a model through MLflow's own doors, on this server: REST of every version, forms, its own UI.

Where the model's policy asks for approvals, a bare move of what serves is refused; elsewhere it is recorded at once, in
the name of who made it. What serves is not deleted. Each door is known by the function behind it, and its request is
read as that function reads it, so no spelling of an address or a body is another door. It is policy, not security: who
writes to the database itself passes it, and who may write tags can leave an intent that looks like ours.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fds_mlflow.core.lifecycle.decision import BY_HAND
from fds_mlflow.core.lifecycle.events import MOVES_CHAMPION, Kind, Role
from fds_mlflow.core.lifecycle.guards import Refusal
from fds_mlflow.core.lifecycle.policy import may_delete, may_move
from fds_mlflow.errors import FdsError, NotFoundError
from fds_mlflow.registry import alias_names, requests, tags
from fds_mlflow.registry.history import read_history
from fds_mlflow.registry.view import View
from fds_mlflow.ui import registry
from fds_mlflow.ui.permissions import access

if TYPE_CHECKING:
    from flask import Flask, Response

PATIENCE = 1.0
"""Seconds that a request waits for the model, to record who moved its alias; later the next operation records it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Door:
    """One of MLflow's ways to change a registered model.

    Attributes:
        message: MLflow's name for what is sent there.
        refusal: What forbids it to a hand, and the fix; None where nothing does.
        moves: It may change what the aliases point at, which the history then records.
    """

    message: str
    refusal: Callable[[View, Any], Refusal | None]
    moves: bool = False


def install(app: Flask) -> None:
    """Ask before each request that passes one of the doors, and record afterwards; behind whoever signs users in."""
    if _refused not in app.before_request_funcs.get(None, []):
        app.before_request(_refused)
        app.after_request(_recorded)


def _moved(view: View, sent: Any) -> Refusal | None:
    role, version = _role(view, sent.alias), None
    if hasattr(sent, "version"):
        version = _number(sent.version)
        if version is None:
            return None  # MLflow refuses it itself
    if role is None or _is_ours(view, role, version):
        return None
    return may_move(view.state, view.policy, role, version)


def _version_deleted(view: View, sent: Any) -> Refusal | None:
    version = _number(sent.version)
    return None if version is None else may_delete(view.state, version)


def _number(said: str) -> int | None:
    """A version as MLflow's own functions read it, which take " 3" and "0_3" for 3."""
    try:
        return int(said)
    except ValueError:
        return None


def _model_deleted(view: View, _sent: Any) -> Refusal | None:
    champion = view.champion_alias
    if champion is None:
        return None
    return f"version {champion} of it serves", f"delete its alias {view.names.champion!r} first: then nobody serves"


def _history_changed(view: View, sent: Any) -> Refusal | None:
    """The history holds the policy and the approvals: no hand changes it where it asks for some.

    Our own operations in flight, which may be left over from a process that died, excuse what they write: events that
    are added, the policy that one of them sets, the names that one of them gives. An event is never taken away.
    """
    kinds = [intent.event.kind for intent in view.history.intents if intent.event is not None]
    if sent.key == requests.POLICY:
        return None if Kind.POLICY in kinds else _tag_changed(view, sent, excused=False)
    if sent.key == alias_names.TAG:
        return None if Kind.RENAME in kinds else _tag_changed(view, sent, excused=False)
    if not sent.key.startswith("fds.event"):
        return None
    after = {name: value for name, value in view.model.tags.items() if name != sent.key}
    if hasattr(sent, "value"):
        after[sent.key] = sent.value
    before, left = (
        {(event.operation, event.kind) for event in history.events} for history in (view.history, read_history(after))
    )
    return _tag_changed(view, sent, excused=before <= left)


def _rollout_changed(view: View, sent: Any) -> Refusal | None:
    return _tag_changed(view, sent) if sent.key == tags.ROLLOUT else None


def _tag_changed(view: View, sent: Any, *, excused: bool = True) -> Refusal | None:
    if (excused and view.history.intents) or not view.policy.require:
        return None
    what = f"a hand may not change the tag {sent.key}: the model's policy asks for approvals"
    return what, "use the verbs of fds (fds --help lists them)"


DOORS: Mapping[str, Door] = {
    "_set_registered_model_alias": Door("SetRegisteredModelAlias", _moved, moves=True),
    "_delete_registered_model_alias": Door("DeleteRegisteredModelAlias", _moved, moves=True),
    "_delete_model_version": Door("DeleteModelVersion", _version_deleted),
    "_delete_registered_model": Door("DeleteRegisteredModel", _model_deleted),
    "_rename_registered_model": Door("RenameRegisteredModel", _model_deleted),  # whoever routes knows the old name
    "_set_registered_model_tag": Door("SetRegisteredModelTag", _history_changed),
    "_delete_registered_model_tag": Door("DeleteRegisteredModelTag", _history_changed),
    "_set_model_version_tag": Door("SetModelVersionTag", _rollout_changed),
    "_delete_model_version_tag": Door("DeleteModelVersionTag", _rollout_changed),
}
"""By the name of MLflow's function behind the address, which all its spellings share. Its GraphQL only reads."""


def _role(view: View, alias: str) -> Role | None:
    """What an alias is for; None for one that is nothing to us."""
    return next((role for role in Role if view.names.of(role) == alias), None)


def _is_ours(view: View, role: Role, version: int | None) -> bool:
    """Whether one of our operations in flight says that it makes this move."""
    kinds = MOVES_CHAMPION if role is Role.CHAMPION else {Kind.START}
    events = [intent.event for intent in view.history.intents if intent.event is not None]
    return any(event.kind in kinds and event.to_version == version for event in events)


def _refused() -> Response | None:
    """The answer to a request that may not pass; None for every other one."""
    from flask import g, request

    door = DOORS.get(request.endpoint or "")
    sent = None if door is None else _sent(door)
    if door is None or sent is None:
        return None
    try:
        view = registry.session(sent.name).look()
    except NotFoundError:
        return None
    except FdsError as error:
        return _answer(error.what, error.fix)
    refusal = door.refusal(view, sent) if view.history.events else None
    if refusal is not None:
        log.warning("%s was refused to %s: %s", door.message, access().user() or "somebody", refusal[0])
        return _answer(*refusal)
    if door.moves and view.history.events and not view.history.intents and _role(view, sent.alias) is not None:
        g.fds_moved = sent.name
    return None


def _sent(door: Door) -> Any:
    """What is sent to a door, as MLflow reads it; None for what is nothing of ours, or cannot be read."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos import model_registry_pb2
    from mlflow.server.handlers import _get_request_message

    try:
        sent = _get_request_message(getattr(model_registry_pb2, door.message)())
    except MlflowException:
        return None  # MLflow's own function says why
    ours = sent.name.strip() and ("Tag" not in door.message or sent.key.startswith("fds."))
    return sent if ours else None


def _recorded(response: Response) -> Response:
    """Take a move that a hand has just made into the history, in the name of who made it."""
    from flask import g

    model = g.pop("fds_moved", None)
    if model is not None and response.status_code == 200:
        who = f"{access().user() or 'somebody'} for {BY_HAND}"
        try:
            registry.session(model).transactions.settle(model, actor=who, patience=PATIENCE)
        except FdsError as error:
            log.warning("who moved an alias of %r (%s) was not recorded: %s", model, who, error.what)
    return response


def _answer(what: str, fix: str) -> Response:
    """A refusal as MLflow's clients and its UI show it."""
    from flask import Response
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_CONFLICT

    error = MlflowException(f"{what}. Fix: {fix}", error_code=RESOURCE_CONFLICT)
    return Response(error.serialize_as_json(), error.get_http_status_code(), mimetype="application/json")
