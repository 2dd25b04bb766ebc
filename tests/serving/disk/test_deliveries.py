"""Webhooks that have been taken are remembered by all workers of a server, as long as their signature holds."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fds_mlflow.serving.disk.deliveries import KEPT_SECONDS, Deliveries


def test_a_delivery_is_taken_once_by_whichever_worker(tmp_path: Path) -> None:
    """Whoever has it second is told so, whatever its id looks like; the folder is its owner's alone."""
    one, other = Deliveries(tmp_path / "webhooks"), Deliveries(tmp_path / "webhooks")
    for delivery in ("d1", "../../d1", "", "d\x00\n", "ä" * 10_000):
        assert one.is_first(delivery)
        assert not other.is_first(delivery)
        assert not one.is_first(delivery)
    assert stat.S_IMODE((tmp_path / "webhooks").stat().st_mode) == 0o700


def test_what_is_too_old_to_be_sent_again_is_forgotten(tmp_path: Path) -> None:
    """The folder does not grow for ever, and what could still be sent again stays."""
    assert Deliveries(tmp_path).is_first("old")
    assert Deliveries(tmp_path).is_first("young")
    for age, path in zip((1.1, 0.9), sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns), strict=True):
        moment = path.stat().st_mtime - age * KEPT_SECONDS
        os.utime(path, (moment, moment))
    after = Deliveries(tmp_path)
    assert not after.is_first("young")
    assert len(list(tmp_path.iterdir())) == 1
