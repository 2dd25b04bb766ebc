"""Expressions: what may be written, and that they mean the same in memory, from file, and for one row."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.data.transactions import load
from fds_mlflow.errors import ConfigError
from fds_mlflow.features.expressions import DEEPEST, LONGEST, evaluate, names_in, parse
from fds_mlflow.features.spec import FeatureSpec, Flag, Gap, Window
from fds_mlflow.features.table import compute, compute_file
from fds_mlflow.simulator import simulate

COLUMNS = ("a", "b", "c")
_number = st.one_of(
    st.just(math.nan), st.sampled_from([0.0, -0.0, 1.0, 1e308, 5e-324]), st.floats(-1e6, 1e6), st.floats(allow_nan=True)
)
_leaf = st.one_of(st.sampled_from(COLUMNS), st.sampled_from(["0", "2", "0.5", "1e300"]))


def _wider(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Larger expressions of the operations that IEEE 754 rounds in one way."""
    pairs = st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
    calls = st.tuples(st.sampled_from(["min", "max", "coalesce"]), st.lists(inner, min_size=2, max_size=3)).map(
        lambda t: f"{t[0]}({', '.join(t[1])})"
    )
    ones = st.tuples(st.sampled_from(["-", "abs", "sqrt"]), inner).map(lambda t: f"{t[0]}({t[1]})")
    return st.one_of(pairs, calls, ones)


_texts = st.recursive(_leaf, _wider, max_leaves=12).map(lambda text: f"a + {text}")


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan


def _divided(a: float, b: float) -> float:
    return a / b if b else math.nan


def _extreme(pick: Any) -> Any:
    return lambda *values: math.nan if any(map(math.isnan, values)) else pick(values)


class Cell(float):
    """One row's value, computed by Python's own floats."""

    def __add__(self, other: float) -> Cell:
        return Cell(_finite(float(self) + float(other)))

    def __sub__(self, other: float) -> Cell:
        return Cell(_finite(float(self) - float(other)))

    def __mul__(self, other: float) -> Cell:
        return Cell(_finite(float(self) * float(other)))

    def __truediv__(self, other: float) -> Cell:
        return Cell(_finite(_divided(float(self), float(other))))

    def __neg__(self) -> Cell:
        return Cell(_finite(-float(self)))

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: float) -> Cell:
        return Cell(other) - self

    def __rtruediv__(self, other: float) -> Cell:
        return Cell(other) / self


ORACLE = {
    "abs": lambda v: Cell(_finite(abs(float(v)))),
    "sqrt": lambda v: Cell(math.sqrt(v) if v >= 0 and math.isfinite(v) else math.nan),
    "min": lambda *values: Cell(_finite(_extreme(min)(*map(float, values)))),
    "max": lambda *values: Cell(_finite(_extreme(max)(*map(float, values)))),
    "coalesce": lambda *values: Cell(_finite(next((float(v) for v in values if not math.isnan(v)), math.nan))),
}


@given(_texts, st.lists(st.tuples(_number, _number, _number), min_size=1, max_size=9))
def test_an_expression_is_what_a_calculator_says(text: str, rows: list[tuple[float, float, float]]) -> None:
    """Every row has, to the last bit, the value that floating-point arithmetic gives, none where that is not finite."""
    cells = re.sub(r"(?<![\w.])(\d[\w.]*)", r"Cell(\1)", text)  # so that every operation is ours
    columns = {name: np.array([row[i] for row in rows]) for i, name in enumerate(COLUMNS)}
    found = evaluate(parse(text), columns)
    for row, value in zip(rows, found, strict=True):
        known = {name: Cell(cell) for name, cell in zip(COLUMNS, row, strict=True)}
        expected = _finite(float(eval(cells, {"__builtins__": {}, "Cell": Cell, **ORACLE, **known})))
        assert np.array_equal(value, expected, equal_nan=True), (text, row)


