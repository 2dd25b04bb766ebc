"""Codes of reasons in a schema: by a feature's name or a pattern, and nothing that cannot be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fds_mlflow.data.reason_codes import coded, fitting_none
from fds_mlflow.data.schema import ReasonCode, Schema
from fds_mlflow.errors import ConfigError

FEATURES = ["amount", "customer_count_1h", "customer_count_24h", "card_count_1h", "a.b"]


def _codes(**codes: str) -> dict[str, ReasonCode]:
    return {name: ReasonCode(code=code) for name, code in codes.items()}


def test_a_name_comes_before_a_pattern_and_the_first_pattern_before_the_next():
    """Each feature has one code, and the order of the schema says which."""
    reasons = {**_codes(**{"customer_*": "V02", "*_1h": "V03"}), **_codes(customer_count_1h="V01")}
    found = {name: code.code for name, code in coded(reasons, FEATURES).items()}
    assert found == {"customer_count_1h": "V01", "customer_count_24h": "V02", "card_count_1h": "V03"}


def test_only_the_star_is_a_pattern():
    """Other signs stand for themselves, so that no code goes to a feature by accident."""
    assert coded(_codes(**{"a?b": "X", "a.[ab]": "X", "customer": "X"}), FEATURES) == {}
    assert list(coded(_codes(**{"a.*": "X"}), FEATURES)) == ["a.b"]
    assert list(coded(_codes(**{"*": "X"}), FEATURES)) == FEATURES


def test_what_fits_no_feature_is_named():
    """A misspelled name or pattern is found."""
    assert fitting_none(_codes(amount="A", amuont="B", **{"device_*": "C"}), FEATURES) == ["amuont", "device_*"]


def test_a_schema_has_codes_of_reasons(tmp_path: Path):
    """A schema's file gives a feature a code, and a text where there is one."""
    file = tmp_path / "bank.yaml"
    file.write_text(
        "transaction_id: id\ntime: null\namount: amount\n"
        "reasons:\n  amount: {code: V01, text: an unusual amount}\n  customer_*: {code: V02}\n"
    )
    reasons = Schema.load(file).reasons
    assert reasons["amount"] == ReasonCode(code="V01", text="an unusual amount")
    assert reasons["customer_*"].text is None


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ({"text": "a text"}, "code"),
        ({"code": ""}, "code"),
        ({"code": "V" * 65}, "code"),
        ({"code": "V\x1b[31m"}, "control character"),
        ({"code": "V01", "text": "right to \u202eleft"}, "control character"),
        ({"code": "V01", "words": "a text"}, "words"),
    ],
)
def test_a_code_that_cannot_be_told_is_refused(code: dict[str, Any], said: str):
    """What is empty, too long, misspelled or acts on whoever lists it is an error that names the key."""
    with pytest.raises(ConfigError, match=said):
        Schema.of(transaction_id=None, time=None, amount="amount", reasons={"amount": code})
