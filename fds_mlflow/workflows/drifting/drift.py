"""Whether inputs, scores and fraud rates have drifted from a version's training, logged as a run of the model."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from fds_mlflow.core.lifecycle.verdict import Status
from fds_mlflow.display.characters import markdown
from fds_mlflow.errors import ConfigError, NotFoundError, RefusedError
from fds_mlflow.features import drift as effects
from fds_mlflow.features import profile as profiles
from fds_mlflow.features.drift import Change
from fds_mlflow.features.profile import Profile, Scored
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.features.table import FeatureTable
from fds_mlflow.features.test_set import read_test_set
from fds_mlflow.runtime import mlflow_client
from fds_mlflow.scoring.earlier import score_table
from fds_mlflow.training.pipeline import experiment_id
from fds_mlflow.workflows.drifting import rows as row_sources
from fds_mlflow.workflows.drifting.rows import Rows

if TYPE_CHECKING:
    import pandas as pd

    from fds_mlflow.features.declaration import Declared
    from fds_mlflow.model import ManagedModel
    from fds_mlflow.scoring.scorer import Scorer
    from fds_mlflow.workflows.source import Source

_NAMED = 5
"""Quantities that the reason names."""

_RATES = ("flagged rate", "fraud rate")


@dataclass(frozen=True)
class Drift:
    """What a version is given beside its training.

    Attributes:
        model: The registered model.
        version: The version.
        status: FAIL where anything has drifted, NODATA where the rows are too few to tell, else PASS.
        reason: Why, in one sentence.
        rows: Rows that were compared.
        source: Where they come from.
        first: Time of the first of them, UTC; None without times.
        last: That of the last.
        reference: What they are compared with, for people.
        changes: Each quantity, what drifted first: scores and rates, then features.
        notes: What was left out, a sentence each.
        run_id: The MLflow run that has it all.
    """

    model: str
    version: int
    status: Status
    reason: str
    rows: int
    source: str
    first: datetime | None
    last: datetime | None
    reference: str
    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()
    run_id: str = ""

    @property
    def drifted(self) -> tuple[Change, ...]:
        """What has."""
        return tuple(one for one in self.changes if one.status is Status.FAIL)


def drift(
    model: ManagedModel,
    source: Source | None = None,
    *,
    version: int | None = None,
    since: timedelta | None = None,
    limit: float = effects.LIMIT,
) -> Drift:
    """Compare transactions, or what was served, with the training of a version; the run is in the model's experiment.

    Args:
        model: The model.
        source: The transactions, and those before them that windows look back at; None for what was served.
        version: The version; None for the champion.
        since: Compare the newest rows of so long; None for all whose windows are full.
        limit: Population stability index from which on there is a drift.

    Raises:
        NotFoundError: There is no version, nothing was recorded of it, or nothing is known of its training.
        RefusedError: The version declares no features, and transactions are given; or its files are not those recorded.
        ConfigError: The limit is not above 0, or the features need what the data do not have.
        DataError: The data do not fit the schema.
    """
    if not limit > 0:
        raise ConfigError(f"the limit of {limit} is not above 0", fix="give a stability index, such as 0.25")
    number = model.overview().champion if version is None else version
    if number is None:
        raise NotFoundError(f"{model.name!r} has no champion", fix="name a version: --version")
    declared, profile = model.session.described(number)
    scorer = model.scorer(number)
    reference, notes = _reference(model, scorer, profile)
    rows = _rows(model, number, declared, reference, source=source, since=since)
    changes = _changes(reference, rows, score_table(scorer, rows.features), scorer.threshold, limit)
    changes = tuple(map(partial(_uncertain, rows.cold), changes))
    if declared is not None:  # a column that has drifted is why its windows have
        plain = (*declared.spec.numeric, *declared.spec.categorical, *_RATES, "score")
        changes = tuple(sorted(changes, key=lambda one: (one.status is not Status.FAIL, one.name not in plain)))
    status = _status(changes)
    first, last = rows.period or (None, None)
    found = Drift(
        model.name,
        number,
        status,
        _reason(status, changes),
        len(rows.features),
        rows.source,
        first,
        last,
        _described(reference),
        changes,
        (*notes, *rows.notes),
    )
    return replace(found, run_id=_logged(found))


def _rows(
    model: ManagedModel,
    version: int,
    declared: Declared | None,
    reference: Profile,
    *,
    source: Source | None,
    since: timedelta | None,
) -> Rows:
    """The rows to compare; arguments and errors as for `drift`."""
    if source is None or source.served is not None:
        if source is not None and source.served != model.name:
            raise ConfigError(
                f"{source.data} is not what {model.name!r} was served", fix=f"write outcomes:{model.name}"
            )
        return row_sources.served(model, version, declared, reference, since)
    if declared is None:
        raise RefusedError(
            f"version {version} of {model.name!r} declares no features, so none can be computed of {source.data}",
            fix="leave out --data to look at what was served, or train it again",
        )
    return row_sources.of_source(source, declared, since)


def _reference(model: ManagedModel, scorer: Scorer, profile: Profile | None) -> tuple[Profile, tuple[str, ...]]:
    """The profile of a version's training; what an earlier one lacks is taken from the test rows of its run.

    Raises:
        NotFoundError: It has neither.
    """
    if profile is not None and profile.scores:
        return profile, ()
    import mlflow

    view = model.session.version(scorer.version)
    client = mlflow.MlflowClient(model.session.tracking_uri, model.session.registry_uri)
    with mlflow_client.tracking(f"test rows of version {scorer.version}"):
        test = None if view.run_id is None else read_test_set(client, view.run_id)
    if test is None and profile is None:
        raise NotFoundError(
            f"nothing is known of the training of version {scorer.version} of {model.name!r}: it has no profile, and"
            " its run no test rows",
            fix="train it again (fds train): versions have a profile of their training",
        )
    if test is None:
        return profile or Profile(0, {}, {}), (
            "scores are not compared: the version was trained before they were kept",
        )
    made = _of_test_set(test, scorer)
    if profile is None:
        return made, ("the version has no profile of its training: the test rows of its run stand for it",)
    more = {name: getattr(made, name) for name in ("scores", "scored", "flagged", "fraud_rate", "worth")}
    return msgspec.structs.replace(profile, **more), ("scores are compared with those of its run's test rows",)


def _of_test_set(test: pd.DataFrame, scorer: Scorer) -> Profile:
    features = [name for name in test.columns if name not in ("label", "label_propensity")]
    categories = [name for name in features if test[name].dtype.kind not in "biuf"]
    spec = FeatureSpec(numeric=tuple(n for n in features if n not in categories), categorical=tuple(categories))
    table = FeatureTable(test, features, categories, spec, "", "", None)
    return profiles.of(table, scored=Scored(score_table(scorer, table.x), table.weight, scorer.threshold))


def _described(reference: Profile) -> str:
    said = f"{reference.rows:,} rows of its training"
    return f"{said}, {reference.first[:10]} to {reference.last[:10]}" if reference.first else said


def _changes(
    reference: Profile, rows: Rows, scores: np.ndarray[Any, Any], threshold: float, limit: float
) -> tuple[Change, ...]:
    columns = {str(name): rows.features[name].to_numpy() for name in rows.features}
    together = len(columns) + 1 + len(_RATES)
    found = [effects.score(reference, scores, limit=limit, together=together)]
    wander = {name: reference.wander.get(name, (1.0, 0.0))[0] for name in _RATES}
    if reference.flagged is not None:
        before, now = (reference.flagged, reference.scored), (_mean(scores >= threshold), len(scores))
        found.append(effects.rate("flagged rate", before, now, together=together, wander=wander["flagged rate"]))
    known = reference.labelled
    if known is not None and rows.labels is not None:
        labels, weight = rows.labels
        of_labels = (float(np.average(labels, weights=weight)) if len(labels) else 0.0, profiles.worth(weight))
        found.append(effects.rate("fraud rate", known, of_labels, together=together, wander=wander["fraud rate"]))
    of_features = effects.features(reference, columns, limit=limit, together=together)
    return tuple(sorted([one for one in found if one], key=_order) + sorted(of_features, key=_order))


def _uncertain(cold: frozenset[str], one: Change) -> Change:
    """No answer about what rests on windows that reach back before the data."""
    if one.name in cold or (cold and one.name in ("score", "flagged rate")):
        return replace(one, status=Status.NODATA, reason=f"{one.name}: windows reach back before the data begin")
    return one


def _mean(values: np.ndarray[Any, Any]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _order(one: Change) -> bool:
    return one.status is not Status.FAIL


def _status(changes: tuple[Change, ...]) -> Status:
    """A drift anywhere is one; rates that few cases tell nothing about keep nothing else from being told."""
    if any(one.status is Status.FAIL for one in changes):
        return Status.FAIL
    told = [one.status for one in changes if one.name not in _RATES]
    return Status.NODATA if not told or Status.NODATA in told else Status.PASS


def _reason(status: Status, changes: tuple[Change, ...]) -> str:
    drifted = [one for one in changes if one.status is Status.FAIL]
    if drifted:
        said = "; ".join(one.reason for one in drifted[:_NAMED])
        more = f"; and {len(drifted) - _NAMED} more" if len(drifted) > _NAMED else ""
        return f"{len(drifted)} of {len(changes)} quantities have drifted, so train again: {said}{more}"
    if status is Status.NODATA:
        open_ = [one for one in changes if one.status is Status.NODATA and one.name not in _RATES]
        return f"the rows are too few to tell: {open_[0].reason}" if open_ else "there is nothing to compare"
    farthest = max((one for one in changes if one.name not in _RATES), key=lambda one: one.part or 0.0)
    return f"nothing has drifted; nearest to it is {farthest.reason}"


def _logged(found: Drift) -> str:
    """A run of the model's experiment with the metrics, the table, the plot and the reason."""
    import mlflow

    from fds_mlflow.training.plots import DPI
    from fds_mlflow.workflows.drifting.plot import drawn

    active = mlflow.active_run()
    with (
        mlflow_client.tracking(f"drift of {found.model!r}"),
        mlflow.start_run(
            experiment_id=experiment_id(f"fds/{found.model}", given=None) if active is None else None,
            run_name=f"drift of version {found.version}",
            nested=active is not None,
            tags={
                "fds.drift": found.status.value,
                "fds.version": str(found.version),
                "fds.source": found.source[:500],
                "fds.message": found.reason[:4_900],
                "mlflow.note.content": _note(found),
            },
        ) as run,
    ):
        mlflow.log_metrics(_metrics(found))
        said = msgspec.to_builtins(asdict(found), enc_hook=str)
        mlflow.log_dict(said, "drift.json")
        mlflow.log_figure(drawn(found), "plots/drift.png", save_kwargs={"dpi": DPI})
        return str(run.info.run_id)


def _metrics(found: Drift) -> dict[str, float]:
    """Effects by quantity, and how many have drifted; characters that MLflow has not in names are left out of them."""
    made: dict[str, float] = {"drifted": float(len(found.drifted)), "rows": float(found.rows)}
    for one in found.changes:
        if one.effect is not None:
            kind = "ratio" if one.kind == "rate" else "stability_index"
            made[f"{kind}/{re.sub(r'[^A-Za-z0-9_. -]', '_', one.name)[:150]}"] = min(one.effect, 1e9)
    return made


def _note(found: Drift) -> str:
    """The run's description."""
    lines = [f"**{found.status}**: {markdown(found.reason)}.", "", "| | training | now | effect | limit | |"]
    lines.append("|---|---|---|---|---|---|")
    for one in found.changes[:20]:
        effect = "" if one.effect is None else f"{one.effect:.3g}"
        cells = (one.name, one.before, one.now, effect, f"{one.limit:.3g}", one.status.value)
        lines.append(f"| {' | '.join(markdown(cell) for cell in cells)} |")
    return "\n".join(lines)[:4_900]
