"""Adopts a model that is there already: finds its scores, chooses its threshold, and makes a version of it servable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fds_mlflow.display.characters import markdown
from fds_mlflow.errors import ConfigError, FdsError, NotFoundError, RefusedError
from fds_mlflow.features import declaration
from fds_mlflow.model import ManagedModel
from fds_mlflow.registry import doubts, grammar, registration, tags, texts
from fds_mlflow.registry.store import SetVersionTag, VersionView, Write
from fds_mlflow.registry.view import View
from fds_mlflow.scoring import wrapped
from fds_mlflow.scoring.finding import Finding, find
from fds_mlflow.scoring.output import scoring
from fds_mlflow.scoring.scorer import Scorer
from fds_mlflow.scoring.trial import tried
from fds_mlflow.training import pipeline
from fds_mlflow.workflows.adoption.original import Original, addressed, original, tagged
from fds_mlflow.workflows.adoption.rows import Rows, rows_of, signature_of
from fds_mlflow.workflows.adoption.threshold import Threshold, choose

if TYPE_CHECKING:
    import pandas as pd


_EMPTY = {doubts.ADOPTION: "[]", tags.TARGET_FPR: "", tags.SCORE: "{}"}
"""Values that say no more than the tag's absence."""


@dataclass(frozen=True)
class Adopted:
    """What came of an adoption.

    Attributes:
        version: The version that can be promoted now.
        adopted: Address of what was adopted.
        created: Whether the version was registered for it.
        wrapped: Whether it wraps a copy of the original, for the signature or input example that lacked.
        changed: Whether anything was written; not where it was adopted so before.
        positive: The class or column that counts as fraud; None where the answer was the score already.
        threshold: The score from which a transaction is flagged.
        score: How its answers become scores; empty where they are.
        metrics: On the data; empty without labels.
        warnings: What could not be checked or should be known; they stay with the version.
        message: One sentence for people.
    """

    version: int
    adopted: str
    created: bool
    wrapped: bool
    changed: bool
    positive: Any
    threshold: float
    score: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    message: str = ""


def adopt(
    model: ManagedModel,
    source: int | str,
    *,
    data: pd.DataFrame | None = None,
    label: str | None = None,
    positive_class: object = None,
    threshold: float | None = None,
    target_fpr: float | None = None,
    reason: str = "",
) -> Adopted:
    """Make a version of the model out of any MLflow model, and stage it.

    Where tags can say how its answers become scores, they are all that is written: to the version that the source is,
    or to a new one with the same source. Where a signature or an input example lacks and data are given, a new version
    wraps a copy of it. The original's run, files and source stay as they were.

    Args:
        model: The model that it becomes a version of; it is registered where there is none of that name.
        source: A version's number, a run's id, any address that MLflow loads a model from, or a folder.
        data: Rows with the model's own columns, and the label where it is known; None for none.
        label: Name of the label's column; None for `label`, or the only other column that is named like one.
        positive_class: The class or column that counts as fraud; None for the one that says so.
        threshold: The score from which a transaction is flagged; None to choose it.
        target_fpr: The threshold flags at most this share of the genuine rows; 0.02 by default where data are given.
        reason: Why, for the history.

    Raises:
        ConfigError: Arguments that do not go together, or are out of range; a reason that is too long;
            what it declares of its inputs is broken.
        DataError: The data do not fit the model.
        NotFoundError: There is no such version, run or model.
        RefusedError: It answers no scores, does not load, or takes part in a rollout.
    """
    if threshold is not None and target_fpr is not None:
        raise ConfigError("a threshold and a target false positive rate are given", fix="give one of the two")
    reason = texts.checked_reason(reason)
    texts.checked_model(model.name)
    found = original(model.session, source)
    rows = rows_of(found.loaded, data, label)
    finding = find(found.loaded, rows.tried, positive_class)
    over_http = str(getattr(model.session.store, "uri", "")).startswith("http")
    wraps = rows.can_tell or (found.is_folder and over_http)
    there = found.view if found.view is not None and not wraps else None
    there = there or tagged(model.session, *_mark(found.called, finding, wraps=wraps))
    known = there or found.view
    before = _threshold_before(known, finding)
    asked = data is not None or threshold is not None or target_fpr is not None
    if before is not None and not asked and known is not None and tags.ADOPTED in known.tags:
        return _again(model, known, finding, before, reason)
    chosen = choose(finding, rows, threshold, target_fpr, before)
    return _written(model, _Material(found, rows, finding, chosen, there, wraps), reason)


