"""The moment that a numeric time counts from."""

from __future__ import annotations

from datetime import datetime

import numpy as np


def origin(written: str | None, zone: str | None) -> np.datetime64:
    """A moment in UTC, in microseconds.

    Args:
        written: In ISO 8601; None for 1970-01-01 UTC.
        zone: IANA zone of a moment without an offset; UTC where None. Of an hour that occurs twice the first is taken.

    Raises:
        ValueError: It is no moment, or none that the zone and the calendar have.
    """
    import pandas as pd

    if written is None:
        return np.datetime64(0, "us")
    try:
        start = pd.Timestamp(datetime.fromisoformat(written))
        # NaT, as what pandas raises of itself depends on its version.
        there = start if start.tzinfo else start.tz_localize(zone or "UTC", ambiguous=True, nonexistent="NaT")
        if pd.isna(there):
            raise ValueError("the clocks skipped that hour")
        return np.datetime64(there.tz_convert("UTC").tz_localize(None).to_pydatetime(), "us")
    except (ValueError, OverflowError) as error:
        raise ValueError(f"'time_origin' is {written[:40]!r}, no moment in {zone or 'UTC'}: {error}") from None
