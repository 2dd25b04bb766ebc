"""The page about outcomes says what is so."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from fds_mlflow.outcomes.summary import VariantCounts
from fds_mlflow.outcomes.tables import Base
from tests.support.places import ROOT

PAGE = (ROOT / "docs/outcomes.md").read_text(encoding="utf-8")


def test_its_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples of the page run as they stand."""
    monkeypatch.chdir(tmp_path)
    for example in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(example, "docs/outcomes.md", "exec"), {})


def test_it_names_every_column_and_count() -> None:
    """Every column of both tables, and every kind that is counted, is explained."""
    names = {column.name for table in Base.metadata.tables.values() for column in table.columns}
    counted = {field.name for field in fields(VariantCounts) if field.type == "int"}
    assert {name for name in names | counted - {"scored", "requests"} if f"`{name}`" not in PAGE} == set()
