"""What callers hand in and get back: one request's outcome, one state of a case. Checked here, as a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

import msgspec
import xxhash
from ulid import ULID

from fds_mlflow.core.evidence.evidence import kept_chance
from fds_mlflow.core.keys import joined
from fds_mlflow.core.routing.routing import Variant
from fds_mlflow.display.characters import printable
from fds_mlflow.errors import DataError
from fds_mlflow.outcomes import checks

ERROR_LENGTH = 1000
"""Characters kept of an error text: a stack trace must not cost the batch it arrives in."""

AHEAD = timedelta(days=1)
"""How far a label's times may lie ahead of the clock that takes it in: clocks differ, and zones are mistaken."""

REASONS_LENGTH = 8_000
"""Characters that the reasons of an outcome may have."""

VECTOR_LENGTH = 100_000
"""Characters that recorded features, or a recorded transaction, may have as JSON."""

SHOWN = 200
"""Characters of a client's id that are kept for people; all of them are in the digest behind it."""


class CaseStatus(StrEnum):
    """What is known about a transaction. Only `SUSPECTED` says nothing about the truth."""

    SUSPECTED = "suspected"
    CONFIRMED = "confirmed"
    FALSE_POSITIVE = "false_positive"
    GENUINE = "genuine"


Value = bool | int | float | str | None
"""What a request has in a column."""


def new_request() -> str:
    """An identity for a request that came without one."""
    return str(ULID())


def identity(request_id: str, content: bytes) -> str:
    """The identity of one transaction's request where a client's id may stand for many: the id, and what was asked.

    Args:
        request_id: The client's id.
        content: What tells the transaction from others under that id: its own id, else its values.
    """
    digest = xxhash.xxh3_128_hexdigest(request_id.encode("utf-8", "surrogatepass") + b"\0" + content)
    return f"{request_id[:SHOWN]}-{digest}"


