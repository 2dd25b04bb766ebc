"""Exploration: told by the key alone, a share of its own, within a cap, and independent of the split."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.routing.exploration import Exploration
from fds_mlflow.core.routing.routing import SEED, Split
from fds_mlflow.errors import ConfigError

KEYS = [f"TX{number}" for number in range(20_000)]


@given(key=st.text(), share=st.floats(1e-12, 1))
def test_who_is_explored_is_told_by_the_published_hash(key: str, share: float) -> None:
    """Any program can compute it: XXH64 of `explore:MODEL:KEY` lies below the share of all hashes."""
    number = xxhash.xxh64_intdigest(f"explore:fraud:{key}".encode(errors="surrogatepass"), SEED)
    assert Exploration("fraud", share).explores(key, share) == (number < int(share * 2**64))


@given(key=st.text(), small=st.floats(0, 1), large=st.floats(0, 1))
def test_a_larger_share_explores_what_a_smaller_one_does(key: str, small: float, large: float) -> None:
    """Nobody leaves when the share grows; with a chance of 0 nobody is let pass, and with 1 everybody."""
    small, large = sorted((small, large))
    draws = Exploration("fraud", 0.5)
    assert draws.explores(key, small) <= draws.explores(key, large)
    assert not draws.explores(key, 0.0)
    assert draws.explores(key, 1.0)


@pytest.mark.parametrize("share", [0.5, 0.01, 0.00002])
def test_the_share_is_kept_far_below_a_basis_point(share: float) -> None:
    """As many are explored as the share says, within five standard deviations."""
    many = [f"{key}-{more}" for key in KEYS for more in range(20 if share < 0.001 else 1)]
    found = sum(Exploration("fraud", share).explores(key, share) for key in many)
    assert abs(found - share * len(many)) < 5 * math.sqrt(share * len(many)) + 1


def test_exploration_knows_nothing_of_the_split_nor_of_other_models() -> None:
    """Of what is explored each variant, and each other model's exploration, has the same share as of everything."""
    one, other, split = Exploration("fraud", 0.5), Exploration("returns", 0.5), Split("01J", 5_000)
    explored = [key for key in KEYS if one.explores(key, 0.5)]
    for takes in (split.takes, lambda key: other.explores(key, 0.5)):
        assert abs(sum(map(takes, explored)) / len(explored) - 0.5) < 0.025


@pytest.mark.parametrize(
    ("amount", "chance"),
    [
        *[(value, 0.1) for value in (0, 50, 100.0, -100, "99.5")],
        *[(value, 0.0) for value in (100.01, -101, "1e3", None, "", "a lot", True, math.nan, math.inf, -math.inf)],
        *[(value, 0.0) for value in ([50], {"amount": 50}, "nan", 10**400)],
    ],
)
def test_above_the_cap_and_without_an_amount_the_chance_is_nought(amount: Any, chance: float) -> None:
    """What is above the cap, missing or no number is never let pass, whatever its sign; without a cap all may be."""
    assert Exploration("fraud", 0.1, cap=100.0).propensity(amount) == chance
    assert Exploration("fraud", 0.1).propensity(amount) == 0.1


@pytest.mark.parametrize(
    "wrong",
    [
        *[{"percent": value} for value in (-1, 100.1, math.nan, math.inf, True, "1", None)],
        *[{"percent": 1, "cap": value} for value in (0, -5, math.nan, math.inf, True, "100")],
        *[{"percent": 1, "per_day": value} for value in (0, -1, 1.5, True, "1")],
        {"percent": 1, "column": "amount"},
        {"percent": 1, "cap": 5, "column": ""},
        {"percent": 1, "cap": 5, "column": 7},
        *[{"percent": 0, name: 5} for name in ("cap", "per_day")],
        {"percent": 0, "cap": 5, "column": "amount"},
        {"percent": 1, "recorded": False},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    """Shares out of range, bounds on nothing and exploration without outcomes are refused, with a fix."""
    with pytest.raises(ConfigError) as refused:
        Exploration.of("fraud", wrong.pop("percent"), **wrong)
    assert refused.value.fix


def test_what_makes_sense_is_taken() -> None:
    """Percent become a share; 0 is off, with or without outcomes; the amount's column has a default."""
    assert Exploration.of("fraud", 0.5, cap=100, per_day=7) == Exploration("fraud", 0.005, 100, "amount", 7)
    assert Exploration.of("fraud", 100, cap=1, column="value") == Exploration("fraud", 1.0, 1, "value")
    assert Exploration.of("fraud", 0) is Exploration.of("fraud", 0.0, recorded=False) is None


@given(now=st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_day_begins_at_midnight(now: datetime) -> None:
    """The day that is counted has the time in it, and begins at midnight UTC."""
    day = Exploration.day(now)
    assert timedelta(0) <= now - day < timedelta(days=1)
    assert day.timestamp() % 86_400 == 0
