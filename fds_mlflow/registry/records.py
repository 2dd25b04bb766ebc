"""Events and rollouts as plain values, as tags, packs and exports hold them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from fds_mlflow.core.keys import Spelling
from fds_mlflow.core.lifecycle.decision import ended
from fds_mlflow.core.lifecycle.events import Basis, Ending, Event, Kind, Renaming, Rollout, RolloutStatus
from fds_mlflow.core.plan.plan import MAX_ENCODED, Plan
from fds_mlflow.core.weight import FULL
from fds_mlflow.registry import alias_names, grammar, requests
from fds_mlflow.registry.texts import MAX_ACTOR, MAX_REASON

HOLD_PLANS = frozenset({Kind.START, Kind.ADOPT})
"""Kinds whose events hold the plan of their rollout; the others name it by its digest."""

MAX_FILES = 200
"""Bytes that name a version's files and its registration."""
MAX_PLAN = MAX_ENCODED + 200
"""Characters of a plan as JSON, with what older releases wrote besides."""
MAX_STEP = 1_000_000
"""Highest index of a step: a person can go back and forth as often as they like."""

_EVENT = frozenset(
    {
        *("sequence", "operation", "kind", "from", "to", "actor", "reason", "time", "outcome"),
        *("rollout", "forced", "basis", "renaming", "signed_in", "files", "trusted", "seal"),
        *("asked", "answers", "policy"),
    }
)
_ROLLOUT = frozenset(
    {
        *("id", "champion", "canary", "weight", "step", "since", "status"),
        *("plan", "plan_digest", "spelling", "paused"),
        *("decision", "by"),  # for people, in the tag of a rollout that has ended
    }
)
_GONE = frozenset({"min_success_rate", "max_success_drop"})
"""What plans of older releases also had: a plain rule that nobody judges by any more."""

Plans = Mapping[str, str]
"""The plans of a history: JSON by digest."""


def event_values(event: Event, *, exported: bool = False) -> dict[str, Any]:
    """An event as plain values, without its place in the history.

    Args:
        event: The event.
        exported: For readers that do not have the rest of the history: with the plan of its rollout in any case.
    """
    values: dict[str, Any] = {
        "kind": event.kind.value,
        "from": event.from_version,
        "to": event.to_version,
        "actor": event.actor,
        "reason": event.reason,
        "time": isoformat(event.time),
        "outcome": event.outcome.value,
    }
    if event.rollout is not None:
        with_plan = exported or event.holds_plan or event.kind in HOLD_PLANS
        values["rollout"] = rollout_values(event.rollout, with_plan=with_plan, exported=exported)
    if event.forced:
        values["forced"] = True
    if event.basis is not None:
        values["basis"] = event.basis.to_dict()
    if event.renaming is not None:
        names = {name: alias_names.values_of(getattr(event.renaming, name)) for name in ("before", "after")}
        values["renaming"] = {**names, "creates": event.renaming.creates}
    if event.asked is not None:
        values["asked"] = requests.values_of(event.asked)
    if event.policy is not None:
        values["policy"] = requests.policy_values(event.policy)
    if event.answers:
        values["answers"] = event.answers
    more = {"signed_in": event.signed_in, "files": event.files, "trusted": event.trusted, "seal": event.seal}
    values |= {name: value for name, value in more.items() if value}
    return values | _later(event.later, exported=exported)


def decode_event(values: Mapping[str, Any], sequence: int, operation: str, plans: Plans) -> Event:
    """Read what `event_values` wrote; raises one of `UNREADABLE` where it breaks a bound.

    Args:
        values: The values.
        sequence: The event's place in the history.
        operation: Its operation.
        plans: Those that the history's events hold.
    """
    rollout, basis = values.get("rollout"), values.get("basis")
    return Event(
        sequence=sequence,
        operation=operation,
        kind=Kind(values["kind"]),
        actor=grammar.text(values["actor"], MAX_ACTOR),
        reason=grammar.text(values["reason"], MAX_REASON),
        time=grammar.moment(values["time"]),
        from_version=grammar.maybe_version(values["from"]),
        to_version=grammar.maybe_version(values["to"]),
        rollout=None if rollout is None else decode_rollout_values(rollout, plans),
        outcome=Ending(values["outcome"]),
        forced=bool(values.get("forced", False)),
        basis=None if basis is None else _basis(basis),
        renaming=_renaming(values.get("renaming")),
        signed_in=bool(values.get("signed_in", False)),
        files=None if values.get("files") is None else grammar.text(values["files"], MAX_FILES),
        trusted=values.get("trusted") is True,
        asked=None if values.get("asked") is None else requests.of_values(values["asked"]),
        answers=grammar.text(values.get("answers", ""), grammar.MAX_ID),
        policy=None if values.get("policy") is None else requests.policy_of(values["policy"]),
        seal=grammar.text(values.get("seal", ""), grammar.MAX_ID),
        later=grammar.later(values, _EVENT),
        holds_plan=rollout is not None and "plan" in rollout,
    )


def export_line(event: Event) -> dict[str, Any]:
    """An event as plain values, for JSON output; what ended a rollout also says what was decided."""
    decided = ended(event)
    said = {} if decided is None else {"decision": decided.value}
    values = event_values(event, exported=True)
    return {"sequence": event.sequence, "operation": event.operation, **values, **said}


