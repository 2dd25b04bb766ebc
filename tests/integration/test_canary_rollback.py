"""T127: canary deployment and rollback."""

from __future__ import annotations

from datetime import UTC, datetime

import mlflow
import numpy as np
import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from fds_mlflow import OutcomeRecord, Plan
from fds_mlflow.core.judge.judge import Status
from fds_mlflow.core.lifecycle.controller import Action
from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.plan.plan import Guardrail, Metric
from fds_mlflow.core.routing.routing import RoutingTable, Variant
from fds_mlflow.errors import RefusedError
from fds_mlflow.outcomes.aio import AsyncOutcomeStore
from fds_mlflow.outcomes.tables import Outcome
from fds_mlflow.training.split import Split

from .conftest import MODEL, Setup

FIXED_ROLLOUT = "01JD0000000000000000000000"


def _aliases(uri: str) -> dict[str, int]:
    found = mlflow.MlflowClient(uri, uri).get_registered_model(MODEL).aliases
    return {alias: int(version) for alias, version in found.items()}


def _stage(uri: str, version: int) -> str:
    return str(mlflow.MlflowClient(uri, uri).get_model_version(MODEL, str(version)).current_stage)


def _outcomes(rollout: Rollout, variant: Variant, *, good: int, bad: int) -> list[OutcomeRecord]:
    """Outcomes of one variant in the rollout's current step; a bad one is a request that failed."""
    version = rollout.canary if variant is Variant.CANARY else rollout.champion
    return [
        OutcomeRecord(
            model=MODEL,
            key=f"{rollout.step}-{variant}-{number}",
            assigned=variant,
            version=version,
            score=0.1 if number < good else None,
            flagged=False,
            latency_ms=2.0,
            time=datetime(2026, 3, 1, tzinfo=UTC),
            rollout_id=rollout.id,
            step=rollout.step,
            weight=rollout.weight,
            error=None if number < good else "time-out",
        )
        for number in range(good + bad)
    ]


