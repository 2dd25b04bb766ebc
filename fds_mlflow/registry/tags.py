"""The tag grammar: the only file that knows how aliases and tags are named and how their values read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import xxhash

from fds_mlflow.core.lifecycle.decision import decision, who
from fds_mlflow.core.lifecycle.events import Event, Role, Rollout
from fds_mlflow.registry import grammar
from fds_mlflow.registry.grammar import UNREADABLE, dump
from fds_mlflow.registry.records import (
    Plans,
    decode_event,
    decode_rollout_values,
    event_values,
    isoformat,
    rollout_values,
)
from fds_mlflow.registry.texts import MAX_ACTOR

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

ROLLOUT_RUN = "mlflow.fds.rollout_run"  # of a canary's version: the tracking run of its rollout, experiment/run
VERDICT = "fds.verdict"  # of a canary's version: what the judge said last of its rollout

RETRAINING = "fds.retraining"
"""Of a model: who retrains it; of a version: digest of all that it was retrained on and by."""
RETRAINED = "fds.retrained"  # of a version: what came of the retraining that made it
LABELS = "fds.labels"  # of a version: what became of every label on the way to it

MAX_SEQUENCE = 10**15 - 1
"""Highest number of an event that a tag's name has room for."""
MAX_LIFETIME = 600.0
"""Seconds an intent may live at most, whatever its tag says: a wrong number must not hold a model for ever."""
LOOSE = 64
"""Loose event tags a model may carry before the oldest are packed: every tag taxes every write to the model."""
KEEP_LOOSE = 32
"""Newest events that stay loose when the older ones are packed."""

_ULID = r"[0-9A-HJKMNP-TV-Z]{26}"
EVENT_NAME = re.compile(rf"fds\.event\.(\d{{8,15}})\.({_ULID})")
PACK_NAME = re.compile(r"fds\.events\.(\d{8,15})-(\d{8,15})")
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
    return f"fds.event.{event.sequence:08d}.{event.operation}", grammar.fits(dump(event_values(event)), "the event")


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
        "time": isoformat(intent.time),
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
    return grammar.fits(dump(values), "the intent")


def decode_intent(operation: str, values: Mapping[str, Any], plans: Plans) -> Intent:
    """Read an intent's values; raises one of `UNREADABLE` where they break a bound. Arguments as of `decode_event`."""
    found, event, (last, by) = values["found"], values.get("event"), values["found"]["last"]
    return Intent(
        id=operation,
        actor=grammar.text(values["actor"], MAX_ACTOR),
        found=Precondition(
            champion=grammar.maybe_version(found["champion"]),
            canary=grammar.maybe_version(found["canary"]),
            last=(grammar.whole(last, 0, MAX_SEQUENCE), grammar.text(by, grammar.MAX_ID)),
            rollout=grammar.text(found["rollout"], grammar.MAX_ID),
        ),
        event=None if event is None else decode_event(event, 0, operation, plans),
        time=grammar.moment(values["time"]),
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
    return grammar.fits(dump(said | rollout_values(rollout)), "the rollout's plan")


def decode_rollout(value: str | None) -> Rollout | None:
    """Read a rollout tag; None where there is none, or one that cannot be parsed (such a canary is inert)."""
    if value is None:
        return None
    try:
        return decode_rollout_values(grammar.parse(value), {})
    except UNREADABLE:
        return None


def threshold_lack(value: str | None) -> str:
    """What is wrong with a threshold, behind "has"."""
    return f"no tag {THRESHOLD}" if value is None else f"the threshold {value[:100]!r}, not a number in [0, 1]"


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


def _lifetime(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise TypeError(f"{value!r:.100} is no lifetime")
    return min(float(value), MAX_LIFETIME)
