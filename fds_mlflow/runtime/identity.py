"""Names for what happens: ULIDs, which sort by the time they were made."""

from __future__ import annotations

from ulid import ULID


def new_id() -> str:
    """A ULID."""
    return str(ULID())
