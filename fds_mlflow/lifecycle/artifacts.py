"""Whether the files of the versions that serve, or would in an emergency, are those that were recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fds_mlflow.errors import FdsError, RefusedError
from fds_mlflow.registry import tags
from fds_mlflow.registry.doctor import BY_TIDYING, Finding, Severity
from fds_mlflow.registry.recorded import Recorded, recorded, shown
from fds_mlflow.registry.store import SetVersionTag, VersionView
from fds_mlflow.registry.view import View
from fds_mlflow.scoring.code import trust_fix

if TYPE_CHECKING:
    from fds_mlflow.lifecycle.session import Session
    from fds_mlflow.scoring.fetched import Fetched


def examine_files(session: Session, view: View, versions: Sequence[VersionView]) -> list[Finding]:
    """What is wrong with the files of the champion, the canary, and the version that an emergency would go back to.

    Args:
        session: With the model; where its registry is not MLflow's own, or was given, files are not looked for.
        view: The model.
        versions: All of them.
    """
    if session.is_given_store or not hasattr(session.store, "uri"):
        return []
    roles = {
        view.champion_alias: "the champion",
        view.canary_alias: "the canary",
        view.state.emergency_target: "an emergency's target",
    }
    return [
        finding
        for version in versions
        if (role := roles.get(version.version)) is not None and version.ready
        for finding in _of(session, version, recorded(view.history, version), f"{role} (version {version.version})")
    ]


def _of(session: Session, version: VersionView, known: Recorded, who: str) -> Iterator[Finding]:
    try:
        files = session.files(version, held=False)
    except FdsError as error:
        means = "whether its files are those that were recorded is not known"
        yield Finding(Severity.WARNING, f"{who}: {error.what}", means, error.fix)
        return
    try:
        known.require(files.digest)
    except RefusedError as error:
        means = "who has it loaded, or in a cache, goes on with it; nobody else can serve it"
        yield Finding(Severity.DANGER, f"{who}: {error.what}", means, error.fix)
        return
    if known.event is not None and known.tag not in (None, known.event):
        what = f"the tag {tags.FILES} of version {version.version} says {shown(known.tag)}, the history another digest"
        yield Finding(
            Severity.WARNING,
            what,
            "somebody changed the tag: its files are held against the history",
            BY_TIDYING,
            (SetVersionTag(version.version, tags.FILES, known.event),),
        )
    if known.digest is None:
        yield Finding(
            Severity.NOTE,
            f"no digest is recorded of the files of {who}",
            "nobody would notice that somebody changed them",
            f"{BY_TIDYING}, which records them as they are now",
            (SetVersionTag(version.version, tags.FILES, files.digest),),
        )
    if files.code is not None and known.trusted != files.digest:
        yield _runs_code(session.name, version.version, who, files, admitted=known.admitted)


def _runs_code(model: str, version: int, who: str, files: Fetched, *, admitted: bool) -> Finding:
    what = f"{who} runs code that came with it ({files.code}), and nobody has allowed that by name"
    if admitted:
        means = "it was given traffic by a release that did not ask, and serves on"
        return Finding(Severity.WARNING, what, means, f"replace it, or {trust_fix(model, version)}")
    return Finding(Severity.DANGER, what, "no server can begin to serve it", trust_fix(model, version))
