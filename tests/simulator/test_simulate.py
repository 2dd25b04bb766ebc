"""The simulated shop: its size, rhythm, frauds, drift and late labels."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.text.checks import MOST_SEED
from fds_mlflow.data.transactions import load
from fds_mlflow.errors import ConfigError
from fds_mlflow.features.table import compute, default_spec
from fds_mlflow.simulator import simulate
from tests.support.effort import at_most


@pytest.fixture(scope="module")
def shop() -> pd.DataFrame:
    """Three months of a shop with many frauds, so that shares can be told from chance."""
    return simulate.transactions(40_000, seed=11, fraud_rate=0.1)


class TestShape:
    @at_most(30)
    @given(
        n=st.integers(1, 400),
        seed=st.integers(0, MOST_SEED),
        days=st.sampled_from([1, 1.5, 7, 90]),
        rate=st.sampled_from([0.0, 0.01, 0.2, 0.5]),
        drift=st.sampled_from([0.0, 1.0, 2.0]),
    )
    def test_any_options_give_a_shop_that_loads(
        self, n: int, seed: int, days: float, rate: float, drift: float
    ) -> None:
        """Exactly so many rows and frauds, in order of time, within the period, acceptable to the shipped schema."""
        found = simulate.transactions(n, seed=seed, days=days, fraud_rate=rate, drift=drift)
        assert len(found) == n
        assert found["is_fraud"].sum() == round(n * rate)
        assert found["time"].is_monotonic_increasing
        start = pd.Timestamp("2026-01-05")
        assert found["time"].between(start, start + pd.Timedelta(days=days), inclusive="left").all()
        assert len(load(found, "simulator")) == n

    def test_the_same_seed_gives_the_same_shop(self) -> None:
        """Seed and options decide everything; another seed gives another shop."""
        first = simulate.transactions(500, seed=1)
        pd.testing.assert_frame_equal(first, simulate.transactions(500, seed=1))
        assert not first.equals(simulate.transactions(500, seed=2))

    def test_the_start_may_be_text_or_a_moment(self) -> None:
        """A start with an offset means that moment in UTC."""
        text = simulate.transactions(50, start="2026-01-05T00:00:00")
        aware = simulate.transactions(50, start=datetime(2026, 1, 5, tzinfo=UTC))
        pd.testing.assert_frame_equal(text, aware)

    @pytest.mark.parametrize(
        "options",
        [
            {"n": 0},
            {"days": 0.5},
            {"fraud_rate": 0.6},
            {"fraud_rate": -0.1},
            {"customers": 3},
            {"drift": 3},
            {"maturity": 0},
        ],
    )
    def test_options_outside_their_range_are_refused(self, options: dict[str, Any]) -> None:
        """An impossible option is refused with its name and its range."""
        with pytest.raises(ConfigError, match=next(iter(options))):
            simulate.transactions(**({"n": 100} | options))


class TestHonestCustomers:
    def test_days_and_weeks_have_a_rhythm(self, shop: pd.DataFrame) -> None:
        """The evening is several times busier than the small hours, the weekend busier than Tuesday."""
        time = shop.loc[shop["is_fraud"] == 0, "time"]
        hours = time.dt.hour.value_counts()
        assert hours[[19, 20, 21]].sum() > 3 * hours[[2, 3, 4]].sum()
        days = time.dt.day_of_week.value_counts()
        assert days[6] > 1.1 * days[1]

    @pytest.mark.slow
    def test_customers_keep_to_their_habits(self, shop: pd.DataFrame) -> None:
        """Most of a customer's orders come from one device and home address, at a handful of merchants."""
        honest = shop[shop["is_fraud"] == 0]
        busy = honest[honest["customer_id"].map(honest["customer_id"].value_counts()) >= 20].groupby("customer_id")
        for column, share in (("device_id", 0.45), ("ip_address", 0.5), ("merchant_id", 0.1)):
            assert busy[column].agg(lambda v: v.value_counts().iloc[0] / len(v)).mean() > share

    def test_honest_people_do_odd_things_too(self, shop: pd.DataFrame) -> None:
        """Travel, forgotten passwords and unknown devices occur without fraud, so no single sign convicts."""
        honest = shop[shop["is_fraud"] == 0]
        assert 0.01 < honest["is_foreign_ip"].mean() < 0.05
        assert 0.01 < (honest["failed_login_attempts"] >= 1).mean() < 0.2
        assert (honest.groupby("device_id")["customer_id"].nunique() > 1).any()


