"""Curves as shapes of an SVG, made here without a plotting library: one takes longer than the whole page may."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

Series = Sequence[tuple[datetime, float]]
"""Values over time, in order of time."""

WIDTH, HEIGHT = 360, 170
"""Of a plot's own coordinates; the page scales it to its place."""

LEFT, RIGHT, TOP, BOTTOM = 46, 8, 10, 24
SHOWN = 200
"""Points that a curve is drawn with; the last one is always among them."""


@dataclass(frozen=True)
class Curve:
    """One curve.

    Attributes:
        kind: Class of its colour, and key of its name.
        path: Its path.
        last: Its last value, as text.
        dot: Where its last value lies.
    """

    kind: str
    path: str
    last: str
    dot: tuple[float, float]


@dataclass(frozen=True)
class Plot:
    """Curves in a frame.

    Attributes:
        id: Of its elements: no two on one page share it.
        curves: The curves.
        heights: Heights of the lines of its axis, each with its text.
        times: Places of the axis of time, each with its text and where that is anchored.
        limits: Heights of lines that decide.
    """

    id: str
    curves: tuple[Curve, ...]
    heights: tuple[tuple[float, str], ...]
    times: tuple[tuple[float, str, str], ...]
    limits: tuple[float, ...]


def plot(
    name: str, curves: dict[str, Series], *, limits: Sequence[float] = (), unit: str = "", step: bool = False
) -> Plot | None:
    """Curves over one time and one scale; None where there is nothing to draw.

    Args:
        name: For the ids of its elements.
        curves: Values by the class of their colour.
        limits: Values at which a line is drawn across.
        unit: What stands behind each value.
        step: Each value holds until the next one.
    """
    known = {kind: thin(_finite(values)) for kind, values in curves.items()}
    known = {kind: values for kind, values in known.items() if values}
    if not known:
        return None
    moments = [moment.timestamp() for values in known.values() for moment, _ in values]
    numbers = [number for values in known.values() for _, number in values]
    low, high, ticks = _scale(min(0.0, *numbers, *limits), max(*numbers, *limits, 0.0))
    first, last = min(moments), max(moments)

    def across(moment: datetime) -> float:
        share = (moment.timestamp() - first) / (last - first) if last > first else 1.0
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def up(number: float) -> float:
        return round(HEIGHT - BOTTOM - (number - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    drawn = []
    for kind, values in known.items():
        points = [(across(moment), up(number)) for moment, number in values]
        drawn.append(Curve(kind, _path(points, step=step), f"{values[-1][1]:.3g}{unit}", points[-1]))
    ends = [(float(LEFT), _clock(first, last - first), "start")]
    if last > first:
        ends.append((float(WIDTH - RIGHT), _clock(last, last - first), "end"))
    heights = tuple((up(tick), f"{tick:g}{unit}") for tick in ticks)
    return Plot(name, tuple(drawn), heights, tuple(ends), tuple(up(limit) for limit in limits))


def _finite(values: Series) -> Series:
    return [(moment, number) for moment, number in values if math.isfinite(number) and abs(number) < 1e15]


def thin(values: Series) -> Series:
    """At most as many points as are drawn, spread evenly, the first and the last among them."""
    if len(values) <= SHOWN:
        return values
    return [values[round(place * (len(values) - 1) / (SHOWN - 1))] for place in range(SHOWN)]


def _scale(low: float, high: float) -> tuple[float, float, list[float]]:
    """Ends of the axis and its ticks: three to six, at round numbers."""
    room = (high - low) or abs(high) or 1.0
    size = 10 ** math.floor(math.log10(room / 3))
    size = next(size * times for times in (1, 2, 5, 10) if room / (size * times) <= 5)
    first, last = math.floor(low / size), math.ceil(high / size)
    last = max(last, first + 1)
    return first * size, last * size, [place * size for place in range(first, last + 1)]


def _path(points: list[tuple[float, float]], *, step: bool) -> str:
    parts = [f"M{points[0][0]:g},{points[0][1]:g}"]
    parts += [f"H{place:g}V{height:g}" if step else f"L{place:g},{height:g}" for place, height in points[1:]]
    return "".join(parts)


def _clock(seconds: float, room: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return (
        f"{moment:%H:%M}" if room < 20 * 3600 else f"{moment:%d %b %H:%M}" if room < 4 * 86_400 else f"{moment:%d %b}"
    )
