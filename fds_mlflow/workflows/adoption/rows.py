"""Rows to try a model on that somebody else trained: its own columns, of its own types, and the label beside them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fds_mlflow.data import readers
from fds_mlflow.data.inference import names
from fds_mlflow.errors import ConfigError, DataError, RefusedError
from fds_mlflow.scoring.columns import DTYPES
from fds_mlflow.scoring.finding import Finding, known_columns, spelled
from fds_mlflow.scoring.output import Output, Scores

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

_LABEL = "label"
_EXAMPLE_ROWS = 5
_TOLERANCE = 1e-9
_NOTHING = frozenset({"", "nan", "none", "null", "<na>"})


@dataclass(frozen=True)
class Rows:
    """Rows to try a model on.

    Attributes:
        tried: What the model is asked about: the rows of `frame`, else its input example; None where there is neither.
        frame: The data's rows with the columns that the model takes; None without data.
        label: The label's column, one value a row; None where there is none.
        lacking: What the model was logged without, though the data can tell it.
        warnings: What that leaves unchecked, where it stays so.
    """

    tried: Any
    frame: pd.DataFrame | None
    label: pd.Series[Any] | None
    lacking: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def can_tell(self) -> bool:
        """Whether the data tell what the model was logged without."""
        return self.frame is not None and bool(self.lacking)

    def labels(self, finding: Finding) -> npt.NDArray[np.float64] | None:
        """Labels, 1 = fraud, NaN where none is known: shape (n,); None where the data have no label.

        Raises:
            DataError: A value is neither 0 nor 1, nor a class of the model's; or all mean the same.
        """
        if self.label is None:
            return None
        texts = [_text(value) for value in self.label]
        positive = {"1"}
        negative = {"0"}
        if not set(texts) - _NOTHING <= positive | negative and finding.classes:
            positive = {spelled(finding.positive)}
            negative = {spelled(one) for one in finding.classes} - positive
        wrong = sorted(set(texts) - _NOTHING - positive - negative)
        if wrong:
            raise DataError(
                f"the label column {self.label.name!r} holds {wrong[0]!r}, which is neither of"
                f" {', '.join(sorted(positive | negative))}",
                fix="write 1 for a fraud, 0 for none, and nothing where it is not known",
            )
        return np.array([1.0 if one in positive else 0.0 if one in negative else np.nan for one in texts])


def read(files: Sequence[str]) -> pd.DataFrame:
    """The rows of files with all their columns; those of text files as text.

    Raises:
        DataError: One cannot be read, or they have different columns.
    """
    frames = [table.to_pandas() for file in files for table in readers.every_column(file)]
    if len({tuple(frame.columns) for frame in frames}) > 1:
        raise DataError("the files have different columns", fix="give files of one kind")
    joined: pd.DataFrame = pd.concat(frames, ignore_index=True)
    return joined


def rows_of(loaded: Any, data: pd.DataFrame | None, label: str | None) -> Rows:
    """What a loaded model can be tried on.

    Args:
        loaded: MLflow's pyfunc.
        data: Rows, as `adopt` takes them; None for none.
        label: Name of the label's column; None to find it.

    Raises:
        ConfigError: A label without data, or several columns may be it.
        DataError: The data lack columns that the model takes, or have no rows.
    """
    schema = loaded.metadata.get_input_schema()
    named = {} if schema is None or schema.is_tensor_spec() else _inputs(schema)
    lacking, warnings = _lacking(loaded, schema, named)
    example = loaded.input_example
    if data is None:
        if label is not None:
            raise ConfigError("a label is named, and there are no data", fix="give some: `--data FILE`")
        return Rows(example, None, None, lacking, warnings)
    if data.empty:
        raise DataError("the data have no rows", fix="give some, or leave them out")
    frame = data.rename(columns=str)
    columns = list(named) or known_columns(loaded)
    told = _label(frame, label, columns)
    columns = columns or [name for name in frame.columns if name != told]
    required = [str(c.name) for c in schema.inputs if getattr(c, "required", True)] if named else columns
    missing = [name for name in required if name not in frame.columns]
    if missing:
        shown = ", ".join(missing[:20]) + (", ..." if len(missing) > 20 else "")
        raise DataError(
            f"the data lack {len(missing)} columns that the model takes: {shown}",
            fix="give rows of the model's own columns, as it was trained on",
        )
    own = frame[[name for name in columns if name in frame.columns]]
    typed = own.apply(lambda column: _typed(column, named.get(str(column.name))))
    return Rows(typed, typed, None if told is None else frame[told], lacking, warnings)


def signature_of(loaded: Any, frame: pd.DataFrame, output: Output, scores: Any) -> tuple[ModelSignature, pd.DataFrame]:
    """The signature and input example of the columns in rows: doubles where they give the same scores.

    Types as they are in a few rows would depend on whether one of them holds a gap.

    Raises:
        RefusedError: The model gives other scores as soon as the columns have types that MLflow knows.
    """
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.pyfunc import PyFuncModel
    from mlflow.types.schema import ColSpec, Schema, TensorSpec

    outputs = Schema([TensorSpec(np.dtype(np.float64), (-1,))])
    doubles = frame.astype(dict.fromkeys(frame.select_dtypes("number").columns, np.float64))
    for candidate in (doubles, frame):
        kinds = infer_signature(candidate).inputs.inputs
        inputs = Schema([ColSpec(one.type, one.name) for one in kinds])
        signature = ModelSignature(inputs=inputs, outputs=outputs)
        metadata = _with_signature(loaded.metadata, signature)
        with contextlib.suppress(Exception):  # somebody else's code: it may not take this form
            made = PyFuncModel(metadata, Scores(loaded, output)).predict(candidate)
            if np.allclose(np.asarray(made, dtype=np.float64).reshape(-1), scores, atol=_TOLERANCE, rtol=0):
                return signature, candidate.head(_EXAMPLE_ROWS).reset_index(drop=True)
    raise RefusedError(
        "the model gives other scores once its columns have types that a signature can say",
        fix="log it again with a signature and an input example, and adopt that",
    )


def _with_signature(metadata: Any, signature: Any) -> Any:
    from mlflow.models import Model

    made = Model.from_dict(metadata.to_dict())
    made.signature = signature
    return made


def _inputs(schema: Any) -> dict[str, str]:
    return {str(c.name): str(getattr(c.type, "name", c.type)) for c in schema.inputs if c.name is not None}


def _lacking(loaded: Any, schema: Any, named: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What it was logged without, and what to say where it stays without."""
    lacking, warnings = [], []
    if not named:
        lacking.append("signature")
        kind = "its signature is of tensors and names no columns" if schema is not None else "it has no signature"
        warnings.append(f"{kind}: what is sent to it is not checked, nor whether it needs what callers send")
    if not isinstance(loaded.input_example, pd.DataFrame):
        lacking.append("input example")
        if loaded.input_example is None:
            warnings.append("it has no input example: that it answers requests was not tried")
    return tuple(lacking), tuple(warnings)