@dataclass(frozen=True)
class _Material:
    """What an adoption rests on; `wraps` where a version has to say what the original does not, or to hold a copy."""

    found: Original
    rows: Rows
    finding: Finding
    chosen: Threshold
    there: VersionView | None
    wraps: bool


def _written(model: ManagedModel, of: _Material, reason: str) -> Adopted:
    """Write it down: tags on the version that is there, else a new version."""
    there, uri = of.there, of.found.called
    made = Adopted(
        version=0 if there is None else there.version,
        adopted=uri if there is None else there.tags.get(tags.ADOPTED, uri),
        created=there is None,
        wrapped=of.wraps,
        changed=there is None,
        positive=of.finding.positive,
        threshold=of.chosen.value,
        score=json.loads(of.finding.output.to_tag()),
        metrics=of.chosen.metrics,
        warnings=(*of.finding.warnings, *(() if of.rows.can_tell else of.rows.warnings), *of.chosen.warnings),
    )
    own = _tags(made, of)
    if not of.wraps:
        _tried(of.found, own)
    if there is not None:
        made = replace(made, changed=_marked(model, there, own))
    elif model.session.dry_run:
        made = replace(made, version=1 + max((view.version for view in _versions(model)), default=0))
    elif of.wraps:
        made = replace(made, version=_wrap(model, of, _said(own)))
    else:
        made = replace(made, version=_register(model, of.found, _said(own)))
    return replace(made, message=_message(model, made, reason))


def _mark(uri: str, finding: Finding, *, wraps: bool) -> tuple[str, str]:
    """The tag that says what a version was adopted from, with its value; one that wraps has one way to scores."""
    return (tags.WRAPS, f"{uri} {finding.output.to_tag()}") if wraps else (tags.ADOPTED, uri)


def _tags(made: Adopted, of: _Material) -> dict[str, str]:
    """The tags of an adopted version; how its answers become scores is written last."""
    declared = declaration.read(of.found.folder)
    return {
        **({} if declared is None else {declaration.KEY: declared.digest}),
        **dict([_mark(made.adopted, of.finding, wraps=of.wraps)]),
        doubts.ADOPTION: doubts.written(made.warnings),
        tags.TARGET_FPR: "" if of.chosen.target_fpr is None else repr(of.chosen.target_fpr),
        tags.THRESHOLD: repr(made.threshold),
        **({} if made.wrapped else {tags.FILES: of.found.digest}),
        tags.SCORE: "{}" if made.wrapped else grammar.dump(made.score),
    }


def _said(own: Mapping[str, str]) -> dict[str, str]:
    """The tags that say something."""
    return {name: value for name, value in own.items() if _EMPTY.get(name) != value}


def _threshold_before(view: VersionView | None, finding: Finding) -> float | None:
    """The threshold that a version has; None where it is of other scores, such as the other class's."""
    if view is None or not tags.is_threshold(view.tags.get(tags.THRESHOLD)):
        return None
    otherwise = tags.ADOPTED in view.tags and view.tags.get(tags.SCORE, "{}") != finding.output.to_tag()
    return None if otherwise else float(view.tags[tags.THRESHOLD])


def _again(model: ManagedModel, known: VersionView, finding: Finding, threshold: float, reason: str) -> Adopted:
    """A version that was adopted before, asked for again without a word about its threshold: all stays as it is."""
    made = Adopted(
        version=known.version,
        adopted=known.tags[tags.ADOPTED],
        created=False,
        wrapped=False,
        changed=False,
        positive=finding.positive,
        threshold=threshold,
        score=json.loads(finding.output.to_tag()),
        warnings=doubts.warnings_of({doubts.ADOPTION: known.tags.get(doubts.ADOPTION, "[]")}),
    )
    return replace(made, message=_message(model, made, reason))


def _versions(model: ManagedModel) -> list[VersionView]:
    try:
        return model.session.versions()
    except NotFoundError:
        return []


