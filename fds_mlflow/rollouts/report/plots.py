"""The plots of a rollout's report: SVG for a page, whose colours follow the reader's light or dark setting."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from fds_mlflow.core.plan.metric import Row
from fds_mlflow.core.text.numbers import ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")
Series: TypeAlias = Sequence[tuple[datetime, float]]
"""A metric over time, in order of time."""

FEW = 30
"""Points up to which each one is marked."""

SHOWN = 400
"""Points a line is drawn with; the last one is always among them."""

# Colours that stand for the page's own, replaced in the finished SVG: a figure cannot know what page it will be on.
_INK, _GRID, _CHAMPION, _CANARY, _LIMIT = "#010203", "#010204", "#010205", "#010206", "#010207"
_CSS = {
    _INK: "var(--ink)",
    _GRID: "var(--grid)",
    _CHAMPION: "var(--champion)",
    _CANARY: "var(--canary)",
    _LIMIT: "var(--limit)",
}
_SIZE = (5.0, 2.3)
_ROOM = 30 / 86_400
"""Days around what lasted no time: half a minute."""

_LABEL = 0.07
"""Share of the axis of time that a label takes."""


def weight(name: str, values: Series, marks: Sequence[tuple[datetime, str]]) -> str:
    """The canary's share of the traffic, with a mark where something happened.

    Args:
        name: Prefix of the ids in the SVG; no two on one page may share it.
        values: Percent over time.
        marks: When something happened, and what.
    """
    figure, axes = _canvas((10.0, 2.3))
    kept = _chosen(values)  # by place: two steps at one moment are two
    days, heights = _days([time for time, _ in kept]), [height for _, height in kept]
    if days:
        axes.step(days, heights, where="post", color=_CANARY, lw=1.8, **_marker(days))
        axes.fill_between(days, heights, step="post", color=_CANARY, alpha=0.15, lw=0)
    left, right = _frame(axes, days)
    free = left
    for day, (_, label) in zip(_days([time for time, _ in marks]), marks, strict=True):
        axes.axvline(day, color=_GRID, lw=1)
        if day >= free:  # a label over another one is none
            side = "right" if day > right - (right - left) * _LABEL else "left"
            axes.annotate(label, (day, 104), color=_INK, fontsize=8, annotation_clip=False, ha=side, va="bottom")
            free = day + (right - left) * _LABEL
    axes.set(ylim=(0, 102), ylabel="canary, % of traffic")
    said = f"The canary's share of the traffic, from {_ends(values, '{:.3g} %'.format)}"
    return _svg(figure, name, "Share of the traffic", said)


def rates(
    name: str,
    champion: Series,
    canary: Series,
    *,
    row: Row,
    limit: float | None = None,
    called: tuple[str, str] = ("champion", "canary"),
) -> str:
    """Both variants' numbers over time.

    Args:
        name: Prefix of the ids in the SVG.
        champion: The champion's.
        canary: The canary's.
        row: What they are values of.
        limit: The absolute limit of the one that is judged.
        called: What the two are called.
    """
    figure, axes = _canvas(_SIZE)
    lines = ((called[0], champion, _CHAMPION, "-"), (called[1], canary, _CANARY, "--"))
    for label, values, colour, style in lines:
        times, heights = _thin(values)
        shown = [row.scale * height for height in heights]
        axes.plot(times, shown, style, color=colour, lw=1.8, label=label, **_marker(times))
    _frame(axes, _days([time for _, values, _, _ in lines for time, _ in values]))
    if limit is not None:
        axes.axhline(row.scale * limit, color=_LIMIT, lw=1.2, ls=":", label="limit")
    axes.set_ylim(bottom=0)
    axes.set_ylabel(row.unit)
    _legend(axes)
    said = "; ".join(f"{label} from {_ends(values, row.describe)}" for label, values, _, _ in lines)
    return _svg(figure, name, f"{row.title}: {called[0]} and {called[1]}", said)


def interval(
    name: str,
    low: Series,
    high: Series,
    estimate: Series,
    boundaries: Sequence[float],
    *,
    row: Row,
    called: tuple[str, str] = ("canary", "champion"),
) -> str:
    """The anytime confidence interval of the ratio, or the difference, of the one that is judged and its control.

    Args:
        name: Prefix of the ids in the SVG.
        low: Lower ends.
        high: Upper ends; missing where the interval is unbounded.
        estimate: Point estimates.
        boundaries: What the guardrail tolerates.
        row: Whose harm it is: a ratio, on a logarithmic axis, or a difference.
        called: What the one that is judged and its control are called.
    """
    figure, axes = _canvas(_SIZE)
    relative = not row.difference
    bottom, top = _range(low, high, boundaries, relative=relative)
    lower, upper = dict(low), dict(high)
    times = _chosen(sorted(set(lower) | set(upper)))
    if times:
        floor = [max(bottom, lower.get(time, bottom)) for time in times]
        ceiling = [min(top, upper.get(time, top)) for time in times]
        axes.fill_between(_days(times), floor, ceiling, step="post", color=_CANARY, alpha=0.22, lw=0, label="interval")
        if _marker(times):  # an area without width is not seen
            axes.vlines(_days(times), floor, ceiling, color=_CANARY, lw=3, alpha=0.45)
    _frame(axes, _days(times))
    moments, heights = _thin([(time, value) for time, value in estimate if bottom <= value <= top])
    axes.plot(moments, heights, color=_CANARY, lw=1.8, ls="--", label="estimate", **_marker(moments))
    for number, boundary in enumerate(boundaries):
        axes.axhline(boundary, color=_LIMIT, lw=1.2, ls=":", label="_" if number else "tolerated")
    axes.axhline(1.0 if relative else 0.0, color=_GRID, lw=1)
    if relative:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}x")
        axes.yaxis.set_minor_formatter(lambda _value, _place: "")
        ticks = [tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if bottom <= tick <= top]
        axes.set_yticks(ticks)
    axes.set_ylim(bottom, top)
    axes.set_ylabel((" / " if relative else " - ").join(called))
    _legend(axes)
    known = low and high
    end = f"at the end from {ratio(low[-1][1])} to {ratio(high[-1][1])}" if known else "without both ends yet"
    what = "ratio" if relative else "difference"
    tolerated = ", ".join(map(ratio, boundaries))
    return _svg(figure, name, f"{row.title}: interval of the {what}", f"{end}; tolerated: {tolerated}")


def evidence(name: str, fail: Series, passes: Series) -> str:
    """Evidence for FAIL and for PASS over time; at 1 the guardrail is decided.

    Args:
        name: Prefix of the ids in the SVG.
        fail: Log evidence that the canary is harmful, relative to the threshold.
        passes: Log evidence that it is harmless, relative to the threshold.
    """
    figure, axes = _canvas(_SIZE)
    both = (("FAIL", fail, _LIMIT, "-"), ("PASS", passes, _CHAMPION, "--"))
    lines = [line for line in both if line[1]]  # the split can only fail
    for label, values, colour, style in lines:
        times, heights = _thin(values)
        shown = [max(-1.0, min(2.0, height)) for height in heights]
        axes.plot(times, shown, style, color=colour, lw=1.8, label=label, **_marker(times))
    _frame(axes, _days([time for _, values, _, _ in lines for time, _ in values]))
    axes.axhline(1.0, color=_INK, lw=1.2, ls=":", label="decided")
    axes.axhline(0.0, color=_GRID, lw=1)
    highest = max((value for values in (fail, passes) for _, value in values), default=1.0)
    lowest = min((value for values in (fail, passes) for _, value in values), default=0.0)
    axes.set_ylim(max(-1.05, min(-0.1, lowest - 0.1)), min(2.05, max(1.15, highest + 0.1)))
    axes.set_ylabel("evidence / threshold")
    _legend(axes)
    said = "; ".join(f"for {label} from {_ends(values, '{:.2f}'.format)}" for label, values, _, _ in lines)
    return _svg(figure, name, "Evidence", f"Relative to the threshold, {said}")


def drift(name: str, versions: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """How far features are from the training, those that have drifted most at the top.

    Args:
        name: Prefix of the ids in the SVG.
        versions: What each version is called, and the drift of its features, from 0 to 1.
    """
    figure, axes = _canvas((10.0, 3.6))
    most = {one: max(told.get(one, 0.0) for _, told in versions) for _, told in versions for one in told}
    names = sorted(most, key=lambda one: (-most[one], one))[:_FEATURES][::-1]
    height = 0.8 / len(versions)
    for place, ((label, told), colour) in enumerate(zip(versions, (_CANARY, _CHAMPION), strict=False)):
        at = [row - 0.4 + height * (place + 0.5) for row in range(len(names))]
        axes.barh(at, [told.get(one, 0.0) for one in names], height, color=colour, label=label)
    axes.xaxis.set_major_locator(_ticks())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlim=(0, 1), xlabel="")
    figure.subplots_adjust(left=0.25)
    _legend(axes)
    said = "; ".join(f"{one} {most[one]:.2f}" for one in names[::-1][:5])
    return _svg(figure, name, "Drift of features from the training", f"The largest, from 0 to 1: {said}")


_FEATURES = 12
"""Features that are drawn: those that have drifted most."""


def _ticks() -> Any:
    from matplotlib.ticker import MultipleLocator

    return MultipleLocator(0.2)


def _canvas(size: tuple[float, float]) -> tuple[Figure, Axes]:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    width, height = size
    figure = Figure(figsize=size, facecolor="none")
    # Fixed margins, in inches: the layout engines take longer than all the rest.
    figure.subplots_adjust(0.66 / width, 0.42 / height, 1 - 0.12 / width, 1 - 0.3 / height)
    axes = figure.add_subplot(facecolor="none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GRID)
    axes.tick_params(colors=_INK, labelsize=8.5, color=_GRID)
    axes.yaxis.label.set(color=_INK, fontsize=8.5)
    axes.grid(axis="y", color=_GRID, lw=0.6, alpha=0.6)
    locator = AutoDateLocator(tz=UTC, minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    axes.xaxis.get_offset_text().set(color=_INK, size=8.5)
    return figure, axes


def _marker(times: Sequence[Any]) -> dict[str, Any]:
    """How few points are drawn: a line through one of them is not seen."""
    return {"marker": "o", "ms": 4} if len(times) <= FEW else {}


def _frame(axes: Axes, days: Sequence[float]) -> tuple[float, float]:
    """Set the axis of time to what is shown, with a little room: by itself it shows years around a single point."""
    ends = (min(days), max(days)) if days else (0.0, 0.0)
    room = 0.02 * (ends[1] - ends[0]) or _ROOM
    left, right = ends[0] - room, ends[1] + room
    axes.set_xlim(left, right)
    if not days:
        axes.set_xticks([], [])
    return left, right


def _legend(axes: Axes) -> None:
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=3,
        frameon=False,
        fontsize=8.5,
        labelcolor=_INK,
        borderpad=0,
    )


def _chosen(values: Sequence[T]) -> list[T]:
    if len(values) <= SHOWN:
        return list(values)
    return [values[round(place * (len(values) - 1) / (SHOWN - 1))] for place in range(SHOWN)]


def _thin(values: Series) -> tuple[list[float], list[float]]:
    """At most `SHOWN` points, spread evenly, the first and the last among them; times as Matplotlib counts them."""
    found = dict(values)
    times = _chosen(sorted(found))
    return _days(times), [found[time] for time in times]


def _days(times: Sequence[datetime]) -> list[float]:
    from matplotlib.dates import date2num

    return [float(day) for day in date2num(list(times))]  # type: ignore[no-untyped-call]


def _range(low: Series, high: Series, boundaries: Sequence[float], *, relative: bool) -> tuple[float, float]:
    """Ends of the axis: the boundaries, and the interval as it was at last, with room around it."""
    last = [values[-1][1] for values in (low, high) if values]
    if not relative:
        reach = 1.5 * max((abs(value) for value in (*boundaries, *last)), default=1.0)
        return -reach, reach
    known = [value for value in (*boundaries, *last) if value > 0]
    smallest, largest = min([*known, 0.5]), max([*known, 2.0])
    return 10 ** (math.log10(smallest) - 0.15), 10 ** (math.log10(largest) + 0.15)


def _ends(values: Series, describe: Callable[[float], str]) -> str:
    if not values:
        return "nothing: no values"
    return f"{describe(values[0][1])} to {describe(values[-1][1])}"


def _svg(figure: Figure, name: str, title: str, description: str) -> str:
    """The figure as an element of a page: ids of its own, the page's colours and width, and a text beside it."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(url\(#|xlink:href="#)', rf"\1{name}-", text)
    for colour, variable in _CSS.items():
        text = text.replace(colour, variable)
    text = re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", text, count=1)
    text = re.sub(r'<svg([^>]*?) height="[^"]*"', r"<svg\1", text, count=1)
    label = f'<svg role="img" aria-labelledby="{name}-title {name}-desc"'
    text = text.replace("<svg", label, 1)
    head = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
    return re.sub(r"(<svg[^>]*>)", lambda found: found[1] + head, text, count=1)
