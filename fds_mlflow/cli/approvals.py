"""The verbs of four eyes: policy, requests, approve, reject."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fds_mlflow.cli.options import (
    Settings,
    as_json_option,
    dry_run_option,
    model_argument,
    optional_model_argument,
    reason_option,
    show_result,
    show_value,
)

if TYPE_CHECKING:
    from fds_mlflow.model import ManagedModel

NONE = "none"


@click.command()
@model_argument
@click.option(
    "--require-approval",
    "approvals",
    default=None,
    metavar="WHAT,...",
    help="What needs a second person: start, gate, complete, promote; or none.",
)
@reason_option(required=False)
@dry_run_option
@as_json_option
@click.pass_obj
def policy(settings: Settings, model: str, approvals: str | None, reason: str, as_json: bool) -> None:
    """Show for what of MODEL the approval of a second person is needed, or say so.

    start: a rollout; gate: past a gate of its plan, or by force beyond its next step; complete: the canary becomes
    champion, or gets all of the traffic; promote: a version becomes champion without a rollout. Where a policy is in
    force, changing it needs an approval too. An emergency, a rollback, an abort and a pause never wait.
    """
    managed = settings.model(model)
    if approvals is None:
        found = managed.approvals.policy
        show_value(as_json, {"require": found.require}, lambda: ", ".join(found.require) or "no approval is needed")
        return
    named = [name.strip() for name in approvals.lower().split(",")]
    if NONE in named and named != [NONE]:
        raise click.BadParameter(f"{NONE} goes with nothing else", param_hint="--require-approval")
    named = [] if named == [NONE] else named
    show_result(as_json, managed.approvals.require(named, reason=reason))


@click.command()
@optional_model_argument
@as_json_option
@click.pass_obj
def requests(settings: Settings, model: str | None, as_json: bool) -> None:
    """List the requests that wait for an approval, or have one and were not carried out; without MODEL, of all."""
    from fds_mlflow.cli.output import tables
    from fds_mlflow.registry.connection import connect
    from fds_mlflow.registry.sentences import asked_for
    from fds_mlflow.runtime.clock import SystemClock
    from fds_mlflow.workflows.approved import open_requests

    if model is None:
        settings.connect()
        found = open_requests(connect(settings.tracking_uri, settings.registry_uri), SystemClock().now())
    else:
        found = [(model, one) for one in settings.model(model).approvals.requests()]
    columns = ("request", "model", "for", "by", "since", "lapses", "approved_by", "why")
    rows = [
        (
            *(one.id, name, asked_for(one.asked), one.request.actor, one.request.time, one.lapses),
            *(one.approval.actor if one.approval else None, one.request.reason),
        )
        for name, one in found
    ]
    told = [(*row, one.asked) for row, (_, one) in zip(rows, found, strict=True)]
    value = [dict(zip((*columns, "asked"), row, strict=True)) for row in told]
    show_value(as_json, value, lambda: tables.table("Requests", columns, rows))


@click.command()
@click.argument("request")
@click.option("--execute", is_flag=True, help="And do at once what it asks for.")
@reason_option(required=False)
@dry_run_option
@as_json_option
@click.pass_obj
def approve(settings: Settings, request: str, execute: bool, reason: str, as_json: bool) -> None:
    """Approve REQUEST of somebody else: what it asks for goes ahead when it is asked for again, by anybody.

    The approval holds for just that: not once the version, the plan, what serves or the policy has changed, and for a
    week. Nobody approves their own request.
    """
    from fds_mlflow.workflows.approved import carry_out

    managed = _model(settings, request)
    result = managed.approvals.approve(request, reason=reason)
    show_result(as_json, carry_out(managed, request) if execute else result)


@click.command()
@click.argument("request")
@reason_option(required=True)
@dry_run_option
@as_json_option
@click.pass_obj
def reject(settings: Settings, request: str, reason: str, as_json: bool) -> None:
    """Reject REQUEST, or withdraw one's own."""
    show_result(as_json, _model(settings, request).approvals.reject(request, reason=reason))


def _model(settings: Settings, request: str) -> ManagedModel:
    """The model whose request it is."""
    from fds_mlflow.registry.connection import connect
    from fds_mlflow.workflows.approved import model_of

    settings.connect()
    return settings.model(model_of(connect(settings.tracking_uri, settings.registry_uri), request))
