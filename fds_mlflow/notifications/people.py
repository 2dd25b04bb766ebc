"""People are told in words where they read: Slack, Teams, PagerDuty, e-mail, and whatever else Apprise reaches."""

from __future__ import annotations

import logging
import re
import threading
from typing import TYPE_CHECKING

from fds_mlflow.display.redaction import redacted, remember
from fds_mlflow.errors import ConfigError, UnavailableError
from fds_mlflow.notifications.webhook import AgainError, Patience, attempting
from fds_mlflow.notifications.words import Urgency, words

if TYPE_CHECKING:
    from fds_mlflow.notifications.notification import Notification


class People:
    """One place where people read, by its address for Apprise: `slack://…`, `workflows://…`, `pagerduty://…`.

    Args:
        address: It; never shown, since it holds keys.
        name: What an error calls the address.
        urgent: Only what somebody must see at once is told there (`words.Urgency.FAILURE`), and tests.
        patience: How long to try; the times of connecting and reading are the address's own (`cto`, `rto`).

    Raises:
        ConfigError: Apprise is not installed, or knows no such address.
    """

    def __init__(self, address: str, name: str, *, urgent: bool = False, patience: Patience | None = None) -> None:
        try:
            import apprise
        except ImportError:
            raise ConfigError(
                f"{name} needs Apprise, which is not installed", fix="pip install 'fds-mlflow[notify]'"
            ) from None
        remember(address)
        logging.getLogger("apprise").addFilter(_hide)  # it quotes an address that it does not understand
        plugin = apprise.Apprise.instantiate(address, suppress_exceptions=True)
        if not isinstance(plugin, apprise.NotifyBase):
            scheme, mark, _ = address.partition("://")
            raise ConfigError(
                f"{name} is no address of Apprise's, or lacks a part" + (f" ({scheme}://…)" if mark else ""),
                fix="write it as https://appriseit.com/services says, such as slack://TOKEN_A/TOKEN_B/TOKEN_C",
            )
        shown = plugin.url(privacy=True)
        remember(*(part for part in re.split(r"[/:?#&=@]", address) if part not in shown))
        self.name = f"{plugin.service_name} ({name})"
        self._urgent = urgent
        self._patience = patience or Patience()
        self._said = _Said()
        # Of its own, below Apprise's: several of them deliver at the same time.
        plugin.logger = logging.Logger("apprise")
        plugin.logger.parent = logging.getLogger("apprise")
        plugin.logger.addHandler(self._said)
        plugin.logger.addFilter(_hide)
        self._apprise = apprise.Apprise()
        self._apprise.add(plugin)

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def deliver(self, notification: Notification, stopping: threading.Event) -> None:
        """Tell it, trying again until it was taken, or patience or `stopping` ends the attempts.

        Raises:
            UnavailableError: It was not taken.
        """
        title, body, urgency = words(notification)
        if self._urgent and urgency is not Urgency.FAILURE and notification.type != "test":
            return
        attempts = attempting(self._patience, stopping)
        try:
            attempts(self._tell, title, body, urgency)
        except AgainError as error:
            tried = attempts.statistics.get("attempt_number", 1)
            raise UnavailableError(
                f"{self.name} did not take {notification.type} {notification.id} in {tried} attempts: {error}",
                fix="see that the address is right and may be reached, then `fds notify resend MODEL --since NUMBER`",
            ) from None  # the error under it may show the address

    def _tell(self, title: str, body: str, urgency: Urgency) -> None:
        self._said.lines.clear()
        if not self._apprise.notify(title=title, body=body, notify_type=urgency.value, body_format="text"):
            raise AgainError(redacted("; ".join(self._said.lines)) or "it does not say why")


class _Said(logging.Handler):
    """Keeps what a plugin of Apprise's warns of: it answers yes or no, and only its log says why."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.lines.append(record.getMessage())


def _hide(record: logging.LogRecord) -> bool:
    """A filter that never drops a record, and takes the secrets out of it."""
    record.msg, record.args = redacted(record.getMessage()), None
    return True
