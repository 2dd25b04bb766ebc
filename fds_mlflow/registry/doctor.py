"""What in a registry the history does not explain, and what may be done about it: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from fds_mlflow.core.lifecycle.events import Rollout, RolloutStatus
from fds_mlflow.core.lifecycle.state import Stage
from fds_mlflow.core.weight import to_percent
from fds_mlflow.registry import requests, tags
from fds_mlflow.registry.history import doubles
from fds_mlflow.registry.store import (
    DeleteAlias,
    DeleteModelTag,
    SetModelTag,
    SetStage,
    SetVersionTag,
    VersionView,
    Write,
)
from fds_mlflow.registry.view import View, difference, edits


class Severity(StrEnum):
    """How much a finding matters."""

    NOTE = "note"
    WARNING = "warning"
    DANGER = "danger"


@dataclass(frozen=True)
class Finding:
    """One disagreement.

    Attributes:
        severity: How much it matters.
        what: What was found, with the names.
        means: What it means for routing, history or the next operation.
        fix: What fixes it; `doctor --fix` where that can.
        writes: Writes that tidy it and change no routing; empty where settling, packing or a person fixes it.
    """

    severity: Severity
    what: str
    means: str
    fix: str
    writes: tuple[Write, ...] = ()


BY_FIX = "`fds doctor MODEL --fix`, or the next operation"
BY_TIDYING = "`fds doctor MODEL --fix`"
BY_HAND = "a person"
_NOBODY_SERVES = "running routers keep their last good version and report degraded; fresh ones answer nothing"
_NEW_CHAMPION = "`fds promote MODEL VERSION` or `fds rollback to MODEL VERSION --reason WHY`"

SLOW_LOGIN = 0.25
"""Seconds a request takes at least where passwords are hashed for each."""


def examine(view: View, versions: Sequence[VersionView]) -> list[Finding]:
    """Every disagreement between aliases, tags, stages and history; the most severe first."""
    by_number = {version.version: version for version in versions}
    found = [
        *_aliases(view, by_number),
        *_rollouts(view, by_number),
        *_stages(view, by_number),
        *_history(view, by_number),
        *_intents(view),
        *_policy(view),
    ]
    return by_severity(found)


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """The same findings, the most severe first."""
    order = list(Severity)
    return sorted(findings, key=lambda finding: -order.index(finding.severity))


def slow_login(latency: float, user: str | None) -> list[Finding]:
    """What a server does not remember of those who sign in: it hashes their password anew for every request.

    Args:
        latency: Seconds that its calls took, on average.
        user: Who is signed in; None where nobody does.
    """
    if user is None or latency < SLOW_LOGIN:
        return []
    return [
        Finding(
            Severity.NOTE,
            f"each request takes {latency:.1f} s, while {user} is signed in",
            "an operation makes a dozen of them, and an emergency four before its alias has moved",
            "set auth_cache_ttl_seconds, such as 60, in the server's basic-auth configuration",
        )
    ]


def _aliases(view: View, versions: dict[int, VersionView]) -> list[Finding]:
    found = []
    if view.unnamed is not None:
        means = "routers that run keep to the names they know, and operations stop; an emergency goes by the history's"
        fix = f"{view.unnamed.fix}; the history says {view.names.champion} and {view.names.canary}"
        found.append(Finding(Severity.DANGER, view.unnamed.what, means, fix))
    if not view.agrees:
        means = "routing follows the aliases already; the history does not tell why"
        found.append(Finding(Severity.WARNING, difference(view), means, BY_FIX))
    had_one = view.state.champion is not None or bool(view.state.former)
    found += _dangling(view, versions)
    if view.champion_alias is None and had_one:
        found.append(
            Finding(
                Severity.DANGER,
                "no version has the champion alias",
                _NOBODY_SERVES,
                _NEW_CHAMPION,
            )
        )
    for alias in (tags.CHAMPION, tags.CANARY):
        version = versions.get(view.model.aliases.get(view.names.of(alias), 0))
        if version is None:
            continue
        if not version.ready:
            means = "no traffic is routed to it" if alias == tags.CANARY else "routers keep their last good version"
            what = f"the {alias} is version {version.version}, which is {version.status}"
            found.append(Finding(Severity.DANGER, what, means, "register it again, or move the alias"))
        if not tags.is_threshold(value := version.tags.get(tags.THRESHOLD)):
            what = f"the {alias} (version {version.version}) has {tags.threshold_lack(value)}"
            found.append(
                Finding(Severity.DANGER, what, "it cannot be loaded for scoring", tags.threshold_fix(version.version))
            )
    if view.canary_alias in versions and view.rollout is None:
        found.append(_inert_canary(view))
    return found


def _dangling(view: View, versions: dict[int, VersionView]) -> list[Finding]:
    """Aliases of versions that do not exist: servers of MLflow up to 3.16 leave them when a version is deleted."""
    found = []
    for alias, number in view.model.aliases.items():
        if number in versions:
            continue
        what = f"the alias {alias} points at version {number}, which does not exist"
        if alias == view.names.champion:
            found.append(Finding(Severity.DANGER, what, _NOBODY_SERVES, _NEW_CHAMPION))
        elif alias == view.names.canary:
            means = "no traffic is routed to it"
            found.append(Finding(Severity.WARNING, what, means, BY_TIDYING, (DeleteAlias(tags.CANARY),)))
        else:
            found.append(Finding(Severity.NOTE, what, "whoever asks MLflow for it gets an error", BY_HAND))
    return found


def _inert_canary(view: View) -> Finding:
    named = view.canary_rollout
    wakes = named is not None and named.active and named.champion != view.champion_alias
    means = (
        f"it takes no traffic, but moving the champion alias back to version {named.champion} would wake it"
        if named is not None and wakes
        else "it takes no traffic, because no active rollout against today's champion names it"
    )
    # The alias goes only once the history agrees that no rollout is active: settling comes first.
    return Finding(
        Severity.DANGER if wakes else Severity.WARNING,
        f"the canary alias points at version {view.canary_alias} without taking traffic",
        means,
        BY_TIDYING,
        (DeleteAlias(tags.CANARY),),
    )


def _rollouts(view: View, versions: dict[int, VersionView]) -> list[Finding]:
    found = []
    for version in versions.values():
        value = version.tags.get(tags.ROLLOUT)
        if value is None:
            continue
        named = tags.decode_rollout(value)
        if named is None:
            found.append(
                Finding(
                    Severity.WARNING,
                    f"the rollout tag of version {version.version} cannot be parsed",
                    "as a canary it takes no traffic",
                    "start a new rollout, which writes the tag anew",
                )
            )
        elif named == view.edited and view.rollout is not None and version.version == view.canary_alias:
            means = "an out-of-band change: judging goes on by the plan that the history has"
            tag = SetVersionTag(version.version, tags.ROLLOUT, tags.encode_rollout(view.rollout))
            found.append(Finding(Severity.WARNING, edits(view.edited, view.rollout), means, BY_FIX, (tag,)))
        elif named.active and named != view.rollout:
            found.append(_stale_rollout(version.version, named))
    return found


def _stale_rollout(version: int, named: Rollout) -> Finding:
    ended = tags.encode_rollout(named.ended(RolloutStatus.OVERTAKEN))
    return Finding(
        Severity.WARNING,
        f"version {version} names a rollout as active ({to_percent(named.weight):g} % against version"
        f" {named.champion}) that is not under way",
        "whoever sets the canary alias out of band to this version would give it traffic",
        BY_TIDYING,
        (SetVersionTag(version, tags.ROLLOUT, ended),),
    )


def _stages(view: View, versions: dict[int, VersionView]) -> list[Finding]:
    found = []
    for number, stage in view.state.stages.items():
        version = versions.get(number)
        if version is not None and version.stage != stage:
            what = f"version {number} is in stage {version.stage} where the history says {stage}"
            means = "stages route nothing; people who read them are misled"
            found.append(Finding(Severity.NOTE, what, means, BY_TIDYING, (SetStage(number, stage),)))
    for version in versions.values():
        if version.stage == Stage.PRODUCTION and view.state.stages.get(version.version) is None:
            what = f"version {version.version} is in stage Production, and the history does not know it"
            found.append(Finding(Severity.NOTE, what, "stages route nothing", BY_HAND))
    return found


def _history(view: View, versions: dict[int, VersionView]) -> list[Finding]:
    found = []
    events = view.history.events
    for number, same in doubles(events).items():
        names = _some(event.operation for event in same)
        means = "two operations were recorded at once; both are kept, in order of operation"
        found.append(
            Finding(Severity.WARNING, f"{len(same)} events have the sequence {number}: {names}", means, BY_HAND)
        )
    gaps = _gaps(sorted({event.sequence for event in events}))
    if gaps:
        missing = sum(last - first + 1 for first, last in gaps)
        ranges = [f"{first}" if first == last else f"{first} to {last}" for first, last in gaps]
        what = f"{missing} events are missing from the history: {_some(ranges)}"
        means = "their tags were deleted or made unreadable by hand"
        found.append(
            Finding(Severity.WARNING, what, means, "import them from a backup (`fds history import MODEL FILE`)")
        )
    for name in view.history.damaged:
        if tags.is_intent(name):
            found.append(_unreadable_intent(view, name))
            continue
        means = f"its event does not count, and it is left where it is: {view.history.why[name]}"
        fix = f"restore its value, or remove it: mlflow.MlflowClient().delete_registered_model_tag(MODEL, {name!r})"
        found.append(Finding(Severity.WARNING, f"the tag {name} cannot be parsed", means, fix))
    named = {v for e in events for v in (e.from_version, e.to_version) if v is not None}
    gone = sorted(named - set(versions))
    if gone:
        what = f"the history names versions that do not exist any more: {_some(map(str, gone))}"
        found.append(Finding(Severity.NOTE, what, "they cannot be rolled back to", "nothing to do"))
    if len(view.history.loose) > tags.LOOSE:
        what = f"{len(view.history.loose)} events have a tag of their own, more than {tags.LOOSE}"
        found.append(Finding(Severity.NOTE, what, "every tag slows every write to the model", BY_FIX))
    return found


def _gaps(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of the numbers that lie between those of events, from 1."""
    return [(one + 1, other - 1) for one, other in pairwise((0, *numbers)) if other - one > 1]


