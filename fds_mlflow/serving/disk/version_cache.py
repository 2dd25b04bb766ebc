"""What a server keeps on its own disk: versions ready to serve, and the table that says which of them serve.

One process follows the registry and writes here; the processes that answer requests read here and nowhere else. So
they go on, and even start, while the registry cannot be reached.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from fds_mlflow.core.routing.routing import RoutingTable
from fds_mlflow.errors import ConfigError
from fds_mlflow.registry import tags
from fds_mlflow.runtime import model_files, owned
from fds_mlflow.scoring.served import DESCRIPTION, MODEL_FOLDER, Prepared, Served, Table

log = logging.getLogger(__name__)

_TABLE, _WAKE, _REASON, _EXPLORING = "table.json", "wake", "reason.json", "exploring.json"
_DRIFT, _UNRECORDED = "drift.json", "unrecorded.json"


class VersionCache:
    """One model's folder.

    Args:
        root: Folder for all models.
        model: Registered model.
        registry: URI of the registry; models of one name in two registries are kept apart.

    Raises:
        ConfigError: The folder cannot be written.
    """

    def __init__(self, root: Path, model: str, registry: str) -> None:
        name = hashlib.sha256(f"{registry}\n{model}".encode()).hexdigest()[:16]
        self.folder = root / name
        try:
            owned.folder(self.folder)
        except OSError as error:
            raise ConfigError(
                f"the folder {self.folder} cannot be made: {error.strerror}", fix="give another one with --cache"
            ) from error

    @property
    def shared_counts(self) -> Path:
        """Folder for the counts of a server that belong to none of its models, where this is the first of them."""
        return self.folder / "server"

    # --- the table ------------------------------------------------------------------------------------------

    @property
    def changed(self) -> int:
        """When the table last changed, nanoseconds; 0 where there is none."""
        return _changed(self.folder / _TABLE)

    def table(self) -> Table | None:
        """The table as it was last written; None where there is none, or none that can be parsed."""
        values = _read(self.folder / _TABLE)
        if values is None:
            return None
        try:
            return Table(
                RoutingTable(values["champion"], tags.decode_rollout(values["rollout"])),
                tuple(_served(served) for served in values["versions"]),
                datetime.fromisoformat(values["read_at"]),
                values["problem"],
            )
        except (KeyError, TypeError, ValueError) as error:
            log.warning("the table in %s cannot be parsed: %r", self.folder, error)
            return None

    def write_table(self, table: Table) -> None:
        """Replace the table: readers see the old one or the new one."""
        rollout = table.routing.rollout
        values = {
            "champion": table.routing.champion,
            "rollout": None if rollout is None else tags.encode_rollout(rollout),
            "versions": [asdict(served) for served in table.versions],
            "read_at": table.read_at.isoformat(),
            "problem": table.problem,
        }
        _replace(self.folder / _TABLE, values)

    @property
    def reason(self) -> str | None:
        """Why there is no table; None where nobody has said so."""
        values = _read(self.folder / _REASON)
        return None if values is None else str(values.get("problem"))

    def write_reason(self, problem: str) -> None:
        """Say why there is no table."""
        _replace(self.folder / _REASON, {"problem": problem})

    @property
    def exploring(self) -> tuple[float, str | None]:
        """Until when may be explored, seconds since 1970, and why no longer; never where nobody has said so."""
        values = _read(self.folder / _EXPLORING)
        try:
            return (0.0, None) if values is None else (float(values["until"]), values["stopped"])
        except (KeyError, TypeError, ValueError):
            return 0.0, f"{_EXPLORING} in {self.folder} cannot be parsed"

    def write_exploring(self, until: float, stopped: str | None) -> None:
        """Say until when may be explored, and why no longer.

        Raises:
            OSError: The disk takes none.
        """
        _replace(self.folder / _EXPLORING, {"until": until, "stopped": stopped})

    @property
    def drift(self) -> dict[int, dict[str, float]]:
        """How far each feature of a version in service has drifted from its training; empty where nobody has looked."""
        try:
            return {int(version): dict(told) for version, told in (_read(self.folder / _DRIFT) or {}).items()}
        except (TypeError, ValueError):
            return {}

    def write_drift(self, drift: Mapping[int, Mapping[str, float]]) -> None:
        """Say how far features have drifted.

        Raises:
            OSError: The disk takes none.
        """
        _replace(self.folder / _DRIFT, {str(version): dict(told) for version, told in drift.items()})

    @property
    def unrecorded(self) -> str | None:
        """Why the outcome store takes nothing; None where it does, or nobody has said so."""
        told = (_read(self.folder / _UNRECORDED) or {}).get("problem")
        return None if told is None else str(told)

    def write_unrecorded(self, problem: str | None) -> None:
        """Say why the outcome store takes nothing, or that it does.

        Raises:
            OSError: The disk takes none.
        """
        _replace(self.folder / _UNRECORDED, {"problem": problem})

    @property
    def woken(self) -> int:
        """When somebody last said that the registry has changed, nanoseconds; 0 for never."""
        return _changed(self.folder / _WAKE)

    def wake(self) -> None:
        """Say that the registry has changed: whoever follows it looks now and not at the end of its interval."""
        (self.folder / _WAKE).touch(0o600)

    # --- versions -------------------------------------------------------------------------------------------

    def prepared(self, version: int, identity: str) -> Prepared | None:
        """A version that is ready; None where it is not here."""
        folder = self._place(version, identity)
        values = _read(folder / DESCRIPTION)
        expected = {"inputs", "native", "arrays", "optional"}
        if values is None or not values.keys() >= expected:  # or another release put it there
            return None
        optional, codes = frozenset(values["optional"]), frozenset(values.get("codes", ()))
        inputs, compiled, arrays = values["inputs"], values["native"], values["arrays"]
        told = {name: values.get(name) for name in ("score", "files", "seal")}
        return Prepared(version, identity, folder, inputs, compiled, arrays, optional, codes, **told)

    @contextlib.contextmanager
    def preparing(self, version: int, identity: str) -> Iterator[Path]:
        """A folder to prepare a version in; it appears in the cache, whole, when the block ends without an error."""
        place = self._place(version, identity)
        folder = place.with_suffix(f".{os.getpid()}")
        shutil.rmtree(folder, ignore_errors=True)
        owned.folder(folder)
        try:
            yield folder
            owned.tighten(folder)
            shutil.rmtree(place, ignore_errors=True)
            folder.rename(place)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep(self, identities: Collection[str]) -> None:
        """Remove all other versions, but for those that are being prepared."""
        for folder in self.folder.glob("version-*"):
            if not folder.suffix and not any(folder.name.endswith(f"-{identity}") for identity in identities):
                shutil.rmtree(folder, ignore_errors=True)

    def tidy(self) -> None:
        """Remove the counts of an earlier server and what it said of its store, and what killed processes left halfway.

        Only for the owner of the folder, while nobody else writes.
        """
        said = self.folder / _UNRECORDED
        for path in (said, *self.folder.glob("metrics/*"), *self.shared_counts.glob("*")):
            path.unlink(missing_ok=True)
        for path in self.folder.glob("*.*"):
            if path.suffix[1:].isdecimal():  # the process that wrote it
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def _place(self, version: int, identity: str) -> Path:
        return self.folder / f"version-{version}-{identity}"


def describe(
    folder: Path,
    inputs: Mapping[str, str],
    *,
    compiled: bool,
    arrays: bool = False,
    optional: Collection[str] = (),
    codes: Collection[str] = (),
    score: str | None = None,
    files: str | None = None,
) -> None:
    """Write down what a version is, and the digest of all that is there, as the last step of preparing it."""
    values: dict[str, Any] = {"inputs": dict(inputs), "native": compiled, "arrays": arrays}
    values |= {"optional": sorted(optional), "codes": sorted(codes), "score": score}
    values |= {"files": files, "seal": model_files.digest(folder, without={DESCRIPTION})}
    _replace(folder / DESCRIPTION, values)


def model_folder(folder: Path) -> Path:
    """Where the logged model goes in a version's folder."""
    return folder / MODEL_FOLDER


def _served(values: Mapping[str, Any]) -> Served:
    """A version of a table; what a later release has written beside it is left alone."""
    return Served(**{field.name: values[field.name] for field in fields(Served) if field.name in values})


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _read(path: Path) -> dict[str, Any] | None:
    """The object in a file; None where there is no file, or one that power was lost over."""
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("%s cannot be parsed: %s", path, error)
        return None
    return values if isinstance(values, dict) else None


def _replace(path: Path, values: Mapping[str, Any]) -> None:
    fresh = path.with_suffix(f".{os.getpid()}")
    owned.write_text(fresh, json.dumps(values))
    fresh.replace(path)