def _label(frame: pd.DataFrame, given: str | None, columns: Sequence[str]) -> str | None:
    """The label's column among those that the model does not take; None where there is none."""
    if given is not None:
        if given not in frame.columns:
            shown = ", ".join(map(str, frame.columns[:20]))
            raise DataError(f"the data have no column {given!r}", fix=f"name one of: {shown}")
        return given
    if _LABEL in frame.columns and _LABEL not in columns:
        return _LABEL
    rest = [str(name) for name in frame.columns if name not in columns]
    two = [name for name in rest if frame[name].nunique() <= 2]
    for words in (names.FRAUD, names.TARGET):
        found = [name for name in two if names.holds(name, words)]
        if len(found) > 1:
            raise ConfigError(
                f"{len(found)} columns may be the label: {', '.join(found)}", fix="say which one: `--label COLUMN`"
            )
        if found:
            return found[0]
    return None


def _typed(column: pd.Series[Any], kind: str | None) -> pd.Series[Any]:
    """A column as the signature's type; text of a file as numbers where all of it is, if no signature says more."""
    is_text = column.dtype == object or str(column.dtype) in ("str", "string")
    if kind == "string" or (kind is not None and kind not in DTYPES):
        return column if is_text or kind != "string" else column.astype(str).where(column.notna(), None)
    made: Any = column
    if is_text:
        words = column.astype(str).str.lower()
        if words.isin({"true", "false"}).all():
            made = words == "true"
        else:
            with contextlib.suppress(ValueError, TypeError):
                made = pd.to_numeric(column)
    if kind is not None:
        with contextlib.suppress(ValueError, TypeError):  # what does not fit, MLflow refuses by name
            cast = made.astype(DTYPES[kind])
            made = cast if kind in ("double", "float") or (cast == made).all() else made
    return made  # type: ignore[no-any-return]


def _text(value: Any) -> str:
    if pd.isna(value):
        return ""
    try:
        return spelled(value)
    except DataError:
        return str(value)
