"""Tables at any width and in any encoding: no word is cut in two, no line is longer than the terminal, none is lost."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fds_mlflow.cli.output import tables
from fds_mlflow.runtime import streams

WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789.%-", min_size=1, max_size=20)
CELLS = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)


def rendered(width: int, columns: list[str], rows: list[list[str]]) -> str:
    """A table on a terminal."""
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(tables.table("title", columns, rows))
    return file.getvalue()


@given(st.integers(60, 200), st.integers(1, 9), st.integers(1, 5), st.data())
def test_no_word_is_cut_in_two(width: int, columns: int, rows: int, data: st.DataObject) -> None:
    """Where columns have no room beside each other they stand below each other; each word of each cell is there."""
    names = data.draw(st.lists(WORDS.map(lambda word: word[:12]), min_size=columns, max_size=columns))
    cells = [[data.draw(CELLS) for _ in names] for _ in range(rows)]
    shown = rendered(width, names, cells)
    assert max(map(len, shown.splitlines())) <= width
    if columns > 1:  # a single column's cell has the words of another in its way
        found = set(shown.replace("│", " ").replace("┃", " ").split())
        assert {word for row in [names, *cells] for cell in row for word in cell.split()} <= found


def test_two_variants_stand_beside_each_other_where_nine_columns_do_not() -> None:
    """At 80 columns a wide table of few rows is turned: a row for each column, a column for each row."""
    columns = ["variant", "version", "requests", "keys", "errors", "alerts", "labelled", "false positives", "missed"]
    cells = [["champion", "3", "900000"] + ["0.1 %"] * 6, ["canary", "4", "100000"] + ["0.2 %"] * 6]
    narrow, wide = rendered(80, columns, cells), rendered(200, columns, cells)
    assert "│ false positives │ 0.1 %    │ 0.2 %  │" in narrow
    assert "┃ false positives ┃ missed ┃" in wide


def test_three_columns_stand_below_each_other_where_their_words_have_no_room() -> None:
    """A check, its answer and a long identifier at 60 columns: none is broken."""
    cells = ["a" * 12, "b" * 19, "c" * 20]
    shown = rendered(60, ["check", "answer", "detail"], [cells])
    assert all(cell in shown for cell in cells)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_signs_that_an_encoding_lacks_are_replaced_by_what_looks_like_them(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own texts have no escape in them, every line of a table has its length, and a person's name has one."""
    with (tmp_path / "out").open("w", encoding=encoding) as file:
        monkeypatch.setattr("sys.stdout", file)
        streams.forgiving()
        rows = [["+0.1 … +0.3", "≈ 5 → 6"], ["ok", "김"]]
        tables.console().print(tables.table("title", ["95 % interval", "what"], rows))
    shown = (tmp_path / "out").read_text(encoding=encoding)
    assert ("+0.1 … +0.3" if encoding in ("utf-8", "cp1252") else "+0.1 ... +0.3") in shown
    assert ("≈ 5 → 6" if encoding == "utf-8" else "~ 5 -> 6") in shown
    assert shown.count("\\u") == (0 if encoding == "utf-8" else 1)
    assert len({len(line.replace("김", "xx")) for line in shown.splitlines()[1:]}) == 1