def _marked(model: ManagedModel, there: VersionView, own: Mapping[str, str]) -> bool:
    """Write the tags that differ, under the exclusion; whether there were any.

    Raises:
        RefusedError: The version takes part in a rollout, whose evidence would mean two things; or it serves under a
            policy that asks for approvals.
    """
    changes = {name: value for name, value in own.items() if there.tags.get(name, _EMPTY.get(name)) != value}
    if not changes:
        return False

    def planned(view: View) -> list[Write]:
        rollout = view.rollout
        takes_part = rollout is not None and there.version in (rollout.champion, rollout.canary)
        if takes_part and changes.keys() != {tags.FILES}:
            raise RefusedError(
                f"version {there.version} takes part in a rollout: what it answers may not change now",
                fix="end the rollout first (`fds canary complete MODEL`, `fds canary abort MODEL --reason WHY`)",
            )
        if view.policy.require and there.version == view.champion_alias and changes.keys() != {tags.FILES}:
            raise RefusedError(
                f"version {there.version} serves, and the model's policy asks for approvals: what it answers may not"
                " change without one",
                fix="register it as a new version, adopt that, and promote it",
            )
        return [SetVersionTag(there.version, name, value) for name, value in changes.items()]

    model.session.transactions.write_alone(model.name, planned, actor=model.session.actor)
    return True


def _register(model: ManagedModel, found: Original, own: Mapping[str, str]) -> int:
    """A new version with the original's own source."""
    import mlflow

    with addressed(model.session):
        if found.source is None:
            return int(mlflow.register_model(found.uri, model.name, tags=dict(own)).version)
        said = f"Adopted from {markdown(found.called)}."
        return registration.register(
            model.name, found.source, found.run_id, tags=own, description=said, model_id=found.model_id
        )


def _wrap(model: ManagedModel, of: _Material, own: dict[str, str]) -> int:
    """A new version that wraps a copy of the original, under a run that says what was measured on the data."""
    import mlflow

    output, found, frame = of.finding.output, of.found, of.rows.frame
    signature, example = found.loaded.metadata.signature, found.loaded.input_example
    declared = declaration.read(found.folder)
    if frame is not None and of.rows.lacking:
        signature, example = signature_of(found.loaded, frame, output, of.finding.scores)
    with addressed(model.session):
        experiment = pipeline.experiment_id(f"fds/{model.name}", given=None)
        nested = mlflow.active_run() is not None
        with mlflow.start_run(experiment_id=experiment, run_name="adopt", nested=nested, tags=own) as run:
            mlflow.log_metrics(dict(of.chosen.metrics))
            noted = {name: value for name, value in own.items() if name == declaration.KEY}
            info = wrapped.log(found.folder, output, signature=signature, example=example, tags=own, metadata=noted)
            if declared is not None:  # what it takes is computed as before
                declaration.log(info.model_id, declared.spec, declared.schema)
            said = f"Wraps a copy of {markdown(found.called)}."
            run_id = run.info.run_id
            return registration.register(
                model.name, info.model_uri, run_id, tags=own, description=said, model_id=info.model_id
            )


def _tried(found: Original, own: Mapping[str, str]) -> None:
    """Ask it as a server will be asked, where it has an example.

    Raises:
        RefusedError: It does not answer.
    """
    loaded = scoring(found.loaded, own[tags.SCORE])
    try:
        tried(Scorer.of(0, float(own[tags.THRESHOLD]), loaded, found.folder))
    except FdsError as error:
        raise RefusedError(f"{found.uri} does not score its own input example: {error.what}", fix=error.fix) from None


def _message(model: ManagedModel, made: Adopted, reason: str) -> str:
    """Put the version forward where it does not serve; all that was done, for people."""
    how = "its tags say how its answers become scores" if made.score else "its answers are scores as they are"
    how = "it wraps a copy" if made.wrapped else how
    adopted = "is adopted" if made.changed else "was adopted just so before,"
    positive = "" if made.positive is None else f", {made.positive!r} counts as fraud"
    said = f"{made.adopted} {adopted} as version {made.version} of {model.name}: {how}{positive}"
    if made.created and model.session.dry_run:
        return f"{said}, a new one, flags from {made.threshold:.6g}; it would be a candidate (Staging)"
    overview = model.session.look()
    if made.version in (overview.champion_alias, overview.canary_alias):
        staged = "it serves already, and what serves it follows within a poll"
    else:
        staged = model.stage(made.version, reason=reason or f"adopted {made.adopted}"[: texts.MAX_REASON // 4]).message
    return f"{said}, flags from {made.threshold:.6g}; {staged}"
