"""How much a property test does: the profile of the run says how many examples, and what is dear takes fewer."""

from __future__ import annotations

from typing import Any

from hypothesis import settings


def at_most(examples: int, **more: Any) -> settings:
    """Settings with as many examples as the profile says, but not more than these."""
    return settings(max_examples=min(examples, settings.default.max_examples), **more)  # type: ignore[union-attr]
