"""The tables: what was decided about each request, what turned out to be true, and what that adds up to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

SCHEMA_VERSION = "0005"
"""The newest migration's revision. Revisions are zero-padded ordinals: "newer" compares texts."""

VERSION_TABLE = "fds_outcomes_version"
"""Not Alembic's default name: that one belongs to MLflow where both live in one database."""

SERIAL = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows by itself only in a column declared INTEGER (which holds 64 bits there)."""


_IN_A_ROLLOUT = text("rollout_id IS NOT NULL")
_OWN_TRANSACTION = text("rollout_id IS NOT NULL AND transaction_id <> key")
"""Where the key is the transaction, as by default, the index of keys finds transactions too."""

_EXPLORED = text("explored")


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: bound and read back as timezone-aware UTC, on databases with and without time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC; a naive time is refused, because nobody can tell which moment it means."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone: attach one, for example .replace(tzinfo=timezone.utc)")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy's signature
    ) -> datetime | None:
        """Attach UTC, or convert to it where the server answers in its own time zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """The metadata of all tables, with named constraints so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime(),
        float: Double(),
        bool: Boolean(),
    }


def _answer_checks() -> Iterator[CheckConstraint]:
    """What holds for each answer of a version."""
    yield CheckConstraint("version >= 1", "version")
    yield CheckConstraint("score BETWEEN 0 AND 1", "score")
    yield CheckConstraint("score IS NOT NULL OR error IS NOT NULL", "answer")
    yield CheckConstraint("latency_ms >= 0", "latency")


class Outcome(Base):
    """One scored request.

    The weight and the step are facts of the request, written with it: a weight looked up later is wrong.

    Attributes:
        id: Row number, in the order of writing.
        model: The registered model.
        request_id: Identity of the request, unique per model; writing it again is ignored.
        key: The routing key that decided the variant.
        transaction_id: The transaction that was scored; labels are joined on it.
        rollout_id: The rollout in force; null when none was.
        step: The rollout's step in force, from 0; 0 without a rollout.
        weight: The canary's weight in force, basis points 0..10000; 0 without a rollout.
        assigned: The variant the routing key belongs to.
        served: The variant that answered; differs from `assigned` after a fallback.
        version: The version that answered.
        score: In [0, 1]; null only when an error prevented it.
        flagged: Whether the answer said fraud.
        latency_ms: Milliseconds.
        error: What went wrong, null when nothing did.
        time: When it was scored, UTC.
        propensity: Chance that it would be let pass if it were flagged, in [0, 1]; null where none was drawn.
        explored: Whether it was let pass although it is flagged, so that its truth shows.
        segment: The segment it belongs to; null where the rollout's plan names none.
        degraded: Whether its features were computed without the state that they rest on.
        inputs_digest: Digest of what was scored; null where nobody took it.
        reasons: Its reasons as JSON; null where nobody asked for them.
    """

    __tablename__ = "fds_outcomes"
    __table_args__ = (
        UniqueConstraint("model", "request_id"),
        CheckConstraint("step >= 0", "step"),
        CheckConstraint("weight BETWEEN 0 AND 10000", "weight"),
        CheckConstraint("assigned IN ('champion', 'canary')", "assigned"),
        CheckConstraint("served IN ('champion', 'canary')", "served"),
        CheckConstraint("rollout_id IS NOT NULL OR assigned = 'champion'", "rollout"),
        *_answer_checks(),
        Index(
            "ix_fds_outcomes_key",
            "model",
            "rollout_id",
            "key",
            sqlite_where=_IN_A_ROLLOUT,
            postgresql_where=_IN_A_ROLLOUT,
            postgresql_include=["id"],
        ),
        Index(
            "ix_fds_outcomes_transaction",
            "model",
            "transaction_id",
            sqlite_where=_OWN_TRANSACTION,
            postgresql_where=_OWN_TRANSACTION,
        ),
        Index("ix_fds_outcomes_recent", "model", "time"),
        Index("ix_fds_outcomes_explored", "model", "time", sqlite_where=_EXPLORED, postgresql_where=_EXPLORED),
    )

    id: Mapped[int] = mapped_column(SERIAL, Identity(), primary_key=True)
    model: Mapped[str] = mapped_column(String(256))
    request_id: Mapped[str] = mapped_column(String(255))
    key: Mapped[str] = mapped_column(String(255))
    transaction_id: Mapped[str] = mapped_column(String(255))
    rollout_id: Mapped[str | None] = mapped_column(String(64))
    step: Mapped[int] = mapped_column(default=0)
    weight: Mapped[int] = mapped_column(default=0)
    assigned: Mapped[str] = mapped_column(String(8))
    served: Mapped[str] = mapped_column(String(8))
    version: Mapped[int]
    score: Mapped[float | None]
    flagged: Mapped[bool]
    latency_ms: Mapped[float]
    error: Mapped[str | None] = mapped_column(Text())
    time: Mapped[datetime]
    propensity: Mapped[float | None]
    explored: Mapped[bool] = mapped_column(default=False, server_default=false())
    segment: Mapped[str | None] = mapped_column(String(64))
    degraded: Mapped[bool] = mapped_column(default=False, server_default=false())
    inputs_digest: Mapped[str | None] = mapped_column(String(32))
    reasons: Mapped[str | None] = mapped_column(Text())


class RecordedVector(Base):
    """What a version scored, kept with the outcome of some requests: it comes and goes with it.

    Attributes:
        id: Row number, in the order of writing.
        model: The registered model.
        request_id: The request, as in `Outcome.request_id`.
        transaction_id: The transaction, as in `Outcome.transaction_id`.
        version: The version that answered.
        time: When it was scored, UTC.
        spec: Digest of the specification that the features were computed by; null where the caller computed them.
        features: What the version took, a JSON object by column.
        raw: The transaction as it came, a JSON object by column; null where the caller computed the features.
    """

    __tablename__ = "fds_vectors"
    __table_args__ = (
        UniqueConstraint("model", "request_id"),
        Index("ix_fds_vectors_recent", "model", "time"),
    )

    id: Mapped[int] = mapped_column(SERIAL, Identity(), primary_key=True)
    model: Mapped[str] = mapped_column(String(256))
    request_id: Mapped[str] = mapped_column(String(255))
    transaction_id: Mapped[str] = mapped_column(String(255))
    version: Mapped[int]
    time: Mapped[datetime]
    spec: Mapped[str | None] = mapped_column(String(80))
    features: Mapped[str] = mapped_column(Text())
    raw: Mapped[str | None] = mapped_column(Text())


class FraudCase(Base):
    """What was known about a transaction from `known_at` on.

    Append-only: a case that is suspected on Monday and confirmed on Friday is two rows, and the row with the
    latest `known_at` is the truth of today. So a judge can still ask what was known on Wednesday.

    Attributes:
        id: Row number, in the order in which truths became visible: a suspicion that is corrected to a truth of the
            same moment gets a new one.
        transaction_id: The transaction; independent of any model.
        status: `suspected` (truth not known yet), `confirmed` (fraud), `false_positive` (was flagged or
            reported, is genuine) or `genuine` (known to be genuine without ever having been suspected).
        fraud_type: Kind of fraud, the bank's own word; null when not known.
        loss_amount: Money lost, in the currency of the transactions; null when not known.
        occurred_at: Time of the transaction, UTC.
        reported_at: When somebody reported it, UTC.
        resolved_at: When the investigation ended, UTC.
        known_at: From when on this row's status was known, UTC.
        withdrawn: Whether this row said a truth before it was corrected to a suspicion.
        propensity: Chance with which a flagged transaction is labelled so, above 0 and at most 1; null where nobody
            has said it.
    """

    __tablename__ = "fds_fraud_cases"
    __table_args__ = (
        UniqueConstraint("transaction_id", "known_at"),
        CheckConstraint("status IN ('suspected', 'confirmed', 'false_positive', 'genuine')", "status"),
        CheckConstraint("loss_amount >= 0", "loss"),
    )

    id: Mapped[int] = mapped_column(SERIAL, Identity(), primary_key=True)
    transaction_id: Mapped[str] = mapped_column(String(255))
    status: Mapped[str] = mapped_column(String(14))
    fraud_type: Mapped[str | None] = mapped_column(String(64))
    loss_amount: Mapped[float | None]
    occurred_at: Mapped[datetime | None]
    reported_at: Mapped[datetime | None]
    resolved_at: Mapped[datetime | None]
    known_at: Mapped[datetime]
    withdrawn: Mapped[bool] = mapped_column(default=False, server_default=false())
    propensity: Mapped[float | None]


class Shadow(Base):
    """What the other version said to a request, without anybody having acted on it.

    Attributes:
        id: Row number, in the order of writing.
        model: The registered model.
        request_id: The request, as in `Outcome.request_id`.
        version: The version that was asked.
        score: In [0, 1]; null only when an error prevented it.
        flagged: Whether it said fraud.
        latency_ms: Milliseconds.
        error: What went wrong, null when nothing did.
        time: When it was scored, UTC.
    """

    __tablename__ = "fds_shadows"
    __table_args__ = (
        UniqueConstraint("model", "request_id"),
        *_answer_checks(),
    )

    id: Mapped[int] = mapped_column(SERIAL, Identity(), primary_key=True)
    model: Mapped[str] = mapped_column(String(256))
    request_id: Mapped[str] = mapped_column(String(255))
    version: Mapped[int]
    score: Mapped[float | None]
    flagged: Mapped[bool]
    latency_ms: Mapped[float]
    error: Mapped[str | None] = mapped_column(Text())
    time: Mapped[datetime]


class Count(Base):
    """How far the outcomes of one rollout have been counted on one set of terms.

    Counted are the outcomes up to `outcome_id`. Of these, the labels of those up to `matured_time` (and up to
    `matured_id` at that very time) have been looked at, among the cases up to `case_id`.

    Attributes:
        id: Row number.
        model: The registered model.
        rollout_id: The rollout.
        terms: The terms, as `counting.Question.terms_text` writes them.
        outcome_id: Outcomes up to this one are counted.
        shadow_id: Shadows up to this one are paired.
        case_id: States of cases up to this one are taken in.
        matured_time: Labels of outcomes up to this time are counted, UTC; null before the first.
        matured_id: At that time itself, labels of outcomes up to this one.
        as_of: The latest moment anybody asked about, UTC.
        final: Whether the outcomes have been deleted since, so that nothing can be counted again.
    """

    __tablename__ = "fds_counts"
    __table_args__ = (UniqueConstraint("model", "rollout_id", "terms"),)

    id: Mapped[int] = mapped_column(SERIAL, Identity(), primary_key=True)
    model: Mapped[str] = mapped_column(String(256))
    rollout_id: Mapped[str] = mapped_column(String(64))
    terms: Mapped[str] = mapped_column(String(100))
    outcome_id: Mapped[int] = mapped_column(BigInteger(), default=0)
    shadow_id: Mapped[int] = mapped_column(BigInteger(), default=0)
    case_id: Mapped[int] = mapped_column(BigInteger(), default=0)
    matured_time: Mapped[datetime | None]
    matured_id: Mapped[int] = mapped_column(BigInteger(), default=0)
    as_of: Mapped[datetime]
    final: Mapped[bool] = mapped_column(default=False)


class CellCount(Base):
    """A `core.evidence.Tally`, as far as it is counted.

    Attributes:
        count_id: What it belongs to.
        step: The rollout's step.
        weight: The canary's weight in force, basis points.
        assigned: The variant the keys belong to.
        hour: The hour of the requests, counted from 1970 UTC; 0 where the terms do not part them.
        segment: The segment of the requests; empty where the terms do not part them.
        numbers: The tally's numbers, by name; histograms are lists.
        first: Time of the earliest request, UTC.
        last: Time of the latest request, UTC.
    """

    __tablename__ = "fds_tallies"

    count_id: Mapped[int] = mapped_column(ForeignKey("fds_counts.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    weight: Mapped[int] = mapped_column(primary_key=True)
    assigned: Mapped[str] = mapped_column(String(8), primary_key=True)
    hour: Mapped[int] = mapped_column(primary_key=True, default=0, server_default="0")
    segment: Mapped[str] = mapped_column(String(64), primary_key=True, default="", server_default="")
    numbers: Mapped[dict[str, Any]] = mapped_column(JSON())
    first: Mapped[datetime]
    last: Mapped[datetime]


class FirstEvent(Base):
    """Where the first event of a key and kind happened in a rollout.

    Attributes:
        count_id: What it belongs to.
        kind: A `core.evidence.EventKind`, or `pair` for the first request that both versions scored.
        key: The routing key.
        outcome_id: The outcome it happened to.
    """

    __tablename__ = "fds_first_events"
    __table_args__ = ({"sqlite_with_rowid": False},)

    count_id: Mapped[int] = mapped_column(ForeignKey("fds_counts.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    outcome_id: Mapped[int] = mapped_column(BigInteger())
