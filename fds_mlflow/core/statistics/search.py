"""Search by doubling: the smallest count at which something monotone has happened."""

from __future__ import annotations

from collections.abc import Callable


def smallest(reached: Callable[[int], bool], *, most: int, start: int = 1, precision: float = 0.0) -> int | None:
    """The smallest count that reaches it, found by doubling, then halving.

    Args:
        reached: Whether a count does; once true, true for all larger ones.
        most: Beyond this nobody looks.
        start: The first count that is tried, a power of 2; half of it is taken not to reach it.
        precision: How much too large the answer may be, as a share of it.

    Returns:
        The count; None if nothing up to `most` reaches it.
    """
    high = start
    while not reached(high):
        high *= 2
        if high > most:
            return None
    low = high // 2
    while high - low > max(1, int(low * precision)):
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
