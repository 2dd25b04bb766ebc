"""The two tables: what was decided about each request, and what turned out to be true."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Dialect,
    Double,
    Identity,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

SCHEMA_VERSION = "0001"
"""The newest migration's revision. Revisions are zero-padded ordinals: "newer" compares texts."""

VERSION_TABLE = "fds_outcomes_version"
"""Not Alembic's default name: that one belongs to MLflow where both live in one database."""

SERIAL = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows by itself only in a column declared INTEGER (which holds 64 bits there)."""


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
    """The metadata of both tables, with named constraints so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime(),
        float: Double(),
        bool: Boolean(),
    }


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
    """

    __tablename__ = "fds_outcomes"
    __table_args__ = (
        UniqueConstraint("model", "request_id"),
        CheckConstraint("step >= 0", "step"),
        CheckConstraint("weight BETWEEN 0 AND 10000", "weight"),
        CheckConstraint("assigned IN ('champion', 'canary')", "assigned"),
        CheckConstraint("served IN ('champion', 'canary')", "served"),
        CheckConstraint("rollout_id IS NOT NULL OR assigned = 'champion'", "rollout"),
        CheckConstraint("version >= 1", "version"),
        CheckConstraint("score BETWEEN 0 AND 1", "score"),
        CheckConstraint("score IS NOT NULL OR error IS NOT NULL", "answer"),
        CheckConstraint("latency_ms >= 0", "latency"),
        Index("ix_fds_outcomes_evidence", "model", "rollout_id", "step", "assigned", "key"),
        Index("ix_fds_outcomes_recent", "model", "time"),
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


class FraudCase(Base):
    """What was known about a transaction from `known_at` on.

    Append-only: a case that is suspected on Monday and confirmed on Friday is two rows, and the row with the
    latest `known_at` is the truth of today. So a judge can still ask what was known on Wednesday.

    Attributes:
        id: Row number.
        transaction_id: The transaction; independent of any model.
        status: `suspected` (truth not known yet), `confirmed` (fraud), `false_positive` (was flagged or
            reported, is genuine) or `genuine` (known to be genuine without ever having been suspected).
        fraud_type: Kind of fraud, the bank's own word; null when not known.
        loss_amount: Money lost, in the currency of the transactions; null when not known.
        occurred_at: Time of the transaction, UTC.
        reported_at: When somebody reported it, UTC.
        resolved_at: When the investigation ended, UTC.
        known_at: From when on this row's status was known, UTC.
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
