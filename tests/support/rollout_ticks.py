"""Rollouts on the in-memory registry and ticks about them, for what records, reports and tells of rollouts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from fds_mlflow import ManagedModel, Plan
from fds_mlflow.core.evidence.evidence import Evidence, Tally
from fds_mlflow.core.lifecycle.controller import Action, Recommendation
from fds_mlflow.core.lifecycle.decision import basis
from fds_mlflow.core.lifecycle.events import Kind, Rollout
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.core.lifecycle.verdict import Judgement, Status, Verdict
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.routing.routing import Variant
from fds_mlflow.core.statistics.wealth import Interval
from fds_mlflow.notifications.notification import Notification
from fds_mlflow.notifications.notifier import Hook, Notifier
from fds_mlflow.rollouts.tick import Tick
from tests.support.registry_model import MODEL, World

PLAN = Plan(
    [10, 50, 100],
    guardrails=[
        Guardrail(Metric.ERROR_RATE, margin=1.0, negligible=0.002),
        Guardrail(Metric.ALERT_RATE, margin=0.5, limit=0.1),
        Guardrail(Metric.SCORE_SHIFT, margin=0.05),
        Guardrail(Metric.MISSED_FRAUD, margin=0.5, required=False),
    ],
    label_maturity="30d",
)
SMALL = Plan([10, 50, 100], guardrails=PLAN.guardrails[:2], bake_time="10m")
ROLLOUT = "01M82CR80VRNQ6NZSEN29F2K48"
SPLIT = Verdict(Status.PASS, "split", "10.1 % of 4,000 keys went to the canary", champion=0.9, canary=0.1)
OPEN = Status.INCONCLUSIVE


class Trial:
    """A rollout under way in memory, and everything its process tells.

    Attributes:
        world: The registry.
        model: The model, managed.
        told: What receivers were told, once flushed.
    """

    def __init__(
        self,
        plan: Plan = PLAN,
        tracking_uri: str | None = None,
        world: World | None = None,
        *,
        is_watch: bool = False,
    ) -> None:
        self.told: list[Notification] = []
        self.world = world or World()
        notifier = Notifier([Hook(self.told.append)])
        self.model = ManagedModel(
            MODEL,
            store=self.world.store,
            clock=self.world.clock,
            actor="ann",
            tracking_uri=tracking_uri,
            notifier=notifier,
        )
        if world is None:
            self.run(Request(Kind.PROMOTE, 3), "first model")
            now = self.model.session.now()
            start = Request(Kind.START, 4, plan=plan, rollout_id=ROLLOUT, now=now, is_watch=is_watch)
            self.run(start, "weekly retrain")

    def run(self, request: Request, reason: str, actor: str | None = None) -> None:
        """An operation."""
        self.model.session.run(request, reason, actor=actor)

    @property
    def rollout(self) -> Rollout:
        """The active rollout."""
        rollout = self.model.session.look().rollout
        assert rollout is not None
        return rollout

    def later(self, seconds: float = 30.0) -> Trial:
        """Let time pass."""
        self.world.clock.seconds += seconds
        return self

    def notifications(self, kind: str = "rollout.verdict") -> list[Notification]:
        """What was told of a kind."""
        assert self.model.session.notifier.flush(30)
        return [one for one in self.told if one.type == kind]

    def tick(self, *statuses: Status, action: Action = Action.WAIT, reason: str = "so far") -> Tick:
        """A look that found a status per guardrail, in the plan's order (INCONCLUSIVE where none is given)."""
        rollout = self.rollout
        plan = rollout.plan
        given = [*statuses, *[OPEN] * (len(plan.guardrails) - len(statuses))]
        verdicts = [verdict(g, status, reason) for g, status in zip(plan.guardrails, given, strict=True)]
        evidence = Evidence(terms=plan.terms, as_of=self.model.session.now(), tallies=tallies(rollout))
        judgement = Judgement((SPLIT, *verdicts), 100, 400)
        decided = Recommendation(action, f"{action} at {rollout.weight / 100:g} %: {reason}")
        return Tick(MODEL, self.model.session.now(), rollout, evidence, judgement, decided)

    def ending(self, kind: Kind, *statuses: Status, reason: str = "so it goes") -> Tick:
        """A look that ended the rollout."""
        action = {Kind.COMPLETE: Action.COMPLETE, Kind.ABORT: Action.ABORT, Kind.EMERGENCY: Action.ROLLBACK}[kind]
        tick = self.tick(*statuses, action=action, reason=reason)
        assert tick.judgement is not None
        assert tick.evidence is not None
        if kind is Kind.COMPLETE:
            weight = self.rollout.plan.weights[-2]
            self.run(
                Request(Kind.ADVANCE, weight=weight, now=self.model.session.now()),
                "on it goes",
                actor="autopilot of ann",
            )
        request = Request(kind, basis=basis(tick.judgement, tick.evidence, judged=True))
        applied = self.model.session.run(request, reason, actor="autopilot of ann")
        return replace(tick, applied=applied, ended=True, last=applied.event)

    def over(self) -> Tick:
        """A look that finds nothing left to do."""
        return Tick(MODEL, self.model.session.now(), ended=True)


def verdict(guardrail: Guardrail, status: Status, reason: str = "so far") -> Verdict:
    """A guardrail's verdict with numbers of its own."""
    number = list(Metric).index(guardrail.metric) + 1
    return Verdict(
        status,
        guardrail.metric.value,
        f"{guardrail.metric}: {reason}",
        guardrail,
        champion=0.01 * number,
        canary=0.02 * number,
        estimate=2.0,
        interval=Interval(0.5 * number, math.inf if number == 1 else 3.0 * number),
        fail_evidence=0.5 * number,
        pass_evidence=-1.0,
        threshold=4.0,
        requests_to_go=1_000 if status is OPEN else None,
        coverage=0.75 if guardrail.metric is Metric.MISSED_FRAUD else None,
    )


def tallies(rollout: Rollout) -> Sequence[Tally]:
    """Traffic in two steps."""
    each = [(Variant.CHAMPION, 900, 800), (Variant.CANARY, 100, 90)]
    return tuple(
        Tally(variant=variant, step=step, weight=rollout.weight, requests=requests, keys=keys)
        for step in (0, 1)
        for variant, requests, keys in each
    )


DAY = timedelta(days=1).total_seconds()
