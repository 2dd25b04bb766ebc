"""Whether the best new version is put forward, by a policy, and whether its canary starts: each with its reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from fds_mlflow.core.comparison import Advice, Comparison
from fds_mlflow.core.lifecycle.events import Ending, Event, Kind
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.errors import ConfigError, DataError, FdsError, RefusedError
from fds_mlflow.workflows.account import Account

if TYPE_CHECKING:
    from fds_mlflow.model import ManagedModel
    from fds_mlflow.registry.store import VersionView
    from fds_mlflow.training.pipeline import Trained
    from fds_mlflow.training.split import Split


SKEW = timedelta(minutes=5)
"""By so much the registry's clock, which dates versions, may be ahead of those that date events."""


class When(StrEnum):
    """When a retraining puts its best version forward."""

    NEVER = "never"
    IF_BETTER = "if-better"
    ALWAYS = "always"


@dataclass(frozen=True)
class Policy:
    """What must hold before a retraining puts a version forward; a version with warnings it never does.

    Attributes:
        stage: Never; unless the comparison recommends to keep the champion; or whatever the comparison says.
        min_labels: Labels that people or systems gave, and that are used; silence is none.
        min_frauds: Frauds among the rows of all parts.
    """

    stage: When = When.IF_BETTER
    min_labels: int = 0
    min_frauds: int = 0


@dataclass(frozen=True)
class PutForward:
    """What became of the new versions.

    Attributes:
        champion: The champion they were compared with.
        comparison: The best of them against the champion; None without a champion, or where they cannot be compared.
        staged: The version put forward.
        message: One sentence for people.
        reasons: What was asked, and what it said, a sentence each.
    """

    champion: int | None
    comparison: Comparison | None
    staged: int | None
    message: str
    reasons: tuple[str, ...] = ()


def put_forward(
    model: ManagedModel,
    parts: Split,
    made: Mapping[str, Trained],
    seed: int,
    *,
    policy: Policy | None = None,
    account: Account | None = None,
) -> PutForward:
    """Choose the best version on validation, compare it with the champion on the test rows, and stage it if it may be.

    What was staged before, by this retraining when it was interrupted, is not staged again, whatever became of it.

    Args:
        model: The model.
        parts: What they learned from; the comparison is on the test part.
        made: The versions by algorithm.
        seed: Of the comparison's bootstrap.
        policy: What must hold; None for the default.
        account: Of the labels; None where there are none.
    """
    champion = model.overview().champion
    sound = {name: each for name, each in made.items() if not each.warnings}
    if not sound:
        warnings = tuple(dict.fromkeys(warning for each in made.values() for warning in each.warnings))
        return PutForward(champion, None, None, f"nothing was staged: {'; '.join(warnings)}", warnings)
    name, best = max(sound.items(), key=lambda item: item[1].metrics.get("val_average_precision", 0.0))
    if best.version is None:
        raise AssertionError("a training under a model's name registers a version")
    chosen: tuple[str, ...] = (f"version {best.version} ({name}) ranks the validation best",) if len(sound) > 1 else ()
    if champion == best.version:  # promoted since, and asked again with another policy or plan
        return PutForward(champion, None, None, f"nothing was staged: version {champion} is the champion", chosen)
    comparison = None
    if champion is not None:
        try:
            comparison = model.compare(champion, best.version, data=parts.test, seed=seed)
        except DataError as error:  # it was trained on columns that are empty now
            message = f"nothing was staged: champion {champion} cannot be compared on these rows: {error.what}"
            return PutForward(champion, None, None, message, (*chosen, message))
        chosen += (f"compared with champion {champion}: {comparison.advice.value}, {comparison.reason}",)
        chosen += _unfair(model, champion, best.run_id)
    put = PutForward(champion, comparison, None, "", chosen)
    return _decided(model, put, name, best.version, policy or Policy(), account)


