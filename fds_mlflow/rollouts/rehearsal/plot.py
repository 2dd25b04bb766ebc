"""The plot of a rehearsal: the steps in time, how rollouts end, and which regressions are caught."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fds_mlflow.core.lifecycle.controller import Action
from fds_mlflow.display.characters import plotted
from fds_mlflow.rollouts.rehearsal.rehearsal import CAUGHT, Rehearsal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GOOD, _BAD, _OPEN, _MARK = "#3b6ea8", "#c8452f", "#b9b9b9", "#222222"
_MARKERS = "osD^vP*X"
_INK = {Action.COMPLETE: "white", Action.ABORT: "white"}
_COLOURS = {Action.COMPLETE: _GOOD, Action.ABORT: _BAD}


def draw(found: Rehearsal, title: str) -> Figure:
    """One figure with three panels, for `savefig`.

    Args:
        found: What the rehearsal found.
        title: What was rehearsed, one line.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.4), layout="constrained")
    first, second, third = figure.subplots(1, 3)
    _steps(first, found)
    _ends(second, found)
    _catches(third, found)
    told = f"{found.replays:,} replays of {found.rows:,} requests in {found.days:.1f} days"
    figure.suptitle(f"{plotted(title)} · {told}", fontsize=11)
    for axes in (first, second, third):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _steps(axes: Axes, found: Rehearsal) -> None:
    """How long each step takes this canary, the median and up to the 90th percentile."""
    for place, step in enumerate(found.steps):
        median, late = step.days or 0.0, step.days_90 or 0.0
        axes.barh(place, late, color=_OPEN, height=0.6)
        axes.barh(place, median, color=_GOOD, height=0.6)
        told = " nobody came through"
        if step.requests is not None:
            told = f" {median:.2g} days, {step.requests:,.0f} requests"
        axes.text(late, place, told, va="center", fontsize=8)
    longest = max((step.days_90 or 0.0 for step in found.steps), default=0.0)
    axes.set_xlim(0, 2.2 * longest or 1)
    names = [f"{step.percent:g} %\npassed by {step.through:.0%}" for step in found.steps]
    axes.set_yticks(range(len(found.steps)), names)
    axes.invert_yaxis()
    axes.set_xlabel("days in the step: median (blue), 90 % (grey)")
    axes.set_title("This canary's steps", fontsize=10)


def _ends(axes: Axes, found: Rehearsal) -> None:
    """How this canary ends, and how the champion as its own canary does."""
    same = {Action.COMPLETE: found.completes, Action.ABORT: found.false_abort}
    rest = max(0.0, 1 - sum(same.values()))
    for place, shown in enumerate((found.outcomes, {**same, Action.WAIT: rest})):
        left = 0.0
        for action in (Action.COMPLETE, Action.HOLD, Action.WAIT, Action.ABORT):
            share = shown.get(action, 0.0)
            axes.barh(place, share, left=left, color=_COLOURS.get(action, _OPEN), height=0.5)
            if share >= 0.04:
                said = "undecided" if action is Action.WAIT else action.value
                told = f"{said}\n{share:.0%}"
                axes.text(
                    left + share / 2, place, told, ha="center", va="center", fontsize=8, color=_INK.get(action, _MARK)
                )
            left += share
    axes.set_yticks([0, 1], ["this canary", "champion\nas canary"])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel(
        f"share of the replays; false abort {found.false_abort:.1%} ± {found.false_abort_error:.1%},"
        f" promised at most {found.plan.alpha:.0%}",
        fontsize=8,
    )
    axes.set_title("How they end", fontsize=10)


def _catches(axes: Axes, found: Rehearsal) -> None:
    """The chance that a regression is aborted, by how much more harm it does."""
    axes.axhline(CAUGHT, color=_MARK, linewidth=0.8, linestyle=":")
    for place, catch in enumerate(found.catches):
        if catch.caught:
            ratios = sorted(catch.caught)
            axes.plot(
                ratios, [catch.caught[ratio] for ratio in ratios], marker=_MARKERS[place % 8], label=catch.metric.words
            )
    if any(catch.caught for catch in found.catches):
        axes.legend(fontsize=8, frameon=False)
    axes.set_xscale("log")
    ticks = sorted({ratio for catch in found.catches for ratio in catch.caught}) or [1.0, 10.0]
    axes.set_xticks(ticks, [f"{ratio:g}x" for ratio in ticks])
    axes.minorticks_off()
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("share of replays aborted")
    axes.set_xlabel("harm, times the champion's")
    axes.set_title("Regressions that are caught", fontsize=10)
