"""Where the repository is, and the published data that may lie beside it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The repository."""

DATA = ROOT.parent / "shared" / "data"
"""Published data sets; tests that read them skip where they are not there."""
