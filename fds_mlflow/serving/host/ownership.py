"""Whose a folder is: one server writes to a version cache, and another one on the same folder is refused."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Callable
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

from fds_mlflow.errors import ConfigError

PATIENCE_SECONDS = 5.0
"""How long the workers of a server that was killed are waited for."""


class Ownership:
    """A folder that is this server's for as long as one of its processes lives.

    The operating system's lock belongs to the open file, which the workers share: where a server was killed, its
    folder is free once its workers have put down what they had, and ended. No process leaves it locked behind.

    Args:
        folder: The folder.
        monotonic: Seconds that only ever grow.

    Raises:
        ConfigError: Another server has it, or it cannot be locked.
    """

    def __init__(self, folder: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        until = monotonic() + PATIENCE_SECONDS
        try:
            self._file = os.open(folder / "owner", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            while not self._locked():
                if monotonic() >= until:
                    raise self._taken(folder)
                time.sleep(0.05)
            os.truncate(self._file, 0)
            os.pwrite(self._file, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        except OSError as error:
            raise ConfigError(
                f"the folder {folder} cannot be locked: {error.strerror}", fix="give one on a local disk with --cache"
            ) from error

    def release(self) -> None:
        """Give it up; it is free when the workers have ended, too."""
        os.close(self._file)

    def _locked(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    def _taken(self, folder: Path) -> ConfigError:
        owner = os.pread(self._file, 300, 0).decode(errors="replace") or "a process that has just started"
        os.close(self._file)
        return ConfigError(
            f"the folder {folder} is in use by another server: {owner}",
            fix="give each server a folder of its own with --cache, or stop the other one",
        )

    def __getstate__(self) -> dict[str, Any]:
        """A worker that is started with it shares it."""
        return {"_file": DupFd(self._file)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._file = state["_file"].detach()
