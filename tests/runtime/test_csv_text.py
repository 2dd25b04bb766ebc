"""Comma-separated values: what does not fit is refused with its line, and what fits reads as it was written."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.errors import DataError
from fds_mlflow.runtime.csv_text import records

LINES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), max_size=8)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


def read(text: str, *, exact: bool = True) -> list[dict[str, str]]:
    """The rows of a text."""
    return [row for _, row in records(io.StringIO(text, newline=""), "labels.csv", exact=exact)[1]]


def written(rows: list[tuple[str, str]]) -> str:
    """Rows as Python's writer writes them."""
    held = io.StringIO(newline="")
    csv.writer(held).writerows([("a", "b"), *rows])
    return held.getvalue()


@given(st.lists(st.tuples(LINES, LINES), max_size=5))
def test_what_is_written_is_read(rows: list[tuple[str, str]]) -> None:
    """Whatever Python's writer writes on a line, quotes and commas included, comes back as it was."""
    assert [tuple(row.values()) for row in read(written(rows))] == rows


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5))
def test_free_text_is_read_with_its_line_breaks(rows: list[tuple[str, str]]) -> None:
    """Where texts may hold line breaks, these come back, too."""
    assert [tuple(row.values()) for row in read(written(rows), exact=False)] == rows


@given(st.lists(st.sampled_from(['"', '""', ",", "a", " "]), max_size=12).map("".join))
def test_a_quote_is_around_a_field_or_doubled_in_it(line: str) -> None:
    """Whatever is read exactly is what a writer that quotes the same fields would have written."""
    try:
        (row,) = records(io.StringIO(f"a\n{line}\n"), "labels.csv", exact=True)[1]
    except (DataError, ValueError):
        return
    value = row[1]["a"]
    assert line in (value, '"' + value.replace('"', '""') + '"')
    assert '"' not in value or line != value


def test_free_text_may_hold_inch_marks() -> None:
    """Where texts are free, a quote inside one is a sign like any other."""
    assert read('a,b\n15" screen,1\n', exact=False) == [{"a": '15" screen', "b": "1"}]


BROKEN = {
    "an open quote": ('a,b\n1,2\n3,"4\n5,6\n', "line 3 of labels.csv .* never closed"),
    "text behind a quote": ('a,b\n1,"2"x\n', "line 2 of labels.csv"),
    "an open quote that a later one closes": (
        'a,b\n1,"2\n3,4\n5,6"\n',
        "from line 2 to line 4 of labels.csv: a quote is open",
    ),
    "a line break of old": ('a,b\r1,"2\r3"\r', "from line 2 to line 3"),
    "a quote behind text": ('a,b\nTX1",confirmed\n', "line 2 of labels.csv has a quote inside"),
    "a quote behind a blank": ('a,b\n"x", "y"\n', "line 2 of labels.csv has a quote inside"),
    "a quote among quoted fields": ('a,b,c,d\n"1","2","3", "4"\n', "line 2 of labels.csv has a quote inside"),
    "a quote in a name": ('a,b"\n1,2\n', "line 1 of labels.csv has a quote inside"),
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
