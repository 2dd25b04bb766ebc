"""The whole story on one machine: from transactions to a champion, two canaries, a rollback and a history."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from fds_mlflow.cli import demo_serving
from fds_mlflow.cli.output import tables
from fds_mlflow.cli.output.live import LiveView, showing
from fds_mlflow.cli.output.progress import bar
from fds_mlflow.core.plan.plan import Guardrail, Metric, Plan
from fds_mlflow.data.transactions import Transactions
from fds_mlflow.errors import ConfigError, RefusedError
from fds_mlflow.model import ManagedModel
from fds_mlflow.outcomes.records import CaseRecord, CaseStatus
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.runtime.clock import SystemClock
from fds_mlflow.training.pipeline import Trained
from fds_mlflow.training.split import Split
from fds_mlflow.workflows.preparation import cut, featurised
from fds_mlflow.workflows.source import Source

if TYPE_CHECKING:
    import pandas as pd

    from fds_mlflow.data.inference import InferredSchema

MODEL = "fraud"
MARKER = ".fds-demo"
BATCH = 2_000
LABEL_MATURITY = timedelta(days=1)
DAYS = 30
"""How many batches, each a day's traffic, are played for one canary at most; the live rows are replayed for it."""
FIRST_WEEKS = 0.6
"""Share of the training period that the first champion learns from; the retraining learns from all of it."""


class _DataClock(SystemClock):
    """The machine's clock, set to the time of the data; days pass when they are told to."""

    def __init__(self, start: datetime) -> None:
        self._ahead = start - super().now()

    def now(self) -> datetime:
        """The time for people, UTC."""
        return super().now() + self._ahead

    def skip(self, time: timedelta) -> None:
        """Let time pass at once."""
        self._ahead += time


@dataclass
class _Story:
    """What the chapters share."""

    folder: Path
    console: Console
    model: ManagedModel
    clock: _DataClock
    split: Split
    live: pd.DataFrame
    source: Source
    transactions: Transactions
    seed: int
    took: list[tuple[str, float]] = field(default_factory=list)
    algorithm: str = "lightgbm"


def run(
    output: Path,
    *,
    data: str | None = None,
    schema: str | None = None,
    label: str | None = None,
    rows: int = 60_000,
    seed: int = 42,
    algorithm: str = "lightgbm",
) -> None:
    """Run the demo; everything it makes lies in one folder.

    Args:
        output: The folder. What an earlier demo left there is replaced; a folder of anything else is refused.
        data: File of transactions with labels; None to simulate.
        schema: Its schema; None to recognise one, or to infer it.
        label: The column that tells the frauds, where the schema is to be inferred.
        rows: Transactions to simulate.
        seed: Seed of everything random.
        algorithm: Whose versions are tried as canaries, and against which an Isolation Forest is compared first.

    Raises:
        ConfigError: The folder holds something else, the schema cannot be recognised, or the algorithm is none.
        DataError: The data does not fit the schema.
    """
    from fds_mlflow.training.pipeline import check_algorithm

    began = time.perf_counter()
    check_algorithm(algorithm)
    with bar("Looking at the file") as progress:
        source, inferred = Source(data or f"simulator:{rows}", schema, progress=progress).described(label)
    source = replace(source, progress=None)  # the chapters have bars of their own
    folder = _empty(output)
    console = tables.console()
    if inferred is not None:
        _keep(inferred, folder, console)
    import mlflow

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    for experiment in (f"fds/{MODEL}", f"fds/rollouts/{MODEL}"):
        mlflow.create_experiment(experiment, artifact_location=(folder / "artifacts").as_uri())
    took: list[tuple[str, float]] = []
    with _bar(console, "Transactions and features", took, total=3) as step:
        transactions = source.read(seed=seed)
        split, live = _data(transactions, seed, step)
    outcomes = OutcomeStore(f"sqlite:///{folder / 'outcomes.db'}")
    clock = _DataClock(_start(live))
    model = ManagedModel(MODEL, tracking_uri=uri, registry_uri=uri, outcomes=outcomes, actor="demo", clock=clock)
    story = _Story(folder, console, model, clock, split, live, source, transactions, seed, took, algorithm)
    _show_data(story)
    _train_and_promote(story)
    _good_canary(story)
    _harmful_canary(story)
    _emergency(story)
    _raw_transactions(story)
    _close(story, time.perf_counter() - began)


