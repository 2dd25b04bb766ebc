"""One version, loaded: its scores, its threshold, and the checks before it may serve."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fds_mlflow.data.codes import FORM, code
from fds_mlflow.data.frames import code_column
from fds_mlflow.errors import DataError, FdsError, RefusedError, UnavailableError
from fds_mlflow.registry import tags
from fds_mlflow.registry.store import RegistryStore, VersionView
from fds_mlflow.runtime.text_column import is_text
from fds_mlflow.scoring import apart, beside, requirements
from fds_mlflow.scoring.arrays import ArrayModel
from fds_mlflow.scoring.columns import DTYPES, check, column, exact, labels
from fds_mlflow.scoring.compiled import CompiledModel
from fds_mlflow.scoring.contract import checked, checked_one
from fds_mlflow.scoring.fetched import Fetched, fetched, fetching
from fds_mlflow.scoring.output import scoring
from fds_mlflow.scoring.reasons import Explanation, Most, explain, require_reasons, wordings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Scorer:
    """A version that obeys the scorer contract.

    Attributes:
        version: Its number.
        threshold: The score from which a transaction is flagged.
        inputs: Columns and their types, by the signature; empty where it has none.
        example: The input example it was logged with.
        folder: Where its artifacts are on disk; "" for one that was made by hand.
        loaded: MLflow's pyfunc; None for one that was made by hand.
        optional: Columns that the signature does not require.
        codes: Columns of codes, spelled as `fds_mlflow.data.codes` has it before they are scored; none of a version
            that was trained before codes were spelled so.
        compiled: The same scores without a frame; None where it has no such form, or was not asked for one.
        files: Its files, and what is recorded of them; None for one that was made by hand.
    """

    version: int
    threshold: float
    inputs: dict[str, str]
    example: pd.DataFrame | None
    _predict: Callable[[Any], Any]
    folder: str = ""
    loaded: Any = None
    optional: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()
    compiled: CompiledModel | ArrayModel | None = None
    files: Fetched | None = None

    @classmethod
    def of(cls, version: int, threshold: float, loaded: Any, folder: str) -> Scorer:
        """A loaded model, its columns as the signature has them.

        Args:
            version: Its number.
            threshold: The score from which a transaction is flagged.
            loaded: MLflow's pyfunc.
            folder: Where its artifacts are on disk.
        """
        signature = loaded.metadata.signature
        columns = signature.inputs.inputs if signature is not None and signature.inputs is not None else []
        named = [column for column in columns if column.name is not None]
        inputs = {str(column.name): str(getattr(column.type, "name", column.type)) for column in named}
        optional = frozenset(str(column.name) for column in named if not getattr(column, "required", True))
        canonical = (loaded.metadata.metadata or {}).get(tags.CODES) == FORM
        codes = frozenset(name for name, kind in inputs.items() if canonical and kind == "string")
        return cls(version, threshold, inputs, _example(loaded), _predict(loaded), folder, loaded, optional, codes)

    def score(self, frame: pd.DataFrame) -> npt.NDArray[np.float64]:
        """Score rows of features: shape (rows,), float64 in [0, 1].

        Raises:
            DataError: The frame does not fit the signature, or the model breaks the scorer contract.
        """
        return checked(self.version, self.answer(frame), len(frame))

    def answer(self, frame: pd.DataFrame) -> Any:
        """What the model answers about rows of features, before it is held against the scorer contract.

        Raises:
            DataError: The frame does not fit the signature, or the model raises.
        """
        rows = self._rows(frame)
        # Columns that are not exactly of the signature's types are left to MLflow, to convert or to refuse.
        plain = None if self.compiled is None else _plain(rows, self.inputs)
        try:
            return self._predict(rows) if self.compiled is None or plain is None else self.compiled.matrix(plain)
        except Exception as error:
            raise DataError(
                f"version {self.version} could not score {len(frame):,} rows: {type(error).__name__}: {error}",
                fix=requirements.fix(
                    self.folder,
                    "look at what the message names; `mlflow.pyfunc.load_model(...).predict` shows the whole trace",
                ),
            ) from error

    def reasons(self, frame: pd.DataFrame, most: Most = 3) -> list[Explanation]:
        """Why each row has its score: the features that add the most to it, the strongest first.

        Args:
            frame: Rows of features, as `score` takes them.
            most: So many of each row at most, of those that speak for fraud; `all` for every feature.

        Raises:
            RefusedError: The version gives no reasons.
            DataError: The frame does not fit the signature, or the version's trees give none.
            ConfigError: So many cannot be asked for, or the texts that were logged with it cannot be read.
        """
        compiled = require_reasons(self.version, (self if self.compiled else accelerated(self)).compiled)
        values = self.values(frame)
        try:
            arrays = [column(one, kind) for one, kind in zip(values, self.inputs.values(), strict=True)]
        except (TypeError, ValueError) as error:
            raise DataError(
                f"version {self.version} cannot explain {len(frame):,} rows: {error}",
                fix="give numbers for the columns that the signature calls numbers",
            ) from None
        worded = wordings(Path(self.folder), list(self.inputs))
        return explain(compiled, arrays, list(zip(*values, strict=True)), worded, most)

    def values(self, frame: pd.DataFrame) -> list[list[Any]]:
        """What the version scores of rows, by column of its signature: codes spelled, None for gaps.

        Raises:
            DataError: The frame does not fit the signature.
        """
        rows = self._rows(frame)
        return [_listed(rows[name], kind) if name in rows else [None] * len(rows) for name, kind in self.inputs.items()]

    def _rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The columns of the signature, codes spelled; all of the frame where there is none."""
        if self.inputs and not all(isinstance(name, str) for name in frame.columns):
            frame = frame.rename(columns=str)  # a signature's names are kept as text
        there = [name for name in self.inputs if name in frame.columns]
        self._require(there, f"the {len(frame):,} rows do")
        rows = frame[there] if self.inputs else frame
        if self.codes:
            rows = rows.assign(**{name: code_column(rows[name]) for name in there if name in self.codes})
        return rows

    def row(self, transaction: Mapping[str, Any]) -> float:
        """Score one transaction, in [0, 1].

        Args:
            transaction: Values by column, None or NaN for a missing number.

        Raises:
            DataError: A column is missing, a value does not fit, or the model breaks the scorer contract.
        """
        if self.compiled is None:
            import pandas as pd

            return float(self.score(pd.DataFrame([dict(transaction)]))[0])
        self._require(transaction, "the transaction does")
        if self.codes:
            transaction = {name: code(value) if name in self.codes else value for name, value in transaction.items()}
        names = list(self.inputs)
        values = [transaction.get(name) for name in names]
        try:
            for place, kind in exact(self.inputs):
                if names[place] in transaction:
                    check(values[place], kind)
            score = self.compiled.row(values)
        except Exception as error:
            raise DataError(
                f"version {self.version} could not score a transaction: {type(error).__name__}: {error}",
                fix="send a number for each column that the signature calls one",
            ) from None
        return checked_one(self.version, score)

    def _require(self, there: Collection[str], whose: str) -> None:
        missing = [name for name in self.inputs if name not in there and name not in self.optional]
        if missing:
            raise DataError(
                f"version {self.version} needs columns that {whose} not have: {', '.join(missing)}",
                fix="compute the features with the version's own feature specification",
            )


