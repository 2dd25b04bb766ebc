"""The event loop's clock, moved by hand."""

from __future__ import annotations

import asyncio

import pytest


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let so much time have passed in which the running loop had no turn."""
    loop = asyncio.get_running_loop()
    told = loop.time
    monkeypatch.setattr(loop, "time", lambda: told() + seconds)
