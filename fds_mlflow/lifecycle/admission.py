"""Before a version gets traffic: compare it offline with the champion, where labelled rows are at hand."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fds_mlflow.core.comparison import Comparison
from fds_mlflow.core.comparison import compare as compare_scores
from fds_mlflow.core.lifecycle.operations import Target
from fds_mlflow.errors import DataError, FdsError, RefusedError
from fds_mlflow.lifecycle.reports import Validation
from fds_mlflow.registry.transaction import Result
from fds_mlflow.registry.view import View
from fds_mlflow.scoring.earlier import score_table

if TYPE_CHECKING:
    import pandas as pd

    from fds_mlflow.features.table import FeatureTable
    from fds_mlflow.lifecycle.session import Session
from fds_mlflow.scoring.scorer import Scorer

log = logging.getLogger(__name__)

Labels = np.ndarray[tuple[int], np.dtype[np.int8]]
Scores = npt.NDArray[np.float64]

LABEL = "label"
CHANCE = "label_propensity"
N_BOOT = 200
"""Bootstrap samples of a comparison that a promotion waits for."""


def compare(
    baseline: Scorer,
    candidate: Scorer,
    data: pd.DataFrame | FeatureTable,
    *,
    label: str = LABEL,
    n_boot: int = N_BOOT,
    seed: int = 42,
    known: Scores | None = None,
    propensity: str | None = None,
) -> Comparison:
    """Score two versions on the same labelled rows, each with the columns it needs, and compare them.

    Args:
        baseline: Usually the champion.
        candidate: The version that might replace it.
        data: The rows.
        label: Name of the label's column, 1 = fraud.
        n_boot: Bootstrap samples of the intervals.
        seed: Seed of the bootstrap.
        known: The baseline's scores of these rows, where they are there already.
        propensity: Name of the column with the chance that a row has a label, above 0 and at most 1: that of what was
            let pass to explore, or of a reviewed sample; empty for 1. None for the column `label_propensity`, where
            there is one: else every row has a label.

    Raises:
        DataError: A column is missing, a label is not 0 or 1, or one class is missing; or the versions mean different
            things by one column.
    """
    require_one_meaning(baseline, candidate)
    frame = _frame(data)
    labels = _labels(frame, label)
    propensity = propensity or (CHANCE if CHANCE in frame.columns else None)
    rows = _untold(frame, label, propensity)
    return compare_scores(
        labels,
        score_table(baseline, rows) if known is None else known,
        score_table(candidate, rows),
        thresholds=(baseline.threshold, candidate.threshold),
        random=np.random.default_rng(seed),
        n_boot=n_boot,
        weights=None if propensity is None else 1 / _chances(frame, propensity),
    )


def require_one_meaning(baseline: Scorer, candidate: Scorer) -> None:
    """Refuse to score two versions on the same rows where they declare different things by one name.

    Raises:
        ConfigError: A declaration is broken.
        DataError: They do.
    """
    from fds_mlflow.features import declaration
    from fds_mlflow.features.conflicts import conflicts

    folders = [Path(scorer.folder) for scorer in (baseline, candidate) if scorer.folder]
    declared = [declaration.read(folder) for folder in folders if (folder / "MLmodel").is_file()]
    specs = [found.spec for found in declared if found is not None]
    different = conflicts(*specs) if len(specs) == 2 else []
    if different:
        raise DataError(
            f"versions {baseline.version} and {candidate.version} mean different things by the feature"
            f" {different[0]!r}, so no row fits both",
            fix="give the feature of one of them another name",
        )


def _untold(frame: pd.DataFrame, *truth: str | None) -> pd.DataFrame:
    """The rows without what tells their label: a model that takes every column would be given the truth."""
    return frame.drop(columns=[name for name in (truth or (LABEL, CHANCE)) if name in frame.columns])


def _chances(frame: pd.DataFrame, column: str) -> Scores:
    """With what chance each row has a label."""
    if column not in frame.columns:
        raise DataError(f"there is no column {column!r} of chances", fix="name the column, or leave propensity= out")
    chances = frame[column].to_numpy(dtype=np.float64, na_value=1.0)
    wrong = ~((chances > 0) & (chances <= 1))
    if wrong.any():
        raise DataError(
            f"{column} holds {int(wrong.sum()):,} values that are no chances",
            fix="give numbers above 0 and at most 1, and leave out rows that never have a label",
        )
    return chances


class Admission:
    """The check of an operation that gives a version traffic: it may serve, and is not clearly worse than the champion.

    Args:
        session: With the model.
        allow_new_columns: The version may need columns that the champion does not.
        data: Labelled rows to compare on; None for the test set that was logged with the version's run.
        force: Go on although the version is clearly worse.
    """

    def __init__(
        self,
        session: Session,
        *,
        allow_new_columns: bool = False,
        data: pd.DataFrame | FeatureTable | None = None,
        force: bool = False,
    ) -> None:
        self._session = session
        self._validated = session.validated(allow_new_columns, on_passed=self._passed)
        self._doubts: tuple[str, ...] = ()
        self._data = data
        self._force = force
        self._made: dict[int, tuple[Comparison | None, str]] = {}
        self._last: tuple[Comparison | None, str] = (None, "")

    def __call__(self, view: View, target: Target) -> Target:
        """Refuse a target that may not serve, or is clearly worse without force; else mark what was forced.

        Raises:
            RefusedError: It may not serve, or is clearly worse than the champion.
            DataError: The given rows have no labels, or not the columns that the version needs.
        """
        target = self._validated(view, target)
        champion, version = view.champion_alias, target.version
        if version is None or champion == version:
            return target
        if champion is None:
            self._last = (None, "there is no champion to compare with" if self._data is not None else "")
            return target
        if champion not in self._made:  # a try that met somebody else is made again, the comparison is not
            self._made[champion] = self._compared(champion, version)
        comparison, said = self._last = self._made[champion]
        if comparison is None or not comparison.clearly_worse:
            return target
        if not self._force:
            raise RefusedError(
                f"version {version} is {comparison.in_short} {said}",
                fix="train a better version (`fds compare MODEL VERSION VERSION` shows all metrics), or go on by"
                " force with a reason (`--force --reason WHY`, in Python force=True)",
            )
        return replace(target, forced=True)

    def _passed(self, validation: Validation) -> None:
        self._doubts = validation.doubts

    def told(self, result: Result) -> Result:
        """The result with what the comparison said, and what could not be checked."""
        comparison, said = self._last
        if not result.changed:
            return result
        result = replace(result, warnings=self._doubts)
        if not said:
            return result
        judged = f"offline {comparison.in_short} {said}" if comparison is not None else f"not compared offline: {said}"
        return replace(result, message=f"{result.message}; {judged}", comparison=comparison)

    def _compared(self, champion: int, version: int) -> tuple[Comparison | None, str]:
        """The comparison, if there can be one, and what to say about it."""
        if self._data is None:
            return self._compared_on_own(champion, version)
        made, said = self._compared_on(_frame(self._data), "the given", champion, version)
        if made is not None:
            return made, said
        own, more = self._compared_on_own(champion, version)  # rows that fit no champion must not open the way
        return own, more if own is not None else f"{said}; {more}"

    def _compared_on_own(self, champion: int, version: int) -> tuple[Comparison | None, str]:
        """As `_compared`, on the rows that were logged with the version's run."""
        try:
            found = self._own_test_set(champion, version)
        except Exception as error:  # whatever the artifact store raises: a promotion does not depend on it
            log.info("the test set of version %s could not be read", version, exc_info=True)
            return None, f"the test set of version {version} cannot be read ({type(error).__name__})"
        if isinstance(found, str):
            return None, found
        try:
            return self._compared_on(found, f"version {version}'s own test", champion, version)
        except DataError as error:
            return None, error.what

    def _compared_on(
        self, frame: pd.DataFrame, rows: str, champion: int, version: int
    ) -> tuple[Comparison | None, str]:
        """The comparison on these rows, or that the champion cannot score them; what else is wrong with them raises."""
        _labels(frame, LABEL, fix=f"add it, 1 = fraud, or compare on the rows that were logged with version {version}")
        if frame.empty:
            raise DataError("there are no rows to compare on", fix="give some, or leave them out")
        self._session.scorer(version).score(_untold(frame).head(1))  # what it needs is asked of the rows first
        try:
            baseline = self._session.scorer(champion)
            require_one_meaning(baseline, self._session.scorer(version))
            known = score_table(baseline, _untold(frame))
        except FdsError as error:
            return None, f"champion {champion} cannot score these rows ({error.what})"
        made = compare(baseline, self._session.scorer(version), frame, known=known)
        return made, f"champion {champion} {_described(made, rows)}"

    def _own_test_set(self, champion: int, version: int) -> pd.DataFrame | str:
        """The labelled rows that were logged with a version's run, or why there are none."""
        from mlflow import MlflowClient

        from fds_mlflow.features.test_set import learned_from, read_test_set

        client = MlflowClient(self._session.tracking_uri)
        mine, theirs = (self._session.version(number).run_id for number in (version, champion))
        frame = None if mine is None else read_test_set(client, mine)
        if mine is None or frame is None:
            return f"no labelled rows are logged with version {version} (give some: `--data`, in Python data=)"
        overlap = None if theirs is None else learned_from(client, theirs, mine)
        return frame if overlap is None else f"no fair rows for champion {champion}: {overlap}"


