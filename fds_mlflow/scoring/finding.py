"""Finds where a model's answer holds the scores, by what kind of model it is and by what it answers about some rows."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fds_mlflow.data.codes import code
from fds_mlflow.data.inference.labels import speaks_of_fraud
from fds_mlflow.data.inference.names import words
from fds_mlflow.errors import DataError, FdsError, RefusedError
from fds_mlflow.scoring.apart import Apart
from fds_mlflow.scoring.contract import checked
from fds_mlflow.scoring.output import COLUMNS, MATRICES, NATIVE, PROBABILITIES, Output, Scores, classes_of

ENOUGH_ROWS = 20
"""Of so many rows on a model's scores differ; fewer may all be 0 or 1 by chance."""

HOW_TO_LOG = (
    "log a model whose answers are scores: a classifier with predict_proba, or a pyfunc whose predict answers one float"
    " in [0, 1] a row, higher = more likely fraud"
)
_UNBOUNDED = "for a regressor or a margin, log a pyfunc that maps its answers to [0, 1]"
_SUM = 1e-3

_BOUNDED = frozenset({"", "binary", "cross_entropy", "xentropy", "binary:logistic", "reg:logistic"})
"""Kinds whose answers lie within [0, 1] by what they are; those of scikit-learn's classifiers are not asked here."""
_LABELS = frozenset({"binary:hinge", "multi:softmax"})
"""Objectives that answer class labels as floats."""

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Finding:
    """Where the scores are.

    Attributes:
        output: How an answer becomes scores; nothing to do where `output == Output()`.
        scores: Of the rows it was tried on, shape (n,); None where there were none.
        positive: The class that counts as fraud, or the column that stands for it; None where nothing was chosen.
        classes: The classifier's classes; empty where it is none.
        warnings: What could not be told.
    """

    output: Output
    scores: npt.NDArray[np.float64] | None
    positive: Any = None
    classes: tuple[Any, ...] = ()
    warnings: tuple[str, ...] = ()


def find(loaded: Any, rows: Any, positive: object = None) -> Finding:
    """Where a loaded model's answers hold the scores.

    Args:
        loaded: MLflow's pyfunc.
        rows: Rows to try it on, as it takes them; None where there are none.
        positive: The class that counts as fraud, or the column that stands for it; None to find it.

    Raises:
        RefusedError: It answers no scores, or which they are cannot be told.
        DataError: It does not answer about these rows.
    """
    feed = _feed(loaded)
    classes = classes_of(loaded)
    if classes is not None:
        return _of_classifier(loaded, rows, positive, classes, feed)
    kind = kind_of(loaded)
    if kind in _LABELS:
        raise RefusedError(f"the model answers class labels and no scores: its objective is {kind}", fix=HOW_TO_LOG)
    if kind == "outlier_detector":
        raise RefusedError(
            "the model is an outlier detector, which answers -1 and 1 and no scores",
            fix="log a pyfunc that maps its decision_function to [0, 1], higher = more likely fraud; or train one here:"
            " `fds train MODEL --algorithm isolation_forest`",
        )
    if rows is None:
        raise RefusedError(
            "what the model answers cannot be told: it is no classifier of scikit-learn's kind, and there is nothing to"
            " try it on",
            fix="give rows of its columns (`--data FILE`, in Python data=), or log it with an input example",
        )
    answer = _asked(loaded, Output(feed=feed), rows)
    leaves = dict(_leaves(answer))
    path, chosen, warnings = _chosen(leaves, positive)
    if chosen is None and positive is not None and (spelled(positive) in ("0", "-1") or _is_genuine(positive)):
        raise RefusedError(
            f"the model answers one score, and no class {positive!r} can be chosen from it",
            fix="leave --positive-class out; or log a pyfunc that answers one minus the score",
        )
    output = Output(take=path, feed=feed)
    if output.take and not output.feed and _is_score(answer):
        output = Output()  # a column alone needs no tag
    scores = checked_scores(leaves[path], rows)
    if set(np.unique(scores)) <= {0.0, 1.0}:
        if len(scores) >= ENOUGH_ROWS:
            raise RefusedError(
                f"the model answers only 0 and 1 in {len(scores):,} rows: those are class labels and no scores",
                fix=HOW_TO_LOG,
            )
        warnings.append(
            f"whether its answers are scores could not be told: all {len(scores)} that were tried are 0 or 1"
        )
    if kind not in _BOUNDED:
        warnings.append(
            f"it is a {kind}: nothing keeps its answers within [0, 1], where those of {len(scores):,} rows lie"
        )
    return Finding(output, scores, chosen, (), tuple(warnings))


