"""The files of a source in pieces that different processes read, each knowing the numbers of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from fds_mlflow.data import parquet_file, readers
from fds_mlflow.data.request import Request
from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.runtime.text_file import is_parquet

_ROWS = 500_000


@dataclass(frozen=True)
class Piece:
    """A part of a source: a file, or some row groups of a Parquet file.

    Attributes:
        source: The file or the folder that was named.
        file: The file.
        first: The number of its first row in the source.
        groups: The row groups; None for the whole file.
    """

    source: Path
    file: Path
    first: int
    groups: tuple[int, ...] | None

    def tables(self, asked: Schema | Request) -> Iterator[pa.Table]:
        """Yield its rows in order, in the columns that are asked for.

        Raises:
            DataError: It cannot be read, or a column is not there.
        """
        request = asked if isinstance(asked, Request) else Request.of(str(self.source), asked)
        return readers.from_file(self.source, self.file, request, self.groups)


def pieces(source: str | Path, schema: Schema | None) -> list[Piece]:
    """Cut a source into pieces, in order; every process has to see its files.

    A text file is one piece, and where another file follows it, its rows are counted here; without a schema they are
    not, and the pieces' rows have no numbers.

    Raises:
        DataError: There is no such file, or one cannot be read, or lacks a column of the schema.
        ConfigError: It is a database.
    """
    if readers.is_url(source):
        raise ConfigError(
            f"{readers.describe(source, None, None)} is no file",
            fix="name a file or a folder of files, or load the table into a DataFrame of Spark's and give that",
        )
    found: list[Piece] = []
    first, path = 0, Path(source)
    files = readers.files(path)
    request = None if schema is None else Request.of(str(source), schema)
    for file in files:
        if request is not None:
            request.wanted(readers.schema_of(path, file, request).names)
        if is_parquet(file):
            for groups, rows in _grouped(parquet_file.group_sizes(file)):
                found.append(Piece(path, file, first, groups))
                first += rows
        else:
            found.append(Piece(path, file, first, None))
            if schema is not None and file != files[-1]:
                first += sum(table.num_rows for table in found[-1].tables(schema))
    return found


def columns(parts: Sequence[Piece], request: Request) -> pa.Schema:
    """The columns of some pieces, in types that hold those of each.

    Args:
        parts: The pieces, of one source.
        request: How it is written.

    Raises:
        DataError: They have not the same columns, or of kinds that do not go together.
    """
    found = {part.file: readers.schema_of(part.source, part.file, request) for part in parts}
    first, *others = found
    for file in others:
        if different := set(found[file].names) ^ set(found[first].names):
            raise DataError(
                f"{first} and {file} have not the same columns: {', '.join(sorted(different)[:20])}",
                fix="give them as sources of their own, or write them alike",
            )
    try:
        return pa.unify_schemas(list(found.values()), promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(
            f"the files of {parts[0].source} do not go together: {error}",
            fix="give them as sources of their own, or write a column as one type in all of them",
        ) from None


def _grouped(sizes: list[int]) -> Iterator[tuple[tuple[int, ...], int]]:
    """Row groups that follow each other, together."""
    groups: list[int] = []
    for number, rows in enumerate(sizes):
        if groups and sum(sizes[one] for one in groups) + rows > _ROWS:
            yield tuple(groups), sum(sizes[one] for one in groups)
            groups = []
        groups.append(number)
    yield tuple(groups), sum(sizes[one] for one in groups)