class TestCanaryDeployment:
    """Start, routing, monitoring, advancing, completion, abort."""

    async def test_start_canary_deployment(self, async_db_session: AsyncSession, setup_models: Setup) -> None:
        """A canary starts at 10 %, in Staging, and the registry alone carries its state."""
        model = setup_models.model
        with pytest.raises(RefusedError, match="version 1 is the champion"):
            model.canary.start(setup_models.production)
        result = model.canary.start(setup_models.staging, reason="try it")
        assert result.changed
        assert _aliases(setup_models.uri) == {"champion": 1, "canary": 2}
        assert _stage(setup_models.uri, 2) == "Staging"
        rollout = model.canary.rollout()
        assert (rollout.weight, rollout.step, rollout.champion, rollout.canary) == (1_000, 0, 1, 2)
        assert rollout.plan.steps == (10, 25, 50, 100)
        for version in (2, 3):
            with pytest.raises(RefusedError, match="a rollout of version 2 is active at 10 %"):
                model.canary.start(version)
        assert model.canary.rollout() == rollout

    async def test_traffic_routing(self, async_db_session: AsyncSession) -> None:
        """The hash sends the asked share of 10,000 keys to the canary, within 3 %, each key always the same way."""
        keys = [f"TX{number:06d}" for number in range(10_000)]
        since = datetime(2026, 3, 1, tzinfo=UTC)
        before = np.zeros(len(keys), dtype=bool)
        for percent in (10, 25, 50, 100):
            rollout = Rollout(FIXED_ROLLOUT, 1, 2, Plan(), percent * 100, 0, since)
            table = RoutingTable(1, rollout)
            canary = table.to_canary(keys)
            assert abs(canary.mean() - percent / 100) <= 0.03
            assert (canary == table.to_canary(keys)).all()
            assert [table.route(key).variant is Variant.CANARY for key in keys[:500]] == canary[:500].tolist()
            assert (canary >= before).all(), "whoever was in stays in"
            before = canary

    async def test_performance_monitoring(
        self, async_db_session: AsyncSession, async_outcomes: AsyncOutcomeStore, setup_models: Setup
    ) -> None:
        """Results are counted per variant, and a success rate below the threshold leads to the advice to abort."""
        canary = setup_models.model.canary
        at_most = Guardrail(Metric.ERROR_RATE, limit=0.05)  # a success rate of at least 95 %
        canary.start(2, plan=Plan(guardrails=[at_most], min_outcomes=50), reason="try it")
        rollout = canary.rollout()
        assert canary.status().recommendation.action is Action.WAIT

        await async_outcomes.record(_outcomes(rollout, Variant.CHAMPION, good=890, bad=10))
        await async_outcomes.record(_outcomes(rollout, Variant.CANARY, good=99, bad=1))
        counts = await async_outcomes.counts(MODEL, rollout.id, rollout.step)
        assert [c.success_rate for c in counts] == [pytest.approx(890 / 900), 0.99]
        status = canary.status(await async_outcomes.evidence(MODEL, rollout.id, rollout.plan.terms))
        assert (status.champion.requests, status.canary.requests) == (900, 100)
        assert status.recommendation.action is Action.ADVANCE

        await async_outcomes.record(
            [r for r in _outcomes(rollout, Variant.CANARY, good=100, bad=20) if r.error is not None]
        )
        counts = await async_outcomes.counts(MODEL, rollout.id, rollout.step)
        assert counts[1].success_rate == pytest.approx(0.825)
        status = canary.status(await async_outcomes.evidence(MODEL, rollout.id, rollout.plan.terms))
        assert status.recommendation.action is Action.ABORT
        failed = next(v for v in status.verdicts if v.status is Status.FAIL)
        assert "canary 17.50 %" in failed.reason
        assert "limit 5.00 %" in failed.reason
        assert await async_db_session.scalar(select(func.count()).select_from(Outcome)) == 1_020

    async def test_gradual_traffic_increase(
        self, async_db_session: AsyncSession, async_outcomes: AsyncOutcomeStore, setup_models: Setup
    ) -> None:
        """The weight goes 10, 25, 50, 100 %, the displayed statistics restart each time, and the plan then ends."""
        canary = setup_models.model.canary
        canary.start(2, reason="try it")
        seen = []
        for _ in range(4):
            rollout = canary.rollout()
            seen.append(rollout.weight // 100)
            fresh = await async_outcomes.counts(MODEL, rollout.id, rollout.step)
            assert [c.requests for c in fresh] == [0, 0]
            await async_outcomes.record(_outcomes(rollout, Variant.CANARY, good=100, bad=0))
            counted = await async_outcomes.counts(MODEL, rollout.id, rollout.step)
            assert [c.requests for c in counted] == [0, 100]
            if not rollout.at_last_step:
                canary.advance(reason="going well")
        assert seen == [10, 25, 50, 100]
        with pytest.raises(RefusedError, match="last step"):
            canary.advance()
        everything = await async_outcomes.counts(MODEL, rollout.id)
        assert [c.requests for c in everything] == [0, 400]

    async def test_complete_canary_deployment(self, async_db_session: AsyncSession, setup_models: Setup) -> None:
        """Completion makes the canary champion and Production, and the former champion retires to Archived."""
        model = setup_models.model
        model.canary.start(2, reason="try it")
        with pytest.raises(RefusedError, match="below the plan's last step"):
            model.canary.complete(reason="too early")
        with pytest.raises(RefusedError, match="100 % is beyond the plan's next step of 25 %"):
            model.canary.advance(100, reason="all in")
        model.canary.advance(100, reason="all in", force=True)
        model.canary.complete(reason="it is good")
        assert _aliases(setup_models.uri) == {"champion": 2}
        assert (_stage(setup_models.uri, 1), _stage(setup_models.uri, 2)) == ("Archived", "Production")
        with pytest.raises(RefusedError, match="no active rollout"):
            model.canary.status()

    async def test_abort_canary_deployment(self, async_db_session: AsyncSession, setup_models: Setup) -> None:
        """An abort gives all traffic back to the champion, keeps the version in Staging, and records the reason."""
        model = setup_models.model
        model.canary.start(2, reason="try it")
        router = model.router(poll_seconds=0)
        keys = [f"TX{number}" for number in range(150)]
        assert {router.route(key).variant for key in keys} == {Variant.CHAMPION, Variant.CANARY}
        model.canary.abort(reason="too many errors")
        assert {router.route(key).version for key in keys[:20]} == {1}
        assert _aliases(setup_models.uri) == {"champion": 1}
        assert _stage(setup_models.uri, 2) == "Staging"
        event = model.history()[0]
        assert (event.kind, event.reason, event.to_version) == ("abort", "too many errors", 2)


class TestModelRollback:
    """Emergency, given version, candidates, validation, history."""

    async def test_emergency_rollback(self, async_db_session: AsyncSession, setup_models: Setup) -> None:
        """One command brings the latest former champion back, and never the version that was just left."""
        model = setup_models.model
        with pytest.raises(RefusedError, match="no former champion"):
            model.rollback.emergency(reason="nothing to go back to yet")
        model.promote(2, reason="release")
        model.promote(3, reason="release")
        model.rollback.emergency(reason="customers are blocked")
        assert _aliases(setup_models.uri) == {"champion": 2}
        assert (_stage(setup_models.uri, 2), _stage(setup_models.uri, 3)) == ("Production", "Archived")
        model.rollback.emergency(reason="still bad")
        assert _aliases(setup_models.uri) == {"champion": 1}

    async def test_rollback_to_specific_version(self, async_db_session: AsyncSession, setup_models: Setup) -> None:
        """A given former champion is restored; a version that was never champion is refused."""
        model = setup_models.model
        model.promote(2, reason="release")
        model.promote(3, reason="release")
        model.rollback.to(1, reason="known good")
        assert _aliases(setup_models.uri) == {"champion": 1}
        assert (_stage(setup_models.uri, 1), _stage(setup_models.uri, 3)) == ("Production", "Archived")
        with pytest.raises(RefusedError, match="never champion"):
            model.rollback.to(4, reason="wrong")

    async def test_get_rollback_candidates(self, async_db_session: AsyncSession, setup_models: Setup) -> None:
        """Candidates are the former champions, the latest first, with metrics and dates."""
        model = setup_models.model
        assert model.rollback.candidates() == []
        model.promote(2, reason="release")
        model.promote(3, reason="release")
        model.retire(4, reason="never served, so no candidate")
        found = model.rollback.candidates()
        assert [candidate.version for candidate in found] == [2, 1]
        for candidate in found:
            assert 0 <= candidate.metrics["average_precision"] <= 1
            assert candidate.champion_since is not None
            assert candidate.retired_at is not None
            assert candidate.champion_since < candidate.retired_at

    async def test_validate_rollback(self, async_db_session: AsyncSession, setup_models: Setup) -> None:
        """Validation says what speaks against a version, and warns where it is clearly worse."""
        model = setup_models.model
        model.promote(2, reason="release")
        good = model.rollback.validate(1)
        assert good.passed
        assert any("clearly worse" in warning for warning in good.warnings), "the forest is far behind LightGBM"
        never = model.rollback.validate(4)
        assert not never.passed
        missing = model.rollback.validate(99)
        assert not missing.passed
        assert any("99" in check.detail for check in missing.checks)

    async def test_rollback_history(self, async_db_session: AsyncSession, setup_models: Setup) -> None:
        """History tells who did what, when and why, the newest first, and lives in the registry's tags."""
        model = setup_models.model
        model.promote(2, reason="release")
        model.rollback.emergency(reason="customers are blocked")
        model.rollback.to(2, reason="false alarm")
        told = [(e.sequence, e.kind.value, e.from_version, e.to_version, e.reason) for e in model.history()]
        assert told == [
            (5, "rollback", 1, 2, "false alarm"),
            (4, "emergency", 2, 1, "customers are blocked"),
            (3, "promote", 1, 2, "release"),
            (2, "stage", None, 2, "candidate"),
            (1, "promote", None, 1, "first production model"),
        ]
        assert {event.actor for event in model.history()} == {"tester"}
        assert {event.outcome.value for event in model.history()} == {"done"}
        tags = mlflow.MlflowClient(setup_models.uri, setup_models.uri).get_registered_model(MODEL).tags
        assert sum(name.startswith("fds.event.") for name in tags) == 5


class TestEndToEndCanaryRollback:
    """Production, canary, degradation, abort."""

    async def test_complete_canary_rollback_workflow(
        self,
        async_db_session: AsyncSession,
        async_outcomes: AsyncOutcomeStore,
        setup_models: Setup,
        sample_split: Split,
    ) -> None:
        """A canary advances to 50 %, degrades, is aborted on evidence, and the champion has never moved."""
        model = setup_models.model
        model.canary.start(2, plan=Plan(min_outcomes=50), reason="weekly retrain")
        router = model.router(poll_seconds=0)
        for percent, champions in ((10, 900), (25, 300), (50, 200)):
            rollout = model.canary.rollout()
            assert rollout.weight == percent * 100
            served = router.predict(sample_split.test.frame)
            assert set(served["version"]) == {1, 2}
            canaries = 200 if percent == 50 else 100
            bad = 60 if percent == 50 else 0
            await async_outcomes.record(_outcomes(rollout, Variant.CHAMPION, good=champions - 2, bad=2))
            await async_outcomes.record(_outcomes(rollout, Variant.CANARY, good=canaries - bad, bad=bad))
            status = model.canary.status(await async_outcomes.evidence(MODEL, rollout.id, rollout.plan.terms))
            if percent < 50:
                assert status.recommendation.action is Action.ADVANCE
                model.canary.advance(reason=status.recommendation.reason)
        assert status.recommendation.action is Action.ABORT
        failed = next(v for v in status.verdicts if v.status is Status.FAIL)
        assert (failed.champion, failed.canary) == (0.01, 0.3)
        model.canary.abort(reason=status.recommendation.reason)
        assert _aliases(setup_models.uri) == {"champion": 1}
        assert _stage(setup_models.uri, 1) == "Production"
        assert set(router.predict(sample_split.test.frame)["version"]) == {1}
        kinds = [event.kind.value for event in model.history()]
        assert kinds == ["abort", "advance", "advance", "start", "stage", "promote"]
