"""Scores of whatever model, held against labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.training import evaluation
from fds_mlflow.training.assessment import Rows, as_labels, as_scores, assess, beside

ROLES: dict[str, str | None] = {"time": None, "customer": None, "amount": None}
N = 600


def frame(**more: Any) -> pd.DataFrame:
    """Transactions of customers over some days."""
    random = np.random.default_rng(3)
    made = {
        "amount": random.lognormal(3, 1, N),
        "customer": random.integers(0, 90, N),
        "time": pd.Timestamp("2026-03-01") + pd.to_timedelta(np.sort(random.uniform(0, 5, N)), unit="D"),
        "channel": random.choice(["web", "shop"], N),
        "device": [f"D{number}" for number in range(N)],
    }
    return pd.DataFrame({**made, **more})


def rows(given: pd.DataFrame, **more: Any) -> Rows:
    """The same with labels, which the scores tell apart for the most part."""
    random = np.random.default_rng(4)
    fraud = (random.random(N) < 0.1).astype(np.int8)
    score = np.clip(random.normal(0.25 + 0.4 * fraud, 0.15), 0, 1)
    known, parts = beside(given, ROLES, None)
    return Rows(fraud, score, known, parts, **more)


def test_figures_are_a_training_s_and_have_intervals() -> None:
    """Every figure but card precision and calibration lies within its interval; few values make segments."""
    made = rows(frame())
    found = assess(made, 0.5)
    expected = evaluation.metrics(made.y, made.score, 0.5, customer=made.customer, time=made.frame["time"])
    assert {name: found.metrics[name] for name in expected} == expected
    tables = found.tables()
    sure = tables["figures"].set_index("figure").drop(index=["card_precision_at_100", "calibration_error"])
    assert ((sure["low"] <= sure["value"]) & (sure["value"] <= sure["high"])).all()
    assert set(tables["segments"]["by"]) == {"channel", "amount", "time"}
    of_channel = tables["segments"][tables["segments"]["by"] == "channel"]
    assert of_channel[of_channel["figure"] == "recall"]["rows"].sum() == N
    assert tables["calibration"]["rows"].sum() == pytest.approx(N)
    assert assess(rows(frame()[["device"]]), 0.5).metrics.keys() == found.metrics.keys() - {
        *("money_lost", "money_recall", "card_precision_at_100")
    }


@pytest.mark.parametrize("weight", [None, np.linspace(1, 3, N)])
def test_money_is_that_of_frauds_that_are_missed(weight: Any) -> None:
    """What is lost, what is caught, and what is saved against the better of flagging nothing and everything."""
    made = rows(frame(), weight=weight)
    found = assess(made, 0.5, review_cost=2.0).metrics
    stands = np.ones(N) if weight is None else weight
    amount, flagged, fraud = made.frame["amount"].to_numpy(), made.score >= 0.5, made.y == 1
    lost, at_stake = ((stands * amount)[which].sum() for which in (fraud & ~flagged, fraud))
    assert found["money_lost"] == pytest.approx(lost / stands.sum())
    assert found["money_recall"] == pytest.approx(1 - lost / at_stake)
    cost = lost + 2 * stands[flagged].sum()
    assert found["savings"] == pytest.approx(1 - cost / min(at_stake, 2 * stands.sum()))
    assert "savings" not in assess(made, 0.5).metrics
    for cost, says in ((-1.0, "a review costs -1"), (float("nan"), "a review costs nan")):
        with pytest.raises(ConfigError, match=says):
            assess(made, 0.5, review_cost=cost)
    with pytest.raises(ConfigError, match="amounts are not known"):
        assess(rows(frame().drop(columns="amount")), 0.5, review_cost=1.0)
    for bad in (-1.0, np.nan):
        with pytest.raises(DataError, match="amounts are negative or missing"):
            assess(rows(frame(amount=bad)), 0.5)


def test_scores_are_taken_from_whatever_has_them() -> None:
    """One score a row: in an array, a column of a frame, or as the chance of the second class. Classes are none."""
    score = np.array([0.1, 0.9])
    both = np.stack([1 - score, score], axis=1)
    framed = pd.DataFrame({"other": [1, 2], "risk": score})
    for answer, column in ((score, None), ([0.1, 0.9], None), (score[:, None], None), (both, None), (framed, "risk")):
        assert as_scores(answer, 2, column).tolist() == [0.1, 0.9]
    for answer, says in (
        ([0.1], r"\(1,\) values for 2 rows"),
        (np.ones((2, 3)), r"\(2, 3\) values"),
        ([0.1, np.nan], "such as nan"),
        ([0.1, 1.1], "such as 1.1"),
        ([0, 1], "classes"),
        (["fraud", "fine"], "no numbers"),
    ):
        with pytest.raises(DataError, match=says) as error:
            as_scores(answer, 2)
        assert "predict_proba" in error.value.fix
    with pytest.raises(DataError, match="no column 'score'"):
        as_scores(framed, 2, "score")


def test_labels_are_zero_or_one_and_both_are_there() -> None:
    """Whatever type they have; a gap, a word or one class alone is said."""
    for given in ([0, 1], [False, True], ["0", "1"], pd.Series([0.0, 1.0])):
        assert as_labels(given).tolist() == [0, 1]
    for given, says in (
        ([0, 2], "1 of 2 labels"),
        ([1, None], "1 of 2"),
        (["a", "b"], "2 of 2"),
        ([1, 1], "2 of 2 rows"),
    ):
        with pytest.raises(DataError, match=says):
            as_labels(given)


def test_columns_are_found_by_name() -> None:
    """Those that are named must be there; times are read with their zone; the index does not matter."""
    given = frame().rename(columns={"customer": "card"}).set_index(pd.Index(range(5, N + 5)))
    known, parts = beside(given, {**ROLES, "customer": "card"}, ["device"])
    assert (list(known.index[:2]), parts) == ([0, 1], ["device"])
    assert known["customer"].tolist() == given["card"].tolist()
    zoned, _ = beside(frame(time="2026-03-01T12:00:00+09:00"), ROLES, None)
    assert zoned["time"].iloc[0] == pd.Timestamp("2026-03-01T03:00:00")
    for named, wanted in (({"customer": "absent"}, None), (ROLES, ["absent"])):
        with pytest.raises(ConfigError, match="no columns 'absent'"):
            beside(frame(), named, wanted)
    for bad, says in ((5, "the times are numbers"), ("soon", "cannot be read")):
        with pytest.raises(DataError, match=says):
            beside(frame(time=bad), ROLES, None)
