"""The verbs about notifications: try the settings, send again what receivers missed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from fds_mlflow.cli.options import Settings, as_json_option, model_argument, show_value
from fds_mlflow.errors import ConfigError, UnavailableError
from fds_mlflow.runtime import environment

if TYPE_CHECKING:
    from fds_mlflow.notifications.notification import Notification


@click.group()
def notify() -> None:
    """Try whom the environment says to notify, or send them events again."""


@notify.command("test")
@model_argument
@as_json_option
@click.pass_obj
def notify_test(settings: Settings, model: str, as_json: bool) -> None:
    """Send every receiver a notification of type `test`, and wait for what they answer."""
    from datetime import UTC, datetime

    from ulid import ULID

    from fds_mlflow.notifications.notification import Notification

    told = Notification(str(ULID()), "test", datetime.now(UTC), model, {"actor": settings.model(model).session.actor})
    _send([told], as_json)


@notify.command("resend")
@model_argument
@click.option("--since", type=click.IntRange(min=1), required=True, help="Number of the first event to send again.")
@as_json_option
@click.pass_obj
def notify_resend(settings: Settings, model: str, since: int, as_json: bool) -> None:
    """Send every receiver the events of the history from a number on, in order, under their first ids."""
    from fds_mlflow.notifications.notification import of_event

    managed = settings.model(model)
    events = [event for event in reversed(managed.history()) if event.sequence >= since]
    _send([of_event(model, event, managed.session.page(event)) for event in events], as_json)


def _send(notifications: Sequence[Notification], as_json: bool) -> None:
    """Send in order; the first failure ends it, so that no later event overtakes an earlier one."""
    from fds_mlflow.notifications.notifier import from_environment
    from fds_mlflow.notifications.webhook import BRIEF

    notifier = from_environment(patience=BRIEF)
    names = [receiver.name for receiver in notifier.receivers]
    if not names:
        raise ConfigError(
            "nobody is to be notified",
            fix=f"set {environment.NOTIFY} or {environment.HOOK}, or {environment.WEBHOOK_URL} and "
            f"{environment.WEBHOOK_SECRET}",
        )
    for sent, notification in enumerate(notifications):
        failures = notifier.send_now(notification)
        if failures:
            raise UnavailableError(
                f"sent {sent} of {len(notifications)}; {notification.type} {notification.id} was not delivered: "
                + "; ".join(f"{failure.receiver}: {failure.why}" for failure in failures),
                fix="repair the receiver, then send again: doubles have the same id",
            )
    value = {"sent": len(notifications), "receivers": names}
    show_value(as_json, value, lambda: f"sent {len(notifications)} to {', '.join(names)}")
