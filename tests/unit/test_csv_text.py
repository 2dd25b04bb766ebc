"""Comma-separated values: what does not fit is refused with its line, and what fits reads as it was written."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.csv_text import records
from fds_mlflow.errors import DataError

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=8)


def read(text: str) -> list[dict[str, str]]:
    """The rows of a text."""
    return [row for _, row in records(io.StringIO(text, newline=""), "labels.csv")[1]]


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5))
def test_what_is_written_is_read(rows: list[tuple[str, str]]) -> None:
    """Whatever Python's writer writes, quotes, commas and line breaks included, comes back as it was."""
    held = io.StringIO(newline="")
    csv.writer(held).writerows([("a", "b"), *rows])
    assert [tuple(row.values()) for row in read(held.getvalue())] == rows


BROKEN = {
    "an open quote": ('a,b\n1,2\n3,"4\n5,6\n', "line 3 of labels.csv .* never closed"),
    "text behind a quote": ('a,b\n1,"2"x\n', "line 2 of labels.csv"),
    "a field too many": ("a,b\n1,2\n1,2,3\n", "line 3 of labels.csv has 3 fields where its header has 2"),
    "a field too few": ("a,b\n1\n", "line 2 of labels.csv has 1 fields"),
    "a column twice": ("a,b,a\n1,2,3\n", "two columns named 'a'"),
    "nothing": ("", "no line of column names"),
    "a field longer than any": ("a\n" + "x" * 200_000, "line 2 of labels.csv .* limit"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_refused_with_its_line(name: str) -> None:
    """No field is guessed and no row dropped: the error names the line that is wrong."""
    text, words = BROKEN[name]
    with pytest.raises(DataError, match=words):
        read(text)
