"""Counts of a server: each worker keeps its own and flushes them now and then; whoever is asked adds them up."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fds_mlflow.display.characters import printable
from fds_mlflow.runtime import owned, tracing

BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds of the latency histogram's buckets, seconds."""

SCORES = frozenset({"/score", "/invocations"})
"""Where scores are asked for."""

FAILING = 0.01
"""Share of failed requests for scores from which on health is degraded."""

_MOMENTS = 6
"""Stretches of ten seconds that are looked back on."""


@dataclass
class Metrics:
    """The counts of one worker since it began.

    Attributes:
        latencies: By variant and version: one count per bucket, and the sum of seconds last.
        responses: By path and HTTP status.
        fallbacks: Canary requests that the champion answered.
        dropped: Outcomes, shadows among them, for which there was no room.
        shadows: Champion requests that the canary scored as well.
        explored: Flagged requests that were let pass.
        degraded: Raw transactions whose features were not what they would be, by why.
        missed: Transactions and labels that the state will never be told.
        lately: By ten seconds since 1970: requests for scores, and those of them that the server failed at.
    """

    latencies: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    responses: dict[tuple[str, int], int] = field(default_factory=dict)
    fallbacks: int = 0
    dropped: int = 0
    shadows: int = 0
    explored: int = 0
    degraded: dict[str, int] = field(default_factory=dict)
    missed: int = 0
    lately: dict[int, list[int]] = field(default_factory=dict)
    _laid: str = field(default="", init=False, repr=False)
    _flushing: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def scored(self, variant: str, version: int, seconds: float, count: int = 1) -> None:
        """A request was answered with a score."""
        row = self.latencies.get((variant, version))
        if row is None:
            row = self.latencies[variant, version] = [0.0] * (len(BOUNDS) + 2)
        row[bisect_left(BOUNDS, seconds)] += count
        row[-1] += seconds * count

    def responded(self, path: str, status: int, *, failed: bool = False) -> None:
        """A response was sent; it may be one that the server failed at."""
        self.responses[path, status] = self.responses.get((path, status), 0) + 1
        if path in SCORES:
            self._count(int(time.time() / 10), 1, int(failed))

    def _count(self, moment: int, asked: int, failed: int) -> None:
        counts = self.lately.get(moment)
        if counts is None:
            self.lately = {key: value for key, value in self.lately.items() if key >= moment - _MOMENTS}
            counts = self.lately[moment] = [0, 0]
        counts[0] += asked
        counts[1] += failed

    def failing(self, now: float) -> str | None:
        """What is wrong with scoring in the last minute; None where all is well, or nobody asked."""
        counts = [count for moment, count in self.lately.items() if now / 10 - _MOMENTS <= moment]
        asked, failed = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
        if failed <= FAILING * asked:
            return None
        return f"{failed:,} of the {asked:,} requests for scores in the last minute failed"

    def flush(self, folder: Path) -> None:
        """Write the counts where the other workers find them, if they have changed.

        Raises:
            OSError: The disk takes none.
        """
        said = json.dumps(self._values())
        path = folder / f"{os.getpid()}.json"
        fresh = path.with_suffix(".new")
        with self._flushing:  # whoever is asked for the counts flushes them, besides the one who does so regularly
            if said == self._laid:
                return
            owned.folder(folder)
            owned.write_text(fresh, said)
            fresh.replace(path)
            self._laid = said

    def _values(self) -> dict[str, Any]:
        """What others are told."""
        return {
            "latencies": [[*key, row] for key, row in dict(self.latencies).items()],  # copied: requests add to it
            "responses": [[*key, count] for key, count in dict(self.responses).items()],
            "fallbacks": self.fallbacks,
            "dropped": self.dropped,
            "shadows": self.shadows,
            "explored": self.explored,
            "degraded": [*dict(self.degraded).items()],
            "missed": self.missed,
            "lately": [[moment, *counts] for moment, counts in dict(self.lately).items()],
        }


class TracedMetrics(Metrics):
    """The same, with the request's span told who answered."""

    def scored(self, variant: str, version: int, seconds: float, count: int = 1) -> None:
        """A request was answered with a score."""
        super().scored(variant, version, seconds, count)
        tracing.scored(variant, version)


