"""The verbs of a canary: start, status, advance, pause, resume, complete, abort; of its autopilot: run, tick."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
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
    dry_run_option,
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
    from fds_mlflow.rollouts.tick import OnTick, Tick

FAILED = 3
"""Exit code: the rollout was aborted or rolled back."""

HELD = 4
"""Exit code: the rollout waits for a person, or nobody waits for it any longer."""

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
@dry_run_option
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
@click.option("--watch", is_flag=True, help="Look until the rollout has ended, and do nothing about it.")
@click.option("--wait", is_flag=True, help="Say nothing until the rollout has ended, whoever carries it through.")
@click.option("--timeout", default=None, metavar="DURATION", help="With --watch or --wait: for so long, such as 2h.")
@click.option("--interval", default="30s", show_default=True, help="Time between two looks.")
@as_json_option
@click.pass_obj
def canary_status(
    settings: Settings, model: str, watch: bool, wait: bool, timeout: str | None, interval: str, as_json: bool
) -> None:
    """Show both variants' numbers in this step, the verdicts, what is missing, and a recommendation.

    Without a rollout under way it is refused, with how the last one ended, and why. Exit code of --watch and --wait:
    0, the canary became champion; 3, it was aborted or rolled back; 4, the time was over; 130, stopped by Ctrl-C.
    """
    from fds_mlflow.cli.output import tables

    if watch and wait:
        raise click.UsageError("--watch and --wait exclude each other: the one shows each look, the other the last")
    managed = settings.model(model)
    if watch or wait:
        raise SystemExit(_followed(managed, timeout, interval, watch=watch, as_json=as_json))
    if timeout is not None:
        raise click.UsageError("--timeout needs --watch or --wait: a status is told at once")
    status = managed.canary.status()
    show_value(as_json, status, lambda: tables.canary_status(status, managed.session.now()))


def _followed(model: ManagedModel, timeout: str | None, interval: str, *, watch: bool, as_json: bool) -> int:
    """Wait for the end of a rollout; the exit code says which one it was."""
    from fds_mlflow.cli.output import live, tables
    from fds_mlflow.core.text.duration import to_duration

    seconds = to_duration("--interval", interval).total_seconds()
    limit = None if timeout is None else to_duration("--timeout", timeout).total_seconds()
    try:
        with (
            _stoppable(),
            live.showing(model.session.clock, tables.console(), interval=seconds, as_json=as_json) as hook,
        ):
            tick = model.canary.wait(timeout=limit, interval=seconds, on_tick=[hook] if watch else [])
            if not watch:
                hook(tick)
    except KeyboardInterrupt:
        return INTERRUPTED
    if not tick.ended:
        lines.tell(f"--timeout {timeout} is over; the rollout goes on")
        return HELD
    return _exit_code(tick)


@canary.command("advance")
@model_argument
@click.option("--to", type=Number(), default=None, help="A given percentage instead of the plan's next step.")
@click.option("--force", is_flag=True, help="Go beyond the next step, past a gate, or to 100 %; needs --reason.")
@reason_option(required=False)
@dry_run_option
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
@dry_run_option
@as_json_option
@click.pass_obj
def canary_complete(settings: Settings, model: str, force: bool, reason: str, as_json: bool) -> None:
    """Make the canary the champion; the former champion goes to Archived."""
    show_result(as_json, settings.model(model).canary.complete(reason=reason, force=force))


@canary.command("abort")
@model_argument
@reason_option(required=True)
@dry_run_option
@as_json_option
@click.pass_obj
def canary_abort(settings: Settings, model: str, reason: str, as_json: bool) -> None:
    """Stop the canary; the champion gets all traffic at once. (To move the champion: `rollback emergency`.)"""
    show_result(as_json, settings.model(model).canary.abort(reason=reason))


@canary.command("pause")
@model_argument
@reason_option(required=False)
@dry_run_option
@as_json_option
@click.pass_obj
def canary_pause(settings: Settings, model: str, reason: str, as_json: bool) -> None:
    """Keep the canary at its weight: nothing goes on, and the step's time stands still, until `resume`.

    A guardrail that fails, and a canary that never answers, end the rollout all the same.
    """
    show_result(as_json, settings.model(model).canary.pause(reason=reason))


@canary.command("resume")
@model_argument
@reason_option(required=False)
@dry_run_option
@as_json_option
@click.pass_obj
def canary_resume(settings: Settings, model: str, reason: str, as_json: bool) -> None:
    """Let a paused rollout go on in its step; the time of the pause counts for nothing."""
    show_result(as_json, settings.model(model).canary.resume(reason=reason))


record_option = click.option(
    "--record/--no-record", default=True, show_default=True, help="Keep the rollout as a tracking run."
)
metrics_option = click.option(
    "--metrics-file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Write the rollout's gauges to this .prom file at each look, for Prometheus' node exporter.",
)


@canary.command("run")
@model_argument
@click.option("--interval", default="30s", show_default=True, help="Time between two looks, such as 30s, 5m or 1h.")
@record_option
@metrics_option
@click.option(
    "--webhook-url",
    default=None,
    help="Address by which the registry reaches this process, http://10.0.0.7:5002: look when its webhooks come, too.",
)
@click.option("--webhook-listen", default=None, help="HOST:PORT to listen on for them.  [default: those of the URL]")
@as_json_option
@click.pass_obj
def canary_run(
    settings: Settings,
    model: str,
    interval: str,
    record: bool,
    metrics_file: Path | None,
    webhook_url: str | None,
    webhook_listen: str | None,
    as_json: bool,
) -> None:
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
            _waiting(settings, webhook_url, webhook_listen) as wait,
            live.showing(managed.session.clock, tables.console(), interval=seconds, as_json=as_json) as hook,
        ):
            hooks = [hook, *_gauges(metrics_file)]
            tick = managed.canary.run(interval=seconds, record=record, on_tick=hooks, wait=wait)
    except KeyboardInterrupt:
        lines.tell("stopped: the rollout stays where it is, and nobody judges it until this runs again")
        raise SystemExit(INTERRUPTED) from None
    raise SystemExit(_exit_code(tick))


@canary.command("tick")
@model_argument
@record_option
@metrics_option
@as_json_option
@click.pass_obj
def canary_tick(settings: Settings, model: str, record: bool, metrics_file: Path | None, as_json: bool) -> None:
    """Look at the rollout once and do what follows: for cron. Nothing is kept between two ticks.

    Exit code 0: done, waiting for evidence, or no rollout is active; 1: an error, and the message names the fix; 3: the
    rollout was aborted or rolled back; 4: it waits for a person.
    """
    from fds_mlflow.cli.output import live, tables

    managed = settings.model(model)
    with live.showing(managed.session.clock, tables.console(), as_json=as_json) as hook:
        tick = managed.canary.tick(record=record, on_tick=[hook, *_gauges(metrics_file)])
    raise SystemExit(0 if tick.ended and tick.applied is None else _exit_code(tick))


def _gauges(path: Path | None) -> list[OnTick]:
    """What writes a rollout's gauges, where it is asked to."""
    from fds_mlflow.rollouts.gauges import RolloutGauges

    return [] if path is None else [RolloutGauges(path)]


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
def _waiting(settings: Settings, url: str | None, listen: str | None) -> Iterator[Callable[[float], object] | None]:
    """How to wait between two looks; None where no webhook shortens it."""
    if url is None:
        if listen is not None:
            raise click.UsageError("--webhook-listen needs --webhook-url: nobody sends webhooks otherwise")
        yield None
        return
    from fds_mlflow.rollouts.waking import Waking

    uris = {"tracking_uri": settings.tracking_uri, "registry_uri": settings.registry_uri}
    with Waking(url, listen=listen, **uris) as waking:
        yield waking.wait


@contextmanager
def _stoppable() -> Iterator[None]:
    """Take a service manager's SIGTERM like Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
