"""What the command line and `mlflow run` do with data: train, and retrain as one job from labels to the canary."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from fds_mlflow.core.comparison import Comparison
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.errors import NotFoundError
from fds_mlflow.model import ManagedModel
from fds_mlflow.registry.grammar import dump
from fds_mlflow.registry.tags import LABELS, RETRAINING
from fds_mlflow.runtime import mlflow_client
from fds_mlflow.training import pipeline
from fds_mlflow.training.recalled import recalled
from fds_mlflow.training.search import Search
from fds_mlflow.training.split import Split
from fds_mlflow.workflows import quality
from fds_mlflow.workflows.account import Account
from fds_mlflow.workflows.preparation import Features, cut
from fds_mlflow.workflows.retraining.feedback import Beginning, Feedback, Stages
from fds_mlflow.workflows.retraining.job import Finished, Job, digest, print_of
from fds_mlflow.workflows.retraining.staging import Policy, PutForward, put_forward, start_canary
from fds_mlflow.workflows.source import Source

if TYPE_CHECKING:
    from fds_mlflow.registry.store import VersionView


def train(
    parts: Split,
    model: str,
    *,
    algorithm: str = "lightgbm",
    params: Mapping[str, Any] | None = None,
    target_fpr: float = 0.02,
    seed: int = 42,
    tags: Mapping[str, str] | None = None,
    seeds: int | None = None,
    search: Search | None = None,
) -> pipeline.Trained:
    """Train a version and register it under the model's name."""
    return pipeline.train(
        parts,
        algorithm=algorithm,
        params=params,
        target_fpr=target_fpr,
        seed=seed,
        model_name=model,
        tags=tags,
        seeds=seeds,
        search=search,
    )


