"""What the registry says about a version's files: their digest, and whether code in them may run. No I/O.

The event that gave a version traffic has the last word. The version's tag counts where no event says anything: whoever
could rewrite the files could rewrite the tag beside them as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fds_mlflow.core.lifecycle.events import Ending, Event, Kind
from fds_mlflow.errors import RefusedError
from fds_mlflow.registry import tags
from fds_mlflow.registry.history import History
from fds_mlflow.registry.store import VersionView

_LOOKED_AT = frozenset({Kind.PROMOTE, Kind.START, Kind.ROLLBACK})
"""Kinds that look at a version's files before they give it traffic; events of earlier releases do not say at which."""


@dataclass(frozen=True)
class Recorded:
    """What is recorded of a version's files.

    Attributes:
        version: Its number.
        event: The digest by the last event that has one; None where none has.
        tag: The digest by the version's tag, whatever it holds; None where it has none.
        trusted: The digest with which somebody allowed it by name to run code of its own; None where nobody did.
        admitted: It was given traffic by a release that recorded no digests.
    """

    version: int
    event: str | None = None
    tag: str | None = None
    trusted: str | None = None
    admitted: bool = False

    @property
    def digest(self) -> str | None:
        """What its files have to be; None where nothing says so."""
        return self.event or self.tag

    def require(self, found: str) -> None:
        """Refuse other files than those that are recorded.

        Args:
            found: The digest of the version's files as they are now.

        Raises:
            RefusedError: They are others.
        """
        if self.digest in (None, found):
            return
        where = "the history" if self.event else f"its tag {tags.FILES}"
        raise RefusedError(
            f"the files of version {self.version} are not those that were recorded: their digest is {shown(found)},"
            f" and {where} says {shown(self.digest)}",
            fix="find out who changed them, and put back what was registered; or register what is there now as a new"
            " version",
        )

    def allows_code(self, found: str) -> bool:
        """Whether code that these files bring may run: somebody allowed it, or an earlier release gave it traffic."""
        return self.trusted == found or self.admitted


def recorded(history: History, view: VersionView) -> Recorded:
    """What is recorded of a version's files, by its tag, its events, and operations in flight."""
    event = trusted = None
    admitted = False
    for one in _events(history):
        if one.to_version != view.version:
            continue
        if one.files is None:
            is_watch = one.rollout is not None and one.rollout.is_watch  # its canary is a former champion
            admitted = admitted or (one.kind in _LOOKED_AT and not is_watch)
            continue
        digest, _, registration = one.files.partition(" ")
        if registration == view.registration:
            event = digest
            trusted = digest if one.trusted else trusted
    return Recorded(view.version, event, view.tags.get(tags.FILES), trusted, admitted)


def looked_at(digest: str, view: VersionView) -> str:
    """What an event keeps of a version's files."""
    return f"{digest} {view.registration}"


def shown(digest: str | None) -> str:
    """A digest, shortened for people."""
    return "none" if digest is None else f"{digest[:19]}…"


def _events(history: History) -> Iterator[Event]:
    """Events that took effect, and those that are about to: an alias moves before its event is written."""
    yield from (event for event in history.events if event.outcome is Ending.DONE)
    yield from (intent.event for intent in history.intents if intent.event is not None)
