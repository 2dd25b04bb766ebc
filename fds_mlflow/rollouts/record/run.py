"""Each rollout is a tracking run, found again by its tag, so that any process logs to the same one.

MLflow's client has no lock and no "create unless there": two processes may make a run each for one rollout. Whoever
sees two keeps the one with the lower run id, copies what the other holds into it, and deletes the other (MLflow keeps
deleted runs until they are purged). Both can be repeated, so any number of processes may do it at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fds_mlflow.core.lifecycle.events import Event, Rollout
from fds_mlflow.errors import UnavailableError
from fds_mlflow.rollouts import naming
from fds_mlflow.runtime.mlflow_client import active_experiment, ensured_experiment, short_requests

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

BATCH = 900
"""Metrics in one request; MLflow takes 1,000."""

_ACTIVE_ONLY = 1
"""MLflow's ViewType: without deleted runs."""


@dataclass(frozen=True)
class Point:
    """What was known at one moment.

    Attributes:
        time: When, UTC.
        values: By name of the metric.
    """

    time: datetime
    values: Mapping[str, float]


def place_of(run: Run) -> str:
    """Ids of experiment and run, parted by a slash, as `lifecycle.descriptions` takes them."""
    return f"{run.info.experiment_id}/{run.info.run_id}"


class RolloutRuns:
    """The runs of a model's rollouts.

    Every method raises `UnavailableError` where tracking does not answer or refuses.

    Args:
        model: Registered model.
        tracking_uri: Tracking URI; None for the one MLflow resolves.
    """

    def __init__(self, model: str, tracking_uri: str | None = None) -> None:
        from mlflow import MlflowClient

        self.model = model
        self._client = MlflowClient(tracking_uri)
        self._experiment: str | None = None

    def find(self, rollout_id: str) -> Run | None:
        """The run of a rollout; None where there is none."""
        with _translated():
            return self._one(rollout_id)

    def read(self, rollout_id: str) -> Run | None:
        """The run of a rollout as it is, doubles left alone: for who only looks."""
        with _translated():
            found = self._search(f"tags.`{naming.ROLLOUT_ID}` = '{rollout_id}'")
        return found[0] if found else None

    def open(self, rollout: Rollout, start: Event | None) -> Run:
        """The run of a rollout, made where there is none.

        Args:
            rollout: The rollout.
            start: The event that started it, for the run's time and user.
        """
        with _translated():
            run = self._one(rollout.id)
            if run is None:
                began = start.time if start is not None else rollout.since
                tags = {naming.ROLLOUT_ID: rollout.id, "fds.model": self.model, "mlflow.source.name": "fds-mlflow"}
                tags |= {naming.STATUS: rollout.status.value} | ({"mlflow.user": start.actor} if start else {})
                made = self._client.create_run(
                    self._experiment_id(), start_time=_milliseconds(began), tags=tags, run_name=naming.run_name(rollout)
                )
                run = self._one(rollout.id) or made  # whoever was at it too is seen now
            self._parameters(run, rollout)
            return run

    def running(self) -> dict[str, Run]:
        """Runs that are not closed, by the id of their rollout."""
        with _translated():
            found = self._search("attributes.status = 'RUNNING'")
        return {run.data.tags[naming.ROLLOUT_ID]: run for run in found if naming.ROLLOUT_ID in run.data.tags}

    def all(self) -> dict[str, Run]:
        """The runs of all rollouts as they are, by the id of the rollout; of doubles the one that is kept."""
        with _translated():
            found = reversed(self._search(""))
        return {run.data.tags[naming.ROLLOUT_ID]: run for run in found if naming.ROLLOUT_ID in run.data.tags}

    def log(self, run: Run, points: Sequence[Point], tags: Mapping[str, str]) -> None:
        """Log points and tags in as few requests as they fit into; logging a point twice changes nothing.

        The step of a point is the whole seconds since the run began: it grows, and every process counts alike.
        """
        from mlflow.entities import Metric, RunTag

        began = run.info.start_time
        rows: list[Metric] = []
        for point in points:
            time = _milliseconds(point.time)
            step = max(0, (time - began) // 1_000)
            rows += [Metric(name, value, time, step) for name, value in point.values.items()]
        named = [RunTag(name, value) for name, value in tags.items()]
        with _translated():
            for first in range(0, max(len(rows), 1), BATCH):
                last = first + BATCH >= len(rows)  # tags go with the newest values
                self._client.log_batch(run.info.run_id, rows[first : first + BATCH], (), named if last else ())

    def report(self, run: Run, name: str, html: str) -> None:
        """Keep a report as the run's artifact of a name."""
        with _translated():
            self._client.log_text(run.info.run_id, html, name)

    def close(self, run: Run, status: str, time: datetime) -> None:
        """End the run."""
        with _translated():
            self._client.set_terminated(run.info.run_id, status, _milliseconds(time))

    def series(self, run: Run) -> dict[str, tuple[tuple[datetime, float], ...]]:
        """Every metric over time, by name, in order of time."""
        return {name: self.curve(run.info.run_id, name) for name in sorted(run.data.metrics)}

    def curve(self, run_id: str, name: str) -> tuple[tuple[datetime, float], ...]:
        """One metric of a run over time, in order of time."""
        with _translated():
            found = [(metric.timestamp, metric.value) for metric in self._client.get_metric_history(run_id, name)]
        return tuple((datetime.fromtimestamp(time / 1_000, UTC), value) for time, value in sorted(found))

    def _history(self, run: Run, name: str) -> list[Metric]:
        return list(self._client.get_metric_history(run.info.run_id, name))

    def _one(self, rollout_id: str) -> Run | None:
        """The run of a rollout, after whatever doubles there were have gone into it."""
        first, *doubles = self._search(f"tags.`{naming.ROLLOUT_ID}` = '{rollout_id}'") or [None]
        for double in doubles:
            self._merge(first, double)
        return first

    def _search(self, condition: str) -> list[Run]:
        experiment = self._experiment or self._look_up()
        found: list[Run] = []
        token: str | None = None
        while experiment is not None:
            page = self._client.search_runs([experiment], condition, _ACTIVE_ONLY, 1_000, page_token=token)
            found.extend(page)
            token = page.token
            if not token:
                break
        return sorted(found, key=lambda run: str(run.info.run_id))

    def _merge(self, kept: Run, double: Run) -> None:
        from mlflow.entities import Metric

        for name in double.data.metrics:
            rows = [Metric(name, m.value, m.timestamp, m.step) for m in self._history(double, name)]
            for first in range(0, len(rows), BATCH):
                self._client.log_batch(kept.info.run_id, rows[first : first + BATCH])
        self._client.delete_run(double.info.run_id)

    def _parameters(self, run: Run, rollout: Rollout) -> None:
        """Log the parameters that are missing: its maker may have died before it logged them."""
        from mlflow.entities import Param

        missing = naming.parameters(self.model, rollout).items() - dict(run.data.params).items()
        if missing:
            self._client.log_batch(run.info.run_id, params=[Param(name, value) for name, value in sorted(missing)])

    def _experiment_id(self) -> str:
        """The model's experiment, made where there is none."""
        self._experiment = self._experiment or ensured_experiment(
            self._client, naming.experiment(self.model), {naming.NOTE: naming.experiment_note(self.model)}
        )
        return self._experiment

    def _look_up(self) -> str | None:
        self._experiment = active_experiment(self._client, naming.experiment(self.model))
        return self._experiment


@contextmanager
def _translated() -> Iterator[None]:
    """MLflow's errors as ours; requests that give up soon, since the next tick must not wait for this one's log."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with short_requests():
            yield
    except (MlflowException, SQLAlchemyError, OSError) as error:  # artifacts are uploaded past MLflow's own errors
        said = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise UnavailableError(
            f"tracking did not take it: {said}", fix="check that the tracking server runs; it is caught up later"
        ) from error


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1_000)
