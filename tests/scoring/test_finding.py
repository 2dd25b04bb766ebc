"""Where a model's answer holds the scores, whatever form the answer has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.errors import RefusedError
from fds_mlflow.scoring.finding import ENOUGH_ROWS, Finding, find, spelled
from fds_mlflow.scoring.output import Output, Scores

SCORES = st.lists(st.floats(0.001, 0.999), min_size=1, max_size=30).map(np.array)
ROWS = np.zeros((30, 1))

FORMS: dict[str, Any] = {
    "an array": lambda p: p,
    "a column": lambda p: p.reshape(-1, 1),
    "floats of 32 bits": lambda p: p.astype(np.float32),
    "a list": lambda p: p.tolist(),
    "a series": pd.Series,
    "a frame of one column": lambda p: pd.DataFrame({"any": p}),
    "two probabilities": lambda p: np.column_stack([1 - p, p]),
    "two probabilities a row": lambda p: [[1 - one, one] for one in p.tolist()],
    "probabilities by class": lambda p: pd.DataFrame({"0": 1 - p, "1": p}),
    "columns of numbers": lambda p: pd.DataFrame({0: 1 - p, 1: p}),
    "probabilities by name, fraud first": lambda p: pd.DataFrame({"fraud": p, "genuine": 1 - p}),
    "suffixes beside a label": lambda p: pd.DataFrame({"prediction": 1, "prob_0": 1 - p, "prob_1": p}),
    "a mapping": lambda p: {"label": ["x"] * len(p), "score": p.tolist()},
    "maps": lambda p: [{"label": "x", "score": one} for one in p.tolist()],
    "maps of classes": lambda p: [{0: 1 - one, 1: one} for one in p.tolist()],
    "maps under a name": lambda p: {"label": np.ones(len(p), int), "probability": [{0: 1 - o, 1: o} for o in p]},
    "an array under a name": lambda p: {"label": np.ones(len(p), int), "probability": np.column_stack([1 - p, p])},
    "a cell of maps": lambda p: pd.DataFrame({"probability": [{"0": 1 - o, "1": o} for o in p.tolist()]}),
    "a tuple": lambda p: (np.ones(len(p), int), p),
}


class _Model:
    """A model made by hand that answers what it is told."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, _data: Any) -> Any:
        return self.answer


def loaded(answer: Any, flavor: str = "python_function", raw: Any = None) -> Any:
    """A loaded model that answers one thing."""
    metadata = SimpleNamespace(
        flavors={flavor: {}, "python_function": {}},
        signature=None,
        get_input_schema=lambda: None,
        get_params_schema=lambda: None,
        _is_signature_from_type_hint=lambda: False,
        _is_type_hint_from_example=lambda: False,
    )
    return SimpleNamespace(metadata=metadata, _model_impl=_Model(answer), get_raw_model=lambda: raw)


@pytest.fixture(autouse=True)
def _plain_pyfunc(monkeypatch: pytest.MonkeyPatch) -> None:
    """No signature is checked here: the models are made by hand."""
    import mlflow.pyfunc

    monkeypatch.setattr(mlflow.pyfunc, "PyFuncModel", lambda _metadata, made: made)


def found(answer: Any, positive: object = None) -> Finding:
    """What is found in an answer."""
    return find(loaded(answer), ROWS, positive)


@pytest.mark.parametrize("form", FORMS)
@given(scores=SCORES)
def test_scores_are_found_in_every_form_of_an_answer(form: str, scores: np.ndarray) -> None:
    """Whatever form the answer has, the probability of fraud is found, and taken the same way the next time."""
    answer = FORMS[form](scores)
    finding = found(answer)
    assert finding.scores == pytest.approx(scores, abs=1e-6)
    again = Output.from_tag(finding.output.to_tag())
    taken = Scores(loaded(answer), again).predict(ROWS)
    assert np.asarray(taken, dtype=float).reshape(-1) == pytest.approx(scores, abs=1e-6)


@given(scores=SCORES, positive=st.sampled_from(["0", "1"]))
def test_the_class_that_is_named_counts_as_fraud(scores: np.ndarray, positive: str) -> None:
    """Who says which of two columns means fraud gets that one, wherever it stands."""
    for answer in (np.column_stack([1 - scores, scores]), pd.DataFrame({"p_1": scores, "p_0": 1 - scores})):
        expected = scores if positive == "1" else 1 - scores
        assert found(answer, positive).scores == pytest.approx(expected)


