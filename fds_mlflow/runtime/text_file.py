"""Files as people have them: text in UTF-8 or UTF-16, compressed or not, or Parquet, by what they hold."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO, TextIO, cast

from fds_mlflow.errors import DataError, NotFoundError

CSV_SUFFIXES = (".csv", ".csv.gz")
"""Of the text files that are written here; what is read is in `TEXT_SUFFIXES`."""

PARQUET_SUFFIXES = (".parquet", ".pq")
WORKBOOK_SUFFIXES = (".xlsx",)
_PACKED: dict[bytes, ModuleType] = {b"\x1f\x8b": gzip, b"BZh": bz2, b"\xfd7zXZ": lzma}
TEXT_SUFFIXES = tuple(
    f"{text}{packed}"
    for packed in ("", ".gz", ".bz2", ".xz")
    for text in (".csv", ".tsv", ".txt", "")
    if text or packed
)

LONGEST_LINE = 2**23
"""Characters a line of a text file may have: a table of thousands of columns fits, a file of zeros does not."""

DAMAGED: tuple[type[Exception], ...] = (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError)
"""What the modules that unpack say of a file that is cut off or changed; bzip2's says OSError."""

_SPECIAL = "a device, a pipe or a socket, not a file"
_PARQUET = b"PAR1"
_HEAD = 6
_NO_TEXT = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard",
    b"SQLite format 3": "an SQLite database",
}
_MARKS = (  # the longer ones first: UTF-16's is how UTF-32's begins
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)


@dataclass(frozen=True)
class Form:
    """How a text file is to be read.

    Attributes:
        packed: The module that opens it where it is compressed.
        encoding: Python's name of it.
    """

    packed: ModuleType | None
    encoding: str


def absent(path: Path) -> str | None:
    """Why there is no file at a path, in words; None where there is one."""
    try:
        if path.is_file():
            return None
        if path.is_dir():
            return f"{path} is a folder, not a file"
        return f"{path} is {_SPECIAL}" if path.exists() else f"there is no file {path}"
    except (OSError, ValueError) as error:  # such as a name that is too long, or one with a NUL
        return f"there is no file {path}: {getattr(error, 'strerror', error)}"


def require_regular(path: Path) -> None:
    """Refuse what is no file on a disk before it is opened: opening a pipe waits, and a device may have no end.

    Raises:
        OSError: There is nothing, or it cannot be looked at.
        DataError: It is a device, a pipe or a socket.
    """
    try:
        mode = path.stat().st_mode
    except ValueError:  # of a path with a NUL
        raise FileNotFoundError from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise DataError(f"{path} is {_SPECIAL}", fix="save what it gives to a file, and name that")