def _some(told: Iterable[str]) -> str:
    """The first ten, and how many more there are."""
    listed = list(told)
    return ", ".join(listed[:10]) + (f" and {len(listed) - 10} more" if len(listed) > 10 else "")


def _unreadable_intent(view: View, name: str) -> Finding:
    value = view.model.tags[name]
    kept = tags.kept_name(name, value)
    return Finding(
        Severity.WARNING,
        f"the operation in flight in the tag {name} cannot be parsed",
        "nobody waits for it or can settle it; should its process be alive, it stops before its next write",
        f"{BY_TIDYING}, which keeps the value as {kept}",
        (SetModelTag(kept, value), DeleteModelTag(name)),
    )


def _intents(view: View) -> list[Finding]:
    return [
        Finding(
            Severity.WARNING,
            f"{intent.actor} has an operation in flight since {intent.time:%Y-%m-%d %H:%M:%S} UTC ({intent.id})",
            "other operations wait for it; if its process died, it is settled after its time to live",
            BY_FIX,
        )
        for intent in view.history.intents
    ]


def _policy(view: View) -> list[Finding]:
    """A policy's tag that says something else than the history: neither lifts what the other asks for."""
    said, recorded = requests.decode(view.model.tags), view.state.policy
    if said == recorded:
        return []
    mirror = SetModelTag(requests.POLICY, requests.encode(recorded))
    tag = mirror if recorded.require else DeleteModelTag(requests.POLICY)
    asks = ", ".join(recorded.require) or "nothing"
    if said is None:
        what, means = f"the tag {requests.POLICY} cannot be parsed", "everything needs the approval of a second person"
        what = f"{what}; the history asks for {asks}"
        if recorded.require and not view.history.damaged:
            return [Finding(Severity.WARNING, what, means, BY_TIDYING, (tag,))]
        fix = "use the release that wrote it, or write a policy (`fds policy MODEL --require-approval ...`)"
        return [Finding(Severity.WARNING, what, means, f"{fix}, which needs an approval")]
    what = (
        f"the tag {requests.POLICY} asks approvals for {', '.join(said.require) or 'nothing'}, the history for {asks}"
    )
    if set(said.require) <= set(recorded.require):
        return [Finding(Severity.WARNING, what, "somebody edited the tag; the history counts", BY_TIDYING, (tag,))]
    fix = "record it (`fds policy MODEL --require-approval ...`), which needs an approval, or delete the tag"
    return [Finding(Severity.WARNING, what, "both count, and nobody can tell who set the tag", fix)]
