"""Webhooks that have been taken, so that nobody can send one again."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from fds_mlflow.runtime import owned

KEPT_SECONDS = 900.0
"""How long one is remembered: its signature holds from five minutes before the time in it until five after."""


class Deliveries:
    """Which deliveries have been taken, by all processes that share a folder.

    Args:
        folder: One of this alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tidied = float("-inf")

    def is_first(self, delivery: str) -> bool:
        """Take a delivery; whether it has not been taken before.

        Args:
            delivery: Its id, which the signature covers.

        Raises:
            OSError: The disk takes none.
        """
        owned.folder(self._folder)
        self._tidy()
        try:
            name = self._folder / hashlib.sha256(delivery.encode()).hexdigest()
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return False
        return True

    def _tidy(self) -> None:
        """Forget those whose signature holds no longer."""
        if time.monotonic() - self._tidied < KEPT_SECONDS:
            return
        self._tidied = time.monotonic()
        for path in self._folder.iterdir():
            try:
                if time.time() - path.stat().st_mtime > KEPT_SECONDS:
                    path.unlink()
            except FileNotFoundError:  # another process tidies, too
                continue