def is_folder(path: Path) -> bool:
    """Whether there is a folder at a path."""
    try:
        return path.is_dir()
    except OSError:  # as for `absent`
        return False


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its name or by how it begins."""
    if path.name.lower().endswith(PARQUET_SUFFIXES):
        return True
    with _readable(path):
        return _head(path).startswith(_PARQUET)


def form(path: Path, encoding: str | None = None) -> Form:
    """How to read a text file, by how it begins.

    Args:
        path: The file.
        encoding: Its encoding where that is known.

    Raises:
        NotFoundError: There is no such file.
        DataError: It cannot be read, or is no text.
    """
    with _readable(path):
        packed, head = _packed(path), b""
        # What is damaged is said by whoever reads on; bzip2's module says OSError of what is no bzip2.
        with _bytes(path, packed) as file, suppress(*DAMAGED, *([OSError] if packed else [])):
            head = file.read(16)
    for mark, what in _NO_TEXT.items():
        if head.startswith(mark):
            raise DataError(f"{path} is {what}", fix="save it as CSV, as it is or compressed with gzip, or as Parquet")
    if encoding is not None:
        return Form(packed, encoding)
    for mark, told in _MARKS:
        if head.startswith(mark):
            return Form(packed, told)
    # Without a mark, a first sign of ASCII still tells: its other byte is zero.
    bare = {(False, True): "utf-16-le", (True, False): "utf-16-be"}
    zeros = tuple(byte == 0 for byte in head[:2])
    return Form(packed, bare.get(cast("tuple[bool, bool]", zeros), "utf-8"))


@contextmanager
def opened(path: Path, encoding: str | None = None) -> Iterator[TextIO]:
    """Open a text file for reading, line ends as they are; errors of the file while it is read are told as ours.

    Args:
        path: The file.
        encoding: Its encoding; by how it begins where None.

    Raises:
        NotFoundError: There is no such file.
        DataError: It cannot be read, is no text, is damaged, or is in another encoding; names line and column.
    """
    found = form(path, encoding)
    with _readable(path, found), _bytes(path, found.packed) as file:
        yield io.TextIOWrapper(file, encoding=found.encoding, newline="")


def whole(path: Path, most: int) -> str:
    """The text of a file that is read whole.

    Args:
        path: The file.
        most: Signs it may have, unpacked.

    Raises:
        NotFoundError: There is no such file.
        DataError: As for `opened`, or it has more signs.
    """
    with opened(path) as file:
        text = file.read(most + 1)
    if len(text) > most:
        raise DataError(f"{path} has more than {most:,} characters", fix="check that it is the right file")
    return text


def lines(file: IO[str], source: str) -> Iterator[str]:
    """The lines of an open text file with their ends, none of them longer than `LONGEST_LINE`.

    Raises:
        DataError: One is longer; names it.
    """
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise DataError(
                f"line {number:,} of {source} has {LONGEST_LINE:,} characters or more",
                fix="check that it is the right file, and that its lines have ends",
            )
        yield line


def undecodable(path: Path) -> str | None:
    """Where a file stops to be UTF-8, in words; None where it does not."""
    with _readable(path), _bytes(path, _packed(path)) as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), 1):
            if len(line) == LONGEST_LINE:
                return f"its line {number:,} has {LONGEST_LINE:,} bytes or more"
            try:
                line.decode()
            except UnicodeDecodeError as error:
                column = len(line[: error.start].decode()) + 1
                return f"line {number:,}, column {column:,} has the byte 0x{line[error.start]:02x}"
    return None


def misencoded(path: Path, where: str) -> DataError:
    """The error of a file in another encoding."""
    return DataError(
        f"{path} is not UTF-8: {where}",
        fix="save it as UTF-8, such as by `iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW_FILE`; which encoding it has "
        "cannot be told from the file",
    )


def _head(path: Path) -> bytes:
    require_regular(path)
    with path.open("rb") as file:
        return file.read(_HEAD)


def _packed(path: Path) -> ModuleType | None:
    head = _head(path)
    return next((module for mark, module in _PACKED.items() if head.startswith(mark)), None)


def unpacked(file: IO[bytes], packed: ModuleType | None) -> IO[bytes]:
    """The bytes of an open file, by the module that opens it where it is compressed."""
    return file if packed is None else cast("IO[bytes]", packed.open(file, "rb"))


def _bytes(path: Path, packed: ModuleType | None) -> IO[bytes]:
    require_regular(path)
    return path.open("rb") if packed is None else cast("IO[bytes]", packed.open(path, "rb"))


@contextmanager
def _readable(path: Path, found: Form | None = None) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}", fix="check the path") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder", fix="give the path of one file in it") from None
    except UnicodeDecodeError as error:
        if found is not None and found.encoding.startswith("utf-8"):
            raise misencoded(path, undecodable(path) or str(error)) from None
        raise DataError(f"{path} is damaged: {error}", fix="get it once more, or save it as UTF-8") from None
    except DAMAGED as error:
        raise DataError(f"{path} is damaged: {error}", fix="get it once more") from None
    except OSError as error:
        if error.errno is None and found is not None and found.packed is not None:  # as bzip2's module has it
            raise DataError(f"{path} is damaged: {error}", fix="get it once more") from None
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}", fix="check the path and its permissions"
        ) from None
