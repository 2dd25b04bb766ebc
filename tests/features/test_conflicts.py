"""Whether two specifications mean the same by one name."""

from __future__ import annotations

from typing import Any

import pytest

from fds_mlflow.features.conflicts import conflicts
from fds_mlflow.features.spec import FeatureSpec


def spec(**changes: Any) -> FeatureSpec:
    """A specification of every kind of feature, with these changes."""
    values: dict[str, Any] = {
        "numeric": ["amount"],
        "flags": [{"flag": "night", "name": "odd"}],
        "windows": [
            {"entity": "card", "aggregate": "mean", "windows": ["7d"], "name": "mean"},
            {"entity": "card", "aggregate": "risk", "windows": ["7d"], "name": "risk"},
        ],
        "gaps": [{"entity": "card", "name": "gap"}],
        "expressions": [{"name": "ratio", "of": "amount / mean"}, {"name": "twice", "of": "2 * ratio"}],
        "categorical": ["country"],
    }
    return FeatureSpec(**{**values, **changes})


def test_the_same_under_another_spelling_is_no_conflict() -> None:
    """Spaces in an expression, a duration in other units, and what is given by default are the same meaning."""
    windows = [
        {"entity": "card", "aggregate": "mean", "windows": ["1w"], "of": "amount", "name": "mean"},
        {"entity": "card", "aggregate": "risk", "windows": ["168h"], "name": "risk"},
    ]
    expressions = [{"name": "ratio", "of": "(amount)/  'mean'"}, {"name": "twice", "of": "2.0*ratio"}]
    same = spec(windows=windows, expressions=expressions, time_zone="UTC", hidden=["mean"], numeric=[])
    assert conflicts(spec(), same) == conflicts(same, spec()) == []
    assert conflicts(spec(), FeatureSpec(numeric=["items"], gaps=[{"entity": "shop"}])) == []


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"flags": [{"flag": "weekend", "name": "odd"}]}, ["odd"]),
        ({"time_zone": "Asia/Seoul"}, ["odd"]),
        ({"label_delay": "7d"}, ["risk"]),
        ({"gaps": [{"entity": "shop", "name": "gap"}]}, ["gap"]),
        ({"categorical": [], "numeric": ["amount", "country"]}, ["country"]),
        ({"expressions": [{"name": "twice", "of": "2 * amount / mean"}]}, ["twice"]),
        ({"expressions": [{"name": "ratio", "of": "amount - mean"}, {"name": "twice", "of": "2 * ratio"}]}, None),
        ({"windows": [{"entity": "card", "aggregate": "mean", "windows": ["8d"], "name": "mean"}]}, None),
        ({"windows": [], "expressions": [{"name": "ratio", "of": "amount / mean"}]}, ["mean", "ratio"]),
    ],
)
def test_another_meaning_under_the_same_name_is_found(changes: dict[str, Any], names: list[str] | None) -> None:
    """What differs is named, and with it every expression that is computed from it."""
    found = conflicts(spec(), spec(**changes))
    assert found == (names or [name for name in ("mean", "ratio", "twice") if name in found])
    assert names is not None or {"ratio", "twice"} <= set(found)


def test_a_window_means_what_its_expression_does() -> None:
    """The same window over another expression is another feature, and so is one above another number, or earlier."""

    def of(text: str, **changes: Any) -> FeatureSpec:
        windows = [
            {"entity": "card", "aggregate": "median", "windows": ["7d"], "name": "median"},
            {"entity": "card", "aggregate": "count", "windows": ["7d"], "expression": "ratio", "above": 3, "name": "n"},
        ]
        windows[1] |= changes
        return FeatureSpec(numeric=["amount"], windows=windows, expressions=[{"name": "ratio", "of": text}])

    assert conflicts(of("amount / median"), of("(amount) / median", above=3.0)) == []
    assert conflicts(of("amount / median"), of("amount - median")) == ["n", "ratio"]
    assert conflicts(of("amount / median"), of("amount / median", above=4)) == ["n"]
    assert conflicts(of("amount / median"), of("amount / median", earlier=True)) == ["n"]


def test_long_chains_of_expressions_are_compared_at_once() -> None:
    """Expressions of expressions of expressions take no time that grows with what they stand for."""
    chain = [{"name": f"x{n}", "of": f"x{n - 1} + x{max(0, n - 2)} * amount"} for n in range(1, 80)]
    expressions = [{"name": "x0", "of": "amount * 2"}, *chain]
    one = FeatureSpec(expressions=expressions)
    other = FeatureSpec(expressions=[{"name": "x0", "of": "amount * 3"}, *chain])
    assert conflicts(one, FeatureSpec(expressions=expressions)) == []
    assert len(conflicts(one, other)) == 80
