"""Where an output goes: it appears when it is complete, in place of what was there, never in place of its source."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from fds_mlflow.errors import ConfigError, RefusedError


def require_place(target: Path, source: str | Path) -> None:
    """Refuse an output that has no folder to be in, or whose source it would replace or be read with the next time.

    Args:
        target: The output.
        source: What it is made of: a file, a folder of files, or the address of something else.

    Raises:
        ConfigError: There is no such folder.
        RefusedError: It is the source, in it, or around it.
    """
    if not target.parent.is_dir():
        raise ConfigError(f"there is no folder {target.parent} to write to", fix="create it, or give another path")
    if not str(source).strip() or "://" in str(source):
        return
    made, given = target.resolve(), Path(source).resolve()
    # What begins with _ or . is not read with a folder.
    beneath = made.is_relative_to(given) and not any(part[0] in "_." for part in made.relative_to(given).parts)
    if beneath or given.is_relative_to(made):
        raise RefusedError(
            f"the output {target} is the input {source}, or one is in the other",
            fix="name an output somewhere else: it would replace what it is made of, or be read as a part of it",
        )


def require_folder(target: Path, source: str | Path) -> None:
    """As `require_place`, for a folder of Parquet files; refuses to replace a folder that holds anything else.

    Raises:
        ConfigError, RefusedError: As there; or something else is in its place.
    """
    require_place(target, source)
    if target.exists() and not (target.is_dir() and all(map(_is_part, target.iterdir()))):
        raise RefusedError(
            f"{target} is there, and is no folder of Parquet files that was written as an output",
            fix="name another folder, or remove what is there",
        )


def _is_part(path: Path) -> bool:
    """Whether it is what Spark writes into a folder: rows, its mark that all are there, and checksums of those."""
    named = fnmatch(path.name, "part-*.parquet") or path.name == "_SUCCESS" or fnmatch(path.name, ".*.crc")
    return named and path.is_file()


def put(made: Path, target: Path, aside: Path) -> None:
    """Put a complete file or folder in its place; what was there goes aside."""
    if target.exists():
        target.rename(aside)
    made.rename(target)
