"""The plot of a drift: what has moved farthest, against its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fds_mlflow.core.lifecycle.verdict import Status
from fds_mlflow.display.characters import plotted
from fds_mlflow.training.plots import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fds_mlflow.features.drift import Change
    from fds_mlflow.workflows.drifting.drift import Drift

_SHOWN = 25
_COLOURS = {Status.FAIL: "#c8452f", Status.PASS: "#3b6ea8", Status.NODATA: "#b0b0b0"}
_CALLED = {Status.FAIL: "drifted", Status.PASS: "not drifted", Status.NODATA: "too few rows to tell"}


def drawn(found: Drift) -> Figure:
    """How far each quantity is on its way to a drift, the farthest at the top; one begins at 1."""
    known = sorted((one for one in found.changes if one.part is not None), key=_part)
    shown = known[-_SHOWN:]
    more = f" · the first {len(shown)} of {len(known)}" if len(known) > len(shown) else ""
    span = "" if found.first is None or found.last is None else f", {found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}"
    caption = f"version {found.version}: {found.rows:,} rows{span}{more}"
    figure, axes = canvas(f"Drift of {found.model}: {found.status.value}", caption, height=2.2 + 0.2 * len(shown))
    most = min(20.0, max([1.5, *map(_part, shown)]))
    for status, colour in _COLOURS.items():
        places = [place for place, one in enumerate(shown) if one.status is status]
        if places:
            widths = [min(_part(shown[place]), most) for place in places]
            axes.barh(places, widths, color=colour, height=0.7, label=_CALLED[status])
    for place, one in enumerate(shown):
        words = f"{one.before} → {one.now}"
        axes.text(
            min(_part(one), most), place, f" {plotted(words)}", va="center", fontsize=7, color="#444444", zorder=3
        )
    axes.axvline(1, color="#222222", lw=1.2, ls="--", zorder=1)
    axes.set_yticks(range(len(shown)), [plotted(one.name) for one in shown], fontsize=8)
    axes.set(xlabel=f"On its way to a drift, which begins at 1\nbeside {found.reference}", xlim=(0, most * 1.3))
    axes.grid(visible=False, axis="y")
    if shown:
        axes.legend(loc="lower right", frameon=True, framealpha=0.9, edgecolor="none", fontsize=9)
    return figure


def _part(one: Change) -> float:
    return one.part or 0.0