def _decided(  # noqa: PLR0917 - what a decision rests on
    model: ManagedModel, put: PutForward, name: str, version: int, policy: Policy, account: Account | None
) -> PutForward:
    """Stage the best version, unless something speaks against it."""
    champion, comparison, against = put.champion, put.comparison, ", the first candidate"
    if comparison is not None:
        against = f" against champion {champion}: {comparison.reason}"
        if comparison.advice is Advice.KEEP and policy.stage is When.IF_BETTER:
            said = f"champion {champion} stays the best; nothing was staged: {comparison.reason}"
            return replace(put, message=said)
    obstacles = _obstacles(model, version, champion, policy, account)
    if obstacles:
        said = f"nothing was staged: {'; '.join(obstacles)}"
        return replace(put, message=said, reasons=(*put.reasons, *obstacles))
    said = f"version {version} ({name}) is staged{against}"
    if not _was(model, Kind.STAGE, version):
        model.stage(version, reason=f"retraining: {said}"[:900])
    return replace(put, staged=version, message=said)


def _unfair(model: ManagedModel, champion: int, run_id: str) -> tuple[str, ...]:
    """What the champion may have known of the test rows already."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    from fds_mlflow.features.test_set import learned_from

    theirs = model.session.version(champion).run_id
    try:
        overlap = None if theirs is None else learned_from(MlflowClient(), theirs, run_id)
    except MlflowException as error:  # its run was deleted
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return ()
    return () if overlap is None else (f"the comparison flatters champion {champion}: {overlap}",)


def _obstacles(
    model: ManagedModel, version: int, champion: int | None, policy: Policy, account: Account | None
) -> list[str]:
    """What speaks against putting a version forward, whatever the comparison says."""
    if policy.stage is When.NEVER:
        return ["the policy says never (--stage never)"]
    found = []
    labels = 0 if account is None else account.used + account.given
    frauds = 0 if account is None else account.frauds
    if labels < policy.min_labels:
        found.append(f"{labels:,} labels are used, fewer than the {policy.min_labels:,} asked for (--min-labels)")
    if frauds < policy.min_frauds:
        found.append(f"{frauds:,} frauds are used, fewer than the {policy.min_frauds:,} asked for (--min-frauds)")
    try:
        model.session.checks(version, champion, allow_new_columns=True).require()
    except RefusedError as error:
        found.append(error.what)
    return found


def start_canary(model: ManagedModel, version: int, plan: Plan, parts: Split) -> str:
    """Start the canary of a staged version, unless it was before; one sentence on what came of it.

    A canary that may not start is told and stops nothing: the version stays staged.

    Args:
        model: The model.
        version: The version.
        plan: The plan.
        parts: What it learned from; the two are compared on the test part first.
    """
    if _was(model, Kind.START, version):
        return f"the canary of version {version} was started before"
    champion = model.overview().champion
    if champion is None:
        return f"no canary: there is no champion to try it against (fds promote {model.name} {version})"
    try:
        return model.canary.start(version, plan=plan, reason="retraining", data=parts.test).message
    except FdsError as error:
        return f"no canary: {error.what}; version {version} stays staged (fds canary start {model.name} {version})"


def last_plan(model: ManagedModel) -> Plan:
    """The plan of the last rollout that a person or a job started.

    Raises:
        ConfigError: There was none.
    """
    started = (e.rollout for e in model.history() if e.kind is Kind.START and e.outcome is Ending.DONE)
    for rollout in started:
        if rollout is not None and not rollout.is_watch:
            return rollout.plan
    raise ConfigError(
        f"no rollout of {model.name!r} has a plan to go by yet",
        fix="name a plan's file, or default",
    )


def _was(model: ManagedModel, kind: Kind, version: int) -> bool:
    """Whether the history has it that this was done to a version."""
    done = (e for e in events_of(model, model.session.version(version)) if e.kind is kind and e.outcome is Ending.DONE)
    return any(e.to_version == version for e in done)


def events_of(model: ManagedModel, view: VersionView) -> list[Event]:
    """What happened to a version, and not to a deleted one of its number, the latest first."""
    since = view.created - SKEW
    return [e for e in model.history() if view.version in (e.to_version, e.from_version) and e.time >= since]
