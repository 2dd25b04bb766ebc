"""The verbs of a canary: start, status, advance, complete, abort, and those of its autopilot: run, tick."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fds_mlflow.cli.options import (
    Number,
    Settings,
    admission_of,
    admission_options,
    as_json_option,
    model_argument,
    reason_option,
    show_result,
    show_value,
    trust_option,
    version_argument,
)
from fds_mlflow.cli.output import lines
from fds_mlflow.errors import FdsError
from fds_mlflow.runtime import environment

if TYPE_CHECKING:
    from fds_mlflow.model import ManagedModel
    from fds_mlflow.rollouts.tick import Tick

FAILED = 3
"""Exit code: the rollout was aborted or rolled back."""

HELD = 4
"""Exit code: the rollout waits for a person."""

INTERRUPTED = 130
"""Exit code: stopped by Ctrl-C or SIGTERM; the shell's convention, 128 + SIGINT."""


@click.group()
def canary() -> None:
    """Try a version on a share of the traffic. `abort` stops the canary; the champion stays where it is."""


@canary.command("start")
@model_argument
@version_argument
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="YAML file (`fds plan template` prints one); the default plan without.",
)
@click.option("--steps", default=None, help="Weights in percent, strictly rising, instead of the default plan's.")
@reason_option(required=False)
@click.option(
    "--state",
    envvar=environment.STATE,
    default=None,
    help="State of the servers that take raw transactions: tell whether it has what VERSION looks at.",
)
@admission_options
@trust_option
@as_json_option
@click.pass_obj
def canary_start(
    settings: Settings,
    /,
    model: str,
    version: int,
    plan_file: Path | None,
    steps: str | None,
    reason: str,
    state: str | None,
    as_json: bool,
    **admission: Any,
) -> None:
    """Start a rollout of VERSION against the champion.

    Where labelled rows are at hand, the two are compared offline first. Where servers compute its features from raw
    transactions, it gets none while their state lacks its windows: what is to be done is told.
    """
    from fds_mlflow.core.plan.plan import STEPS, Plan
    from fds_mlflow.rollouts.plan.file import load_plan

    if plan_file is not None and steps is not None:
        raise click.UsageError("--plan and --steps exclude each other: write the steps into the plan")
    plan = load_plan(plan_file) if plan_file is not None else Plan(STEPS if steps is None else _percentages(steps))
    managed = settings.model(model)
    given = admission_of(managed, version, admission)
    result = managed.canary.start(version, plan=plan, reason=reason, **given)
    told = _lacking(managed, version, state)
    show_result(as_json, replace(result, warnings=(*result.warnings, told)) if told else result)


def _lacking(model: ManagedModel, version: int, state: str | None) -> str | None:
    """What the state lacks; the rollout has begun, so what cannot be told stops nothing."""
    from fds_mlflow.workflows import feature_state

    try:
        return feature_state.lacking(model, version, state)
    except FdsError as error:
        return f"whether the state has what version {version} looks at is not known: {error.what}"


def _percentages(steps: str) -> list[float]:
    try:
        return [float(step) for step in steps.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"{steps!r} is no list of percentages such as 10,25,50,100", param_hint="--steps"
        ) from None


@canary.command("status")
@model_argument
@as_json_option
@click.pass_obj
def canary_status(settings: Settings, model: str, as_json: bool) -> None:
    """Show both variants' numbers in this step, the verdicts and a recommendation."""
    from fds_mlflow.cli.output import tables

    status = settings.model(model).canary.status()
    show_value(as_json, status, lambda: tables.canary_status(status))


@canary.command("advance")
@model_argument
@click.option("--to", type=Number(), default=None, help="A given percentage instead of the plan's next step.")
@click.option("--force", is_flag=True, help="Go beyond the next step, past a gate, or to 100 %; needs --reason.")
@reason_option(required=False)
@as_json_option
@click.pass_obj
def canary_advance(settings: Settings, model: str, to: float | None, force: bool, reason: str, as_json: bool) -> None:
    """Give the canary more traffic; displayed statistics restart.

    The plan's next step needs no reason. A gate, and any other percentage, do.
    """
    show_result(as_json, settings.model(model).canary.advance(to, reason=reason, force=force))


