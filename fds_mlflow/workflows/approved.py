"""Requests of all models, and what was approved carried out."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

from fds_mlflow.core.lifecycle.approval import OpenRequest
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.core.lifecycle.state import fold
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.weight import to_percent
from fds_mlflow.errors import NotFoundError, RefusedError
from fds_mlflow.registry.history import read_history
from fds_mlflow.registry.store import ListedStore
from fds_mlflow.registry.transaction import Result

if TYPE_CHECKING:
    from fds_mlflow.model import ManagedModel


def open_requests(store: ListedStore, now: datetime) -> list[tuple[str, OpenRequest]]:
    """The requests of all models that have not lapsed, each with its model, the oldest first.

    Args:
        store: The registry.
        now: The time, UTC.
    """
    states = {name: fold(read_history(view.tags).events) for name, view in store.models().items()}
    found = [(name, one) for name, state in states.items() for one in state.requests.values() if one.holds(now)]
    return sorted(found, key=lambda each: (each[1].request.time, each[1].id))


def model_of(store: ListedStore, request: str) -> str:
    """The model whose history has a request, whatever became of it.

    Raises:
        NotFoundError: None has it.
    """
    for name, view in store.models().items():
        event = read_history(view.tags).find(request)
        if event is not None and event.kind is Kind.REQUEST:
            return name
    raise NotFoundError(f"no model has a request {request!r}", fix="see which there are (`fds requests`)")


def carry_out(model: ManagedModel, request: str, *, reason: str = "") -> Result:
    """Do what an approved request asks for, in the name of the model's actor.

    Args:
        model: The model.
        request: Its id.
        reason: Why; the reason of the request without.

    Raises:
        RefusedError: The request is not open any more, or the state does not allow it.
        AwaitsApprovalError: It is not approved.
    """
    there = {one.id: one for one in model.approvals.requests()}.get(request)
    if there is None:
        raise RefusedError(f"no request {request!r} is open", fix="see which there are (`fds requests MODEL`)")
    asked, reason = there.asked, reason or there.request.reason
    if asked.kind is Kind.PROMOTE and asked.version is not None:
        return model.promote(asked.version, reason=reason, force=asked.forced)
    if asked.kind is Kind.START and asked.version is not None and not asked.is_watch:
        plan = Plan.from_dict({"test": 1} | json.loads(asked.plan))
        return model.canary.start(asked.version, plan=plan, reason=reason, force=asked.forced)
    if asked.kind is Kind.ADVANCE and asked.weight is not None:
        planned = not asked.forced and asked.weight == model.canary.rollout().next_weight
        to = None if planned else to_percent(asked.weight)
        return model.canary.advance(to, reason=reason, force=asked.forced)
    if asked.kind is Kind.COMPLETE:
        return model.canary.complete(reason=reason, force=asked.forced)
    if asked.kind is Kind.POLICY and asked.policy is not None:
        return model.approvals.require(asked.policy.require, reason=reason)
    raise RefusedError(f"a {asked.kind.shown} is not carried out from here", fix="ask for it again as it was asked")