@given(
    st.sampled_from(
        ["log(a)", "log1p(a)", "exp(a)", "sqrt(a)", "abs(a)", "min(a, b)", "max(a, b)", "coalesce(a, b)", "a / b - c"]
    ),
    st.lists(st.tuples(_number, _number, _number), min_size=1, max_size=40),
)
def test_a_row_alone_has_the_value_it_has_among_others(text: str, rows: list[tuple[float, float, float]]) -> None:
    """Computed one by one, from any layout of memory, values equal those of the whole column, bit by bit."""
    table = np.array(rows)
    whole = evaluate(parse(text), {name: table[:, i] for i, name in enumerate(COLUMNS)})
    for number, row in enumerate(rows):
        alone = evaluate(parse(text), {name: np.array([cell]) for name, cell in zip(COLUMNS, row, strict=True)})
        assert alone.tobytes() == whole[number : number + 1].tobytes()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a / 0", math.nan),
        ("0 / (a - a)", math.nan),
        ("log(0 * a)", math.nan),
        ("log(-a)", math.nan),
        ("sqrt(-a)", math.nan),
        ("log1p(-a / 2)", math.nan),
        ("exp(a * 1000)", math.nan),
        ("a * 1e308", math.nan),
        ("a + missing", math.nan),
        ("min(a, missing)", math.nan),
        ("coalesce(missing, a)", 2.0),
        ("coalesce(missing, a / 0, 7)", 7.0),
        ("log(a)", math.log(2)),
        ("log1p(a)", math.log(3)),
        ("exp(a)", math.exp(2)),
        ("1 / (a / 0)", math.nan),
        ("2 * -a + 1_0", 6.0),
        ("'a' * \"ip mean 7d\"", 10.0),
        ("\n  a\n / 4 ", 0.5),
    ],
)
def test_what_has_no_finite_value_is_missing(text: str, value: float) -> None:
    """Division by zero, logarithms and roots of what has none, and what is too large are missing, and stay it."""
    columns = {"a": np.array([2.0]), "missing": np.array([math.nan]), "ip mean 7d": np.array([5.0])}
    assert evaluate(parse(text), columns) == pytest.approx([value], rel=1e-15, nan_ok=True)


@pytest.mark.parametrize("text", ["a", "-b", "a * b", "min(a, b)", "max(a, b)", "coalesce(a, b)", "abs(a) * -1"])
def test_there_is_one_zero(text: str) -> None:
    """No expression gives a negative zero, whose sign would depend on where in a column it stands."""
    columns = {"a": np.full(9, -0.0), "b": np.zeros(9)}
    assert not np.signbit(evaluate(parse(text), columns)).any()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a +", "is no expression"),
        ("a ** 2", "'a ** 2' at character 1"),
        ("1 + (a % 2)", "'a % 2' at character 6"),
        ("ä + a.b", "'a.b' at character 5"),
        ("  a + lg(a)", r"'lg(a)' at character 7: unknown function 'lg' (did you mean 'log'?)"),
        ("log(a, b)", "log takes one argument, not 2"),
        ("min(a)", "min takes 2 arguments or more, not 1"),
        ("log(x=a)", "'log(x=a)' at character 1"),
        ("log(*a)", "'*a' at character 5"),
        ("log(a, base=2)", "'log(a, base=2)' at character 1"),
        ("a + 1e999", "'1e999' at character 5: the number is too large"),
        (f"a + {'9' * 400}", "the number is too large"),
        ("a + True", "'True' at character 5: write 1 or 0"),
        ("a + 1j", "'1j' at character 5"),
        ("+a", "'+a' at character 1"),
        ("a if b else c", "'a if b else c' at character 1"),
        ("a < b", "'a < b' at character 1"),
        ("[a][0]", "'[a][0]' at character 1"),
        ("(a := 1)", "character"),
        ("__import__('os').system('x')", "at character 1: an expression has"),
        ("2 * 3", "is the same for every transaction"),
        ("-" * (LONGEST - 1) + "a", f"more than {DEEPEST} operations within operations"),
        ("(" * 400 + "a" + ")" * 400, "is no expression"),
        ("a" + " " * LONGEST, "more than 1,000: write several"),
        ("a\x00", "is no expression"),
    ],
)
def test_what_is_not_allowed_is_refused_where_it_stands(text: str, place: str) -> None:
    """Whatever is no number, name, operator or function of the grammar is refused, with its place in the text."""
    with pytest.raises(ConfigError) as refused:
        FeatureSpec(numeric=("a",), expressions=[{"name": "x", "of": text}])
    assert "'expressions.0.of'" in refused.value.what
    assert place in refused.value.what


@given(st.text(max_size=40) | st.text("ab+-*/(),.'\"1e \\", max_size=40))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    """Any text is an expression over names, or refused by a sentence: nothing else is raised, and nothing is run."""
    try:
        found = parse(text)
    except ValueError:
        return
    columns = {name.name: np.ones(2) for name in names_in(found)}
    assert evaluate(found, columns).shape == (2,)