def _described(made: Comparison, rows: str) -> str:
    """What a comparison was made on, with its numbers."""
    ranking = made.ranking
    return (
        f"on {rows} rows, {made.rows:,} with {made.frauds:,} frauds: average precision"
        f" {ranking.candidate:.4f} against {ranking.baseline:.4f}, difference {ranking.difference:+.4f}"
        f" (95 % interval {ranking.low:+.4f} … {ranking.high:+.4f})"
    )


def _frame(data: pd.DataFrame | FeatureTable) -> pd.DataFrame:
    import pandas as pd

    return data if isinstance(data, pd.DataFrame) else data.frame


def _labels(frame: pd.DataFrame, label: str, *, fix: str = "name it with label=") -> Labels:
    if label not in frame.columns:
        shown = ", ".join(map(str, frame.columns[:20])) + (", ..." if len(frame.columns) > 20 else "")
        raise DataError(f"the {len(frame):,} rows have no label column {label!r}", fix=f"{fix} (there are: {shown})")
    try:
        values = frame[label].to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the label column {label!r} holds no numbers: {error}", fix="write 1 for a fraud, 0 for none"
        ) from None
    wrong = ~np.isin(values, (0.0, 1.0))
    if wrong.any():
        raise DataError(
            f"the label column {label!r} holds {int(wrong.sum()):,} values other than 0 and 1 in {len(frame):,} rows",
            fix="leave out the rows whose truth is not known yet",
        )
    return values.astype(np.int8)