def _start(live: pd.DataFrame) -> datetime:
    """The time of the first live transaction; of data without times, now."""
    known = live["time"].dropna()
    return SystemClock().now() if known.empty else known.min().to_pydatetime().replace(tzinfo=UTC)


def _keep(inferred: InferredSchema, folder: Path, console: Console) -> None:
    """Write down what was inferred, and say what the file could not tell."""
    path = folder / "inferred.schema.yaml"
    path.write_text(inferred.yaml(), encoding="utf-8")
    console.print(f"The schema was inferred; it lies with its evidence in {path}.", soft_wrap=True)
    for sentence in inferred.unknown:
        console.print(f"could not be known: {sentence}", style="yellow", markup=False, soft_wrap=True)


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


def _data(transactions: Transactions, seed: int, step: Callable[[str], None]) -> tuple[Split, pd.DataFrame]:
    """Train, validation and holdout from the past; the rest of the test part plays live traffic."""
    if "label" not in transactions.frame.columns:
        raise ConfigError("the schema names no label", fix="name the label's column: the demo judges by the truth")
    step("features")
    table = featurised(transactions)
    step("split")
    split = cut(table, seed=seed)
    rows = len(split.test)
    # Live traffic follows the holdout in time; where there is no time, neither may follow the order of the file.
    order = np.random.default_rng(seed).permutation(rows)
    if transactions.schema.time is not None:
        order = np.argsort(split.test.frame["time"].to_numpy(), kind="stable")
    half = rows // 2
    live = split.test.frame.iloc[order[half:]]
    holdout = replace(split, test=split.test.where(np.isin(np.arange(rows), order[:half])))
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
    story.console.print(tables.table(title, columns, rows, right=("rows", "frauds")))
    for note in story.split.notes:
        story.console.print(f"note: {note}", markup=False, soft_wrap=True)


def _train(story: _Story, step: Callable[[str], None], name: str, algorithm: str, **options: Any) -> Trained:
    from fds_mlflow.training import pipeline

    step(name)
    split = options.pop("split", story.split)
    return pipeline.train(split, algorithm=algorithm, model_name=MODEL, run_name=name, seed=story.seed, **options)


def _first_weeks(split: Split) -> Split:
    """The same split with the oldest training rows only: what was there to learn from weeks ago.

    Without times, or where hardly any of the oldest are frauds, every other row or so, frauds among them.
    """
    time = split.train.frame["time"]
    early = (time < time.quantile(FIRST_WEEKS)).to_numpy() if time.notna().any() else np.zeros(len(time), dtype=bool)
    if split.train.y[early].sum() < 2:
        early = np.arange(len(time)) % 10 < round(10 * FIRST_WEEKS)
    return replace(split, train=split.train.where(early))


def _version(trained: Trained) -> int:
    if trained.version is None:
        raise AssertionError("a training under a model's name registers a version")
    return trained.version


def _train_and_promote(story: _Story) -> None:
    """Both algorithms on the first weeks, compared on the same rows; the better one becomes champion."""
    first_weeks = _first_weeks(story.split)
    made: dict[int, tuple[str, Trained]] = {}
    with _bar(story.console, "Train and register", story.took, total=4) as step:
        for algorithm in ("isolation_forest", story.algorithm):
            trained = _train(story, step, algorithm.replace("_", " "), algorithm, split=first_weeks)
            made[_version(trained)] = (algorithm, trained)
        forest, boosting = made
        step("compare")
        comparison = story.model.compare(forest, boosting, data=story.split.test, n_boot=200)
        step("promote")
        scores = {version: trained.metrics["average_precision"] for version, (_, trained) in made.items()}
        champion = max(scores, key=lambda version: scores[version])
        story.model.stage(forest, reason="trained")
        story.model.stage(boosting, reason="trained")
        story.model.promote(champion, reason=f"first champion: {comparison.reason}"[:900])
    names = ("average_precision", "recall", "false_positive_rate", "roc_auc", "f1")
    rows = [(v, a.replace("_", " "), *(t.metrics[name] for name in names), t.threshold) for v, (a, t) in made.items()]
    columns = ("version", "algorithm", "average precision", "recall", "FPR", "ROC AUC", "F1", "threshold")
    story.console.print(tables.table("Both models on the holdout", columns, rows, right=columns[2:]))
    story.console.print(tables.comparison(comparison, f"version {forest}", f"version {boosting}"))