def checked_scores(answer: Any, rows: Any) -> npt.NDArray[np.float64]:
    """Scores of rows by the scorer contract.

    Raises:
        RefusedError: They are none.
    """
    try:
        return checked(0, answer, len(rows if hasattr(rows, "columns") else answer))
    except DataError as error:
        what = error.what.removeprefix("version 0 ")
        raise RefusedError(f"the model {what}", fix=f"{HOW_TO_LOG}; {_UNBOUNDED}") from None


def spelled(value: object) -> str:
    """A class as people write it: 1, 1.0, True and "true" are one."""
    item = getattr(value, "item", None)
    written = str(code(item() if callable(item) else value) or "").lower()
    return {"true": "1", "false": "0"}.get(written, written)


def _of_classifier(loaded: Any, rows: Any, positive: object, classes: list[Any], feed: str) -> Finding:
    raw = loaded.get_raw_model()
    kind = type(raw).__name__
    if any(isinstance(one, list | tuple | np.ndarray) for one in classes):
        raise RefusedError(f"the model ({kind}) has several outputs", fix="log a classifier with one")
    if len(classes) != 2:
        shown = ", ".join(map(repr, _plain(classes)[:10]))
        raise RefusedError(
            f"the model ({kind}) tells {len(classes)} classes apart ({shown}), not fraud from genuine",
            fix="train it on two classes, or log a pyfunc that answers the score of the one that counts",
        )
    if not hasattr(raw, PROBABILITIES):
        raise RefusedError(
            f"the model ({kind}) answers class labels and has no predict_proba",
            fix="train it within sklearn.calibration.CalibratedClassifierCV, whose predict_proba are scores; or "
            + HOW_TO_LOG,
        )
    place = _place(_plain(classes), positive, "classes")
    output = Output(PROBABILITIES, (place,), feed)
    chosen, known = _plain(classes)[place], tuple(_plain(classes))
    if rows is None:
        warning = "that it answers scores was not tried: it has no input example, and no data were given"
        return Finding(output, None, chosen, known, (warning,))
    scores = checked_scores(_asked(loaded, output, rows), rows)
    warnings: tuple[str, ...] = ()
    if len(scores) >= ENOUGH_ROWS and set(np.unique(scores)) <= {0.0, 1.0}:
        warnings = (f"its probabilities are only 0 and 1 in {len(scores):,} rows: no threshold can be chosen",)
    return Finding(output, scores, chosen, known, warnings)


def _place(names: Sequence[Any], positive: object, what: str) -> int:
    """Which of two classes or columns stands for fraud.

    Raises:
        RefusedError: It cannot be told, or there is none of that name.
    """
    shown = " and ".join(map(repr, names))
    fix = "say which one means fraud: `--positive-class NAME`, in Python positive_class="
    for spell in (spelled, lambda name: spelled((words(str(name)) or [""])[-1])):
        known = [spell(name) for name in names]
        if positive is not None:
            if known.count(spelled(positive)) == 1:
                return known.index(spelled(positive))
        elif set(known) in ({"0", "1"}, {"-1", "1"}):
            return known.index("1")
    if positive is not None:
        raise RefusedError(f"no class is {positive!r}: the two {what} are {shown}", fix=fix)
    spoken = [speaks_of_fraud(str(name)) for name in names]
    for says, place_of in ((True, spoken.index), (False, lambda one: 1 - spoken.index(one))):
        if spoken.count(says) == 1:
            return place_of(says)
    raise RefusedError(f"which of the {what} {shown} means fraud cannot be told", fix=fix)


