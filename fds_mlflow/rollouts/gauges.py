"""A rollout as Prometheus' gauges, in a file that its node exporter reads.

A file, because whoever carries a rollout ends with it: what was last known must outlive the process, and the verdict
that ended a rollout would be gone before anybody asked a port.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fds_mlflow.core.evidence.evidence import Evidence
from fds_mlflow.core.lifecycle.controller import Action
from fds_mlflow.core.lifecycle.events import Event, Rollout, RolloutStatus
from fds_mlflow.core.lifecycle.verdict import Judgement, Status
from fds_mlflow.core.routing.routing import Variant
from fds_mlflow.core.weight import FULL
from fds_mlflow.display.characters import printable
from fds_mlflow.errors import ConfigError
from fds_mlflow.rollouts import naming

if TYPE_CHECKING:
    from fds_mlflow.rollouts.tick import Tick

log = logging.getLogger(__name__)

Row = tuple[str, str, Mapping[str, str], float]
"""A gauge's name without its prefix, what it is, its labels beside the model, and its value."""


@dataclass
class RolloutGauges:
    """Writes what each look found to a file, in Prometheus' text format: hand it to an autopilot as `on_tick`.

    The file is replaced as a whole. A look that could not finish leaves it as it was, so its
    `fds_rollout_looked_timestamp_seconds` grows old.

    Args:
        path: The file, `NAME.prom` in the folder that the node exporter reads.

    Raises:
        ConfigError: There is no such folder.
    """

    path: Path

    def __post_init__(self) -> None:
        if not self.path.parent.is_dir():
            raise ConfigError(
                f"{self.path.parent} is no folder, and gauges go to {self.path}", fix=f"mkdir -p {self.path.parent}"
            )

    def __call__(self, tick: Tick) -> None:
        """Write what a look found."""
        from prometheus_client import CollectorRegistry, write_to_textfile

        if tick.error is not None:
            return
        registry = CollectorRegistry()
        registry.register(_Collector(tick))
        try:
            write_to_textfile(str(self.path), registry)
        except OSError as error:  # a rollout goes on without them
            log.warning("the gauges of %s could not be written: %s", tick.model, error)


@dataclass(eq=False)
class _Collector:
    tick: Tick

    def collect(self) -> Iterable[Any]:
        from prometheus_client.core import GaugeMetricFamily

        gauges: dict[str, GaugeMetricFamily] = {}
        for name, told, labels, value in rows(self.tick):
            gauge = gauges.setdefault(name, GaugeMetricFamily(f"fds_rollout_{name}", told, labels=["model", *labels]))
            gauge.add_metric([printable(self.tick.model), *map(printable, labels.values())], value)
        return gauges.values()


def rows(tick: Tick) -> Iterator[Row]:
    """What a look found, number by number.

    Args:
        tick: One that could finish.
    """
    yield "looked_timestamp_seconds", "When the rollout was last looked at", {}, tick.time.timestamp()
    event = tick.last or (tick.applied.event if tick.applied is not None else None)
    rollout = event.rollout if event is not None and event.rollout is not None else tick.rollout
    if rollout is not None:
        yield from _standing(tick, rollout, event)
    if tick.recommendation is not None:
        yield from _one_hot("action", "What is to be done with the rollout", Action, tick.recommendation.action)
    if tick.judgement is not None:
        yield from _verdicts(tick.judgement)
    if tick.evidence is not None:
        yield from _counts(tick.evidence)


def _standing(tick: Tick, rollout: Rollout, event: Event | None) -> Iterator[Row]:
    """Where a rollout stands, or how it ended."""
    kind = "watch" if rollout.is_watch else "canary"
    versions = {"rollout": rollout.id, "champion": str(rollout.champion), "canary": str(rollout.canary), "kind": kind}
    yield "info", "Which versions the rollout is about", versions, 1.0
    yield from _one_hot("status", "Whether the rollout is under way, or how it ended", RolloutStatus, rollout.status)
    yield "weight_ratio", "Share of the traffic for the canary", {}, naming.weight_after(rollout) / FULL
    yield "step", "Step of the plan, from 1", {}, float(rollout.step + 1)
    if not rollout.active:
        if event is not None:
            yield "ended_timestamp_seconds", "When the rollout ended", {}, event.time.timestamp()
        return
    passed = (rollout.paused or tick.time) - rollout.since
    yield "step_seconds", "Time in this step, pauses left out", {}, passed.total_seconds()
    most = rollout.plan.max_step_time
    if most is not None:
        yield "step_max_seconds", "How long a step may last by the plan", {}, most.total_seconds()
    yield "paused", "Whether the rollout is paused", {}, float(rollout.paused is not None)


def _verdicts(judgement: Judgement) -> Iterator[Row]:
    yield from _one_hot("verdict", "What the judge says in all", Status, judgement.overall.status)
    for verdict in judgement.verdicts:
        check = {"check": naming.slug(verdict)}
        yield from _one_hot("check_verdict", "What the judge says of a guardrail", Status, verdict.status, check)
        for status, evidence in ((Status.FAIL, verdict.fail_evidence), (Status.PASS, verdict.pass_evidence)):
            share = naming.share(evidence, verdict.threshold)
            if share is not None and math.isfinite(share):
                told = "Evidence for a verdict as a share of what it takes: 1 decides"
                yield "evidence_ratio", told, {**check, "verdict": status.value}, share


def _counts(evidence: Evidence) -> Iterator[Row]:
    """Requests, and how many keys have a label, of the whole rollout."""
    for variant in Variant:
        whole = [tally for tally in evidence.tallies if tally.variant is variant]
        labels = {"variant": variant.value}
        yield "requests", "Requests in the rollout", labels, float(sum(tally.requests for tally in whole))
        yield "matured_keys", "Keys whose label is due", labels, float(sum(tally.matured for tally in whole))
        yield "labelled_keys", "Of those, keys with a label", labels, float(sum(tally.labelled for tally in whole))


def _one_hot(
    name: str, told: str, values: type[StrEnum], value: StrEnum, labels: Mapping[str, str] | None = None
) -> Iterator[Row]:
    """1 for the value that holds and 0 for the others, by a label of the gauge's own name."""
    for one in values:
        yield name, told, {**(labels or {}), name.removeprefix("check_"): one.value}, float(one is value)
