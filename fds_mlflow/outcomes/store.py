"""The outcome store: outcomes and labels in SQLite or PostgreSQL, the schema made on first use."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

from sqlalchemy import URL, Engine
from sqlalchemy.orm import Session

from fds_mlflow.core.evidence.evidence import Evidence, Terms
from fds_mlflow.errors import RefusedError
from fds_mlflow.outcomes import retention, statements
from fds_mlflow.outcomes.counting.question import Question
from fds_mlflow.outcomes.counting.steps import PAUSE, UnitOfWork, counted, forgotten, pruned
from fds_mlflow.outcomes.database import (
    DEFAULT_URL,
    EXCLUSIVE,
    in_memory,
    is_current,
    parse,
    require_there,
    sync_engine,
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
from fds_mlflow.outcomes.truths import Truth, truths
from fds_mlflow.outcomes.vectors import KeptVector, scored, vectors
from fds_mlflow.runtime import databases
from fds_mlflow.runtime.clock import SystemClock

P = ParamSpec("P")
T = TypeVar("T")


class OutcomeStore:
    """Outcomes and labels in a database.

    Opening it creates the schema, or brings it up to date; several processes may do so at once. It is safe to
    share between threads. After a fork, open one per process.

    Args:
        url: `sqlite:///file.db` (also its folder is created), `sqlite://` (in memory, for tests) or a
            `postgresql://` URL. An async driver's URL means the same database.
        timeout: Seconds to wait for another writer's lock, a pooled connection or the server.
        as_it_is: Create no schema and bring none up to date: a store that is not there, or an earlier release's, is
            refused.

    Attributes:
        engine: The SQLAlchemy engine.
        url: The address, without any password.

    Raises:
        ConfigError: The URL is not valid or its driver is not installed.
        RefusedError: The schema is newer than this release knows, or with `as_it_is` not its own.
        UnavailableError: The database cannot be reached, written or is locked.
    """

    def __init__(self, url: str | URL = DEFAULT_URL, *, timeout: float = 20.0, as_it_is: bool = False) -> None:
        self._url = parse(url)
        self.url = databases.shown(self._url)
        # In memory all threads share the one connection: one operation at a time.
        self._alone: contextlib.AbstractContextManager[object] = (
            threading.RLock() if in_memory(self._url) else contextlib.nullcontext()
        )
        if as_it_is:
            require_there(self._url)
        with translated(self._url):
            self.engine: Engine = sync_engine(self._url, timeout)
            with self.engine.connect() as connection:
                current = is_current(connection)
            if not current and as_it_is:
                raise RefusedError(
                    f"{self.url} has no outcomes yet, or an earlier release's tables, and nothing is to be written",
                    fix="bring it up to date by any other verb (`fds outcomes stats`), then try again",
                )
            if not current:
                with self.engine.connect().execution_options(**EXCLUSIVE) as connection, connection.begin():
                    upgrade(connection)

    def record(self, outcomes: Sequence[OutcomeRecord]) -> int:
        """Store a batch of outcomes, all of them or none; a request stored already is skipped.

        Returns:
            How many were new.

        Raises:
            DataError: A value is not valid; names the record and the fix.
            UnavailableError: The database is locked, full or gone.
        """
        return self._write(statements.record, outcome_rows(outcomes), vector_rows(outcomes))

    def record_shadows(self, shadows: Sequence[ShadowRecord]) -> int:
        """Store a batch of what the other version answered, all or none; a request that has one is skipped.

        Returns:
            How many were new.

        Raises:
            DataError: A value is not valid; names the record and the fix.
            UnavailableError: The database is locked, full or gone.
        """
        return self._write(statements.record_shadows, shadow_rows(shadows))

    def label(self, cases: Sequence[CaseRecord]) -> int:
        """Store a batch of labels, all of them or none.

        Of one transaction, the state with the latest `known_at` holds, in whatever order they arrive. The
        same state twice is stored once; another one of the same moment corrects it.

        Returns:
            How many were new or changed.

        Raises:
            DataError: A value is not valid; names the record and the fix.
            UnavailableError: The database is locked, full or gone.
        """
        return self._write(statements.label, case_rows(cases))

    def counts(
        self,
        model: str,
        rollout: str | None,
        step: int | None = None,
        *,
        by: By = "assigned",
        as_of: datetime | None = None,
        maturity: timedelta | None = None,
    ) -> list[VariantCounts]:
        """Both variants' outcomes, counted: champion first, zeros where nothing happened.

        Args:
            model: The registered model.
            rollout: The rollout's id; None for what was scored outside any.
            step: One step of it, or None for all of them together.
            by: The variant `assigned` (the unbiased comparison) or the one that `served`.
            as_of: What was known then: later outcomes and labels are left out.
            maturity: Count labels only of outcomes this old at `as_of`, each as it was known at that age.

        Raises:
            DataError: `as_of` has no time zone, or is missing beside `maturity`.
            UnavailableError: The database is locked or gone.
        """
        scope = Scope(model=model, rollout=rollout, step=step, by=by, as_of=as_of, maturity=maturity)
        return self._read(statements.counts, scope)

    def counts_by_step(
        self,
        model: str,
        rollout: str | None,
        *,
        by: By = "assigned",
        as_of: datetime | None = None,
        maturity: timedelta | None = None,
    ) -> list[VariantCounts]:
        """The outcomes per step, weight in force and variant, in that order; arguments as for `counts`.

        Within an entry a key counts once per kind; a key seen in two steps counts in both.
        """
        scope = Scope(model=model, rollout=rollout, by=by, as_of=as_of, maturity=maturity)
        return self._read(statements.counts_by_step, scope)

    def evidence(self, model: str, rollout_id: str, terms: Terms, *, as_of: datetime | None = None) -> Evidence:
        """What a judge knows about a rollout: counts what is new since the last call, and adds it up.

        Counting only goes forward: an `as_of` before that of an earlier call is taken for that one. What is
        counted at one moment is documented on the page about outcomes.

        Args:
            model: The registered model.
            rollout_id: The rollout.
            terms: On which terms; each are counted for themselves.
            as_of: The time now, for the age of labels; the machine's clock if None.

        Raises:
            DataError: `as_of` has no time zone, or the terms are no terms.
            RefusedError: The outcomes are deleted and were not counted on these terms.
            UnavailableError: The database is locked or gone.
        """
        moment = SystemClock().now() if as_of is None else as_of
        return self._follow(counted(Question(model=model, rollout_id=rollout_id, terms=terms, as_of=moment)))

    def prune(self, model: str, *, older_than: datetime, uncounted: bool = False, dry_run: bool = False) -> int:
        """Delete what is old and counted: outcomes, their shadows, and cases that no rollout needs any more.

        The outcomes of a rollout go together, when all are older and their labels are mature and counted; its
        evidence stays as it is for ever. Outcomes outside any rollout go by their own age.

        Args:
            model: The registered model.
            older_than: What happened, or was known, before this time.
            uncounted: Also rollouts that nobody ever asked for evidence about.
            dry_run: Only count what would be deleted, labels that nothing refers to any more not included.

        Returns:
            How many rows are deleted.

        Raises:
            DataError: `older_than` has no time zone.
            UnavailableError: The database is locked or gone; what is deleted by then is deleted.
        """
        statements.check_zone(older_than)
        if dry_run:
            return self._read(retention.prunable, model, older_than, uncounted)
        return self._follow(pruned(model, older_than, uncounted=uncounted))

    def forget(self, by: str, values: Sequence[str], *, dry_run: bool = False) -> Forgotten:
        """Remove what is stored of a person: outcomes of every model, their shadows, vectors and labels.

        What was counted stays, and has no person in it; what is not counted yet is counted first, where somebody has
        asked for a rollout's evidence. Labels that come later find no outcome.

        Args:
            by: `key` for the routing key, `transaction`, or a column of the raw transactions that were recorded.
            values: What the person has there.
            dry_run: Only count what would be removed.

        Raises:
            DataError: No value is given, or an empty one.
            UnavailableError: The database is locked or gone; nothing is removed then.
        """
        if dry_run:
            return self._read(forget, by, values, dry=True)
        return self._follow(forgotten(by, values, SystemClock().now()))

    def stats(self) -> list[ModelStats]:
        """How much is stored, per model, by name."""
        return self._read(retention.stats)

    def truths(self, after: int, limit: int) -> tuple[int, list[Truth]]:
        """What is known of the transactions about which something was written after a row of cases; its last row, too.

        Args:
            after: Number of the row; 0 for the beginning.
            limit: Rows to look at, at most.
        """
        return self._read(truths, after, limit)

    def recent(self, model: str, *, rollout: str | None = None, limit: int = 100) -> list[OutcomeRecord]:
        """The newest outcomes first, at most `limit`; of one rollout where it is given."""
        return self._read(statements.recent, model, rollout, limit)

    def of_transaction(self, transaction_id: str, *, model: str | None = None) -> list[OutcomeRecord]:
        """The outcomes of a transaction, the newest first; of one model where it is given.

        No index finds those outside a rollout: of many millions it takes seconds.
        """
        return self._read(statements.of_transaction, transaction_id, model)

    def vectors(
        self, model: str, *, version: int | None = None, since: datetime | None = None, limit: int | None = None
    ) -> list[KeptVector]:
        """What was kept of a model's scored transactions, the oldest first.

        Args:
            model: The registered model.
            version: Of one version; None for all.
            since: Scored from then on, timezone-aware; None for ever.
            limit: The newest, so many at most; None for all.
        """
        return self._read(vectors, model, version, since, limit)

    def scored(self, model: str) -> dict[str, datetime]:
        """When each transaction of a model was first scored, UTC."""
        return self._read(scored, model)

    def explored(self, model: str, since: datetime) -> int:
        """How many outcomes of a model have been explored since a time, timezone-aware."""
        return self._read(statements.explored, model, since)

    def cases(self, transaction_ids: Sequence[str], *, as_of: datetime | None = None) -> dict[str, CaseRecord]:
        """What is known about these transactions (or was known at `as_of`), by id, where anything is."""
        return self._read(statements.cases, transaction_ids, as_of)

    def all_cases(self, *, as_of: datetime | None = None) -> dict[str, CaseRecord]:
        """What is known about every transaction (or was known at `as_of`), by id, where anything is."""
        return self._read(statements.all_cases, as_of)

    def reports(self, *, as_of: datetime | None = None) -> Reports:
        """What is known about every transaction (or was known at `as_of`), in columns: for millions of them."""
        return self._read(reports, as_of)

    def flagged(self, model: str) -> dict[str, Flagged]:
        """The transactions that a model flagged whenever it scored them, and those that it let pass to explore."""
        return self._read(flagged, model)

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """A plain SQLAlchemy session: committed at the end, rolled back on an exception.

        Its errors are SQLAlchemy's own.
        """
        with Session(self.engine, expire_on_commit=False) as session:
            yield session
            session.commit()

    def close(self) -> None:
        """Close the connections. An in-memory database is gone then."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow(self, steps: Generator[UnitOfWork, Any, T]) -> T:
        """Take each step in a transaction of its own."""
        answer = None
        while True:
            try:
                operation, arguments, writes = steps.send(answer)
            except StopIteration as end:
                return cast("T", end.value)
            if operation is None:
                time.sleep(PAUSE.get(self.engine.dialect.name, 0.0))
                answer = None
            else:
                answer = (self._write if writes else self._read)(operation, *arguments)

    def _read(self, operation: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._alone, translated(self._url), self.session() as session:
            return operation(session, *args, **kwargs)

    def _write(self, operation: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._alone, translated(self._url), self.session() as session:
            session.connection(execution_options=EXCLUSIVE)
            return operation(session, *args, **kwargs)