def _is_genuine(positive: object) -> bool:
    return speaks_of_fraud(str(positive)) is False


def _chosen(leaves: Mapping[Path, npt.NDArray[Any]], positive: object) -> tuple[Path, Any, list[str]]:
    """The part of an answer that holds scores, what it is called, and what could not be told."""
    floats = {path: values for path, values in leaves.items() if values.dtype.kind == "f"}
    scores = {path: values for path, values in floats.items() if ((values >= 0) & (values <= 1)).all()}
    groups: dict[Path, list[Path]] = {}
    for path in scores:
        groups.setdefault(path[:-1], []).append(path)
    sums = {above: sum(scores[path].astype(np.float64) for path in paths) for above, paths in groups.items()}
    whole = [paths for above, paths in groups.items() if len(paths) > 1 and np.allclose(sums[above], 1, atol=_SUM)]
    if any(len(paths) > 2 for paths in whole):
        raise RefusedError(
            f"the model answers probabilities of {max(map(len, whole))} classes, not of fraud alone",
            fix="train it on two classes, or log a pyfunc that answers the score of the one that counts",
        )
    if len(whole) == 1:
        names = [path[-1] for path in whole[0]]
        place = _place(names, positive, "columns")
        unsaid = positive is None and all(isinstance(name, int) for name in names)
        said = "which of its two probabilities means fraud is said nowhere: the second was taken"
        return whole[0][place], names[place], [said] if unsaid else []
    if positive is not None and len(scores) > 1:
        named = [path for path in scores if spelled(path[-1]) == spelled(positive)]
        if len(named) == 1:
            return named[0], named[0][-1], []
    if len(scores) == 1:
        path = next(iter(scores))
        return path, path[-1] if path else None, []
    raise _no_scores(leaves, floats, scores)


def _no_scores(leaves: Mapping[Path, Any], floats: Mapping[Path, Any], scores: Mapping[Path, Any]) -> FdsError:
    if scores:
        shown = ", ".join(repr(".".join(map(str, path))) for path in scores)
        return RefusedError(
            f"{len(scores)} columns of its answers may be the score: {shown}",
            fix="name it: `--positive-class COLUMN`, in Python positive_class=",
        )
    if floats:
        values = next(iter(floats.values()))
        bad = values[~((values >= 0) & (values <= 1))]
        return RefusedError(
            f"the model answers {bad[0]} and the like, not scores in [0, 1]", fix=f"{HOW_TO_LOG}; {_UNBOUNDED}"
        )
    kinds = ", ".join(sorted({_name(values.dtype) for values in leaves.values()})) or "nothing that can be read"
    return RefusedError(f"the model answers class labels and no scores ({kinds})", fix=HOW_TO_LOG)


def _name(dtype: np.dtype[Any]) -> str:
    return "text" if dtype.kind in "OU" else str(dtype)


def _asked(loaded: Any, output: Output, rows: Any) -> Any:
    """What it answers about rows; a frame is checked against the signature where that names columns."""
    from mlflow.pyfunc import PyFuncModel

    schema = loaded.metadata.get_input_schema()
    made = Scores(loaded, output)
    tensor = schema is not None and schema.is_tensor_spec() and hasattr(rows, "columns")
    try:
        return made.predict(rows) if tensor else PyFuncModel(loaded.metadata, made).predict(rows)
    except Exception as error:
        raise DataError(
            f"the model does not answer about these rows: {type(error).__name__}: {str(error)[:500]}",
            fix="give rows with the columns that it was trained on",
        ) from error