def _good_canary(story: _Story) -> None:
    """Retrained on the weeks that have come since: it takes 10, 25 and 50 % of the traffic and becomes champion."""
    _try_out(story, "A good canary", "weekly retrain")


def _harmful_canary(story: _Story) -> None:
    """The same model gone wrong: the false positive rate was set to 30 % where 3 % was meant.

    It ranks as well as the champion, so no comparison of rankings speaks against it; the traffic does.
    """
    _try_out(story, "A harmful canary", "release with a typing error", target_fpr=0.3)


def _try_out(story: _Story, title: str, reason: str, **options: Any) -> None:
    """Train a version, start its canary, and fly it."""
    console = story.console
    with _bar(console, f"{title}: train and compare", story.took, total=2) as step:
        trained = _train(story, step, reason, story.algorithm, **options)
        step("compare")
        try:
            said = story.model.canary.start(_version(trained), plan=_plan(story), reason=reason).message
        except RefusedError as refused:  # on your own data, a retraining may be worse
            said = f"no canary: {refused.what}"
    console.print(said)
    if story.model.session.look().rollout is not None:
        _fly(story, title)


def _fly(story: _Story, title: str) -> None:
    """Live traffic, and a look of the autopilot after every day of it, until the rollout has ended."""
    began = time.perf_counter()
    console, clock = story.console, story.clock
    console.print(f"\n{title}: after {BATCH:,} requests, a day and their labels, the autopilot looks")
    view = LiveView(clock)
    with showing(clock, console) as show:
        pilot = story.model.canary.autopilot(on_tick=[show, view])
        for rows in _traffic(story, title):
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
    story.console.print(tables.candidates(found))


def _raw_transactions(story: _Story) -> None:
    """The last transactions over HTTP as they come: the server computes features, and a canary takes its share."""
    console, title = story.console, "Raw transactions over HTTP"
    unable = demo_serving.unable(story.transactions)
    if unable is not None:
        console.print(f"{title}: left out, {unable}", markup=False, soft_wrap=True)
        return
    with _bar(console, title, story.took, total=2) as step:
        made, source = story.source.simulated(seed=story.seed), story.source
        if made is not None:
            path = story.folder / "transactions.parquet"
            made.to_parquet(path)
            source = Source(str(path), "simulator")
        step("serve")
        outcomes = f"sqlite:///{story.folder / 'outcomes.db'}"
        told = demo_serving.serve(story.model, source, story.transactions, story.folder, outcomes)
    demo_serving.show(told, console)


def _close(story: _Story, seconds: float) -> None:
    console = story.console
    console.print(tables.events(story.model.history(), story.model.pending()))
    console.print(tables.overview(story.model.overview()))
    rows = [*story.took, ("in all", seconds)]
    console.print(
        tables.table("Seconds", ("chapter", "seconds"), [(n, f"{s:.1f}") for n, s in rows], right=("seconds",))
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
        Guardrail(Metric.MISSED_FRAUD, margin=1.0),
    ]
    least = max(10, min(200, len(story.live) // 20))
    return Plan(guardrails=guardrails, min_outcomes=least, label_maturity=LABEL_MATURITY)


def _traffic(story: _Story, title: str) -> Iterator[pd.DataFrame]:
    """Days of live rows, replayed as often as it takes: the keys tell the times apart."""
    rows = np.arange(DAYS * min(BATCH, len(story.live)))
    for day in np.array_split(rows, DAYS):
        chosen = story.live.iloc[day % len(story.live)]
        replay = (day // len(story.live)).astype(str)
        yield chosen.assign(transaction_id=chosen["transaction_id"].astype(str) + f"/{title}-" + replay)


def _serve(story: _Story, rows: pd.DataFrame) -> None:
    """Score a day's rows by the router, let their labels arrive, and let the day pass: then they count."""
    story.model.router(poll_seconds=0.0).predict(rows)
    known = story.model.session.now()
    story.model.outcomes.label(
        [
            CaseRecord(transaction_id=key, status=CaseStatus.CONFIRMED if label else CaseStatus.GENUINE, known_at=known)
            for key, label in zip(rows["transaction_id"], rows["label"], strict=True)
        ]
    )
    story.clock.skip(LABEL_MATURITY)
