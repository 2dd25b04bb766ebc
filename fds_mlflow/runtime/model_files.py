"""One digest over a model's files, and a copy of them of one's own: what was verified is what is read.

The digest is that of the list `sha256sum` prints for all files, in order of their names, so that a person can check it
(docs/security.md has the command).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlparse

from fds_mlflow.errors import DataError

LEFT_OUT = frozenset({"registered_model_meta"})
"""What MLflow itself writes into the folder of a model that somebody loads by its registered name."""
_COMPILED = "__pycache__"  # what Python writes beside a model's own code when that is run

_CHUNK = 1 << 20


def digest(folder: str | Path, *, without: Collection[str] = LEFT_OUT) -> str:
    """The digest of all files in a folder: their names and their bytes.

    Args:
        folder: The folder.
        without: Names of files directly in it that do not count; nor does Python's `__pycache__` anywhere.

    Returns:
        `sha256:` and 64 hexadecimal digits.

    Raises:
        DataError: It holds something else than files and folders, or cannot be read.
    """
    return _walked(Path(folder), without, lambda _: None)


def copied(source: str | Path, target: str | Path) -> str:
    """Copy the files that count into a new folder; the digest is that of what was written there.

    Raises:
        DataError: The source holds something else than files and folders, or cannot be read.
    """
    target = Path(target)
    target.mkdir(parents=True, exist_ok=True)
    _require_room(Path(source), target)

    def opened(name: str) -> BinaryIO:
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        return place.open("wb")

    return _walked(Path(source), LEFT_OUT, opened)


def digest_at(place: str) -> str:
    """The digest of a logged model's files, wherever they are; arguments and errors as for `download`."""
    local = _local(place, None)
    if local is not None:
        return digest(local)
    with tempfile.TemporaryDirectory(prefix="fds-model-") as folder:
        target = Path(folder) / "model"
        target.mkdir()
        return download(place, str(target))


def download(place: str, folder: str, *, tracking_uri: str | None = None) -> str:
    """Put the files of a logged model into an empty folder; their digest.

    Args:
        place: Where they are, as MLflow names it.
        folder: Where to put them.
        tracking_uri: None for the one MLflow resolves.

    Raises:
        DataError: They are more than files and folders.
        Exception: Whatever MLflow and the artifact store raise.
    """
    import mlflow

    local = _local(place, tracking_uri)
    if local is not None:
        return copied(local, folder)
    with tempfile.TemporaryDirectory(dir=Path(folder).parent, prefix="fds-model-") as beside:
        target = str(Path(beside) / "model")
        got = mlflow.artifacts.download_artifacts(artifact_uri=place, dst_path=target, tracking_uri=tracking_uri)
        Path(got).chmod(0o700)
        Path(got).replace(folder)
    strip(folder)
    return digest(folder)


def _local(place: str, tracking_uri: str | None) -> Path | None:
    """The folder that an address names, where it is one of this machine.

    It is looked at before it is read: MLflow would follow links to anywhere, and read a device without end.
    """
    import mlflow
    from mlflow.utils.file_utils import local_file_uri_to_path

    scheme = urlparse(place).scheme
    if scheme in ("models", "runs"):  # MLflow finds out where that is, and leaves it there if it is here
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=place, tracking_uri=tracking_uri))
    if scheme in ("", "file") or Path(place).exists():
        return Path(local_file_uri_to_path(place))
    return None


def _require_room(source: Path, target: Path) -> None:
    """Refuse to copy more than fits: a file may claim any size and take no room where it is."""
    try:
        size = sum(path.stat().st_size for _, path in _files(source, ""))
    except OSError as error:
        raise _unreadable(error) from error
    free = shutil.disk_usage(target).free
    if size > free:
        raise DataError(
            f"the model's files have {size:,} bytes, and {free:,} are free in {target.parent}",
            fix="make room there, or point TMPDIR to where there is",
        )


def strip(folder: str | Path) -> None:
    """Remove what does not count, so that nobody reads it."""
    for name in LEFT_OUT:
        (Path(folder) / name).unlink(missing_ok=True)
    for place in list(Path(folder).rglob(_COMPILED)):
        shutil.rmtree(place, ignore_errors=True)


def _walked(folder: Path, without: Collection[str], copy: Callable[[str], BinaryIO | None]) -> str:
    whole = hashlib.sha256()
    try:
        for name, path in sorted(_files(folder, ""), key=lambda one: os.fsencode(one[0])):
            if name not in without:
                whole.update(b"%s  %s\n" % (_summed(path, name, copy).encode(), os.fsencode(name)))
    except OSError as error:
        raise _unreadable(error) from error
    return f"sha256:{whole.hexdigest()}"


def _files(folder: Path, inside: str) -> Iterator[tuple[str, Path]]:
    """Every file, by its name inside the folder.

    A link to a file stands for that file. One to a folder could lead anywhere, and a device or a pipe has no end.
    """
    with os.scandir(folder) as entries:
        for entry in list(entries):
            name = f"{inside}{entry.name}"
            if "\n" in name or "\\" in name:  # sha256sum would write them otherwise
                raise _refused(name, "a name with a line break or a backslash")
            if entry.is_dir(follow_symlinks=False):
                if entry.name != _COMPILED:
                    yield from _files(Path(entry.path), f"{name}/")
            elif stat.S_ISREG(entry.stat().st_mode):
                yield name, Path(entry.path)
            else:
                raise _refused(name, "neither a file nor a folder")


def _summed(path: Path, name: str, copy: Callable[[str], BinaryIO | None]) -> str:
    summed = hashlib.sha256()
    target = copy(name)
    try:
        # Not blocking: what was a file a moment ago may be a pipe by now.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _refused(name, "neither a file nor a folder")
            while chunk := file.read(_CHUNK):
                summed.update(chunk)
                if target is not None:
                    target.write(chunk)
    finally:
        if target is not None:
            target.close()
    return summed.hexdigest()


def _unreadable(error: OSError) -> DataError:
    return DataError(f"the model's files cannot be read: {error.strerror or error}", fix="check the artifact store")


def _refused(name: str, what: str) -> DataError:
    return DataError(f"the model's folder holds {name!r}, {what}", fix="register a folder of plain files")
