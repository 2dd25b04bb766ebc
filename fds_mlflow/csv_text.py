"""Comma-separated values, read strictly: what does not fit is refused with its line and field, and never guessed."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from fds_mlflow.errors import DataError

_WORDS = {"unexpected end of data": "a quote is opened and never closed"}
"""What the parser says, in words that tell what to look for."""


def records(lines: Iterable[str], source: str) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """Column names, and each row by them with the number of the line that it ends on; empty lines are passed over.

    Source of the format: RFC 4180.

    Args:
        lines: With their ends, as a file opened with `newline=""` gives them.
        source: What to call it in errors.

    Raises:
        DataError: There is no line of names or one of them stands twice; when iterated: a quote that stays open, text
            behind a closed quote, or a row of more or fewer fields than there are names.
    """
    reader = csv.reader(lines, strict=True)
    rows = _checked(reader, source)
    names = next((row for row in rows if row), None)
    if names is None:
        raise DataError(f"{source} has no line of column names", fix="begin with one")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{source} has two columns named {twice[0]!r}", fix="name or send each column once")
    return names, _by_name(names, rows, reader, source)


def _by_name(
    names: list[str], rows: Iterator[list[str]], reader: Any, source: str
) -> Iterator[tuple[int, dict[str, str]]]:
    for row in rows:
        if not row:
            continue
        if len(row) != len(names):
            where = f"after {row[-1][:50]!r}" if len(row) < len(names) else f"from field {len(names) + 1} on"
            raise DataError(
                f"line {reader.line_num} of {source} has {len(row)} fields where its header has {len(names)}, {where}",
                fix="write one field for each column, and a value that holds a comma in quotes",
            )
        yield reader.line_num, dict(zip(names, row, strict=True))


def _checked(reader: Any, source: str) -> Iterator[list[str]]:
    """Rows; an error of the parser names where the row began, since an open quote swallows all that follows."""
    begins = 1
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            what = _WORDS.get(str(error), str(error))
            raise DataError(
                f"line {begins} of {source} does not parse: {what}",
                fix="close each quote, and double a quote inside a quoted value",
            ) from None
        begins = reader.line_num + 1
        yield row
