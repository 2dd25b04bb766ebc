"""What became of a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fds_mlflow.core.lifecycle.events import Event

if TYPE_CHECKING:
    from fds_mlflow.core.comparison import Comparison
    from fds_mlflow.registry.dry_run import Preview


@dataclass(frozen=True)
class Result:
    """What became of a request.

    Attributes:
        event: The event that records it; None where there was nothing to do.
        message: One sentence for people; for a version that was to get traffic, also what comparing it offline said.
        comparison: With the champion of that moment; None where nothing was compared.
        warnings: For a version that was to get traffic: what could not be checked, or is known to be in doubt.
        preview: In a dry run: what would be written; the event and the message are of what would be done.
    """

    event: Event | None
    message: str
    comparison: Comparison | None = None
    warnings: tuple[str, ...] = ()
    preview: Preview | None = None

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return self.event is not None
