"""Drift: what moved is named, what did not is quiet, and too few rows say so."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from fds_mlflow.core.lifecycle.verdict import Status
from fds_mlflow.features import drift, profile
from fds_mlflow.features.profile import Profile, Scored
from fds_mlflow.features.spec import FeatureSpec, Window
from fds_mlflow.features.stability import by_chance, stability_index
from fds_mlflow.features.table import FeatureTable
from fds_mlflow.features.wander import wander

COUNTRIES = [f"C{number}" for number in range(30)]
SPEC = FeatureSpec(numeric=("amount", "count", "flag", "fixed"), categorical=("country",))


def columns(rows: int, seed: int) -> dict[str, Any]:
    """A heavy-tailed amount, a count with gaps, a rare flag, a constant, and a country among thirty."""
    random = np.random.default_rng(seed)
    count = random.poisson(2.0, rows).astype(np.float64)
    count[random.random(rows) < 0.1] = np.nan
    return {
        "amount": random.lognormal(4, 1.5, rows),
        "count": count,
        "flag": (random.random(rows) < 0.05).astype(np.float64),
        "fixed": np.full(rows, 7.0),
        "country": random.choice(COUNTRIES, rows, p=np.arange(30, 0, -1) / 465),
    }


def table(rows: int = 20_000, seed: int = 0, **more: Any) -> FeatureTable:
    """Such rows as a training's."""
    frame = pd.DataFrame({**columns(rows, seed), **more})
    return FeatureTable(frame, SPEC.names, ["country"], SPEC, "", "", None)


TRAINED = profile.of(table())


def drifted(rows: dict[str, Any], trained: Profile = TRAINED) -> list[str]:
    """What is called a drift."""
    return [one.name for one in drift.features(trained, rows) if one.status is Status.FAIL]


@pytest.mark.parametrize("rows", [600, 5_000])
def test_rows_like_those_of_the_training_are_quiet(rows: int) -> None:
    """Over a hundred draws nothing is called a drift, and every quantity has an answer."""
    for seed in range(1, 101):
        found = drift.features(TRAINED, columns(rows, seed))
        assert {one.status for one in found} == {Status.PASS}, (seed, found[0].reason)


def test_a_million_rows_are_no_reason_by_themselves() -> None:
    """A move too small to matter stays quiet however many rows prove it."""
    rows = columns(1_000_000, 1)
    rows["amount"] *= 1.05
    (amount,) = [one for one in drift.features(TRAINED, rows) if one.name == "amount"]
    assert amount.status is Status.PASS
    assert amount.effect is not None
    assert 0.0001 < amount.effect < 0.05


SHIFTS: dict[str, Any] = {
    "amount": lambda rows: rows["amount"] * 3,
    "count": lambda rows: np.where(np.arange(len(rows["count"])) % 2, np.nan, rows["count"]),
    "flag": lambda rows: np.where(np.arange(len(rows["flag"])) % 4, rows["flag"], 1.0),
    "fixed": lambda rows: rows["fixed"] - 1,
    "country": lambda rows: np.where(np.arange(len(rows["country"])) % 5, rows["country"], "unseen"),
}


@pytest.mark.parametrize("name", SHIFTS)
def test_a_shifted_column_is_named_and_no_other(name: str) -> None:
    """Larger amounts, more gaps, a flag set more often, another constant, a new value: each is found, alone."""
    for seed in range(1, 11):
        rows = columns(1_000, seed)
        assert drifted({**rows, name: SHIFTS[name](rows)}) == [name]


def test_the_reason_has_both_numbers_gaps_and_new_values() -> None:
    """What is said of a drift can be acted on: before and now, what is missing, what the training did not have."""
    rows = columns(2_000, 1)
    by = {one.name: one for one in drift.features(TRAINED, {**rows, **{n: SHIFTS[n](rows) for n in SHIFTS}})}
    assert "missing 10" in by["count"].reason
    assert by["count"].missing == pytest.approx((0.1, 0.55), abs=0.02)
    assert "unseen 0.00 % in training, unseen 20.00 % now" in by["country"].reason
    assert by["country"].unseen == pytest.approx(0.2)
    assert (by["fixed"].before, by["fixed"].now) == ("7", "6")
    assert all("limit 0.25" in one.reason for one in by.values())


def test_too_few_rows_are_no_answer() -> None:
    """Sixty rows are NODATA, whatever they are like; none at all as well."""
    assert {one.status for one in drift.features(TRAINED, columns(60, 1))} == {Status.NODATA}
    nothing = {name: values[:0] for name, values in columns(1, 1).items()}
    found = drift.features(TRAINED, nothing)
    assert {one.status for one in found} == {Status.NODATA}
    assert "no rows" in found[0].reason