@dataclass(frozen=True)
class Retrained:
    """What a retraining led to.

    Attributes:
        trained: The versions by algorithm: new ones, and those that are there already from the same.
        champion: The champion they were compared with.
        comparison: The best of them against the champion, on the same rows; None without a champion, and where all was
            done before.
        staged: The version put forward; None where the champion stays the best, or every version has warnings.
        message: One sentence for people.
        reasons: What was asked before staging, and what it said, a sentence each.
        account: What became of every label; None where there are none.
        canary: What came of the canary, a sentence; empty where none was asked for.
        repeated: All was done before from the same: nothing was trained, staged or started.
        taken_up: Versions that were there already.
        seconds: How long each stage took.
        as_of: The moment whose labels were taken, UTC.
        run_id: The MLflow run; None where all was done before.
    """

    trained: Mapping[str, pipeline.Trained]
    champion: int | None
    comparison: Comparison | None
    staged: int | None
    message: str
    reasons: tuple[str, ...] = ()
    account: Account | None = None
    canary: str = ""
    repeated: bool = False
    taken_up: tuple[int, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    as_of: datetime | None = None
    run_id: str | None = None


def retrain(
    model: ManagedModel,
    source: Source,
    *,
    algorithms: Sequence[str] | None = None,
    features: Features | None = None,
    split: str | None = None,
    gap: timedelta | None = None,
    target_fpr: float = 0.02,
    seed: int = 42,
    test_from: datetime | None = None,
    seeds: int | None = None,
    search: Search | None = None,
    labels: Feedback | None = None,
    policy: Policy | None = None,
    canary: Plan | None = None,
    force: bool = False,
    as_of: datetime | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> Retrained:
    """Train by each algorithm, compare the best version with the champion on the same rows, and stage it if it is best.

    The best of them is chosen on validation; the test rows only serve the comparison. A version with warnings is
    not staged. All is done once for the same rows, labels and settings: asked again, it says what came of it. Killed
    and started again it goes on with the versions that are there, as of the moment at which it began.

    Args:
        model: The model to train versions of.
        source: Where the transactions come from; without a schema of its own, read by the one that the champion
            declares.
        algorithms: As `train` takes them; None for both of ours.
        features: As `prepare` takes them; None for those that the champion declares, and where there is no champion or
            it declares nothing, the default ones.
        split: `time` or `stratified`; by default by time where there is one.
        gap: Time left out before validation and test; by default the label delay of the data.
        target_fpr: The threshold flags at most this share of the genuine validation rows.
        seed: Seed of everything random.
        test_from: As `cut` takes it.
        seeds: LightGBM's models of so many seeds are averaged into one; as `train` takes it. Others are as ever.
        search: Look for better parameters first, for each algorithm of ours.
        labels: Labels from a store of outcomes; None for those of the data alone. Where it gives no maturity, that of
            the canary's plan is taken.
        policy: What must hold before a version is staged; None for the default.
        canary: Start the canary of what was staged, by this plan; None to start none.
        force: Train anew, though the same was done before.
        as_of: Labels are those known by then, timezone-aware; None for now.
        on_stage: Is told each stage of the job as it begins.

    Raises:
        ConfigError: The features cannot be computed from these data, or another argument is not valid.
        ConflictError: Another retraining of the model is under way.
        DataError: The data do not fit the schema, leave a part without fraud, or no label counts.
        OutcomeUnknownError: Another retraining took over, because this one seemed dead.
    """
    names = tuple(dict.fromkeys(pipeline.ALGORITHMS if algorithms is None else algorithms))
    rest = labels, policy or Policy(), canary, force, as_of, test_from, seeds, search
    wish = _Wish(source, names, features, split, gap, target_fpr, seed, *rest)
    return _retrained(model, wish, Stages(model.session.clock.monotonic, on_stage))


@dataclass(frozen=True)
class _Wish:
    """What a retraining is asked for; its arguments."""

    source: Source
    algorithms: tuple[str, ...]
    features: Features | None
    split: str | None
    gap: timedelta | None
    target_fpr: float
    seed: int
    labels: Feedback | None
    policy: Policy
    canary: Plan | None
    force: bool
    as_of: datetime | None
    test_from: datetime | None
    seeds: int | None
    search: Search | None

    @property
    def effort(self) -> dict[str, Any]:
        """How much is done for a version, as plain values."""
        search = self.search
        return {"seeds": self.seeds, "search": None if search is None else [str(search.budget), search.trials]}

    def effort_for(self, algorithm: str) -> dict[str, Any]:
        """What an algorithm is told of it: what others of them can do, and it cannot, is not asked of it."""
        able = {"seeds": {"lightgbm"}, "search": {*pipeline.ALGORITHMS}}
        return {
            what: getattr(self, what) if algorithm in can or can.isdisjoint(self.algorithms) else None
            for what, can in able.items()
        }

    @property
    def then(self) -> list[Any]:
        """What is to be done with the versions, as plain values."""
        return [asdict(self.policy), None if self.canary is None else self.canary.to_dict()]

    @property
    def digest(self) -> str:
        """Tells it from another one."""
        of = (self.source.data, self.source.schema, self.source.table, self.source.query)
        how = (self.algorithms, self.features, self.split, self.gap, self.target_fpr, self.seed, self.force, self.as_of)
        return digest(
            [of, how, self.test_from, self.effort, None if self.labels is None else self.labels.facts, self.then]
        )


def _retrained(model: ManagedModel, wish: _Wish, watch: Stages) -> Retrained:
    """Carry out a retraining, from the labels to the canary."""
    for name in wish.algorithms:
        pipeline.check_algorithm(name)  # before the data are read
    labels = wish.labels
    if labels is not None and labels.maturity is None and wish.canary is not None:
        labels = replace(labels, maturity=wish.canary.label_maturity)
    job = Job(model, wish.digest, wish.as_of)
    with mlflow_client.tracking(f"retraining of {model.name!r}"), job.under_way():
        begin = Beginning(model, wish.source, wish.features, labels, dated=wish.as_of is not None)
        table, origins = begin.prepared(job.now, seed=wish.seed, watch=watch)
        table = quality.checked(table, quality.reference(model))
        parts = cut(table, split=wish.split, seed=wish.seed, gap=wish.gap, test_from=wish.test_from)
        job.hold()
        settings = {**parts.facts, "target_fpr": wish.target_fpr, "seed": wish.seed}
        settings |= wish.effort
        settings["anew"] = str(job.now) if wish.force else ""
        prints = {name: print_of(table, name, settings) for name in wish.algorithms}
        account = None
        if origins is not None:
            account = origins.cut(parts)
            parts = origins.told(parts, account)
        return _Making(model, job, parts, prints, account, watch=watch, wish=wish).carried_out()


class _Making:
    """The second half of a retraining: from the parts to the canary, each step once."""

    def __init__(
        self,
        model: ManagedModel,
        job: Job,
        parts: Split,
        prints: Mapping[str, str],
        account: Account | None,
        *,
        watch: Stages,
        wish: _Wish,
    ) -> None:
        self._model, self._job, self._parts, self._prints = model, job, parts, prints
        self._account, self._watch, self._wish = account, watch, wish
        self._asked = digest([sorted(prints.values()), wish.then])
        self._known = job.made(prints)
        self._taken_up: list[int] = []

    def carried_out(self) -> Retrained:
        """Train what is not there yet, put the best forward, start its canary, and have the versions remember it."""
        done = self._job.finished(self._known, self._asked) if len(self._known) == len(self._prints) else None
        if self._model.session.dry_run:
            return self._foreseen(done)
        if done is not None:
            return self._repeated(done)
        with self._job.run() as run_id:
            trained = {name: self._trained(name, mark) for name, mark in self._prints.items()}
            self._job.require()
            with self._watch("compare"):
                put = put_forward(
                    self._model, self._parts, trained, self._wish.seed, policy=self._wish.policy, account=self._account
                )
            told = self._canary(put)
            made = Retrained(
                trained,
                put.champion,
                put.comparison,
                put.staged,
                put.message,
                put.reasons,
                self._account,
                told,
                taken_up=tuple(self._taken_up),
                seconds=dict(self._watch.seconds),
                as_of=self._job.now,
                run_id=run_id,
            )
            _log(made)
            versions = [each.version for each in trained.values() if each.version is not None]
            self._job.finish(versions, self._asked, Finished(put.staged, put.champion, put.message, told))
        return made

    def _trained(self, name: str, mark: str) -> pipeline.Trained:
        """The version by an algorithm: one that is there, or a new one."""
        before = self._recalled(self._known.get(name))
        if before is not None:
            self._taken_up.append(int(before.version or 0))
            return before
        self._job.require()
        tags = {RETRAINING: mark}
        if self._account is not None:
            tags[LABELS] = dump({**self._account.said, "as_of": f"{self._job.now:%Y-%m-%dT%H:%M:%SZ}"})
        with self._watch(f"train {name}"):
            return train(
                self._parts,
                self._model.name,
                algorithm=name,
                target_fpr=self._wish.target_fpr,
                seed=self._wish.seed,
                tags=tags,
                **self._wish.effort_for(name),
            )

    def _canary(self, put: PutForward) -> str:
        plan = self._wish.canary
        if plan is None:
            return ""
        if put.staged is None:
            return "no canary: nothing was staged"
        self._job.require()
        with self._watch("canary"):
            return start_canary(self._model, put.staged, plan, self._parts)

    def _foreseen(self, done: Finished | None) -> Retrained:
        """What would be done, as far as it is known before anything has been trained."""
        champion, wish = None, self._wish
        with suppress(NotFoundError):  # its first training
            champion = self._model.session.look().champion_alias
        known = tuple(sorted(view.version for view in self._known.values()))
        if done is not None:
            said = f"dry run: nothing is new, and nothing would be trained: {done.message}"
        else:
            new = [name for name in self._prints if name not in self._known]
            said = f"dry run: would train {' and '.join(new) or 'nothing'} on {len(self._parts.train):,} rows"
            said += f", compare the best with champion {champion}" if champion is not None else ""
            said += f", and put it forward ({wish.policy.stage.value})"
            said += "" if wish.canary is None else ", then start its canary"
        return Retrained(
            {},
            champion,
            None,
            None,
            said,
            account=self._account,
            repeated=done is not None,
            taken_up=known,
            seconds=dict(self._watch.seconds),
            as_of=self._job.now,
        )

    def _repeated(self, done: Finished) -> Retrained:
        """What came of the same before."""
        import mlflow

        told = {name: self._recalled(view) for name, view in self._known.items()}
        numbers = sorted(view.version for view in self._known.values())
        which = f"version{'s' if len(numbers) > 1 else ''} {' and '.join(map(str, numbers))}"
        made = Retrained(
            {name: each for name, each in told.items() if each is not None},
            done.champion,
            None,
            done.staged,
            f"nothing is new: the same rows, labels and settings made {which}, and then: {done.message}",
            account=self._account,
            canary=done.canary,
            repeated=True,
            taken_up=tuple(numbers),
            seconds=dict(self._watch.seconds),
            as_of=self._job.now,
        )
        self._job.close_interrupted()
        if os.environ.get("MLFLOW_RUN_ID") and mlflow.active_run() is None:  # `mlflow run` has made a run for it
            with self._job.run():
                mlflow.set_tags({"fds.staged": str(made.staged), "fds.message": made.message})
        return made

    def _recalled(self, view: VersionView | None) -> pipeline.Trained | None:
        from mlflow import MlflowClient

        return None if view is None else recalled(MlflowClient(), view)


def _log(made: Retrained) -> None:
    """Have the active run say what came of it; saying it twice changes nothing."""
    import mlflow

    mlflow.set_tags({"fds.staged": str(made.staged), "fds.message": made.message, "fds.canary": made.canary})
    figures = {f"seconds_{stage.replace(' ', '_')}": value for stage, value in made.seconds.items()}
    if made.comparison is not None:
        figures |= {f"difference_{each.metric}": each.difference for each in made.comparison.deltas}
    if made.account is not None:
        figures |= made.account.figures
        table = made.account.table
        mlflow.log_dict({"columns": list(table), "data": list(zip(*table.values(), strict=True))}, "labels.json")
    mlflow.log_metrics(figures)
    mlflow.log_dict({"reasons": list(made.reasons), "as_of": str(made.as_of)}, "decision.json")
