"""The tag grammar: the only file that knows how aliases and tags are named and how their values read."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import xxhash

from fds_mlflow.core.keys import Spelling
from fds_mlflow.core.lifecycle.decision import decision, ended, who
from fds_mlflow.core.lifecycle.events import (
    Basis,
    Ending,
    Event,
    Kind,
    Renaming,
    Role,
    Rollout,
    RolloutStatus,
)
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.weight import to_basis_points, to_percent
from fds_mlflow.errors import ConfigError
from fds_mlflow.registry import alias_names

CHAMPION = Role.CHAMPION
CANARY = Role.CANARY
ROLLOUT = "fds.rollout"
THRESHOLD = "fds.threshold"
TARGET_FPR = "fds.target_fpr"
CODES = "fds.codes"
"""How the codes were spelled that a version was trained on; also in the metadata of its logged model."""
SCORE = "fds.score"  # how the answer of an adopted version becomes a score, where it is not one already
ADOPTED = "fds.adopted"  # what was adopted as this version, which has the same files
WRAPS = "fds.wraps"  # what was adopted as this version, which wraps a copy of it, and how its answers become scores
ALGORITHM = "fds.algorithm"
DIGEST = "fds.digest"  # of the data that a version was trained on
FILES = "fds.files"  # of the version's own files, when it was registered or adopted

MAX_VALUE = 4_900
"""Characters one tag may hold. MLflow's own column holds 5,000 on PostgreSQL; SQLite would let longer ones pass."""

MAX_LIFETIME = 600.0
"""Seconds an intent may live at most, whatever its tag says: a wrong number must not hold a model for ever."""
LOOSE = 64
"""Loose event tags a model may carry before the oldest are packed: every tag taxes every write to the model."""
KEEP_LOOSE = 32
"""Newest events that stay loose when the older ones are packed."""

UNREADABLE = (
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError),
    *(ConfigError, zlib.error),
)
"""What reading a value can raise that an out-of-band change has made unreadable."""

_ULID = r"[0-9A-HJKMNP-TV-Z]{26}"
EVENT_NAME = re.compile(rf"fds\.event\.(\d{{8,}})\.({_ULID})")
PACK_NAME = re.compile(r"fds\.events\.(\d{8,})-(\d{8,})")
INTENT_NAME = re.compile(rf"fds\.intent\.({_ULID})")


@dataclass(frozen=True)
class Precondition:
    """What an operation found when it began; it goes on only while this still holds.

    Attributes:
        champion: Version of the champion alias.
        canary: Version of the canary alias.
        last: Sequence and operation of the last event; (0, "") before the first.
        rollout: Digest of the canary version's rollout tag; "" where there is none.
    """

    champion: int | None
    canary: int | None
    last: tuple[int, str]
    rollout: str


@dataclass(frozen=True)
class Intent:
    """An operation in flight, as a record for whoever finds it.

    Attributes:
        id: ULID of the operation.
        actor: Who runs it.
        found: What it found.
        event: The event it will append, whose sequence is not yet known (0); None for housekeeping
            (settling a dead intent, packing), which is repeated rather than settled.
        take_over: Whether it goes ahead without waiting for other operations.
        time: When it began, UTC, for people.
        lifetime: Seconds it lives; None where an earlier release wrote it, whose observers all waited their own.
    """

    id: str
    actor: str
    found: Precondition
    event: Event | None
    time: datetime
    take_over: bool = False
    lifetime: float | None = None


def event_tag(event: Event) -> tuple[str, str]:
    """Name and value of an event's own tag.

    Raises:
        ConfigError: The value would be longer than a tag may be.
    """
    return f"fds.event.{event.sequence:08d}.{event.operation}", _fits(dump(event_values(event)), "the event")


def intent_name(operation: str) -> str:
    """Name of the tag of an operation in flight."""
    return f"fds.intent.{operation}"


def is_intent(name: str) -> bool:
    """Whether a tag's name says that it is an operation in flight, whatever its value."""
    return name.startswith("fds.intent")


def kept_name(name: str, value: str) -> str:
    """Name of the tag under which a value of ours that cannot be parsed is kept: outside of all that is read."""
    # The digest tells what is kept apart from what was kept before; a tag's name has at most 250 characters.
    return f"fds.kept.{name.removeprefix('fds.')}"[:233] + f".{digest(value)}"