class Vector(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a version scored, kept with the outcome of some requests.

    Attributes:
        features: What the version took, by column; None for a gap.
        raw: The transaction as it came, by column, where the features were computed from it; else None.
        spec: Digest of the specification that they were computed by; None where the caller computed them.
    """

    features: dict[str, Value]
    raw: dict[str, Value] | None = None
    spec: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRecord:
    """One scored request; the fields of `tables.Outcome`.

    Attributes:
        model: Registered model.
        key: Routing key that decided the variant, at most 255 characters.
        assigned: `champion` or `canary`: where the key belongs.
        version: The version that answered.
        score: In [0, 1]; None only when an error prevented it.
        flagged: Whether the answer said fraud.
        latency_ms: Milliseconds that the answer took.
        time: When it was scored, timezone-aware.
        rollout_id: The rollout in force; None when none was.
        step: Number of the step in force, from 0.
        weight: Weight in force, basis points from 0 to 10,000.
        served: `champion` or `canary`: who answered; None for the assigned one.
        error: What went wrong, of which 1,000 characters are kept; None when nothing did.
        transaction_id: What was scored, for the join with labels; None for the key.
        request_id: Identity of the request within the model. One is made when none is given; it stays with the
            record, so that writing the same record twice stores it once.
        propensity: Chance that it would be let pass if it were flagged, in [0, 1], whether it is or not; None where
            none was drawn.
        explored: Whether it was let pass although it is flagged, so that its truth shows.
        segment: The segment it belongs to, at most 64 characters; None where the rollout's plan names none.
        degraded: Whether its features were computed without the state that they rest on.
        inputs_digest: Digest of what was scored, at most 32 characters; None where nobody took it.
        reasons: Its reasons as JSON, at most 8,000 characters; None where nobody asked for them.
        vector: What was scored, where it is kept. It is in a table of its own: what reads outcomes leaves it None.
    """

    model: str
    key: str
    assigned: Variant | str
    version: int
    score: float | None
    flagged: bool
    latency_ms: float
    time: datetime
    rollout_id: str | None = None
    step: int = 0
    weight: int = 0
    served: Variant | str | None = None
    error: str | None = None
    transaction_id: str | None = None
    request_id: str = field(default_factory=new_request)
    propensity: float | None = None
    explored: bool = False
    segment: str | None = None
    degraded: bool = False
    inputs_digest: str | None = None
    reasons: str | None = None
    vector: Vector | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowRecord:
    """What the other version said to a request that has, or will have, an outcome; the fields of `tables.Shadow`.

    Attributes:
        model: Registered model.
        request_id: Identity of the request within the model; the outcome's.
        version: The version that scored it beside the one that answered.
        score: In [0, 1]; None only when an error prevented it.
        flagged: Whether it would have said fraud.
        latency_ms: Milliseconds that it took.
        time: When it was scored, timezone-aware.
        error: What went wrong, of which 1,000 characters are kept; None when nothing did.
    """

    model: str
    request_id: str
    version: int
    score: float | None
    flagged: bool
    latency_ms: float
    time: datetime
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRecord:
    """What was known about one transaction from `known_at` on; the fields of `tables.FraudCase`.

    Attributes:
        transaction_id: The transaction, as its outcome has it.
        status: `suspected`, `confirmed`, `false_positive` or `genuine`.
        known_at: From when on this was known, timezone-aware; so are all times.
        fraud_type: The kind of fraud in the bank's own words, at most 64 characters; None when not known.
        loss_amount: Money lost, in the transactions' currency; None when not known.
        occurred_at: When the transaction took place; None when not known.
        reported_at: When it was reported; None when it was not.
        resolved_at: When its investigation ended; None while it has not.
        propensity: Chance with which a flagged transaction like this one is labelled, above 0 and at most 1: that of
            the sample that was reviewed; three digits of it are kept. None where nobody knows it.
    """

    transaction_id: str
    status: CaseStatus | str
    known_at: datetime
    fraud_type: str | None = None
    loss_amount: float | None = None
    occurred_at: datetime | None = None
    reported_at: datetime | None = None
    resolved_at: datetime | None = None
    propensity: float | None = None


Record = TypeVar("Record")


def outcome_rows(records: Sequence[OutcomeRecord]) -> list[dict[str, Any]]:
    """The records as rows of `tables.Outcome`.

    Raises:
        DataError: A value is not valid; names the record, the value and the fix. No row is returned then.
    """
    return _rows(records, OutcomeRecord, _outcome_row)


def vector_rows(records: Sequence[OutcomeRecord]) -> list[dict[str, Any]]:
    """The vectors of the records that have one, as rows of `tables.RecordedVector`.

    Raises:
        DataError: A value is not valid; names the record, the value and the fix. No row is returned then.
    """
    return _rows([record for record in records if record.vector is not None], OutcomeRecord, _vector_row)


def shadow_rows(records: Sequence[ShadowRecord]) -> list[dict[str, Any]]:
    """The records as rows of `tables.Shadow`.

    Raises:
        DataError: A value is not valid; names the record, the value and the fix. No row is returned then.
    """
    return _rows(records, ShadowRecord, _answer)


def case_rows(records: Sequence[CaseRecord]) -> list[dict[str, Any]]:
    """The records as rows of `tables.FraudCase`; of two about the same transaction and moment, the last.

    Raises:
        DataError: A value is not valid; names the record, the value and the fix. No row is returned then.
    """
    rows = _rows(records, CaseRecord, _case_row)
    return list({(row["transaction_id"], row["known_at"]): row for row in rows}.values())


def require_past(record: CaseRecord, now: datetime) -> None:
    """Refuse a label whose times lie ahead: what is known in 2999 would be known to nobody, and hide what is.

    Args:
        record: A label that somebody sent.
        now: The time, timezone-aware.

    Raises:
        DataError: A time lies more than `AHEAD` after now.
    """
    latest = now + AHEAD
    for name in ("known_at", "occurred_at", "reported_at", "resolved_at"):
        value = getattr(record, name)
        if isinstance(value, datetime) and value.tzinfo is not None and value > latest:
            raise DataError(
                f"{name} is {value.isoformat()}, more than a day after now, {now.isoformat(timespec='seconds')}",
                fix="check the year and the time zone of its times, and this machine's clock",
            )


def _rows(
    records: Sequence[Record], kind: type[Record], convert: Callable[[Record], dict[str, Any]]
) -> list[dict[str, Any]]:
    rows = []
    for position, record in enumerate(records):
        if not isinstance(record, kind):
            raise DataError(
                f"record {position} of {len(records)} is a {type(record).__name__}, not a {kind.__name__}",
                fix=f"pass a sequence of {kind.__name__}",
            )
        try:
            rows.append(convert(record))
        except checks.RefusedValueError as refused:
            what, fix = refused.args
            raise DataError(
                f"{kind.__name__} {position} of {len(records)}: {what}",
                fix=f"{fix}; nothing of the batch was written",
            ) from None
    return rows


def _outcome_row(record: OutcomeRecord) -> dict[str, Any]:
    assigned = checks.choice("assigned", record.assigned, Variant)
    rollout_id = None if record.rollout_id is None else checks.text("rollout_id", record.rollout_id, 64)
    if rollout_id is None and assigned is not Variant.CHAMPION:
        raise checks.RefusedValueError(
            "assigned to the canary without a rollout_id", "record the rollout the request was routed by"
        )
    key = checks.text("key", record.key, 255)
    explored = checks.boolean("explored", record.explored)
    propensity = None if record.propensity is None else checks.number("propensity", record.propensity, 0.0, 1.0)
    if explored and not (propensity and checks.boolean("flagged", record.flagged)):
        raise checks.RefusedValueError(
            f"explored with the propensity {propensity} and flagged {record.flagged}",
            "what is explored is flagged, and has the propensity above 0 with which it was let pass",
        )
    transaction_id = record.transaction_id
    if transaction_id is None or (type(transaction_id) is str and transaction_id in ("", key)):
        transaction_id = key
    else:
        transaction_id = checks.text("transaction_id", transaction_id, 255)
    return _answer(record) | {
        "key": key,
        "transaction_id": joined(transaction_id),
        "rollout_id": rollout_id,
        "step": checks.integer("step", record.step, 0, checks.INTEGER_MAX),
        "weight": checks.integer("weight", record.weight, 0, 10_000),
        "assigned": assigned.value,
        "served": assigned.value if record.served is None else checks.choice("served", record.served, Variant).value,
        "propensity": propensity,
        "explored": explored,
        "segment": None if record.segment is None else checks.text("segment", record.segment, 64),
        "degraded": checks.boolean("degraded", record.degraded),
        "inputs_digest": None if record.inputs_digest is None else checks.text("digest", record.inputs_digest, 32),
        "reasons": None if record.reasons is None else checks.text("reasons", record.reasons, REASONS_LENGTH),
    }


def _vector_row(record: OutcomeRecord) -> dict[str, Any]:
    vector = record.vector
    if not isinstance(vector, Vector):
        raise checks.RefusedValueError(f"vector is a {type(vector).__name__}", "give a Vector")
    return {
        "model": record.model,
        "request_id": record.request_id,
        "transaction_id": joined(record.transaction_id or record.key),
        "version": record.version,
        "time": checks.moment("time", record.time),
        "spec": None if vector.spec is None else checks.text("spec", vector.spec, 80),
        "features": _json("features", vector.features),
        "raw": None if vector.raw is None else _json("raw", vector.raw),
    }


def _json(name: str, values: Mapping[str, Value]) -> str:
    try:
        written = msgspec.json.encode(values).decode()  # a number that is none is null
    except (TypeError, ValueError, OverflowError) as error:
        raise checks.RefusedValueError(f"{name} cannot be written as JSON: {error}", "give plain values") from None
    if len(written) > VECTOR_LENGTH:
        raise checks.RefusedValueError(f"{name} has {len(written):,} characters > {VECTOR_LENGTH:,}", "keep none of it")
    return written


def _answer(record: OutcomeRecord | ShadowRecord) -> dict[str, Any]:
    """What a version answered, and to which request."""
    if record.error is not None and not (isinstance(record.error, str) and record.error):
        raise checks.RefusedValueError(f"error is {record.error!r}", "use None where nothing went wrong")
    if record.score is None and record.error is None:
        raise checks.RefusedValueError(
            "there is neither a score nor an error", "give the score, or the error that prevented it"
        )
    error = (
        None
        if record.error is None
        else checks.text("error", printable(record.error[:ERROR_LENGTH], keep="\n\t")[:ERROR_LENGTH], ERROR_LENGTH)
    )
    return {
        "model": checks.text("model", record.model, 256),
        "request_id": checks.text("request_id", record.request_id, 255),
        "version": checks.integer("version", record.version, 1, checks.INTEGER_MAX),
        "score": None if record.score is None else checks.number("score", record.score, 0.0, 1.0),
        "flagged": checks.boolean("flagged", record.flagged),
        "latency_ms": checks.number("latency_ms", record.latency_ms, 0.0, math.inf),
        "error": error,
        "time": checks.moment("time", record.time),
    }


def _case_row(record: CaseRecord) -> dict[str, Any]:
    moments = {
        name: None if (value := getattr(record, name)) is None else checks.moment(name, value)
        for name in ("occurred_at", "reported_at", "resolved_at")
    }
    known_at = checks.moment("known_at", record.known_at)
    if moments["occurred_at"] is not None and moments["occurred_at"] > known_at:
        raise checks.RefusedValueError(
            f"known_at {known_at.isoformat()} is before occurred_at {moments['occurred_at'].isoformat()}",
            "a label cannot be known before its transaction: check whether the two columns are swapped",
        )
    loss = record.loss_amount
    propensity = None if record.propensity is None else checks.number("propensity", record.propensity, 0.0, 1.0)
    if propensity is not None:
        propensity = kept_chance(propensity)
    if propensity == 0:
        raise checks.RefusedValueError("propensity is 0", "what is labelled was labelled with a chance above 0")
    return {
        "transaction_id": joined(checks.text("transaction_id", record.transaction_id, 255)),
        "status": checks.choice("status", record.status, CaseStatus).value,
        "fraud_type": None if record.fraud_type is None else checks.text("fraud_type", record.fraud_type, 64),
        "loss_amount": None if loss is None else checks.number("loss_amount", loss, 0.0, math.inf),
        **moments,
        "known_at": known_at,
        "propensity": propensity,
    }
