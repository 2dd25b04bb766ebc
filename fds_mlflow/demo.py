"""The whole story on one machine: from transactions to a champion, two canaries, a rollback and a history."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from fds_mlflow import render, workflows
from fds_mlflow.core.plan import Guardrail, Metric, Plan
from fds_mlflow.errors import ConfigError
from fds_mlflow.lifecycle import ManagedModel
from fds_mlflow.live import LiveView, showing
from fds_mlflow.outcomes.records import CaseRecord, CaseStatus
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.training import features
from fds_mlflow.training.feature_spec import default_spec
from fds_mlflow.training.pipeline import Trained
from fds_mlflow.training.split import Split

if TYPE_CHECKING:
    import pandas as pd

MODEL = "fraud"
MARKER = ".fds-demo"
BATCH = 2_000
REPLAYS = 8
"""How often the live rows may be replayed for one canary."""


@dataclass
class _Story:
    """What the chapters share."""

    folder: Path
    console: Console
    model: ManagedModel
    split: Split
    live: pd.DataFrame
    seed: int
    took: list[tuple[str, float]] = field(default_factory=list)


def run(
    output: Path, *, data: str | None = None, schema: str | None = None, rows: int = 60_000, seed: int = 42
) -> None:
    """Run the demo; everything it makes lies in one folder.

    Args:
        output: The folder. What an earlier demo left there is replaced; a folder of anything else is refused.
        data: CSV or Parquet file of transactions with labels; None to simulate.
        schema: Its schema.
        rows: Transactions to simulate.
        seed: Seed of everything random.

    Raises:
        ConfigError: The folder holds something else, or the schema cannot be recognised.
        DataError: The data does not fit the schema.
    """
    import mlflow

    began = time.perf_counter()
    source = workflows.Source(data or f"simulator:{rows}", schema)
    folder = _empty(output)
    console = render.console()
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    for experiment in (f"fds/{MODEL}", f"fds/rollouts/{MODEL}"):
        mlflow.create_experiment(experiment, artifact_location=(folder / "artifacts").as_uri())
    took: list[tuple[str, float]] = []
    with _bar(console, "Transactions and features", took, total=3) as step:
        split, live = _data(source, seed, step)
    outcomes = OutcomeStore(f"sqlite:///{folder / 'outcomes.db'}")
    model = ManagedModel(MODEL, tracking_uri=uri, registry_uri=uri, outcomes=outcomes, actor="demo")
    story = _Story(folder, console, model, split, live, seed, took)
    _show_data(story)
    _train_and_promote(story)
    _good_canary(story)
    _harmful_canary(story)
    _emergency(story)
    _close(story, time.perf_counter() - began)


def _empty(output: Path) -> Path:
    folder = output.resolve()
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).is_file():
            raise ConfigError(
                f"{folder} is not empty, and no earlier demo made it", fix="name another folder (--output)"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("Made by `fds demo`; the next demo replaces this folder.\n")
    return folder


@contextmanager
def _bar(console: Console, title: str, took: list[tuple[str, float]], *, total: int) -> Iterator[Callable[[str], None]]:
    """A progress bar for one chapter; each call of what it yields is one step done."""
    began = time.perf_counter()
    columns = (TextColumn("{task.description:<44}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total)

        def step(what: str) -> None:
            progress.update(task, advance=1, description=f"{title}: {what}"[:44])

        yield step
        progress.update(task, completed=total, description=title)
    took.append((title, time.perf_counter() - began))


def _data(source: workflows.Source, seed: int, step: Callable[[str], None]) -> tuple[Split, pd.DataFrame]:
    """Train, validation and holdout from the past; the rest of the test part plays live traffic."""
    transactions = source.read(seed=seed)
    if "label" not in transactions.frame.columns:
        raise ConfigError("the schema names no label", fix="name the label's column: the demo judges by the truth")
    step("features")
    table = features.compute(transactions, default_spec(transactions.schema))
    step("split by time")
    split = workflows.cut(table)
    order = np.argsort(split.test.frame["time"].to_numpy(), kind="stable")
    half = len(order) // 2
    live = split.test.frame.iloc[order[half:]]
    earlier = np.isin(np.arange(len(order)), order[:half])
    holdout = replace(split, test=split.test.where(earlier))
    step("done")
    return holdout, live


def _show_data(story: _Story) -> None:
    rows: list[tuple[object, ...]] = [
        (name, len(part.frame), int(part.y.sum()), part.frame["time"].min(), part.frame["time"].max())
        for name, part in story.split.parts.items()
    ]
    live = story.live
    rows.append(("live traffic", len(live), int(live["label"].sum()), live["time"].min(), live["time"].max()))
    title = f"{story.split.train.source}: {len(story.split.train.features)} features"
    columns = ("part", "rows", "frauds", "from (UTC)", "to (UTC)")
    story.console.print(render.table(title, columns, rows, right=("rows", "frauds")))


def _train(story: _Story, step: Callable[[str], None], name: str, algorithm: str, **options: Any) -> Trained:
    from fds_mlflow.training import pipeline

    step(name)
    split = options.pop("split", story.split)
    return pipeline.train(split, algorithm=algorithm, model_name=MODEL, run_name=name, seed=story.seed, **options)


def _recent(split: Split) -> Split:
    """The same split without the oldest quarter of the training rows: what a retraining would learn from."""
    time = split.train.frame["time"]
    return replace(split, train=split.train.where((time >= time.quantile(0.25)).to_numpy()))


def _version(trained: Trained) -> int:
    if trained.version is None:
        raise AssertionError("a training under a model's name registers a version")
    return trained.version


def _train_and_promote(story: _Story) -> None:
    """Both algorithms, compared on the same rows; the better one becomes champion."""
    made: dict[int, tuple[str, Trained]] = {}
    with _bar(story.console, "Train and register", story.took, total=4) as step:
        for algorithm in ("isolation_forest", "lightgbm"):
            trained = _train(story, step, algorithm.replace("_", " "), algorithm)
            made[_version(trained)] = (algorithm, trained)
        forest, boosting = made
        step("compare")
        comparison = story.model.compare(forest, boosting, data=story.split.test, rounds=200)
        step("promote")
        scores = {version: trained.metrics["average_precision"] for version, (_, trained) in made.items()}
        champion = max(scores, key=lambda version: scores[version])
        story.model.stage(forest, reason="trained")
        story.model.stage(boosting, reason="trained")
        story.model.promote(champion, reason=f"first champion: {comparison.reason}"[:900])
    names = ("average_precision", "recall", "false_positive_rate", "roc_auc", "f1")
    rows = [(v, a, *(t.metrics[name] for name in names), t.threshold) for v, (a, t) in made.items()]
    columns = ("version", "algorithm", *names, "threshold")
    story.console.print(render.table("Both models on the holdout", columns, rows, right=columns[2:]))
    story.console.print(render.comparison(comparison, f"version {forest}", f"version {boosting}"))


def _good_canary(story: _Story) -> None:
    """A retrained version takes 10, 25 and 50 % of the traffic and becomes champion."""
    with _bar(story.console, "A retrained version", story.took, total=2) as step:
        trained = _train(story, step, "weekly retrain", "lightgbm", split=_recent(story.split))
        story.model.canary.start(_version(trained), plan=_plan(story), reason="weekly retrain")
    _fly(story, "A good canary", "good")


def _harmful_canary(story: _Story) -> None:
    """A release gone wrong: the false positive rate was set to 30 % where 3 % was meant."""
    with _bar(story.console, "A version gone wrong", story.took, total=2) as step:
        trained = _train(story, step, "threshold mistake", "lightgbm", target_fpr=0.3)
        story.model.canary.start(_version(trained), plan=_plan(story), reason="release with a typing error")
    _fly(story, "A harmful canary", "harmful")


def _fly(story: _Story, title: str, name: str) -> None:
    """Live traffic, and a look of the autopilot after every batch of it, until the rollout has ended."""
    began = time.perf_counter()
    console, clock = story.console, story.model.clock
    console.print(f"\n{title}: the autopilot looks after every {BATCH:,} requests")
    view = LiveView(clock)
    with showing(clock, console) as show:
        pilot = story.model.canary.autopilot(on_tick=[show, view])
        for rows in _traffic(story, name):
            _serve(story, rows)
            if pilot.tick().ended:
                break
        else:
            story.model.canary.abort(reason="end of the demo's traffic")
    if not console.is_terminal:
        console.print(view)
    story.took.append((title, time.perf_counter() - began))


def _emergency(story: _Story) -> None:
    with _bar(story.console, "Emergency rollback", story.took, total=2) as step:
        found = story.model.rollback.candidates()
        step("move the champion")
        if found:
            story.model.rollback.emergency(reason="support reports a wave of blocked customers")
    story.console.print(render.candidates(found))


def _close(story: _Story, seconds: float) -> None:
    console = story.console
    console.print(render.events(story.model.history(), story.model.pending()))
    console.print(render.overview(story.model.overview()))
    rows = [*story.took, ("in all", seconds)]
    console.print(
        render.table("Seconds", ("chapter", "seconds"), [(n, f"{s:.1f}") for n, s in rows], right=("seconds",))
    )
    uri = f"sqlite:///{story.folder / 'mlflow.db'}"
    console.print(f"\nEverything lies in {story.folder}. Open the MLflow UI on it (http://127.0.0.1:5000):\n")
    server = f".venv/bin/mlflow server --workers 1 --backend-store-uri {uri} --port 5000"
    console.print(f"  MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false {server}\n", soft_wrap=True)
    console.print("and ask the command line the same things:\n")
    for verb in ("show", "history", "rollback candidates"):
        console.print(f"  .venv/bin/fds --tracking-uri {uri} {verb} {MODEL}", soft_wrap=True)
    console.print(
        f"\nIts outcomes and labels are in sqlite:///{story.folder / 'outcomes.db'} (--outcomes).", soft_wrap=True
    )


def _plan(story: _Story) -> Plan:
    """A plan whose first step the live traffic can fill, and whose margins a few thousand requests can decide."""
    guardrails = [
        Guardrail(Metric.ERROR_RATE, margin=1.0, negligible=0.01),
        Guardrail(Metric.ALERT_RATE, margin=1.0),
        Guardrail(Metric.SCORE_SHIFT, margin=0.1),
    ]
    return Plan(guardrails=guardrails, min_outcomes=max(10, min(200, len(story.live) // 20)))


def _traffic(story: _Story, name: str) -> Iterator[pd.DataFrame]:
    """Batches of live rows, replayed a few times: the keys tell the times apart."""
    for number in range(REPLAYS):
        for start in range(0, len(story.live), BATCH):
            rows = story.live.iloc[start : start + BATCH]
            yield rows.assign(transaction_id=rows["transaction_id"].astype(str) + f"/{name}-{number}")


def _serve(story: _Story, rows: pd.DataFrame) -> None:
    """Score a batch by the router, and let its labels arrive."""
    story.model.router(poll_seconds=0.0).predict(rows)
    known = story.model.now()
    story.model.outcomes.label(
        [
            CaseRecord(transaction_id=key, status=CaseStatus.CONFIRMED if label else CaseStatus.GENUINE, known_at=known)
            for key, label in zip(rows["transaction_id"], rows["label"], strict=True)
        ]
    )
