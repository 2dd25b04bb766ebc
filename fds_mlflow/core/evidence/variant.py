"""Which of a rollout's two versions."""

from __future__ import annotations

from enum import StrEnum


class Variant(StrEnum):
    """Which of the two versions a request belongs to."""

    CHAMPION = "champion"
    CANARY = "canary"