@canary.command("complete")
@model_argument
@click.option("--force", is_flag=True, help="Complete below the last step of the plan; needs --reason.")
@reason_option(required=False)
@as_json_option
@click.pass_obj
def canary_complete(settings: Settings, model: str, force: bool, reason: str, as_json: bool) -> None:
    """Make the canary the champion; the former champion goes to Archived."""
    show_result(as_json, settings.model(model).canary.complete(reason=reason, force=force))


@canary.command("abort")
@model_argument
@reason_option(required=True)
@as_json_option
@click.pass_obj
def canary_abort(settings: Settings, model: str, reason: str, as_json: bool) -> None:
    """Stop the canary; the champion gets all traffic at once. (To move the champion: `rollback emergency`.)"""
    show_result(as_json, settings.model(model).canary.abort(reason=reason))


record_option = click.option(
    "--record/--no-record", default=True, show_default=True, help="Keep the rollout as a tracking run."
)


@canary.command("run")
@model_argument
@click.option("--interval", default="30s", show_default=True, help="Time between two looks, such as 30s, 5m or 1h.")
@record_option
@as_json_option
@click.pass_obj
def canary_run(settings: Settings, model: str, interval: str, record: bool, as_json: bool) -> None:
    """Carry the rollout through its plan, unattended: judge, advance, complete or abort, until it ends.

    A terminal shows it live; elsewhere each look is one line, or one JSON value with --json. Nothing is kept in
    memory: stop it with Ctrl-C and run it again, here or elsewhere, or run two. Exit code 0: the canary became
    champion, and its watch, if any, ended well; 3: it was aborted or rolled back; 130: stopped by Ctrl-C.
    """
    from fds_mlflow.cli.output import live, tables
    from fds_mlflow.core.text.duration import to_duration

    seconds = to_duration("--interval", interval).total_seconds()
    managed = settings.model(model)
    try:
        with (
            _stoppable(),
            live.showing(managed.session.clock, tables.console(), interval=seconds, as_json=as_json) as hook,
        ):
            tick = managed.canary.run(interval=seconds, record=record, on_tick=[hook])
    except KeyboardInterrupt:
        lines.tell("stopped: the rollout stays where it is, and nobody judges it until this runs again")
        raise SystemExit(INTERRUPTED) from None
    raise SystemExit(_exit_code(tick))


@canary.command("tick")
@model_argument
@record_option
@as_json_option
@click.pass_obj
def canary_tick(settings: Settings, model: str, record: bool, as_json: bool) -> None:
    """Look at the rollout once and do what follows: for cron. Nothing is kept between two ticks.

    Exit code 0: done, waiting for evidence, or no rollout is active; 1: an error, and the message names the fix; 3: the
    rollout was aborted or rolled back; 4: it waits for a person.
    """
    from fds_mlflow.cli.output import live, tables

    managed = settings.model(model)
    with live.showing(managed.session.clock, tables.console(), as_json=as_json) as hook:
        tick = managed.canary.tick(record=record, on_tick=[hook])
    raise SystemExit(0 if tick.ended and tick.applied is None else _exit_code(tick))


def _exit_code(tick: Tick) -> int:
    """What a shell or cron is told."""
    from fds_mlflow.core.lifecycle.controller import Action
    from fds_mlflow.core.lifecycle.events import RolloutStatus

    if tick.error is not None:
        return tick.error.exit_code
    if tick.recommendation is not None and tick.recommendation.action is Action.HOLD:
        return HELD
    rollout = tick.last.rollout if tick.last is not None else None
    if rollout is None or rollout.status is RolloutStatus.COMPLETED:
        return 0
    watched = rollout.is_watch and rollout.status is RolloutStatus.ABORTED  # a watch ends so
    return 0 if watched else FAILED


@contextmanager
def _stoppable() -> Iterator[None]:
    """Take a service manager's SIGTERM like Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