def encode_intent(intent: Intent) -> str:
    """Value of an intent's tag.

    Raises:
        ConfigError: The value would be longer than a tag may be.
    """
    values: dict[str, Any] = {
        "actor": intent.actor,
        "time": _time(intent.time),
        "found": {
            "champion": intent.found.champion,
            "canary": intent.found.canary,
            "last": list(intent.found.last),
            "rollout": intent.found.rollout,
        },
    }
    if intent.take_over:
        values["take_over"] = True
    if intent.lifetime is not None:
        values["lifetime"] = intent.lifetime
    if intent.event is not None:
        values["event"] = event_values(intent.event)
    return _fits(dump(values), "the intent")


def decode_intent(operation: str, value: str) -> Intent:
    """Read an intent's tag."""
    values = json.loads(value)
    found = values["found"]
    event = values.get("event")
    return Intent(
        id=operation,
        actor=text_of(values["actor"]),
        found=Precondition(
            champion=_version(found["champion"]),
            canary=_version(found["canary"]),
            last=(int(found["last"][0]), str(found["last"][1])),
            rollout=found["rollout"],
        ),
        event=None if event is None else decode_event(event, 0, operation),
        time=_moment(values["time"]),
        take_over=bool(values.get("take_over", False)),
        lifetime=_lifetime(values.get("lifetime")),
    )


def encode_rollout(rollout: Rollout, end: Event | None = None) -> str:
    """Value of the canary version's rollout tag; the weight is in basis points.

    Args:
        rollout: The rollout.
        end: The event that ended it: for people who read the version's page, what was decided and by whom comes first.

    Raises:
        ConfigError: The value would be longer than a tag may be.
    """
    said = {} if end is None else {"decision": decision(end), "by": who(end)}
    return _fits(dump(said | _rollout_values(rollout)), "the rollout's plan")


def decode_rollout(value: str | None) -> Rollout | None:
    """Read a rollout tag; None where there is none, or one that cannot be parsed (such a canary is inert)."""
    if value is None:
        return None
    try:
        return _rollout(json.loads(value))
    except UNREADABLE:
        return None


def _renaming(values: Any) -> Renaming | None:
    if values is None:
        return None
    return Renaming(
        alias_names.of_values(values["before"]), alias_names.of_values(values["after"]), bool(values["creates"])
    )


def threshold_fix(version: int, model: str = "MODEL") -> str:
    """What gives a version its threshold."""
    return (
        f"have it chosen (`fds adopt {model} {version}`), or set the score from which a transaction is flagged, such as"
        " 0.5: mlflow.MlflowClient()."
        f"set_model_version_tag({model!r}, '{version}', '{THRESHOLD}', '0.5')"
    )


def is_threshold(value: str | None) -> bool:
    """Whether a threshold tag holds a number in [0, 1]."""
    try:
        return value is not None and 0 <= float(value) <= 1
    except ValueError:
        return False


def digest(value: str | None) -> str:
    """A short digest of a tag's value, to notice that it changed; "" where there is none."""
    return "" if value is None else xxhash.xxh3_64_hexdigest(value.encode(errors="surrogatepass"))


def export_line(event: Event) -> dict[str, Any]:
    """An event as plain values, for JSON output; what ended a rollout also says what was decided."""
    decided = ended(event)
    said = {} if decided is None else {"decision": decided.value}
    return {"sequence": event.sequence, "operation": event.operation, **event_values(event), **said}


def import_line(values: Mapping[str, Any]) -> Event:
    """Read an event that `export_line` wrote."""
    return decode_event(values, int(values["sequence"]), str(values["operation"]))


def event_values(event: Event) -> dict[str, Any]:
    """An event as plain values, without its place in the history."""
    values: dict[str, Any] = {
        "kind": event.kind.value,
        "from": event.from_version,
        "to": event.to_version,
        "actor": event.actor,
        "reason": event.reason,
        "time": _time(event.time),
        "outcome": event.outcome.value,
    }
    if event.rollout is not None:
        values["rollout"] = _rollout_values(event.rollout)
    if event.forced:
        values["forced"] = True
    if event.basis is not None:
        values["basis"] = event.basis.to_dict()
    if event.renaming is not None:
        names = {"before": vars(event.renaming.before), "after": vars(event.renaming.after)}
        values["renaming"] = {**names, "creates": event.renaming.creates}
    more = {"signed_in": event.signed_in, "files": event.files, "trusted": event.trusted}
    return values | {name: value for name, value in more.items() if value}


