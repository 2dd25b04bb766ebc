"""The async store: the same answers, awaited."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from fds_mlflow.errors import ConfigError, DataError, RefusedError, UnavailableError
from fds_mlflow.outcomes.aio import AsyncOutcomeStore
from fds_mlflow.outcomes.records import CaseRecord, OutcomeRecord
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.outcomes.tables import FraudCase, Outcome
from tests.support.samples import DAY, NOON, case, outcome


def _history() -> tuple[list[OutcomeRecord], list[CaseRecord]]:
    outcomes = [
        outcome(
            key=f"C{number % 17}",
            transaction_id=f"TX{number}",
            assigned="canary" if number % 17 < 4 else "champion",
            served="champion" if number % 11 == 0 else None,
            step=number // 40,
            weight=1000 + 1500 * (number // 40),
            score=None if number % 13 == 0 else number / 128,  # sums exactly, in whatever order
            error="timeout" if number % 13 == 0 else None,
            flagged=number % 5 == 0,
            time=NOON + timedelta(hours=number),
        )
        for number in range(80)
    ]
    states = ["confirmed", "suspected", "false_positive", "genuine"]
    cases = [
        case(transaction_id=f"TX{number}", status=states[number % 4], known_at=NOON + number * DAY / 8)
        for number in range(0, 80, 3)
    ]
    return outcomes, cases


@pytest.mark.slow
async def test_gives_the_answers_of_its_twin(url: str) -> None:
    """The same writes and questions have the same answers, sync or async."""
    outcomes, cases = _history()
    questions: list[dict[str, Any]] = [{}, {"by": "served"}, {"as_of": NOON + 5 * DAY, "maturity": DAY}]
    async with AsyncOutcomeStore(url) as store:
        assert await store.record(outcomes) == 80
        assert await store.record(outcomes[:5]) == 0
        assert await store.label(cases) == 27
        assert await store.label(cases) == 0
        answers = [await store.counts("fraud", "R", 1, **question) for question in questions]
        by_step = [await store.counts_by_step("fraud", "R", **question) for question in questions]
        recent = await store.recent("fraud", rollout="R", limit=7)
        known = await store.cases(["TX0", "TX3", "TX1"])
        if url != "sqlite://":
            # The sync store finds in the same database what the async one wrote.
            with OutcomeStore(url) as twin:
                assert twin.recent("fraud", rollout="R", limit=7) == recent
    with OutcomeStore("sqlite://") as twin:
        twin.record(outcomes)
        twin.label(cases)
        assert [twin.counts("fraud", "R", 1, **question) for question in questions] == answers
        assert [twin.counts_by_step("fraud", "R", **question) for question in questions] == by_step
        assert twin.recent("fraud", rollout="R", limit=7) == recent
        assert twin.cases(["TX0", "TX3", "TX1"]) == known


async def test_the_session_is_plain_sqlalchemy(url: str) -> None:
    """An async session adds, queries and commits the tables like any other, and rolls back on an exception."""
    async with AsyncOutcomeStore(url) as store:
        async with store.session() as session:
            session.add(FraudCase(transaction_id="TX1", status="confirmed", known_at=NOON))

        async def work() -> None:
            async with store.session() as session:
                session.add(FraudCase(transaction_id="TX2", status="confirmed", known_at=NOON))
                await session.flush()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await work()
        async with store.session() as session:
            assert (await session.scalars(select(FraudCase.transaction_id))).all() == ["TX1"]


async def test_tasks_open_and_write_at_once(url: str) -> None:
    """Tasks that use a fresh store at the same moment make one schema and lose nothing."""
    async with asyncio.timeout(60):
        store = AsyncOutcomeStore(url)
        written = await asyncio.gather(
            *(store.record([outcome(key=f"{task}-{number}") for number in range(10)]) for task in range(8))
        )
        assert written == [10] * 8
        async with store.session() as session:
            assert await session.scalar(select(func.count()).select_from(Outcome)) == 80
        await store.close()


async def test_a_locked_database(tmp_path: Path) -> None:
    """Another writer's lock is reported after the timeout, nothing is half-written, and later it works."""
    async with AsyncOutcomeStore(f"sqlite:///{tmp_path}/o.db", timeout=0.01) as store:
        other = sqlite3.connect(tmp_path / "o.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match=r"o\.db.*locked"):
            await store.record([outcome()])
        assert await store.recent("fraud") == []
        other.execute("ROLLBACK")
        other.close()
        assert await store.record([outcome()]) == 1


async def test_refuses_what_its_twin_refuses(tmp_path: Path) -> None:
    """Wrong values, wrong addresses and newer schemas are refused in the same words."""
    url = f"sqlite:///{tmp_path}/o.db"
    async with AsyncOutcomeStore(url) as store:
        with pytest.raises(DataError, match="score is nan"):
            await store.record([outcome(score=float("nan"))])
        async with store.session() as session:
            await session.execute(text("UPDATE fds_outcomes_version SET version_num = '9999'"))
    with pytest.raises(RefusedError, match="newer than"):
        await AsyncOutcomeStore(url).recent("fraud")
    with pytest.raises(ConfigError):
        AsyncOutcomeStore("mysql://h/d")
