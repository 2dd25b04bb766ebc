"""Comma-separated values, read strictly: what does not fit is refused with its line and field, and never guessed."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from fds_mlflow.errors import DataError

_WORDS = {"unexpected end of data": "a quote is opened and never closed"}
"""What the parser says, in words that tell what to look for."""

_FIELD = r'(?:"(?:[^"\r\n]|"")*+"|[^",\r\n]*+)'
_EXACT = re.compile(rf"{_FIELD}(?:,{_FIELD})*+(?:\r\n|\r|\n)?").fullmatch
"""A line that is one row, whose quotes stand around fields or are doubled: the parser does not tell, nor insist."""


def records(
    lines: Iterable[str], source: str, *, exact: bool = True, separator: str = ","
) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """Column names, and each row by them with the number of the line that it ends on; empty lines are passed over.

    Source of the format: RFC 4180.

    Args:
        lines: With their ends, as a file opened with `newline=""` gives them.
        source: What to call it in errors.
        exact: Whether to refuse a line break in a field and a quote in a field that has none around it, too. Free text
            may hold them; elsewhere they are what is left of a quote that was not closed, and of the rows behind it.
        separator: The sign between fields; `exact` is for commas.

    Raises:
        DataError: There is no line of names or one of them stands twice; when iterated: a quote that stays open, text
            behind a closed quote, what `exact` refuses, or a row of more or fewer fields than there are names.
    """
    last = [""]
    reader = csv.reader(_noted(lines, last), strict=True, delimiter=separator)
    rows = _checked(reader, source, last if exact else None)
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


def _noted(lines: Iterable[str], last: list[str]) -> Iterator[str]:
    for line in lines:
        last[0] = line
        yield line


def _checked(reader: Any, source: str, last: list[str] | None) -> Iterator[list[str]]:
    """Rows; an error of the parser names where the row began, since an open quote swallows all that follows."""
    begins = 1
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            what = _WORDS.get(str(error), str(error))
            raise _malformed(f"line {begins} of {source} does not parse: {what}") from None
        if last is not None and reader.line_num > begins:
            raise _malformed(f"a row goes from line {begins} to line {reader.line_num} of {source}: a quote is open")
        if last is not None and '"' in last[0] and not _EXACT(last[0]):
            raise _malformed(f"line {begins} of {source} has a quote inside a value that is not in quotes")
        begins = reader.line_num + 1
        yield row


def _malformed(what: str) -> DataError:
    return DataError(what, fix="close each quote, put a value that holds one in quotes, and double it there")
