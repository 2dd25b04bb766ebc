"""Names that are alike stand for what they name."""

from __future__ import annotations

import numpy as np

from fds_mlflow.features.kernel import Kernel, Past
from fds_mlflow.features.spec import Expression, FeatureSpec, Window


def test_a_column_may_be_called_like_an_expression_with_a_word_before_it() -> None:
    """Windows over `expression x` the column and over `x` the expression are of different numbers."""
    name = "expression x"
    spec = FeatureSpec(
        windows=(
            Window(entity="customer", aggregate="max", windows=("1d",), of=name, name="column"),
            Window(entity="customer", aggregate="max", windows=("1d",), expression="x", name="expressed"),
        ),
        expressions=(Expression(name="x", of=f"'{name}' * 10"),),
    )
    past = Past(np.arange(3), {"customer": np.zeros(3, dtype=np.int32)}, {name: np.array([1.0, 3.0, 2.0])})
    found = dict(Kernel(past, spec).features("customer"))
    np.testing.assert_array_equal(found["column"], [1, 3, 3])
    np.testing.assert_array_equal(found["expressed"], [10, 30, 30])