def _feed(loaded: Any) -> str:
    """How it takes a frame: ONNX and models of tensors take arrays."""
    schema = loaded.metadata.get_input_schema()
    if "onnx" in loaded.metadata.flavors:
        inputs = loaded.get_raw_model().get_inputs()
        kinds = ["float64" if one.type == "tensor(double)" else "float32" for one in inputs]
    elif schema is not None and schema.is_tensor_spec():
        kinds = [str(one.type) for one in schema.inputs]
    else:
        return ""
    if len(kinds) > 1:
        return COLUMNS
    return kinds[0] if kinds[0] in MATRICES else "float64"


def _leaves(answer: Any, path: Path = ()) -> Iterator[tuple[Path, npt.NDArray[Any]]]:
    """Every column of values in an answer, and the way to it, as `Output.take` has it."""
    if hasattr(answer, "columns"):
        for place, name in enumerate(answer.columns):
            yield from _leaves(answer.iloc[:, place].to_numpy(), (*path, str(name)))
    elif isinstance(answer, Mapping):
        for name, part in answer.items():
            yield from _leaves(part, (*path, str(name)))
    elif isinstance(answer, tuple):
        for place, part in enumerate(answer):
            yield from _leaves(part, (*path, place))
    elif hasattr(answer, "__len__") and len(answer) and isinstance((rows := list(answer))[0], Mapping):
        for name in rows[0]:
            yield from _leaves([row.get(name) for row in rows], (*path, str(name)))
    else:
        yield from _array(answer, path)


def _array(answer: Any, path: Path) -> Iterator[tuple[Path, npt.NDArray[Any]]]:
    try:
        values = np.asarray(list(answer) if hasattr(answer, "__len__") else answer)
    except ValueError:  # rows of different lengths
        return
    if values.dtype == object:
        with contextlib.suppress(TypeError, ValueError):
            values = values.astype(np.float64)
    if values.ndim == 1:
        yield path, values
    elif values.ndim == 2:
        for place in range(values.shape[1]):
            yield (*path, place), values[:, place]


def _is_score(answer: Any) -> bool:
    """Whether an answer is scores as it is; a tuple's parts are no rows."""
    if isinstance(answer, tuple):
        return False
    try:
        checked(0, answer, len(answer))
    except (DataError, TypeError):
        return False
    return True


def kind_of(loaded: Any) -> str:
    """What kind of model it is, as far as its library says: scikit-learn's word, or the objective of its trees."""
    if isinstance(loaded._model_impl, Apart):
        return str(loaded._model_impl.kind)
    if not NATIVE & loaded.metadata.flavors.keys():
        return ""
    raw = loaded.get_raw_model()
    with contextlib.suppress(Exception):  # somebody else's code, and its own affair
        if type(raw).__module__.startswith("xgboost") and hasattr(raw, "save_config"):
            return str(json.loads(raw.save_config())["learner"]["objective"]["name"])
        if type(raw).__name__ == "Booster":
            return str(raw.params.get("objective", ""))
        from sklearn.utils import get_tags

        return str(get_tags(raw).estimator_type or "")
    return ""


def known_columns(loaded: Any) -> list[str]:
    """Names of the columns that the logged model itself remembers from its training."""
    if isinstance(loaded._model_impl, Apart):
        return [str(name) for name in loaded._model_impl.columns]
    for name in ("feature_names_in_", "feature_name_", "feature_names_", "feature_name", "feature_names"):
        with contextlib.suppress(Exception):  # somebody else's property
            found = getattr(loaded.get_raw_model(), name)
            found = [str(one) for one in (found() if callable(found) else found)]
            if found:
                return found
    return []


def _plain(classes: Sequence[Any]) -> list[Any]:
    """Classes as plain values, as people know them."""
    return [one.item() if hasattr(one, "item") else one for one in classes]
