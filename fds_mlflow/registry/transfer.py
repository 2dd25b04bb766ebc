"""Moving a model's history to another registry, as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fds_mlflow.core.lifecycle.events import Event, Kind
from fds_mlflow.core.lifecycle.state import State, fold
from fds_mlflow.core.text.checks import check_keys, once
from fds_mlflow.errors import DataError, FdsError, RefusedError
from fds_mlflow.registry import requests, tags
from fds_mlflow.registry.grammar import UNREADABLE
from fds_mlflow.registry.history import pack
from fds_mlflow.registry.records import digest_of, export_line, import_line
from fds_mlflow.registry.store import DeleteAlias, SetAlias, SetModelTag, SetStage, SetVersionTag, VersionView, Write
from fds_mlflow.registry.view import View


def dump(events: Sequence[Event]) -> list[str]:
    """One JSON object an event, in order of sequence."""
    return [json.dumps(export_line(event), ensure_ascii=False) for event in events]


def parse(lines: Iterable[str]) -> list[Event]:
    """Read exported events.

    Raises:
        DataError: A line cannot be parsed, has an unknown key or one twice, or the sequence has gaps or doubles; names
            the line.
    """
    events: list[Event] = []
    plans: set[tuple[str, str]] = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line, object_pairs_hook=once)
            _check_keys(values)
            events.append(_once_told(import_line(values), plans))
        except UNREADABLE as error:
            said = error.what if isinstance(error, FdsError) else f"{type(error).__name__}: {error}"
            raise DataError(
                f"line {number} is no exported event: {said}",
                fix="use the file as `fds history export MODEL FILE` wrote it",
            ) from error
        if events[-1].sequence != len(events):
            raise DataError(
                f"line {number} has the sequence {events[-1].sequence} where {len(events)} was to come",
                fix="use the whole file as `fds history export MODEL FILE` wrote it, in its order",
            )
    if not events:
        raise DataError("there are no events to import", fix="use a file that `fds history export MODEL FILE` wrote")
    return events


def _once_told(event: Event, plans: set[tuple[str, str]]) -> Event:
    """An event without the plan that one before it holds: an export repeats it."""
    if event.rollout is None:
        return event
    plan = (event.rollout.id, digest_of(event.rollout))
    told = plan in plans
    plans.add(plan)
    return replace(event, holds_plan=not told)


def _check_keys(values: Mapping[str, Any]) -> None:
    """Refuse what no export writes: a fact that this release does not know would be lost without a word."""
    check_keys("the event", values, _EVENT)
    for name, known in (("rollout", _ROLLOUT), ("basis", _BASIS)):
        if isinstance(values.get(name), Mapping):
            check_keys(f"the event's {name}", values[name], known)


_EVENT = (
    *("sequence", "operation", "kind", "from", "to", "actor", "reason", "time", "outcome"),
    *("rollout", "forced", "basis", "decision", "renaming", "signed_in", "files", "trusted", "seal", "later"),
    *("asked", "answers", "policy"),
)
_ROLLOUT = ("id", "champion", "canary", "weight", "step", "since", "status", "plan", "spelling", "paused", "later")
_BASIS = ("by", "pushed", "overall", "statuses", "keys", "labelled")


def plan(view: View, versions: Sequence[VersionView], events: Sequence[Event]) -> tuple[list[Write], State]:
    """The writes that make a model's registry say what the events say; repeating them is harmless.

    History first, then stages and the rollout, and the champion's alias last: until then a fresh model serves nobody.

    Raises:
        RefusedError: The model has a history of its own, or lacks versions that the events' state needs.
    """
    known = {(event.operation, event.kind, event.sequence) for event in events}
    foreign = [e for e in view.history.events if (e.operation, e.kind, e.sequence) not in known]
    if foreign:
        raise RefusedError(
            f"the model has {len(foreign)} events of its own, the first at {foreign[0].time:%Y-%m-%d %H:%M} UTC",
            fix="import into a model without a history",
        )
    state = fold(events)
    numbers = {version.version for version in versions}
    needed = {v for v in (state.champion, state.canary) if v is not None}
    if needed - numbers:
        names = ", ".join(str(v) for v in sorted(needed - numbers))
        raise RefusedError(
            f"the model lacks the versions {names}, which serve by this history",
            fix="copy the versions first, under the same numbers",
        )
    _require_allowed(view, state, events)
    told = _tags(events)
    writes: list[Write] = [SetModelTag(name, value) for name, value, policy in told if not policy]
    writes += [SetStage(v, stage) for v, stage in sorted(state.stages.items()) if v in numbers]
    if state.rollout is not None:
        writes.append(SetVersionTag(state.rollout.canary, tags.ROLLOUT, tags.encode_rollout(state.rollout)))
        writes.append(SetAlias(tags.CANARY, state.rollout.canary))
    elif view.canary_alias is not None:
        writes.append(DeleteAlias(tags.CANARY))
    if state.champion is not None:
        writes.append(SetAlias(tags.CHAMPION, state.champion))
    # A policy last, and its newest event first: an import that was interrupted must be able to move the aliases when it
    # is finished, and is told by that from a file to which somebody has added a policy or an approval.
    writes += [SetModelTag(name, value) for name, value, policy in reversed(told) if policy]
    if state.policy.require:
        writes.append(SetModelTag(requests.POLICY, requests.encode(state.policy)))
    return writes, state


_ANSWERING = (Kind.REQUEST, Kind.APPROVE, Kind.REJECT, Kind.POLICY)


def _require_allowed(view: View, state: State, events: Sequence[Event]) -> None:
    """Refuse a file that would move what serves, change the policy or approve something where a policy is in force.

    Raises:
        RefusedError: It would.
    """
    if not view.policy.require:
        return
    there = {event.sequence for event in view.history.events}
    newest = max((event.sequence for event in view.history.events if event.policy is not None), default=0)
    added = [event for event in events if event.sequence not in there and event.sequence > newest]
    moved = (view.champion_alias, view.canary_alias) != (state.champion, state.canary)
    if moved or any(event.kind in _ANSWERING for event in added):
        what = "move its aliases" if moved else "bring approvals or another policy"
        raise RefusedError(
            f"the model's policy asks for approvals, and the import would {what} without one",
            fix="import into a model without a policy: it takes over the policy of the history",
        )


def _tags(events: Sequence[Event]) -> list[tuple[str, str, bool]]:
    """The events as tags, and whether one sets a policy: the newest loose, the older ones packed."""
    made = []
    old = list(events[: -tags.KEEP_LOOSE])
    loose = list(events[-tags.KEEP_LOOSE :])
    while old:
        packed = pack(old)
        if packed.name:
            made.append((packed.name, packed.value, any(event.policy for event in packed.events)))
        operations = {event.operation for event in packed.events}
        loose += [event for event in old[: packed.looked] if event.operation not in operations]
        old = old[packed.looked :]
    return made + [(*tags.event_tag(event), event.policy is not None) for event in loose]
