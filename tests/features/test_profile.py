"""Profiles of training rows: what they keep, and how far others are from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from fds_mlflow.errors import ConfigError
from fds_mlflow.features import profile
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.features.table import FeatureTable
from tests.support.effort import at_most

NUMBERS = st.lists(st.none() | st.floats(-1e9, 1e9) | st.sampled_from([0.0, 1.0]), min_size=1, max_size=60)


def table(amounts: list[Any], countries: list[Any] | None = None, **more: Any) -> FeatureTable:
    """A table of an amount and a country."""
    columns = {"amount": np.array([np.nan if one is None else one for one in amounts]), **more}
    columns["country"] = pd.Series(countries or ["IT"] * len(amounts), dtype=object)
    spec = FeatureSpec(numeric=("amount",), categorical=("country",))
    return FeatureTable(pd.DataFrame(columns), ["amount", "country"], ["country"], spec, "", "", None)


@at_most(100)
@given(trained=NUMBERS, served=NUMBERS)
def test_the_drift_of_numbers_is_that_of_the_rows_themselves(trained: list[Any], served: list[Any]) -> None:
    """Quantiles tell the Kolmogorov-Smirnov statistic of all rows to one part in a hundred, gaps included."""
    found = profile.drift(profile.of(table(trained)), {"amount": served})["amount"]
    one, other = ([-np.inf if value is None else value for value in values] for values in (trained, served))
    assert found == pytest.approx(ks_2samp(one, other, method="asymp").statistic, abs=1 / profile.QUANTILES)


def test_what_did_not_change_does_not_drift_and_what_changed_wholly_does() -> None:
    """The drift is 0 of the same rows, and 1 where no value is left; of numbers and categories."""
    trained = profile.of(table([float(n) for n in range(200)], ["IT"] * 150 + [None] * 50))
    same = {"amount": [float(n) for n in range(200)], "country": ["IT"] * 150 + [None] * 50, "other": [1.0]}
    assert profile.drift(trained, same) == {"amount": pytest.approx(0, abs=0.01), "country": pytest.approx(0, abs=1e-6)}
    gone = profile.drift(trained, {"amount": [1e6] * 9, "country": ["DE"] * 9})
    assert gone == {"amount": pytest.approx(1), "country": pytest.approx(1)}
    assert 0.05 < profile.drift(trained, {"country": ["IT"] * 50 + [None] * 50})["country"] < 0.5


def test_rare_categories_are_one_together() -> None:
    """A profile keeps the most frequent values; unknown ones are as far as their share, not as their number."""
    many = profile.of(table([1.0] * 3_000, [f"C{n % 1_000}" for n in range(2_000)] + ["IT"] * 1_000))
    assert len(many.categories["country"]) == 201
    others = {"country": ["IT"] * 500 + [f"D{n % 100}" for n in range(1_000)]}
    served = profile.drift(many, others)["country"]
    assert served < 0.4  # as new values each would be, it is far beyond
    assert served < profile.drift(many, {"country": [f"D{n}" for n in range(1_000)]})["country"]


def test_a_row_counts_for_as_many_as_it_stands_for() -> None:
    """Where labels came with a chance, the profile is that of all transactions."""
    one = profile.of(table([1.0, 2.0], ["IT", "DE"], label_propensity=[1.0, 0.25]))
    assert one.numbers["amount"].count(1.0) == 20
    assert one.categories["country"] == pytest.approx({"DE": 0.8, "IT": 0.2})


def test_a_profile_reads_back(tmp_path: Path) -> None:
    """It is as it was written, there is none in a folder of an earlier version, and what is no profile is said so."""
    assert profile.read(tmp_path) is None
    made = profile.of(table([1.5, None, 3.0], ["IT", None, "DE"]))
    (tmp_path / profile.FILE).write_bytes(msgspec.json.encode(made))
    assert profile.read(tmp_path) == made
    (tmp_path / profile.FILE).write_text("{}")
    with pytest.raises(ConfigError, match="profile"):
        profile.read(tmp_path)
