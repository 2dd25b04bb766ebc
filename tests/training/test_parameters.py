"""Parameters as people write them: every spelling of a value means that value, and a slip is named."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.errors import ConfigError
from fds_mlflow.training.parameters import entries, from_pairs, plain_value
from tests.support.effort import at_most

VALUES = st.one_of(st.booleans(), st.none(), st.integers(-(10**9), 10**9), st.text("abc_xyz", min_size=1, max_size=9))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        (".5", 0.5),
        ("5.", 5),
        ("+3", 3),
        ("1_000", 1000),
        ("1e3", 1000),
        ("1.0", 1.0),
        ("True", True),
        ("false", False),
        ("None", None),
        ("null", None),
        ('"31"', 31),
        ("dart", "dart"),
        ("[1, 0]", [1, 0]),
        ('{"amount": 1}', {"amount": 1}),
        ("1,0,-1", "1,0,-1"),
        ("a=b", "a=b"),
        ("1_", "1_"),
    ],
)
def test_a_value_is_read_as_it_is_meant(text: str, value: object) -> None:
    """JSON, Python's words and numbers; what is none of these stays text."""
    made = from_pairs([f" p = {text}"])["p"]
    assert made == value
    assert type(made) is type(value)


@at_most(40)
@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=5), VALUES, max_size=4))
def test_what_is_written_as_json_comes_back(params: dict[str, Any]) -> None:
    """Each value survives being written down, whether as JSON or, where it is a plain word, bare."""
    assert from_pairs(f"{name}={json.dumps(value)}" for name, value in params.items()) == params
    assert from_pairs(f"{name}={value}" for name, value in params.items()) == params


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["num_leaves"], "not name=value"),
        (["=3"], "not name=value"),
        (["num_leaves="], "has no value"),
        (["a=1", "a=2"], "'a' is given twice"),
        (["a=NaN"], "finite"),
        (["a=[1, Infinity]"], "finite"),
        (['a={"x": 1, "x": 2}'], "names 'x' twice"),
        (["a=" + "9" * 5_001], "finite|digits"),
        (["a=[" + "9" * 5_001 + "]"], "digits"),
        (["a=[" + "9" * 4_000 + "]"], "finite"),
        (["a=" + "[" * 100_000], "nested too deeply"),
        (["a=" + "[" * 900 + "]" * 900], "nested too deeply"),
    ],
)
def test_a_slip_is_refused_with_the_name(pairs: list[str], words: str) -> None:
    """No value, no name, a name or a key twice, a number that is none: nothing is guessed."""
    with pytest.raises(ConfigError, match=words):
        from_pairs(pairs)


@pytest.mark.timeout(30)
def test_a_long_text_is_read_in_one_pass() -> None:
    """What is nearly a number is no longer looked at again from each of its signs."""
    text = f"1_{'9' * 2**18}x"
    assert from_pairs([f"p={text}"]) == {"p": text}


def test_numbers_of_numpy_are_numbers() -> None:
    """In Python a parameter may come from an array."""
    assert type(plain_value("n", np.int64(5))) is int
    assert entries(np.array([1, 0])) == [1, 0]
    assert entries("1,0") == [1, 0]
    assert entries("a, b") == ["a", "b"]
    assert entries(3) is None
