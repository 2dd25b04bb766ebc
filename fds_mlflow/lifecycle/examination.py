"""What the registry has that the history does not explain, files included, and what repairs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fds_mlflow.lifecycle.artifacts import examine_files
from fds_mlflow.registry.doctor import Finding, by_severity, examine, slow_login

if TYPE_CHECKING:
    from fds_mlflow.lifecycle.session import Session
    from fds_mlflow.registry.store import Write
    from fds_mlflow.registry.view import View


def examined(session: Session) -> list[Finding]:
    """What the history does not explain, the most severe first, then what slows the registry down."""
    return [*_found(session, session.look()), *slow_login(session.store.latency, session.store.user)]


def tidied(session: Session) -> None:
    """Settle and record by appending, then tidy what changes no routing.

    Raises:
        ConflictError: Another operation stayed in flight.
    """

    def planned(view: View) -> list[Write]:
        return [write for finding in _found(session, view) for write in finding.writes]

    session.transactions.write_alone(session.name, planned, actor=session.actor)
    session.transactions.pack(session.name, actor=session.actor)


def _found(session: Session, view: View) -> list[Finding]:
    versions = session.versions()
    return by_severity([*examine(view, versions), *examine_files(session, view, versions)])