def added_up(folder: Path, own: Metrics | None = None) -> Metrics:
    """The counts of all workers, those that have ended included.

    Args:
        folder: Where they are.
        own: Those of this worker, where they are newer than what it has written.
    """
    total, told = Metrics(), [] if own is None else [own._values()]
    for path in sorted(folder.glob("*.json")):
        if own is not None and path.stem == str(os.getpid()):
            continue
        try:
            told.append(json.loads(path.read_text()))
        except (OSError, ValueError):
            continue
    for values in told:
        for variant, version, row in values["latencies"]:
            known = total.latencies.setdefault((variant, version), [0.0] * len(row))
            total.latencies[variant, version] = [a + b for a, b in zip(known, row, strict=True)]
        for name, status, count in values["responses"]:
            total.responses[name, status] = total.responses.get((name, status), 0) + count
        total.fallbacks += values["fallbacks"]
        total.dropped += values["dropped"]
        total.shadows += values["shadows"]
        total.explored += values["explored"]
        total.missed += values["missed"]
        for why, count in values["degraded"]:
            total.degraded[why] = total.degraded.get(why, 0) + count
        for moment, asked, failed in values["lately"]:
            total._count(moment, asked, failed)
    return total


@dataclass(frozen=True)
class Series:
    """The numbers of one model.

    Attributes:
        model: Registered model; empty for what belongs to none.
        total: Counts of all workers.
        gauges: By name, without the prefix: what it is, and its value.
        drift: By version and feature, how far what was served lately is from the training.
    """

    model: str
    total: Metrics
    gauges: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    drift: Mapping[int, Mapping[str, float]] = field(default_factory=dict)


def exposition(series: Sequence[Series]) -> bytes:
    """Everything in Prometheus' text format.

    Args:
        series: Of each model.
    """
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(_Collector(series))
    return bytes(generate_latest(registry))


@dataclass(eq=False)
class _Collector:
    series: Sequence[Series]

    def collect(self) -> Iterable[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        latency = HistogramMetricFamily(
            "fds_scoring_seconds", "Time to score a request, by who answered", labels=["model", "variant", "version"]
        )
        responses = CounterMetricFamily("fds_responses", "HTTP responses", labels=["model", "path", "status"])
        for one in self.series:
            for (variant, version), row in one.total.latencies.items():
                running = itertools.accumulate(row[:-1])
                buckets = list(zip((*map(str, BOUNDS), "+Inf"), running, strict=True))
                latency.add_metric([printable(one.model), variant, str(version)], buckets, row[-1])
            for (path, status), count in one.total.responses.items():
                responses.add_metric([printable(one.model), path, str(status)], count)
        degraded = CounterMetricFamily(
            "fds_state_degraded", "Raw transactions whose features lacked the state", labels=["model", "reason"]
        )
        for one in self.series:
            for why, count in one.total.degraded.items():
                degraded.add_metric([printable(one.model), why], count)
        yield latency
        yield responses
        yield degraded
        for name, told, counts in (
            (
                "canary_fallbacks",
                "Canary requests that the champion answered",
                [o.total.fallbacks for o in self.series],
            ),
            ("outcomes_dropped", "Outcomes for which there was no room", [o.total.dropped for o in self.series]),
            ("shadows", "Champion requests that the canary scored as well", [o.total.shadows for o in self.series]),
            ("explored", "Flagged requests that were let pass", [o.total.explored for o in self.series]),
            ("state_missed", "What the state will never be told", [o.total.missed for o in self.series]),
        ):
            counter = CounterMetricFamily(f"fds_{name}", told, labels=["model"])
            for one, count in zip(self.series, counts, strict=True):
                counter.add_metric([printable(one.model)], count)
            yield counter
        gauges: dict[str, Any] = {}
        for one in self.series:
            for name, (told, value) in one.gauges.items():
                gauge = gauges.setdefault(name, GaugeMetricFamily(f"fds_{name}", told, labels=["model"]))
                gauge.add_metric([printable(one.model)], value)
        yield from gauges.values()
        told = "Drift of a feature that was served lately from the training, 0 to 1"
        skew = GaugeMetricFamily("fds_feature_skew", told, labels=["model", "version", "feature"])
        for one in self.series:
            for version, features in one.drift.items():
                for feature, value in features.items():
                    skew.add_metric([printable(one.model), str(version), printable(feature)], value)
        yield skew
