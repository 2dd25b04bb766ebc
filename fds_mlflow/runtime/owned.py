"""Files and folders that only their owner may read, whatever the umask: caches, what waits on disk, tables."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_FOLDER, _FILE = 0o700, 0o600


def folder(path: Path) -> None:
    """Make a folder that is its owner's alone, with those above it; one that is there already becomes so.

    Raises:
        OSError: It cannot be made.
    """
    for each in (*reversed(path.parents), path):
        if not each.exists():
            each.mkdir(_FOLDER, exist_ok=True)
    with contextlib.suppress(PermissionError):  # somebody else's: they have decided who may read it
        path.chmod(_FOLDER)


def opener(path: str, flags: int) -> int:
    """For `open`: a file that it makes is its owner's alone."""
    return os.open(path, flags, _FILE)


def write_text(path: Path, text: str) -> None:
    """Write a file that is its owner's alone.

    Raises:
        OSError: The disk takes none.
    """
    with open(path, "w", encoding="utf-8", opener=opener) as file:
        file.write(text)


def sync(folder: Path) -> None:
    """Have the names of a folder's files survive a loss of power, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def claim(path: Path) -> None:
    """Make an empty file that is its owner's alone where there is none; SQLite gives its other files the same rights.

    Where it cannot be made nothing is said: whoever opens it finds out why.
    """
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, _FILE))


def tighten(path: Path) -> None:
    """Make all that lies in a folder its owner's alone: what libraries have put there has the rights of the umask."""
    for place, _, names in os.walk(path):
        Path(place).chmod(_FOLDER)
        for each in (Path(place, name) for name in names):
            if not each.is_symlink():
                each.chmod(_FILE)
