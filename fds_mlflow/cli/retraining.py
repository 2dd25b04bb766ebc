"""Options of a retraining: where labels come from, what must hold before staging, whether the canary follows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from fds_mlflow.core.plan.plan import Plan
    from fds_mlflow.model import ManagedModel
    from fds_mlflow.workflows.retraining.feedback import Feedback

F = TypeVar("F", bound=Callable[..., Any])

_LEAST = click.IntRange(min=0, max=10**9)


_OPTIONS = (
    click.option("--force", is_flag=True, help="Train anew, though the same was done before."),
    click.option(
        "--canary",
        default="",
        help="Start the canary of what was staged: by a plan's YAML file, by default, or by last, the plan of the "
        "model's last rollout.",
    ),
    click.option("--min-frauds", type=_LEAST, default=0, help="Stage nothing that learned from fewer frauds."),
    click.option("--min-labels", type=_LEAST, default=0, help="Stage nothing that used fewer reported labels."),
    click.option(
        "--stage",
        "when",
        type=click.Choice(["never", "if-better", "always"]),
        default="if-better",
        show_default=True,
        help="Put the best version forward: never, unless the champion stays better, or whatever the comparison.",
    ),
    click.option(
        "--unreported",
        type=click.Choice(["genuine", "left-out"]),
        default="genuine",
        show_default=True,
        help="How transactions are taken that nobody reported until labels mature.",
    ),
    click.option(
        "--label-maturity",
        default="",
        help="Age from which labels count, and silence may, such as 30d; by default that of the canary's plan, or "
        "labels_mature of the schema.",
    ),
    click.option(
        "--labels",
        default="",
        help="Labels: those of the data alone by default; outcomes for all that the outcome store knows, or the "
        "URL of another store.",
    ),
)


def loop_options(command: F) -> F:
    """The options; the command gets them as `labels`, `policy`, `canary` (what names a plan, or None) and `force`."""

    @functools.wraps(command)
    def with_loop(
        *args: Any,
        labels: str,
        label_maturity: str,
        unreported: str,
        when: str,
        min_labels: int,
        min_frauds: int,
        canary: str,
        source: Any,
        **options: Any,
    ) -> Any:
        from fds_mlflow.workflows.retraining.staging import Policy, When

        feedback = _feedback(labels, label_maturity, unreported, served=source.served is not None)
        policy = Policy(When(when), min_labels, min_frauds)
        return command(*args, source=source, labels=feedback, policy=policy, canary=canary or None, **options)

    made = with_loop
    for option in _OPTIONS:
        made = option(made)
    return cast(F, made)


def _feedback(labels: str, maturity: str, unreported: str, *, served: bool) -> Feedback | None:
    """The labels that are asked for; an empty text is how `mlflow run` says "not given"."""
    from fds_mlflow.core.text.duration import to_duration
    from fds_mlflow.display.redaction import remember_address
    from fds_mlflow.workflows.retraining.feedback import OF_THE_MODEL, Feedback
    from fds_mlflow.workflows.retraining.labelling import Unreported

    if labels in ("", "data") and not (served and labels == ""):
        if maturity or unreported != "genuine":
            raise click.UsageError("--label-maturity and --unreported say how the labels of --labels are taken")
        return None
    remember_address(labels)
    age = to_duration("--label-maturity", maturity) if maturity else None
    return Feedback(labels or OF_THE_MODEL, age, Unreported(unreported))


def plan_named(model: ManagedModel, name: str | None) -> Plan | None:
    """The plan of a canary: `default`, `last`, or a file's.

    Raises:
        ConfigError: There is no last one, or the file is no plan.
        NotFoundError: There is no such file.
    """
    from fds_mlflow.core.plan.default import DEFAULT_PLAN
    from fds_mlflow.rollouts.plan.file import load_plan
    from fds_mlflow.workflows.retraining.staging import last_plan

    if name is None:
        return None
    if name == "default":
        return DEFAULT_PLAN
    return last_plan(model) if name == "last" else load_plan(Path(name))