def test_the_bound_of_chance_holds_for_the_index_of_independent_rows() -> None:
    """In no more than about one draw of a hundred is an index beyond what chance is said to give."""
    random, shares = np.random.default_rng(0), np.full(10, 0.1)
    drawn = [[random.multinomial(rows, shares) / rows for rows in (2_000, 500)] for _ in range(3_000)]
    beyond = np.mean([stability_index(*pair) > by_chance(10, 2_000, 500, 1) for pair in drawn])
    assert 0.003 < beyond < 0.02


def test_what_wanders_in_training_must_go_further() -> None:
    """A column that was on twice its level in a quarter of the training is no drift on that level again."""
    rows = 20_000
    time = pd.date_range("2026-01-01", periods=rows, freq="min")
    level = np.where(np.arange(rows) < rows // 4, 3.0, 1.0)
    one = table(rows, 0, time=time)
    one = one.where(np.ones(rows))
    one.frame["amount"] *= level
    plain = profile.of(one)
    known = msgspec.structs.replace(plain, wander=wander([one], {}))
    new = columns(2_000, 5)
    new["amount"] *= 3.0
    assert drifted(new, plain) == ["amount"]
    assert drifted(new, known) == []
    new["amount"] *= 20.0
    assert drifted(new, known) == ["amount"]


def test_scores_and_rates_are_compared_with_rows_that_were_not_learned_from() -> None:
    """Ten times the score of everything is a drift of the score; twice the flagged, or half, one of the rate."""
    random = np.random.default_rng(1)
    scores = random.beta(0.2, 20, 10_000)
    trained = profile.of(table(), scored=Scored(scores, None, 0.1))
    assert trained.flagged == pytest.approx((scores >= 0.1).mean())
    same, tenfold = drift.score(trained, random.beta(0.2, 20, 2_000)), drift.score(trained, scores[:2_000] * 10)
    assert same is not None
    assert tenfold is not None
    assert (same.status, tenfold.status) == (Status.PASS, Status.FAIL)
    assert drift.score(TRAINED, scores) is None
    known = (0.02, 20_000.0)
    assert drift.rate("flagged rate", known, (0.022, 20_000)).status is Status.PASS
    more, less = (drift.rate("flagged rate", known, (now, 20_000)) for now in (0.04, 0.01))
    assert (more.status, less.status) == (Status.FAIL, Status.FAIL)
    assert "2 up" in more.reason
    assert "down" in less.reason
    assert drift.rate("fraud rate", known, (0.0, 300)).status is Status.NODATA
    assert drift.rate("fraud rate", known, (0.2, 300)).status is Status.FAIL  # so much is no chance even of 300 rows


def test_a_weighted_training_tells_its_fraud_rate_as_far_as_its_rows_are_worth() -> None:
    """A few explored rows that stand for a hundred each say little of the rate, however many rows are beside them."""
    label, chance = np.zeros(20_000, dtype=np.int8), np.ones(20_000)
    label[:120], chance[:5] = 1, 0.01
    trained = profile.of(table(label=label, label_propensity=chance))
    assert trained.worth == pytest.approx(20_495**2 / (19_995 + 5 * 100**2))
    assert trained.labelled == (pytest.approx((115 + 500) / 20_495), trained.worth)
    plain = profile.of(table(label=label))
    assert plain.labelled == (pytest.approx(0.006), 20_000)
    assert profile.worth(np.empty(0)) == 0.0


def test_a_profile_is_of_rows_whose_windows_are_full() -> None:
    """The first rows, whose windows reach back before the data, are left out; but never more than two thirds."""
    spec = FeatureSpec(numeric=("amount",), windows=(Window(entity="card", aggregate="count", windows=("10d",)),))
    time = pd.date_range("2026-01-01", periods=3_000, freq="h").to_series().reset_index(drop=True)
    frame = pd.DataFrame({"time": time, "amount": 1.0, "card_count_10d": np.minimum(np.arange(3_000), 240.0)})
    one = FeatureTable(frame, spec.names, [], spec, "", "", None)
    made = profile.of(one)
    assert (made.rows, min(made.numbers["card_count_10d"])) == (3_000 - 240, 240.0)  # type: ignore[type-var]
    assert (made.first, made.constant) == ("2026-01-11T00:00:00", ["amount", "card_count_10d"])
    short = one.where(np.arange(3_000) < 300)
    assert profile.of(short).rows == pytest.approx(100, abs=1)


def test_an_earlier_profile_reads_back_and_compares_features() -> None:
    """What a version has that was trained before scores were kept still tells the drift of its features."""
    earlier = {"rows": 20_000, "numbers": TRAINED.numbers, "categories": TRAINED.categories}
    read = msgspec.json.decode(msgspec.json.encode(earlier), type=Profile)
    rows = columns(1_000, 1)
    assert drifted({**rows, "amount": rows["amount"] * 3}, read) == ["amount"]
    assert (read.scores, read.fraud_rate, read.wander) == ([], None, {})
