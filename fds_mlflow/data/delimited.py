"""Reading files of separated fields as text, a stretch of rows at a time; types are the schema's business."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from fds_mlflow.data.request import Request
from fds_mlflow.errors import DataError
from fds_mlflow.runtime import text_file
from fds_mlflow.runtime.csv_text import records

_BLOCK = 8 * 2**20
"""Bytes of text per stretch. Arrow reads up to 32 of them ahead."""

_SEPARATORS = {"\t": "a tabulator"}


def names(path: Path, request: Request) -> list[str]:
    """The header of a file, alone and first: a missing column is the commonest mistake, with its own message.

    Raises:
        DataError: It cannot be read, or its fields are separated by another sign.
    """
    from pyarrow import csv

    with _readable(path, request), _bytes(path, request) as (file, encoding, _):
        found = list(
            csv.open_csv(
                cast(Any, file),
                read_options=csv.ReadOptions(block_size=2**20, encoding=encoding),
                parse_options=_parsing(path, request),
            ).schema.names
        )
    other = next((sign for sign in (",", ";", "\t", "|") if len(found) == 1 and sign in found[0]), None)
    if other is not None:
        mine = separator(path, request)
        raise DataError(
            f"{path} is separated by {_SEPARATORS.get(other, repr(other))}, not by {_SEPARATORS.get(mine, repr(mine))}",
            fix=f'say separator: "{other.replace(chr(9), chr(92) + "t")}" in the schema',
        )
    return found


def tables(path: Path, request: Request, columns: list[str]) -> Iterator[pa.Table]:
    """Yield the rows of some columns in order, all as text, so that codes such as 007 survive.

    Raises:
        DataError: It cannot be read; names the line.
    """
    from pyarrow import csv

    size = path.stat().st_size
    with _readable(path, request):
        if _quotes(path, request):  # about which Arrow is lenient
            _require_strict(path, request)
        with _bytes(path, request) as (file, encoding, raw):
            reader = csv.open_csv(
                cast(Any, file),
                read_options=csv.ReadOptions(block_size=_BLOCK, encoding=encoding),
                parse_options=_parsing(path, request),
                convert_options=csv.ConvertOptions(
                    include_columns=columns,
                    column_types=dict.fromkeys(columns, pa.string()),
                    strings_can_be_null=False,
                ),
            )
            for number, batch in enumerate(reader, 1):
                yield pa.Table.from_batches([batch])
                # What was read is up to 32 stretches ahead of what was given; of a packed file nothing better is known.
                request.report(min(number * _BLOCK, size) if file is raw else raw.tell(), size)
    request.report(1, 1)


def separator(path: Path, request: Request) -> str:
    """The sign between a file's fields."""
    if request.separator is not None:
        return request.separator
    return "\t" if ".tsv" in [suffix.lower() for suffix in path.suffixes[-2:]] else ","


def _parsing(path: Path, request: Request) -> Any:
    from pyarrow import csv

    return csv.ParseOptions(delimiter=separator(path, request), newlines_in_values=True)


@contextmanager
def _bytes(path: Path, request: Request) -> Iterator[tuple[IO[bytes], str, IO[bytes]]]:
    """A file's bytes, unpacked, their encoding, and the file as it is on the disk."""
    found = text_file.form(path, request.encoding)
    with path.open("rb") as raw, text_file.unpacked(raw, found.packed) as file:
        yield file, found.encoding, raw


def _quotes(path: Path, request: Request) -> bool:
    with _bytes(path, request) as (file, _, _):  # in every encoding that is read a quote has this byte
        return any(b'"' in block for block in iter(lambda: file.read(_BLOCK), b""))


def _require_strict(path: Path, request: Request) -> None:
    """Read a file for its faults alone; free text may hold line breaks and quotes.

    Raises:
        DataError: A quote is open, or a row has more or fewer fields than the header; names the line.
    """
    with text_file.opened(path, request.encoding) as file:
        lines = text_file.lines(file, str(path))
        for _ in records(lines, str(path), exact=False, separator=separator(path, request))[1]:
            pass


@contextmanager
def _readable(path: Path, request: Request) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError, *text_file.DAMAGED) as error:
        reason = " ".join(str(error).split())
        if reason == "Empty CSV file":
            raise DataError(f"{path} is empty: not even a header", fix="check how the file was written") from None
        if request.encoding is None and "utf" in reason.lower() and (where := text_file.undecodable(path)) is not None:
            raise DataError(
                f"{path} is not UTF-8: {where}",
                fix="say which encoding it has in the schema (encoding: cp1252, latin-1, ...): that cannot be told for "
                "sure from the file",
            ) from None
        _require_strict(path, request)
        raise DataError(
            f"cannot read {path} as text: {reason}",
            fix="it must have one header line and as many fields in each row; say its separator and encoding in the "
            "schema",
        ) from None