def import_line(values: Mapping[str, Any]) -> Event:
    """Read an event that `export_line` wrote; raises one of `UNREADABLE` where it cannot."""
    known = {key: value for key, value in _merged(values).items() if key != "decision"}
    if isinstance(known.get("rollout"), Mapping):
        known["rollout"] = _merged(known["rollout"])
    sequence = grammar.whole(values["sequence"], 1, grammar.MAX_GAP)
    return decode_event(known, sequence, grammar.text(values["operation"], grammar.MAX_ID), plans_of(values))


def rollout_values(rollout: Rollout, *, with_plan: bool = True, exported: bool = False) -> dict[str, Any]:
    """A rollout as plain values; the weight is in basis points."""
    plan = {"plan": _plan_values(rollout)} if with_plan else {"plan_digest": digest_of(rollout)}
    values = {
        "id": rollout.id,
        "champion": rollout.champion,
        "canary": rollout.canary,
        "weight": rollout.weight,
        "step": rollout.step,
        "since": isoformat(rollout.since),
        "status": rollout.status.value,
        **plan,
        # Rollouts of earlier releases say nothing, and stay as they were to the letter.
        **({} if rollout.spelling is Spelling.BY_COLUMN else {"spelling": int(rollout.spelling)}),
        **({} if rollout.paused is None else {"paused": isoformat(rollout.paused)}),
    }
    return values | _later(rollout.later, exported=exported)


def decode_rollout_values(values: Mapping[str, Any], plans: Plans) -> Rollout:
    """Read what `rollout_values` wrote; raises one of `UNREADABLE` where it breaks a bound, or its plan is unknown."""
    written = _written(values["plan"]) if "plan" in values else plans[values["plan_digest"]]
    plan, is_watch = _plan(written)
    return Rollout(
        id=grammar.text(values["id"], grammar.MAX_ID),
        champion=grammar.version(values["champion"]),
        canary=grammar.version(values["canary"]),
        plan=plan,
        weight=grammar.whole(values["weight"], 0, FULL),
        step=grammar.whole(values["step"], 0, MAX_STEP),
        since=grammar.moment(values["since"]),
        status=RolloutStatus(values["status"]),
        spelling=Spelling(values.get("spelling", Spelling.BY_COLUMN)),
        is_watch=is_watch,
        paused=None if values.get("paused") is None else grammar.moment(values["paused"]),
        plan_written=written,
        later=grammar.later(values, _ROLLOUT),
    )


def plans_of(values: Any) -> dict[str, str]:
    """The plan that an event holds, by its digest; none where it holds none."""
    rollout = values.get("rollout") if isinstance(values, Mapping) else None
    if not isinstance(rollout, Mapping) or not isinstance(rollout.get("plan"), Mapping):
        return {}
    written = _written(rollout["plan"])
    return {digest_of_plan(written): written}


def digest_of(rollout: Rollout) -> str:
    """What names a rollout's plan in the events that do not hold it: that of the text its start wrote.

    SHA-256 of the plan's compact JSON with sorted keys, the first 128 bits in hexadecimal digits.
    """
    return digest_of_plan(rollout.plan_written or _written(rollout.plan_values()))


def _plan_values(rollout: Rollout) -> dict[str, Any]:
    """The plan as its start wrote it, whichever release that was: other events name it by the digest of that."""
    values: dict[str, Any] = json.loads(rollout.plan_written) if rollout.plan_written else rollout.plan_values()
    return values


def _later(written: str, *, exported: bool) -> dict[str, Any]:
    """What a later release has written: where it stood in tags; in exports in one place, whose keys are checked."""
    values: dict[str, Any] = json.loads(written) if written else {}
    return {"later": values} if exported and values else values


def _merged(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != "later"} | dict(values.get("later", {}))


def isoformat(time: datetime) -> str:
    """A time as tags hold it: UTC, to the microsecond.

    Raises:
        TypeError: It has no time zone.
    """
    if time.tzinfo is None:
        raise TypeError("an event's time must be timezone-aware")
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _written(plan: Any) -> str:
    return json.dumps(plan, ensure_ascii=False, separators=(",", ":"))


@lru_cache(maxsize=256)
def digest_of_plan(written: str) -> str:
    """What names a plan: see `digest_of`."""
    ordered = json.dumps(json.loads(written), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(ordered.encode()).hexdigest()[:32]


@lru_cache(maxsize=256)
def _plan(written: str) -> tuple[Plan, bool]:
    """A plan from its JSON, and whether it is a watch's: most events of a rollout share one."""
    if len(written) > MAX_PLAN:
        raise ValueError(f"the plan has {len(written):,} characters, more than {MAX_PLAN:,}")
    values = json.loads(written)
    if not isinstance(values, dict):
        raise TypeError(f"{written:.100} is no plan")
    is_watch = values.pop("control", False)  # no key of a plan: see `Rollout.plan_values`
    if not isinstance(is_watch, bool):
        raise TypeError(f"control is {is_watch!r:.100}")
    kept = {key: values[key] for key in values if key not in _GONE}
    return Plan.from_dict({"test": 1} | kept), is_watch  # a release that knew one test alone wrote no name of it


def _basis(values: Mapping[str, Any]) -> Basis:
    made = Basis.from_dict(values)
    for count in (made.keys, made.labelled):
        grammar.whole(count or 0, 0, 2**53)
    grammar.short(made.to_dict(), "the basis", grammar.MAX_BASIS)
    return made


def _renaming(values: Any) -> Renaming | None:
    if values is None:
        return None
    before, after = alias_names.of_values(values["before"]), alias_names.of_values(values["after"])
    return Renaming(alias_names.checked(before), alias_names.checked(after), bool(values["creates"]))