class TestFraud:
    def test_each_kind_has_its_signature(self, shop: pd.DataFrame) -> None:
        """Stolen cards come from abroad, takeovers after failed logins, leaks share devices, promo accounts are new."""
        by = shop.groupby(shop["fraud_type"].fillna("honest"))
        assert set(by.groups) == {"honest", *simulate.KINDS}
        foreign, failed = by["is_foreign_ip"].mean(), by["failed_login_attempts"].mean()
        age, amount = by["account_age_days"].median(), by["amount"].median()
        assert foreign["card_theft"] > 0.25 > 5 * foreign["honest"]
        assert failed["account_takeover"] > 5 * failed["honest"]
        assert age["promo_abuse"] < 2 < age["honest"]
        assert amount["promo_abuse"] < amount["honest"] < amount["card_theft"]
        per_device = shop.groupby(["fraud_type", "device_id"])["customer_id"].nunique().groupby("fraud_type").mean()
        assert per_device["compromised_merchant"] > 1.5 * per_device["account_takeover"]

    def test_customers_of_a_compromised_merchant_are_defrauded_afterwards(self, shop: pd.DataFrame) -> None:
        """Victims of a leak bought something honestly before they were defrauded."""
        victims = shop[shop["fraud_type"] == "compromised_merchant"]
        first = shop[shop["is_fraud"] == 0].groupby("customer_id")["time"].min()
        assert (victims["customer_id"].map(first) <= victims["time"]).mean() > 0.99

    @pytest.mark.slow
    def test_fraud_is_detectable_but_not_trivial(self) -> None:
        """A plain LightGBM on the default features finds much of the later fraud, and by far not all."""
        import lightgbm
        from sklearn.metrics import average_precision_score

        table = compute(
            load(simulate.transactions(12_000, seed=1, fraud_rate=0.03), "simulator"),
            default_spec(load(simulate.transactions(10), "simulator").schema),
        )
        numeric = [name for name in table.features if name not in table.categorical]
        x, y = table.frame[numeric], table.y
        train = np.arange(len(y)) < 0.7 * len(y)
        model = lightgbm.LGBMClassifier(
            n_estimators=80, num_leaves=15, learning_rate=0.08, random_state=0, n_jobs=1, verbose=-1
        )
        score = model.fit(x[train], y[train]).predict_proba(x[~train])[:, 1]
        assert 0.5 < average_precision_score(y[~train], score) < 0.95


class TestTime:
    def test_without_drift_nothing_changes_and_with_it_prices_and_kinds_do(self) -> None:
        """The first and last month of honest amounts agree at drift 0; at drift 2 prices rise and takeovers spread."""

        def months(drift: float) -> tuple[float, float]:
            found = simulate.transactions(30_000, seed=4, fraud_rate=0.1, drift=drift)
            third = (np.arange(len(found)) * 3) // len(found)
            honest = found["amount"][found["is_fraud"] == 0].groupby(third[found["is_fraud"] == 0]).median()
            takeover = pd.Series(found["fraud_type"] == "account_takeover").groupby(third).sum()
            return honest[2] / honest[0], takeover[2] / takeover[0]

        still, moved = months(0.0), months(2.0)
        assert still[0] == pytest.approx(1.0, abs=0.05)
        assert still[1] == pytest.approx(1.0, abs=0.35)
        assert moved[0] > 1.12
        assert moved[1] > 1.8

    def test_labels_arrive_late(self, shop: pd.DataFrame) -> None:
        """Genuine orders count as such at maturity; frauds are reported before, promo abuse sooner than leaks."""
        delay = (shop["label_known_at"] - shop["time"]).dt.total_seconds() / 86_400
        assert delay[shop["is_fraud"] == 0].between(13.999, 14.001).all()
        assert delay[shop["is_fraud"] == 1].between(1 / 24 - 1e-4, 14.001).all()
        median = delay.groupby(shop["fraud_type"]).median()
        assert 1 < median["promo_abuse"] < median["card_theft"] < median["compromised_merchant"]


class TestSample:
    def test_the_sample_is_the_specifications(self) -> None:
        """1,000 transactions, 800 genuine and 200 fraudulent, with the columns the specification names."""
        found = simulate.sample()
        assert len(found) == 1_000
        assert found["is_fraud"].value_counts().to_dict() == {0: 800, 1: 200}
        assert {"amount", "velocity_1h", "is_foreign_ip", "failed_login_attempts"} <= set(found)
        assert found["velocity_1h"].min() >= 1
        assert found["velocity_1h"].max() > 1
        pd.testing.assert_frame_equal(found, simulate.sample())

    def test_the_sample_loads_with_its_schema(self) -> None:
        """The shipped schema `sample` reads it, velocity included."""
        assert load(simulate.sample(seed=5), "sample").frame["velocity_1h"].dtype == np.float64
