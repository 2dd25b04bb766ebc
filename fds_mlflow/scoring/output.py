"""How a model's answer becomes one score a row: the only place that knows, whichever road a version is loaded by."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fds_mlflow.errors import RefusedError
from fds_mlflow.registry import grammar, tags

NATIVE = frozenset({"sklearn", "lightgbm", "xgboost", "catboost"})
"""Flavors whose own model has scikit-learn's face; MLflow's pyfunc asks its `predict`, which answers class labels."""

PROBABILITIES = "predict_proba"
COLUMNS = "columns"
MATRICES = ("float32", "float64")


@dataclass(frozen=True)
class Output:
    """Where in a model's answer the scores are.

    Attributes:
        call: Method of the logged model itself that is asked; "" for what MLflow's pyfunc asks.
        take: The way to the scores in what it answers: names of columns, keys and positions, outermost first.
        feed: How a frame is given to it: `float32` or `float64` for a matrix of these, `columns` for arrays by name, ""
            as it is.
    """

    call: str = ""
    take: tuple[str | int, ...] = ()
    feed: str = ""

    def to_tag(self) -> str:
        """The value of the version's tag, and what a wrapping version keeps of it."""
        values = {"call": self.call, "take": list(self.take), "feed": self.feed}
        return grammar.dump({name: value for name, value in values.items() if value})

    @classmethod
    def from_tag(cls, value: str) -> Output:
        """Read what `to_tag` wrote.

        Raises:
            RefusedError: It is something else.
        """
        try:
            values = grammar.parse(value)
            take, feed = values.get("take", []), values.get("feed", "")
            if not all(type(key) in (str, int) for key in take) or feed not in ("", COLUMNS, *MATRICES):
                raise ValueError(f"{values} has another form")
            return cls(grammar.text(values.get("call", "")), tuple(take), feed)
        except grammar.UNREADABLE as error:
            raise RefusedError(
                f"the tag {tags.SCORE} is {value[:100]!r}, which says nothing about scores: {error}",
                fix="adopt the version again: `fds adopt MODEL VERSION`",
            ) from None

    def scores(self, answer: Any) -> Any:
        """The scores in an answer: shape (n,) of whatever type, for the scorer contract to check.

        Raises:
            LookupError, TypeError, ValueError: The answer has no such part.
        """
        for key in self.take:
            answer = _part(answer, key)
        return answer

    def fed(self, data: Any) -> Any:
        """A frame as the model takes it; other data pass as they are."""
        if not self.feed or not hasattr(data, "columns"):
            return data
        if self.feed in MATRICES:
            return data.to_numpy(dtype=self.feed)
        return {str(name): _upright(data[name].to_numpy()) for name in data.columns}


class Scores:
    """MLflow's interface of a model, around one whose answer holds scores somewhere.

    Args:
        loaded: The model as MLflow's pyfunc.
        output: Where its scores are.

    Attributes:
        output: The same.

    Raises:
        AttributeError: The logged model has no such method.
    """

    def __init__(self, loaded: Any, output: Output) -> None:
        self._loaded = loaded
        self.output = output
        self._ask = asked(loaded, output)
        self._with_params = not output.call and "params" in inspect.signature(self._ask).parameters

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """The scores of rows."""
        fed = self.output.fed(data)
        answer = self._ask(fed, params=params) if self._with_params else self._ask(fed)
        return self.output.scores(answer)

    def get_raw_model(self) -> Any:
        """The logged model itself."""
        return self._loaded.get_raw_model()


def asked(loaded: Any, output: Output) -> Callable[..., Any]:
    """The function whose answer holds the scores."""
    if output.call:
        method: Callable[..., Any] = getattr(loaded.get_raw_model(), output.call)
        return method
    return getattr(loaded._model_impl, predict_name(loaded))  # type: ignore[no-any-return]


def predict_name(loaded: Any) -> str:
    """The method that MLflow's pyfunc asks."""
    return str(loaded.metadata.flavors["python_function"].get("predict_fn", "predict"))


def scoring(loaded: Any, tag: str | None) -> Any:
    """A loaded model that answers scores: as it is, or by what its version's tag says about its answers.

    Args:
        loaded: MLflow's pyfunc.
        tag: Value of the version's tag; None where it has none.

    Raises:
        RefusedError: The tag says nothing about scores, or fits no such model.
    """
    if tag is None:
        return loaded
    from mlflow.pyfunc import PyFuncModel

    output = Output.from_tag(tag)
    if output == Output():
        return loaded
    try:
        made = PyFuncModel(loaded.metadata, Scores(loaded, output))
    except AttributeError as error:
        raise RefusedError(
            f"the tag {tags.SCORE} does not fit this model: {error}", fix="adopt it again: `fds adopt MODEL VERSION`"
        ) from None
    made.input_example = loaded.input_example
    return made


def score_tag(loaded: Any) -> str | None:
    """The tag that a loaded model was made to answer scores by; None where it was not."""
    made = loaded._model_impl
    return made.output.to_tag() if type(made) is Scores else None


def classes_of(loaded: Any) -> list[Any] | None:
    """The classes of a logged classifier, in the order of its probabilities; None for any other model."""
    if not NATIVE & loaded.metadata.flavors.keys():
        return None
    with contextlib.suppress(Exception):  # somebody else's property: whatever it raises, there are none
        return list(loaded.get_raw_model().classes_) or None  # CatBoost's regressors have none
    return None


def why_labels(loaded: Any, answer: Any = None) -> str | None:
    """Why what a model answers are class labels and no scores; None where nothing says so.

    Args:
        loaded: MLflow's pyfunc; None for a model that was made by hand.
        answer: What it answered about some rows; None where nobody asked.
    """
    if loaded is not None and not isinstance(loaded._model_impl, Scores) and predict_name(loaded) == "predict":
        known = classes_of(loaded)
        if known is not None:
            return f"it is a classifier ({type(loaded.get_raw_model()).__name__}), whose `predict` answers its classes"
    if answer is None:
        return None
    values = np.asarray(answer)
    if values.dtype.kind in "biu":
        return f"its answers are of the type {values.dtype}, such as {values.reshape(-1)[:1].tolist()}"
    if values.dtype.kind in "OUST" and all(isinstance(one, str) for one in values.reshape(-1)):
        return f"its answers are texts and no numbers, such as {str(values.reshape(-1)[0])!r}"
    return None


def _part(answer: Any, key: str | int) -> Any:
    """The part of an answer under a key: a column, an entry of a mapping or of each of many, a place in each row."""
    if hasattr(answer, "columns"):
        found = [name for name in answer.columns if str(name) == str(key)]
        return answer[found[0]] if found else answer.iloc[:, _place(key)]
    if isinstance(answer, Mapping):
        return _entry(answer, key)
    if isinstance(answer, tuple):
        return answer[_place(key)]
    rows = answer if isinstance(answer, Sequence) else list(answer)
    if len(rows) and isinstance(rows[0], Mapping):
        return [_entry(row, key) for row in rows]
    return np.asarray(rows)[:, _place(key)]


def _entry(mapping: Mapping[Any, Any], key: str | int) -> Any:
    if key in mapping:
        return mapping[key]
    return mapping[next(name for name in mapping if str(name) == str(key))]


def _place(key: str | int) -> int:
    if isinstance(key, str):
        raise KeyError(f"the answer has no part {key!r}")
    return key


def _upright(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.reshape(-1, 1)