def decode_event(values: Mapping[str, Any], sequence: int, operation: str) -> Event:
    """Read what `event_values` wrote."""
    rollout, basis = values.get("rollout"), values.get("basis")
    return Event(
        sequence=sequence,
        operation=operation,
        kind=Kind(values["kind"]),
        actor=text_of(values["actor"]),
        reason=text_of(values["reason"]),
        time=_moment(values["time"]),
        from_version=_version(values["from"]),
        to_version=_version(values["to"]),
        rollout=None if rollout is None else _rollout(rollout),
        outcome=Ending(values["outcome"]),
        forced=bool(values.get("forced", False)),
        basis=None if basis is None else Basis.from_dict(basis),
        renaming=_renaming(values.get("renaming")),
        signed_in=bool(values.get("signed_in", False)),
        files=None if values.get("files") is None else text_of(values["files"]),
        trusted=values.get("trusted") is True,
    )


def text_of(value: Any) -> str:
    """A value that must be a text.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _version(value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise TypeError(f"{value!r} is no version")
    return value


def _lifetime(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not float(value) > 0:
        raise TypeError(f"{value!r} is no lifetime")
    return min(float(value), MAX_LIFETIME)


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(text_of(value))
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    return moment.astimezone(UTC)


def _encodable(value: Any) -> str:
    """A text that can be hashed and written again: no lone surrogates."""
    text_of(value).encode()
    return str(value)


def _rollout_values(rollout: Rollout) -> dict[str, Any]:
    return {
        "id": rollout.id,
        "champion": rollout.champion,
        "canary": rollout.canary,
        "weight": rollout.weight,
        "step": rollout.step,
        "since": _time(rollout.since),
        "status": rollout.status.value,
        "plan": rollout.plan_values(),
        # Rollouts of earlier releases say nothing, and stay as they were to the letter.
        **({} if rollout.spelling is Spelling.BY_COLUMN else {"spelling": int(rollout.spelling)}),
    }


def _rollout(values: Mapping[str, Any]) -> Rollout:
    weight = to_basis_points(to_percent(values["weight"]))
    plan, is_watch = _plan(dump(values["plan"]))
    return Rollout(
        id=_encodable(values["id"]),
        champion=int(values["champion"]),
        canary=int(values["canary"]),
        plan=plan,
        weight=weight,
        step=int(values["step"]),
        since=_moment(values["since"]),
        status=RolloutStatus(values["status"]),
        spelling=Spelling(values.get("spelling", Spelling.BY_COLUMN)),
        is_watch=is_watch,
    )


_GONE = frozenset({"min_success_rate", "max_success_drop"})
"""What plans of older releases also had: a plain rule that nobody judges by any more."""


@lru_cache(maxsize=256)
def _plan(value: str) -> tuple[Plan, bool]:
    """A plan from its JSON, and whether it is a watch's: all events of a rollout repeat it, and most share one."""
    values = json.loads(value)
    if not isinstance(values, dict):
        raise TypeError(f"{value} is no plan")
    is_watch = values.pop("control", False)  # no key of a plan: see `Rollout.plan_values`
    if not isinstance(is_watch, bool):
        raise TypeError(f"control is {is_watch!r}")
    return Plan.from_dict({key: values[key] for key in values if key not in _GONE}), is_watch


def _time(time: datetime) -> str:
    if time.tzinfo is None:
        raise TypeError("an event's time must be timezone-aware")
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def dump(values: Mapping[str, Any]) -> str:
    """Compact JSON, as tags hold it."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def _fits(value: str, what: str) -> str:
    if len(value) > MAX_VALUE:
        raise ConfigError(
            f"{what} takes {len(value):,} characters, more than the {MAX_VALUE:,} a registry tag may hold",
            fix="shorten the reason or the plan",
        )
    return value
