"""Reading a sheet of an Excel workbook, which fits into memory: it has a million rows at most."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pandas as pd

from fds_mlflow.errors import DataError

LARGEST = 2**29
"""Bytes that a workbook may unpack to: a million rows of twenty columns do; zeros would fill any room."""


def frame(path: Path, sheet: str | None) -> pd.DataFrame:
    """A sheet as it is, values of Python's types.

    Args:
        path: The workbook.
        sheet: Its sheet; the first where None.

    Raises:
        DataError: The library that reads it is not installed, or it has no such sheet, unpacks to more than `LARGEST`
            bytes, or cannot be read.
    """
    try:
        from python_calamine import CalamineError
    except ImportError:
        raise DataError(
            f"{path} is an Excel workbook, and the library that reads it is not installed",
            fix="pip install 'fds-mlflow[excel]', or save the sheet as CSV",
        ) from None
    unpacked = _unpacked(path)
    if unpacked > LARGEST:
        raise DataError(
            f"{path} unpacks to {unpacked:,} bytes, more than {LARGEST:,}", fix="save the sheet as CSV, or as Parquet"
        )
    try:
        with pd.ExcelFile(path, engine="calamine") as book:
            if sheet is not None and sheet not in book.sheet_names:
                raise DataError(
                    f"{path} has no sheet {sheet!r}", fix=f"choose one of {', '.join(map(str, book.sheet_names))}"
                )
            return book.parse(sheet if sheet is not None else 0, dtype=object, keep_default_na=False, na_values=[""])
    except (OSError, ValueError, CalamineError) as error:
        raise DataError(f"cannot read {path}: {error}", fix="check the file, or save the sheet as CSV") from None


def _unpacked(path: Path) -> int:
    """Bytes that all parts of a workbook take together, as it says; 0 where it is none, which its reader tells."""
    try:
        with zipfile.ZipFile(path) as parts:
            return sum(part.file_size for part in parts.infolist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return 0