def _listed(column: pd.Series[Any], kind: str) -> list[Any]:
    """The values of a column of a type of MLflow's, None for gaps; numbers of a column of floats are floats."""
    if kind in ("double", "float") and column.dtype.kind in "iu":
        column = column.astype(np.float64)
    return (column.astype(object).where(column.notna(), None) if column.hasnans else column).tolist()


def _plain(rows: pd.DataFrame, inputs: Mapping[str, str]) -> list[npt.NDArray[Any]] | None:
    """Each column as an array; None where one is missing or not exactly of its type."""
    columns = []
    if len(rows.columns) < len(inputs):
        return None
    for name, kind in inputs.items():
        column = rows[name]
        if kind == "string" and (column.dtype == object or is_text(column.dtype)):
            columns.append(column.to_numpy(dtype=object))
        elif kind in DTYPES and str(column.dtype) == np.dtype(DTYPES[kind]).name:
            columns.append(column.to_numpy())
        else:
            return None
    return columns


def accelerated(scorer: Scorer) -> Scorer:
    """The same scorer, compiled or asked by arrays where that gives the same scores."""
    from fds_mlflow.scoring.convert import compiled

    if scorer.loaded is None:
        return scorer
    return replace(scorer, compiled=compiled(scorer.folder, scorer.loaded, scorer.example, scorer.inputs))


