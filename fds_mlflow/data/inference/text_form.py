"""How a text file is written: its encoding, and the sign between its fields."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from fds_mlflow.errors import DataError
from fds_mlflow.runtime import text_file

_BLOCK = 2**20
_HEAD = 2**18
_SIGNS = (",", ";", "\t", "|", "^", "~", ":", " ")
_RECORDS = 200
_DAMAGED: tuple[type[Exception], ...] = (*text_file.DAMAGED, OSError)
_ASCII = bytes(range(0x80))
_UNUSED = frozenset({0x81, 0x8D, 0x8F, 0x90, 0x9D})
"""Bytes that stand for nothing in cp1252."""


@dataclass(frozen=True)
class TextForm:
    """How a text file is written.

    Attributes:
        separator: Sign between its fields; None where it is what the reader takes by itself.
        encoding: Its encoding; None where it is what the reader takes by itself.
        separator_reason: What speaks for the separator.
        encoding_reason: What speaks for the encoding.
    """

    separator: str | None = None
    encoding: str | None = None
    separator_reason: str = ""
    encoding_reason: str = ""


def text_form(path: Path) -> TextForm:
    """Find how a text file is written; what is no text is left to the reader to refuse.

    Raises:
        NotFoundError: There is no such file.
        DataError: It is damaged, or no text.
    """
    found = text_file.form(path)
    try:
        encoding, reason = _encoding(path, found)
        with _opened(path, found) as file:
            head = file.read(_HEAD)
    except _DAMAGED as error:
        raise DataError(f"{path} is damaged: {error}", fix="get it once more") from None
    sign, why = _separator(head.decode(encoding or found.encoding, errors="ignore"))
    usual = "\t" if ".tsv" in [suffix.lower() for suffix in path.suffixes[-2:]] else ","
    return TextForm(None if sign == usual else sign, encoding, why, reason)


@contextmanager
def _opened(path: Path, found: text_file.Form) -> Iterator[IO[bytes]]:
    with path.open("rb") as raw, text_file.unpacked(raw, found.packed) as file:
        yield file


def _encoding(path: Path, found: text_file.Form) -> tuple[str | None, str]:
    """The encoding of what is not UTF-8, and what speaks for it."""
    if found.encoding != "utf-8":
        return None, ""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with _opened(path, found) as file:
        try:
            while block := file.read(_BLOCK):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return _single_byte(path, found)
    return None, ""


def _single_byte(path: Path, found: text_file.Form) -> tuple[str, str]:
    """Which encoding of one byte a letter: the signs of 0x80 to 0x9f tell cp1252 from latin-1."""
    high: Counter[int] = Counter()
    examples: list[bytes] = []
    with _opened(path, found) as file:
        for line in file:
            odd = line.translate(None, _ASCII)
            high.update(odd)
            if odd and len(examples) < 3:
                place = line.index(odd[0])
                examples.append(line[max(0, place - 10) : place + 10].strip())
    encoding = "latin-1" if any(byte in _UNUSED for byte in high) else "cp1252"
    shown = ", ".join(repr(example.decode(encoding)) for example in examples)
    count = sum(high.values())
    return (
        encoding,
        f"not UTF-8; {count:,} bytes above 127 are read as {encoding}: {shown}. A wrong guess shows in these",
    )


def _separator(text: str) -> tuple[str, str]:
    """The sign by which most records have as many fields as the header; of several, the one with the most fields."""
    best: tuple[float, int, str] = (0.0, 1, ",")
    for sign in _SIGNS:
        rows = list(islice(_records(text, sign), _RECORDS))
        if not rows or len(rows[0]) < 2 or 2 * sum(bool(name.strip()) for name in rows[0]) < len(rows[0]):
            continue
        body = rows[1:-1] or rows[1:]  # the last record of the head may be cut
        equal = sum(len(row) == len(rows[0]) for row in body) / max(1, len(body))
        if (round(equal, 2), len(rows[0])) > best[:2]:
            best = (round(equal, 2), len(rows[0]), sign)
    share, fields, sign = best
    return sign, f"{sign!r} gives {fields} fields in {share:.0%} of the first records"


def _records(text: str, sign: str) -> list[list[str]]:
    try:
        return [row for row in islice(csv.reader(io.StringIO(text, newline=""), delimiter=sign), _RECORDS + 1) if row]
    except csv.Error:
        return []
