"""What webhooks and hooks are notified of: one event of a lifecycle, or a verdict that changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fds_mlflow.core.lifecycle.events import Event


@dataclass(frozen=True)
class Notification:
    """One thing to tell.

    Attributes:
        id: The same at every attempt and repetition, so that a receiver can drop doubles.
        type: What it is: `lifecycle.<kind of event>`, `rollout.verdict` or `test`.
        time: When it happened, UTC.
        model: Registered model.
        data: The rest, as plain values that JSON holds.
        link: Where MLflow shows it; None where the registry is no server.
    """

    id: str
    type: str
    time: datetime
    model: str
    data: Mapping[str, Any]
    link: str | None = None

    def payload(self) -> dict[str, Any]:
        """What a webhook POSTs, in the form that Standard Webhooks recommends."""
        data = {"model": self.model, **self.data, **({} if self.link is None else {"link": self.link})}
        return {"type": self.type, "timestamp": self.time.astimezone(UTC).isoformat(), "data": data}


def of_event(model: str, event: Event, link: str | None = None) -> Notification:
    """An event of a model's lifecycle; its operation is the id, its values are those of `history export`."""
    from fds_mlflow.registry.records import export_line

    return Notification(event.operation, f"lifecycle.{event.kind.value}", event.time, model, export_line(event), link)