@given(
    scores=SCORES,
    classes=st.sampled_from([[0, 1], [False, True], ["0", "1"], [-1, 1], ["anomaly", "ok"], ["genuine", "FRAUD"]]),
    turned=st.booleans(),
)
def test_the_class_that_says_so_is_found_in_any_order(scores: np.ndarray, classes: list[Any], turned: bool) -> None:
    """1, true, and words that mean fraud are found as the positive class, in whatever order the classes stand."""
    says = {1, "1", "anomaly", "FRAUD"}
    ordered = classes[::-1] if turned else classes
    columns = [scores if one in says else 1 - scores for one in ordered]
    raw = SimpleNamespace(classes_=np.array(ordered), predict_proba=lambda _rows: np.column_stack(columns))
    finding = find(loaded(None, "sklearn", raw), ROWS)
    assert finding.scores == pytest.approx(scores)
    assert finding.positive in says


@pytest.mark.parametrize("written", [1, 1.0, True, "1", "1.0", "true", "True", np.int64(1), np.bool_(True)])
def test_a_class_is_one_however_it_is_written(written: object) -> None:
    """1, 1.0, True and their texts are one class."""
    assert spelled(written) == "1"


LABELS: dict[str, Any] = {
    "whole numbers": np.array([0, 1, 0]),
    "booleans": np.array([True, False, True]),
    "texts": np.array(["fraud", "ok", "ok"]),
    "texts in a frame": pd.DataFrame({"class": ["fraud", "ok", "ok"]}),
    "floats of 0 and 1": np.tile([0.0, 1.0], ENOUGH_ROWS),
}


@pytest.mark.parametrize("form", LABELS)
def test_class_labels_are_refused(form: str) -> None:
    """Class labels are never taken for scores, and the error says how to log the model."""
    with pytest.raises(RefusedError, match="class labels") as refused:
        found(LABELS[form])
    assert "predict_proba" in refused.value.fix


def test_a_few_zeros_and_ones_are_a_doubt() -> None:
    """Three answers of 0 and 1 may be either: that could not be told, and is said."""
    assert any("could not be told" in warning for warning in found([0.0, 1.0, 0.0]).warnings)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (np.array([0.5, 1.5]), "1.5"),
        (np.array([0.5, -0.1]), "-0.1"),
        (np.array([0.5, np.nan]), "nan"),
        (np.full((3, 3), 1 / 3), "3 classes"),
        (pd.DataFrame({"a": [0.1], "b": [0.2]}), "'a', 'b'"),
        (pd.DataFrame({"left": [0.1], "right": [0.9]}), "cannot be told"),
        ({}, "nothing that can be read"),
    ],
)
def test_what_is_no_score_is_refused_and_shown(answer: Any, said: str) -> None:
    """What lies outside [0, 1], or may be several things, is refused with what was seen."""
    with pytest.raises(RefusedError, match=said):
        found(answer)


def test_the_other_class_of_one_score_is_refused() -> None:
    """A model that answers one score has no other class to take, and says so."""
    for positive in (0, "legit"):
        with pytest.raises(RefusedError, match="one score"):
            found(np.array([0.1, 0.7]), positive)
    assert found(np.array([0.1, 0.7]), 1).scores == pytest.approx([0.1, 0.7])


def test_another_number_of_scores_than_of_rows_is_refused() -> None:
    """A model that answers three scores about two rows answers no score a row."""
    with pytest.raises(RefusedError, match="values for 2 rows"):
        find(loaded(np.array([0.1, 0.2, 0.3])), pd.DataFrame({"amount": [1.0, 2.0]}))


def test_a_column_can_be_named() -> None:
    """Of several columns that may be the score the named one is taken."""
    frame = pd.DataFrame({"risk": [0.1, 0.3], "confidence": [0.8, 0.9]})
    assert found(frame, "risk").output == Output(take=("risk",))


@pytest.mark.parametrize("tag", ["", "[]", "nonsense", '{"take":[true]}', '{"take":5}', '{"feed":"x"}', '{"call":1}'])
def test_a_tag_that_says_nothing_is_refused(tag: str) -> None:
    """A tag that somebody changed by hand into nonsense is refused, with the fix."""
    with pytest.raises(RefusedError, match=r"fds\.score") as refused:
        Output.from_tag(tag)
    assert "fds adopt" in refused.value.fix