def load(
    store: RegistryStore,
    model: str,
    version: int,
    *,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    trust: bool = False,
) -> Scorer:
    """Load a version from the registry; the URIs are the ones MLflow resolves where they are None.

    Its files are fetched into a folder of this process, held against what is recorded of them, and read from there.
    Where nothing is recorded they are first read in a process that may die; code of the model's own runs in one.

    Args:
        store: The registry.
        model: Registered model.
        version: The version.
        tracking_uri: Tracking server.
        registry_uri: Registry.
        trust: Code that the version brings may run.

    Raises:
        RefusedError: It is not READY, has no threshold, its files are not those that were recorded or do not load, or
            they bring code that nobody has allowed to run.
        NotFoundError: It does not exist.
        UnavailableError: The registry cannot be reached.
    """
    there = store.version(model, version)
    there.require_ready(model)
    threshold = threshold_of(model, there)
    score = there.tags.get(tags.SCORE)
    with fetching() as folder:
        files = fetched(store, model, there, folder, tracking_uri=tracking_uri, registry_uri=registry_uri)
        if not trust:
            files.require_allowed()
        try:
            if files.code is None and files.recorded.digest is None:
                apart.probe(folder, files.digest)
            loaded = opened(folder, score) if files.code is None else apart.loaded(folder, score)
        except UnavailableError:
            raise
        except Exception as error:
            what = error.what if isinstance(error, FdsError) else f"{type(error).__name__}: {error}"
            otherwise = "check the artifact store and the model's files, or register it again"
            raise RefusedError(
                f"the artifacts of version {version} of {model!r} do not load: {what}",
                fix=requirements.fix(folder, error.fix if isinstance(error, FdsError) else otherwise),
            ) from error
        weakref.finalize(loaded, shutil.rmtree, folder, ignore_errors=True)
    return replace(Scorer.of(version, threshold, loaded, folder), files=files)


def opened(folder: str, score: str | None) -> Any:
    """A logged model as MLflow's pyfunc that answers scores, read in this process.

    Args:
        folder: Where its files are.
        score: How its answers become scores, as its tag says; None where they are scores.
    """
    import mlflow

    return scoring(beside.load(Path(folder)) or mlflow.pyfunc.load_model(folder), score)


def _predict(loaded: Any) -> Callable[[Any], Any]:
    """The model's predict for frames whose columns are named by text."""
    names = labels(loaded.metadata.get_input_schema())
    return (lambda rows: loaded.predict(rows.rename(columns=names))) if names else loaded.predict


def threshold_of(model: str, version: VersionView) -> float:
    """The score from which a version flags a transaction.

    Raises:
        RefusedError: Its tag is missing, or no number in [0, 1].
    """
    value = version.tags.get(tags.THRESHOLD)
    if value is None or not tags.is_threshold(value):
        raise RefusedError(
            f"version {version.version} of {model!r} has {tags.threshold_lack(value)}",
            fix=tags.threshold_fix(version.version, model),
        )
    return float(value)


def _example(loaded: Any) -> pd.DataFrame | None:
    import pandas as pd

    try:
        example = loaded.input_example
    except Exception:  # an example that cannot be parsed is as good as none: the caller reports its absence
        return None
    return example.rename(columns=str) if isinstance(example, pd.DataFrame) else None
