"""What a worker does beside its requests: follow the cache, hand outcomes over, ask for shadows, tell how it is."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

from fds_mlflow.errors import FdsError
from fds_mlflow.runtime import tracing
from fds_mlflow.scoring.requests.formats import Formats, formats
from fds_mlflow.scoring.requests.loose import LooseFormats
from fds_mlflow.scoring.state import ServingState
from fds_mlflow.serving.disk.spool import Item
from fds_mlflow.serving.worker.engine import Engine
from fds_mlflow.serving.worker.metrics import Metrics, Series, TracedMetrics, added_up, exposition
from fds_mlflow.serving.worker.settings import ServerSettings

log = logging.getLogger(__name__)

ROOM = 200_000
"""Outcomes that a worker keeps in memory while the disk takes none."""

SYNC_SECONDS = 5.0
"""How much of the state a crash of the machine, not of a process, may cost."""

HAND_OVER_SECONDS = 0.1
"""How long an outcome stays in memory."""


class Worker:
    """One process that answers requests.

    Args:
        settings: How it behaves.
        threads: Runs what would hold requests up; one of its own, since slow models would hold up what is in it.

    Attributes:
        engine: Scores requests.
        serving: What answers requests now, and what reads them; None before the first table. One value, so that no
            request is read by the columns of one state and scored by those of the next.
        metrics: Its counts.
        problem: Why the last table could not be taken over; None when all is well.
        featuring: Gives raw transactions their features; None where all have them.
        at_hand: Whether the features are given without waiting for another machine: the loop may ask for them itself.
        stopped: Why nothing is explored just now, although it is asked for; None where it is.
    """

    def __init__(self, settings: ServerSettings, threads: Executor) -> None:
        self.settings = settings
        self.metrics = Metrics() if tracing.tracer() is None else TracedMetrics()
        self.serving: tuple[ServingState, Formats | LooseFormats] | None = None
        self.problem: str | None = None
        self.stopped: str | None = None
        self._threads = threads
        self._cache = settings.version_cache()
        self._spool = settings.spool()
        self._unsent: list[Sequence[Item]] = []
        self._handing = threading.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self.engine = Engine(
            self._cache,
            bands=settings.bands,
            key=settings.key,
            transaction=settings.transaction,
            canary_timeout=settings.canary_timeout,
            champion_timeout=settings.champion_timeout,
            shadow=settings.shadow,
            explore=settings.explore,
            sample=settings.sample,
        )
        self._ask_allowance()
        self.featuring = None
        if settings.state is not None:
            from fds_mlflow.serving.worker.featuring import Featuring

            self.featuring = Featuring(settings, lambda: self.engine.state, self.metrics.degraded)
        self.at_hand = self.featuring is None or self.featuring.at_hand

    @property
    def reason(self) -> str:
        """Why there is nothing to serve."""
        return self.problem or self._cache.reason or "it is being made ready"

    # --- tasks ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take over the table, and go on following it."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self.follow)
        for task in (self._following(), self._handing_over(), self._tidying()):
            self._tasks.append(asyncio.create_task(task))

    def stop(self) -> None:
        """Hand over what is left."""
        for task in self._tasks:
            task.cancel()
        self.hand_over()
        if self._unsent:
            lost = sum(map(len, self._unsent))
            log.error("%s outcomes of %s are lost: the disk takes none", lost, self.settings.model)
        if self.featuring is not None:
            self.featuring.close()
        self.flush()

    async def _following(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.settings.follow_seconds)
            self._ask_allowance()
            if self._cache.changed != self.engine.seen:
                await loop.run_in_executor(self._threads, self.follow)

    async def _handing_over(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(HAND_OVER_SECONDS)
            try:
                await loop.run_in_executor(self._threads, self.hand_over)
            except Exception:  # handing over must go on, whatever one round ran into
                log.exception("outcomes of %s could not be handed over", self.settings.model)

    async def _tidying(self) -> None:
        """See to the state from time to time; it is on the disk after a crash of the machine, too, as far as this."""
        while self.featuring is not None:
            try:
                await asyncio.get_running_loop().run_in_executor(self._threads, self.featuring.tidy)
            except Exception:  # it must go on, whatever one round ran into
                log.exception("the state of %s could not be seen to", self.settings.model)
            await asyncio.sleep(SYNC_SECONDS)

    def _ask_allowance(self) -> None:
        """Learn until when may be explored, where a day has a bound."""
        if self.settings.explore is not None and self.settings.explore.per_day is not None:
            self.engine.explore_until, self.stopped = self._cache.exploring

    def follow(self) -> None:
        """Take over the table in the version cache; whatever is wrong with it, what serves goes on serving."""
        try:
            if self.engine.follow() and self.engine.state is not None:
                self.serving = self.engine.state, self._formats(self.engine.state)
                self.problem = None
        except Exception as error:
            said = error.what if isinstance(error, FdsError) else f"{type(error).__name__}: {error}"
            if said != self.problem:
                log.exception("the versions of %s in service stay as they were", self.settings.model)
            self.problem = said

    def _formats(self, state: ServingState) -> Formats | LooseFormats:
        if self.serving is not None and self.serving[0].row_type is state.row_type:
            return self.serving[1]
        return formats(state, limit=self.settings.row_limit, featured=self.featuring)

    def hand_over(self) -> None:
        """Put outcomes, shadows and counts on disk; while it is full they wait in memory, as many as fit."""
        with self._handing:
            fresh = self.engine.fetched()
            self.metrics.fallbacks += sum(one.assigned != one.served and one.score is not None for one in fresh)
            self.metrics.explored += sum(one.explored for one in fresh)
            self._hand_over(fresh)
            shadows = self.engine.shadows()
            self.metrics.shadows += len(shadows)
            self._hand_over(shadows)
            self.flush()

    def _hand_over(self, fresh: Sequence[Item]) -> None:
        if not self.settings.record:
            return
        waiting, self._unsent = self._unsent, []
        for items in (*waiting, fresh):
            if items and not self._put(items):
                self._unsent.append(items)
        while sum(map(len, self._unsent)) > ROOM:
            self.metrics.dropped += len(self._unsent.pop())

    def keep(self, items: Sequence[Item]) -> bool:
        """Put items on disk so that they would survive a loss of power; False where there is no room.

        Raises:
            OSError: The disk takes none.
        """
        return self._spool.put(items, durable=True)

    async def wake(self) -> None:
        """Have the registry read now."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._cache.wake)

    def flush(self) -> None:
        """Write the counts where the other workers find them."""
        if self.featuring is not None:
            self.metrics.missed = self.featuring.missed
        try:
            self.metrics.flush(self._cache.folder / "metrics")
        except OSError as error:
            log.warning("counts could not be written: %s", error)

    def _put(self, items: Sequence[Item]) -> bool:
        try:
            return self._spool.put(items)
        except OSError as error:
            log.warning("outcomes of %s wait in memory: %s", self.settings.model, error)
            return False

    # --- answers -------------------------------------------------------------------------------------------

    def health(self) -> dict[str, Any]:
        """What serves, how old that knowledge is, and what is wrong."""
        state = self.engine.state
        total = added_up(self._cache.folder / "metrics", self.metrics)
        problem = self.problem or (state.table.problem if state else self.reason)
        problem = problem or (self.featuring and self.featuring.problem) or self._cache.unrecorded
        problem = problem or total.failing(time.time())
        age = None if state is None else round(time.time() - state.table.read_at.timestamp(), 3)
        rollout = state.table.routing.rollout if state else None
        fine = problem is None and not total.dropped
        explore = self.settings.explore
        stopped = None if time.time() < self.engine.explore_until else self.stopped or "the store was not asked lately"
        exploration = {} if explore is None else {"percent": round(100 * explore.share, 9), "stopped": stopped}
        return {
            "status": "unavailable" if self.serving is None else "ok" if fine else "degraded",
            "problem": problem,
            "model": self.settings.model,
            "champion": state.champion.version if state else None,
            "canary": rollout.canary if rollout else None,
            "canary_loaded": state is not None and state.canary is not None,
            "weight_percent": rollout.weight / 100 if rollout else 0,
            "rollout": rollout.id if rollout else None,
            "native": state.inline if state else None,
            "registry_age_seconds": age,
            "outcomes": {
                "buffered": len(self.engine.outcomes) + sum(map(len, self._unsent)),
                "spooled_bytes": self._spool.size,
                "dropped": total.dropped,
            },
        } | ({"exploration": exploration} if exploration else {})

    def series(self) -> Series:
        """The counts of all workers, and how it stands."""
        self.flush()
        said = self.health()
        gauges = {
            "weight_percent": ("Share of the traffic for the canary", float(said["weight_percent"])),
            "champion_version": ("The champion", float(said["champion"] or 0)),
            "canary_version": ("The canary where a rollout takes traffic, else 0", float(said["canary"] or 0)),
            "registry_age_seconds": ("Since the registry was last read", float(said["registry_age_seconds"] or 0)),
            "degraded": ("Whether something is wrong", float(said["status"] != "ok")),
            "outcomes_buffered": ("Outcomes in this worker's memory", float(said["outcomes"]["buffered"])),
            "outcomes_spooled_bytes": ("Outcomes on disk", float(said["outcomes"]["spooled_bytes"])),
        }
        if self.featuring is not None:
            gauges["state_answers"] = ("Whether the state of raw transactions answers", float(self.featuring.answers))
            gauges["state_waiting"] = ("What this worker has yet to tell the state", float(self.featuring.waiting))
        if "exploration" in said:
            gauges["exploring"] = ("Whether flagged requests are let pass", float(not said["exploration"]["stopped"]))
        drift = {} if self.settings.sample is None else self._cache.drift
        return Series(self.settings.model, added_up(self._cache.folder / "metrics"), gauges, drift)

    def exposition(self) -> bytes:
        """The same in Prometheus' text format."""
        return exposition([self.series()])
