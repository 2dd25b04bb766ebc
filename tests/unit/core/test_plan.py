"""Plans are validated when they are made, and only they convert percent into basis points."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.plan import FULL, Plan, to_basis_points, to_percent
from fds_mlflow.errors import ConfigError


@given(st.integers(0, FULL))
def test_percent_and_basis_points_convert_without_loss(points: int) -> None:
    """Every weight that can be stored reads as a percentage that leads back to it."""
    assert to_basis_points(to_percent(points)) == points


@pytest.mark.parametrize(
    ("percent", "points"), [(0, 0), (0.01, 1), (0.29, 29), (33.33, 3_333), (99.99, 9_999), (100, FULL)]
)
def test_percentages_down_to_a_hundredth_are_exact(percent: float, points: int) -> None:
    """Two decimals are kept exactly, however the binary fraction falls."""
    assert to_basis_points(percent) == points


@pytest.mark.parametrize("percent", [-1, -0.001, 100.01, 101, math.nan, math.inf, True, "10", None, [10]])
def test_what_is_no_percentage_is_refused(percent: Any) -> None:
    """Out of range, not a number, or a boolean: the message shows the value and a good one."""
    with pytest.raises(ConfigError, match="not a percentage") as error:
        to_basis_points(percent)
    assert "25" in error.value.fix


def test_a_percentage_finer_than_a_basis_point_is_refused_with_the_rounded_one() -> None:
    """12.345 % cannot be stored; the message says which weight can."""
    with pytest.raises(ConfigError, match="finer than one basis point") as error:
        to_basis_points(12.345)
    assert "12.34" in error.value.fix


@pytest.mark.parametrize("steps", [[], [0, 10], [10, 10], [25, 10], [10, 25, 24.99], [0]])
def test_steps_rise_from_above_zero(steps: list[float]) -> None:
    """Steps that are empty, start at nothing, repeat or fall are refused and shown."""
    with pytest.raises(ConfigError, match="do not rise"):
        Plan(steps)


def test_the_default_plan_is_the_documented_one() -> None:
    """Without options a rollout goes 10, 25, 50, 100 % and asks for 100 outcomes a step."""
    assert Plan().steps == (10.0, 25.0, 50.0, 100.0)
    assert Plan().to_dict() == {
        "steps": [10.0, 25.0, 50.0, 100.0],
        "min_outcomes": 100,
        "min_success_rate": 0.9,
        "max_success_drop": 0.05,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_outcomes", 0),
        ("min_outcomes", -5),
        ("min_outcomes", 2.5),
        ("min_outcomes", True),
        ("min_outcomes", "100"),
        ("min_success_rate", -0.1),
        ("min_success_rate", 1.1),
        ("min_success_rate", math.nan),
        ("min_success_rate", True),
        ("max_success_drop", 2),
        ("max_success_drop", None),
    ],
)
def test_a_value_out_of_range_names_its_field(name: str, value: Any) -> None:
    """A wrong setting is refused with its name and value."""
    with pytest.raises(ConfigError, match=name):
        Plan(**{name: value})


def test_an_unknown_key_is_refused_with_the_known_ones() -> None:
    """A misspelt key is never ignored."""
    with pytest.raises(ConfigError, match="unknown keys: min_outcome, weights") as error:
        Plan.from_dict({"min_outcome": 5, "weights": [1]})
    assert error.value.fix == "use only max_success_drop, min_outcomes, min_success_rate, steps"


plans = st.builds(
    Plan,
    st.lists(st.integers(1, FULL).map(to_percent), min_size=1, max_size=12, unique=True).map(sorted),
    min_outcomes=st.integers(1, 10**9),
    min_success_rate=st.floats(0, 1),
    max_success_drop=st.floats(0, 1),
)


@given(plans)
def test_a_plan_survives_plain_values(plan: Plan) -> None:
    """What `to_dict` gives, `from_dict` takes, and equal plans compare and hash as equal."""
    again = Plan.from_dict(plan.to_dict())
    assert again == plan
    assert hash(again) == hash(plan)
    assert repr(again) == repr(plan)


def test_a_plan_cannot_be_changed() -> None:
    """A plan is a value: nobody edits a running rollout's rules in place."""
    with pytest.raises(AttributeError):
        Plan().min_outcomes = 1  # type: ignore[misc]