def test_each_name_stands_for_one_number() -> None:
    """Unknown names, categories, names that mean two things, and circles are refused with what to write instead."""
    kinds = {"amount": "numeric", "items": "numeric", "customer": "entity", "country": "categorical"}
    mean = Window(entity="customer", aggregate="mean", windows=("30d",))

    def refusal(*of: str, **more: Any) -> str:
        items = [{"name": f"x{number}", "of": text} for number, text in enumerate(of)]
        with pytest.raises(ConfigError) as refused:
            FeatureSpec(windows=(mean,), expressions=items, **more).check(kinds, where="orders.csv")
        return refused.value.what

    assert "unknown name 'customer_mean_30d' at character 10 (did you mean 'customer_mean_amount_30d'?)" in refusal(
        "amount / customer_mean_30d"
    )
    assert "the expression 'x0' over orders.csv: unknown name 'country'" in refusal("country * 2")
    assert "'x0' reads 'country', which is a category" in refusal("country * 2", categorical=("country",))
    assert "reads 'x0', itself" in refusal("x0 + amount")
    assert "reads 'x1', a later one" in refusal("x1 + amount", "x0 + amount")
    assert "'x0' reads 'items': a feature, and a column" in refusal(
        "items", gaps=(Gap(entity="customer", name="items"),)
    )
    assert "several features are named x0" in refusal("amount", flags=(Flag(flag="night", name="x0"),))
    assert "'items' cannot be hidden" in refusal("items", hidden=("items",))
    assert "did you mean 'customer_mean_amount_30d'?" in refusal("items", hidden=("customer_mean_amount_3d",))
    assert "is hidden, and no expression or window reads it" in refusal("items", hidden=("customer_mean_amount_30d",))


RATIOS = FeatureSpec(
    numeric=("amount",),
    flags=(Flag(flag="night"),),
    windows=(
        Window(entity="customer", aggregate="mean", windows=("7d", "30d")),
        Window(entity="device", aggregate="risk", windows=("7d",), name="device risk"),
    ),
    gaps=(Gap(entity="customer"),),
    expressions=(
        {"name": "amount_to_mean", "of": "amount / customer_mean_amount_30d"},
        {"name": "log_gap", "of": "log(customer_gap)"},
        {"name": "mixed", "of": "coalesce(log_gap, -1) * amount_to_mean + night * 'device risk' - account_age_days"},
    ),
    categorical=("country",),
    hidden=("customer_mean_amount_30d", "log_gap"),
)


def test_memory_and_file_agree(tmp_path: Path) -> None:
    """Expressions have the same values and places from file as in memory; what is hidden is in neither."""
    frame = simulate.transactions(3_000)
    frame.to_parquet(tmp_path / "in.parquet")
    table = compute(load(frame, "simulator"), RATIOS)
    made = compute_file(tmp_path / "in.parquet", "simulator", RATIOS, tmp_path / "out.parquet")
    written = pd.read_parquet(tmp_path / "out.parquet")
    assert table.features == made.features == RATIOS.names
    assert RATIOS.names == [
        *("amount", "night", "customer_mean_amount_7d", "device risk", "customer_gap", "amount_to_mean", "mixed"),
        "country",
    ]
    assert list(written.columns) == list(table.frame.columns)
    read = written[table.features].astype(table.x.dtypes)  # older pandas have another type for text
    pd.testing.assert_frame_equal(read, table.x, check_exact=False, rtol=1e-12)
    raw = frame["amount"].to_numpy()
    means = compute(load(frame, "simulator"), FeatureSpec(windows=RATIOS.windows)).x["customer_mean_amount_30d"]
    np.testing.assert_array_equal(table.x["amount_to_mean"], raw / means)


def test_an_expression_over_columns_alone_needs_no_time() -> None:
    """Without a time there are no windows, but expressions over what a row itself holds."""
    frame = pd.DataFrame({"id": ["a", "b"], "total": [10.0, 0.0], "items": [4.0, 0.0]})
    read = load(frame, transaction_id="id", time=None, amount="total", numeric=["items"])
    table = compute(read, FeatureSpec(expressions=({"name": "each", "of": "amount / items"},)))
    assert table.features == ["each"]
    np.testing.assert_array_equal(table.x["each"], [2.5, math.nan])
