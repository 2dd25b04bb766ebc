"""The outcome store for asyncio: the same operations on the same tables, awaited."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from datetime import datetime, timedelta
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from fds_mlflow.core.evidence.evidence import Evidence, Terms
from fds_mlflow.outcomes import retention, statements
from fds_mlflow.outcomes.counting.question import Question
from fds_mlflow.outcomes.counting.steps import PAUSE, UnitOfWork, counted, forgotten, pruned
from fds_mlflow.outcomes.database import (
    DEFAULT_URL,
    EXCLUSIVE,
    async_engine,
    in_memory,
    is_current,
    parse,
    translated,
    upgrade,
)
from fds_mlflow.outcomes.feedback import Flagged, Reports, flagged, reports
from fds_mlflow.outcomes.forgetting import Forgotten, forget
from fds_mlflow.outcomes.records import (
    CaseRecord,
    OutcomeRecord,
    ShadowRecord,
    case_rows,
    outcome_rows,
    shadow_rows,
    vector_rows,
)
from fds_mlflow.outcomes.retention import ModelStats
from fds_mlflow.outcomes.statements import By, Scope
from fds_mlflow.outcomes.summary import VariantCounts
from fds_mlflow.outcomes.vectors import KeptVector, scored, vectors
from fds_mlflow.runtime import databases
from fds_mlflow.runtime.clock import SystemClock

P = ParamSpec("P")
T = TypeVar("T")


class AsyncOutcomeStore:
    """`fds_mlflow.outcomes.store.OutcomeStore`, awaited: see there for what each method promises.

    The schema is created or brought up to date by the first call, because a constructor cannot wait; so the
    errors of opening come from there, save `ConfigError`. One store belongs to one event loop.

    Args:
        url: As for `OutcomeStore`; `sqlite:///file.db` and `sqlite+aiosqlite:///file.db` mean the same.
        timeout: Seconds to wait for another writer's lock, a pooled connection or the server.

    Attributes:
        engine: The SQLAlchemy engine.
        url: The address, without any password.

    Raises:
        ConfigError: The URL is not valid or its driver is not installed.
    """

    def __init__(self, url: str | URL = DEFAULT_URL, *, timeout: float = 20.0) -> None:
        self._url = parse(url)
        self.url = databases.shown(self._url)
        with translated(self._url):
            self.engine: AsyncEngine = async_engine(self._url, timeout)
        self._opening = asyncio.Lock()
        self._opened = False
        # In memory all tasks share the one connection: one operation at a time.
        self._alone: contextlib.AbstractAsyncContextManager[object] = (
            asyncio.Lock() if in_memory(self._url) else contextlib.nullcontext()
        )

    async def record(self, outcomes: Sequence[OutcomeRecord]) -> int:
        """Store a batch of outcomes, all of them or none; returns how many were new."""
        return await self._write(statements.record, outcome_rows(outcomes), vector_rows(outcomes))

    async def record_shadows(self, shadows: Sequence[ShadowRecord]) -> int:
        """Store a batch of what the other version answered, all or none; returns how many were new."""
        return await self._write(statements.record_shadows, shadow_rows(shadows))

    async def label(self, cases: Sequence[CaseRecord]) -> int:
        """Store a batch of labels, all of them or none; returns how many were new or changed."""
        return await self._write(statements.label, case_rows(cases))

    async def counts(
        self,
        model: str,
        rollout: str | None,
        step: int | None = None,
        *,
        by: By = "assigned",
        as_of: datetime | None = None,
        maturity: timedelta | None = None,
    ) -> list[VariantCounts]:
        """Both variants' outcomes, counted: champion first, zeros where nothing happened."""
        scope = Scope(model=model, rollout=rollout, step=step, by=by, as_of=as_of, maturity=maturity)
        return await self._read(statements.counts, scope)

    async def counts_by_step(
        self,
        model: str,
        rollout: str | None,
        *,
        by: By = "assigned",
        as_of: datetime | None = None,
        maturity: timedelta | None = None,
    ) -> list[VariantCounts]:
        """The outcomes per step, weight in force and variant, in that order."""
        scope = Scope(model=model, rollout=rollout, by=by, as_of=as_of, maturity=maturity)
        return await self._read(statements.counts_by_step, scope)

    async def evidence(self, model: str, rollout_id: str, terms: Terms, *, as_of: datetime | None = None) -> Evidence:
        """What a judge knows about a rollout: counts what is new since the last call, and adds it up."""
        moment = SystemClock().now() if as_of is None else as_of
        return await self._follow(counted(Question(model=model, rollout_id=rollout_id, terms=terms, as_of=moment)))

    async def prune(self, model: str, *, older_than: datetime, uncounted: bool = False, dry_run: bool = False) -> int:
        """Delete what is old and counted; how many rows are deleted, or would be."""
        statements.check_zone(older_than)
        if dry_run:
            return await self._read(retention.prunable, model, older_than, uncounted)
        return await self._follow(pruned(model, older_than, uncounted=uncounted))

    async def forget(self, by: str, values: Sequence[str], *, dry_run: bool = False) -> Forgotten:
        """Remove what is stored of a person; what was removed, or would be."""
        if dry_run:
            return await self._read(forget, by, values, dry=True)
        return await self._follow(forgotten(by, values, SystemClock().now()))

    async def stats(self) -> list[ModelStats]:
        """How much is stored, per model, by name."""
        return await self._read(retention.stats)

    async def recent(self, model: str, *, rollout: str | None = None, limit: int = 100) -> list[OutcomeRecord]:
        """The newest outcomes first, at most `limit`; of one rollout where it is given."""
        return await self._read(statements.recent, model, rollout, limit)

    async def of_transaction(self, transaction_id: str, *, model: str | None = None) -> list[OutcomeRecord]:
        """The outcomes of a transaction, the newest first; of one model where it is given.

        No index finds those outside a rollout: of many millions it takes seconds.
        """
        return await self._read(statements.of_transaction, transaction_id, model)

    async def vectors(
        self, model: str, *, version: int | None = None, since: datetime | None = None, limit: int | None = None
    ) -> list[KeptVector]:
        """What was kept of a model's scored transactions, the oldest first; arguments as for the other store."""
        return await self._read(vectors, model, version, since, limit)

    async def scored(self, model: str) -> dict[str, datetime]:
        """When each transaction of a model was first scored, UTC."""
        return await self._read(scored, model)

    async def explored(self, model: str, since: datetime) -> int:
        """How many outcomes of a model have been explored since a time, timezone-aware."""
        return await self._read(statements.explored, model, since)

    async def cases(self, transaction_ids: Sequence[str], *, as_of: datetime | None = None) -> dict[str, CaseRecord]:
        """What is known about these transactions (or was known at `as_of`), by id, where anything is."""
        return await self._read(statements.cases, transaction_ids, as_of)

    async def all_cases(self, *, as_of: datetime | None = None) -> dict[str, CaseRecord]:
        """What is known about every transaction (or was known at `as_of`), by id, where anything is."""
        return await self._read(statements.all_cases, as_of)

    async def reports(self, *, as_of: datetime | None = None) -> Reports:
        """See `OutcomeStore.reports`."""
        return await self._read(reports, as_of)

    async def flagged(self, model: str) -> dict[str, Flagged]:
        """See `OutcomeStore.flagged`."""
        return await self._read(flagged, model)

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A plain SQLAlchemy session: committed at the end, rolled back on an exception."""
        await self._open()
        async with AsyncSession(self.engine, expire_on_commit=False) as session:
            yield session
            await session.commit()

    async def close(self) -> None:
        """Close the connections. An in-memory database is gone then."""
        await self.engine.dispose()

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _open(self) -> None:
        if not self._opened:
            async with self._opening:
                await self._upgrade_once()

    async def _upgrade_once(self) -> None:
        if self._opened:
            return
        with translated(self._url):
            async with self.engine.connect() as connection:
                current = await connection.run_sync(is_current)
            if not current:
                async with self.engine.connect() as connection:
                    await connection.execution_options(**EXCLUSIVE)
                    async with connection.begin():
                        await connection.run_sync(upgrade)
        self._opened = True

    async def _follow(self, steps: Generator[UnitOfWork, Any, T]) -> T:
        answer = None
        while True:
            try:
                operation, arguments, writes = steps.send(answer)
            except StopIteration as end:
                return cast("T", end.value)
            if operation is None:
                await asyncio.sleep(PAUSE.get(self.engine.dialect.name, 0.0))
                answer = None
            else:
                answer = await (self._write if writes else self._read)(operation, *arguments)

    async def _read(self, operation: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._alone:
            with translated(self._url):
                async with self.session() as session:
                    return await session.run_sync(operation, *args, **kwargs)

    async def _write(self, operation: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._alone:
            with translated(self._url):
                async with self.session() as session:
                    await session.connection(execution_options=EXCLUSIVE)
                    return await session.run_sync(operation, *args, **kwargs)
