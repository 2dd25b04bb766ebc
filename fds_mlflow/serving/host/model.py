"""One model of a server, beside the workers: its aliases are followed, and its outcomes moved into the store.

Each has threads of its own, so nothing that one model waits for holds up another one.
"""

from __future__ import annotations

import logging
import threading
import time

from fds_mlflow.runtime.clock import SystemClock
from fds_mlflow.serving.allowance import Allowance
from fds_mlflow.serving.host import drifting
from fds_mlflow.serving.host.follower import Follower
from fds_mlflow.serving.host.labels import LabelFollower
from fds_mlflow.serving.host.recorder import OutcomeRecorder
from fds_mlflow.serving.worker.settings import ServerSettings

log = logging.getLogger(__name__)

LABELS_SECONDS = 1.0
"""How often the store is asked for labels that came by other ways than the server."""

WAKE_SECONDS = 0.1
"""How soon a webhook of the registry is acted on, and so how often at most."""


class HostedModel:
    """Follows one model, and moves its outcomes.

    Args:
        settings: Of the model.
        follower: Keeps its version cache up to date.
        recorder: Moves its outcomes; None to leave them on disk.
        labels: Tells the state of raw transactions the labels of the store; None where there is none of either.

    Attributes:
        name: Registered model.
    """

    def __init__(
        self,
        settings: ServerSettings,
        follower: Follower,
        recorder: OutcomeRecorder | None,
        labels: LabelFollower | None = None,
    ) -> None:
        self.name = settings.model
        self._cache = settings.version_cache()
        self._spool = settings.spool()
        self._follower = follower
        self._recorder = recorder
        self._labels = labels
        self._explore = settings.explore
        self._samples = settings.sample is not None
        self._poll_seconds = 0.0
        self._stopping = threading.Event()
        self._looked = threading.Event()
        self._woken = self._cache.woken
        self._recording = threading.Thread(target=self._record, name=f"record {self.name}", daemon=True)

    @property
    def looked(self) -> bool:
        """Whether the registry has been looked at."""
        return self._looked.is_set()

    @property
    def serves(self) -> bool:
        """Whether there is a table to serve by."""
        return self._cache.table() is not None

    def begin(self, poll_seconds: float) -> None:
        """Follow it, and move its outcomes, until it is finished.

        Args:
            poll_seconds: How often the aliases are read.
        """
        self._cache.tidy()
        self._spool.tidy()
        self._poll_seconds = poll_seconds
        following = threading.Thread(target=self._follow, args=(poll_seconds,), name=f"follow {self.name}", daemon=True)
        following.start()
        self._recording.start()
        if self._labels is not None:
            labels = threading.Thread(target=self._tell, args=(self._labels,), name=f"labels {self.name}", daemon=True)
            labels.start()

    def finish(self, until: float) -> None:
        """Move what the workers have left behind.

        Args:
            until: When to give up, by the clock that only ever grows.
        """
        self._stopping.set()
        self._follower.close()
        # The thread that follows may wait for the registry, and leaves nothing half done.
        self._recording.join(max(0.1, until - time.monotonic()))
        while self._recorder is not None and not self._drained(self._recorder):
            if time.monotonic() >= until:
                log.warning("outcomes of %s stay on disk for the next start: %s", self.name, self._recorder.problem)
                break
            time.sleep(0.2)

    def _follow(self, poll_seconds: float) -> None:
        self._poll(wait=not self.serves)
        self._looked.set()
        while self._due(poll_seconds):
            self._poll()

    def _poll(self, *, wait: bool = False) -> None:
        try:
            self._follower.poll(wait=wait)
        except Exception:  # following must go on, whatever one poll ran into
            log.exception("a poll of the registry for %s failed", self.name)

    def _due(self, poll_seconds: float) -> bool:
        """Wait until the registry is to be read again, at once where a webhook says so; False to stop."""
        until = time.monotonic() + poll_seconds
        while not self._stopping.wait(min(WAKE_SECONDS, poll_seconds)):
            if self._cache.woken != self._woken or time.monotonic() >= until:
                self._woken = self._cache.woken
                return True
        return False

    def _record(self) -> None:
        if self._recorder is None:
            return
        wait, asked, allowance = 0.5, float("-inf"), self._allowance(self._recorder)
        looked, told = time.monotonic(), None
        while not self._stopping.wait(wait):
            drained = self._drained(self._recorder)
            told = self._told(self._recorder, told)
            wait = 0.5 if drained else min(2 * wait, 30.0)
            if allowance is not None and time.monotonic() >= asked + self._poll_seconds:
                asked = time.monotonic()
                self._renew(allowance, drained=drained)
            if self._samples and time.monotonic() >= looked + drifting.SECONDS:
                looked = time.monotonic()
                self._look(self._recorder)

    def _told(self, recorder: OutcomeRecorder, before: str | None) -> str | None:
        """What the workers know of the store after this."""
        if recorder.problem == before:
            return before
        try:
            said = recorder.problem and f"outcomes wait on disk: {recorder.problem}"
            self._cache.write_unrecorded(said)
        except Exception:  # it is said again
            log.exception("whether the store takes outcomes of %s is not told", self.name)
            return before
        return recorder.problem

    def _look(self, recorder: OutcomeRecorder) -> None:
        """Tell the workers how far features have drifted."""
        try:
            self._cache.write_drift(drifting.look(self._cache, recorder))
        except Exception:  # it is looked at again
            log.exception("how far the features of %s have drifted is not known", self.name)

    def _tell(self, labels: LabelFollower) -> None:
        wait = 0.0
        while not self._stopping.wait(wait):
            try:
                wait = LABELS_SECONDS if labels.follow() else 0.0
            except Exception:  # it must go on, whatever one round ran into
                log.exception("labels of %s could not be told to the state", self.name)
                wait = LABELS_SECONDS
        labels.close()

    def _allowance(self, recorder: OutcomeRecorder) -> Allowance | None:
        """What says how much may be explored a day; None where nothing or any number may."""
        if self._explore is None or self._explore.per_day is None:
            return None
        return Allowance(self._explore, recorder.explored, SystemClock(), self._poll_seconds)

    def _renew(self, allowance: Allowance, *, drained: bool) -> None:
        """Tell the workers until when they may explore; what they were told before holds no longer than it says."""
        try:
            if drained:
                allowance.renew()
            else:
                allowance.fail("outcomes wait on disk, and nobody has counted them")
            self._cache.write_exploring(allowance.until, allowance.stopped)
        except Exception:
            log.exception("how much of %s was explored today is not known", self.name)

    def _drained(self, recorder: OutcomeRecorder) -> bool:
        try:
            return recorder.drain()
        except Exception:  # outcomes stay on disk, and are tried again
            log.exception("outcomes of %s could not be moved into the store", self.name)
            return False


def labels_of(settings: ServerSettings, recorder: OutcomeRecorder | None) -> LabelFollower | None:
    """What tells a model's state the labels of the store; None where there is none of either."""
    if settings.state is None or recorder is None:
        return None
    return LabelFollower(settings.state, lambda: recorder)
