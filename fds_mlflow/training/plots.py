"""The plots of a training run: one function each, object-oriented Matplotlib, no global state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fds_mlflow.display.characters import plotted
from fds_mlflow.training.calibration import bins as calibrated

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

#: Dots per inch that the figures are meant to be saved with: 1,500 x 960 pixels.
DPI = 200

_GENUINE, _FRAUD, _MARK, _GRID = "#3b6ea8", "#c8452f", "#222222", "#d9d9d9"
_FEATURES_SHOWN = 20
_TICKS = (1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)


def draw(
    y: NDArray[np.int8],
    score: NDArray[np.float64],
    threshold: float,
    importance: Mapping[str, float],
    *,
    importance_unit: str,
    title: str,
    weight: NDArray[np.float64] | None = None,
) -> dict[str, Figure]:
    """Every plot of one model on its test part.

    Args:
        y: Labels, shape (n,), both classes present.
        score: Scores in [0, 1], shape (n,).
        threshold: The threshold chosen on validation; marked in the plots.
        importance: Importance per feature.
        importance_unit: What it counts.
        title: What the model and the data are, one line.
        weight: For how many transactions each row stands, shape (n,); None for one each.

    Returns:
        Figures by file stem: ``precision_recall``, ``roc``, ``score_distribution``, ``calibration``,
        ``importance``.
    """
    counts = f"{int((y == 0).sum()):,} genuine, {int((y == 1).sum()):,} fraud"
    caption = f"{title} · test: {counts}{'' if weight is None else ', weighed'}"
    stands = np.ones(len(y)) if weight is None else weight
    return {
        "precision_recall": precision_recall(y, score, threshold, caption, stands),
        "roc": roc(y, score, threshold, caption, stands),
        "score_distribution": score_distribution(y, score, threshold, caption, stands),
        "calibration": calibration(y, score, caption, stands),
        "importance": feature_importance(importance, importance_unit, title),
    }


def precision_recall(
    y: NDArray[np.int8], score: NDArray[np.float64], threshold: float, caption: str, weight: NDArray[np.float64]
) -> Figure:
    """Precision over recall, with the chosen threshold and what flagging at random would give."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    precision, recall, _ = precision_recall_curve(y, score, sample_weight=weight)
    area = average_precision_score(y, score, sample_weight=weight)
    figure, axes = canvas(f"Precision and recall · average precision {area:.3f}", caption)
    axes.step(recall, precision, where="post", color=_FRAUD, lw=1.8, clip_on=False)
    axes.fill_between(recall, precision, step="post", color=_FRAUD, alpha=0.12, lw=0)
    rate = float(np.average(y, weights=weight))
    axes.axhline(rate, color=_GENUINE, lw=1, ls="--", label=f"at random: {_percent(rate)}")
    flagged = score >= threshold
    if flagged.any():
        at_precision = float(np.average(y[flagged], weights=weight[flagged]))
        at_recall = float(np.average(flagged[y == 1], weights=weight[y == 1]))
        reached = f"threshold: precision {_percent(at_precision)}, recall {_percent(at_recall)}"
        _dot(axes, at_recall, at_precision, reached)
    axes.set(xlabel="Recall: share of frauds flagged", ylabel="Precision: share of flagged that is fraud")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    crowded = float(precision[np.searchsorted(-recall, -0.6)]) > 0.5  # where the curve leaves room
    axes.legend(
        loc="lower left" if crowded else "upper right", frameon=True, framealpha=0.9, edgecolor="none", fontsize=9
    )
    return figure


def _dot(axes: Axes, x: float, y: float, label: str) -> None:
    axes.plot([x], [y], "o", color=_MARK, ms=7, zorder=5, label=label)


def roc(
    y: NDArray[np.int8], score: NDArray[np.float64], threshold: float, caption: str, weight: NDArray[np.float64]
) -> Figure:
    """True over false positive rate; the false positive rate is logarithmic, where fraud teams work."""
    from sklearn.metrics import roc_auc_score, roc_curve

    false_positive, true_positive, _ = roc_curve(y, score, sample_weight=weight, drop_intermediate=False)
    area = roc_auc_score(y, score, sample_weight=weight)
    figure, axes = canvas(f"ROC, logarithmic · AUC {area:.3f}", caption)
    left = max(1e-4, 0.5 / max(1, int((y == 0).sum())))
    axes.step(np.maximum(false_positive, left), true_positive, where="post", color=_FRAUD, lw=1.8)
    chance = np.geomspace(left, 1, 100)
    axes.plot(chance, chance, color=_GENUINE, lw=1, ls="--", label="at random")
    flagged = score >= threshold
    at_false, at_true = (float(np.average(flagged[y == each], weights=weight[y == each])) for each in (0, 1))
    reached = f"threshold: recall {_percent(at_true)}, false positive rate {_percent(at_false)}"
    _dot(axes, max(at_false, left), at_true, reached)
    axes.set(xlabel="False positive rate", ylabel="Recall: share of frauds flagged")
    axes.set(xscale="log", xlim=(left, 1), ylim=(0, 1.02))
    axes.xaxis.set_major_formatter(lambda value, _: _percent(value))
    axes.legend(loc="lower right", frameon=True, framealpha=0.9, edgecolor="none", fontsize=9)
    return figure


def score_distribution(
    y: NDArray[np.int8], score: NDArray[np.float64], threshold: float, caption: str, weight: NDArray[np.float64]
) -> Figure:
    """Scores by class: the share of each class per bin, so that rare frauds show beside many genuine."""
    figure, axes = canvas("Scores by class", caption)
    # Log-odds on the axis: most scores are far below 1 %, and what separates the classes happens there.
    low = float(np.clip(score.min(), 1e-5, 1e-2))
    edge = np.log(low / (1 - low))
    bins = 1 / (1 + np.exp(-np.linspace(edge, max(-edge, 4.6), 61)))
    shown = np.clip(score, bins[0], bins[-1])
    for label, name, color in ((0, "genuine", _GENUINE), (1, "fraud", _FRAUD)):
        of_class, stands = shown[y == label], weight[y == label]
        axes.hist(
            of_class,
            bins=bins.tolist(),
            weights=stands / max(1.0, stands.sum()),
            color=color,
            alpha=0.55,
            label=f"{name} ({len(of_class):,})",
        )
    if bins[0] < threshold < bins[-1]:
        axes.axvline(threshold, color=_MARK, lw=1.4, label=f"threshold {threshold:.4g}")
    axes.set(xlabel="Score (log-odds)", ylabel="Share of the class (logarithmic)")
    axes.set(xscale="logit", yscale="log", xlim=(bins[0], bins[-1]))
    ticks = [tick for tick in _TICKS if bins[0] <= tick <= bins[-1]]
    axes.set_xticks(ticks, [_percent(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_formatter(lambda value, _: _percent(value))
    axes.legend(loc="upper right", ncols=3, frameon=True, framealpha=0.9, edgecolor="none", fontsize=9)
    return figure


def calibration(y: NDArray[np.int8], score: NDArray[np.float64], caption: str, weight: NDArray[np.float64]) -> Figure:
    """Observed share of fraud over the mean score, in bins of equal numbers of frauds, both logarithmic."""
    figure, axes = canvas("Calibration: does a score of 10 % mean 10 % fraud?", caption)
    found = calibrated(y, score, weight)
    means, observed, low, high = (
        np.array([getattr(one, name) for one in found]) for name in ("score", "observed", "low", "high")
    )
    axes.errorbar(
        means,
        observed,
        yerr=[observed - low, high - observed],
        fmt="o",
        color=_FRAUD,
        ms=5,
        capsize=3,
        lw=1.2,
        label="observed, with 95 % intervals",
    )
    span = np.concatenate([means, observed, [1.0]])
    floor = float(span.min()) / 2
    axes.plot([floor, 1], [floor, 1], color=_GENUINE, lw=1, ls="--", label="perfectly calibrated")
    axes.set(xscale="log", yscale="log", xlim=(floor, 1.1), ylim=(floor, 1.1))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: _percent(value))
    axes.set(xlabel="Mean score in the bin", ylabel="Share of fraud in the bin")
    axes.legend(loc="upper left", frameon=True, framealpha=0.9, edgecolor="none", fontsize=9)
    return figure


def feature_importance(importance: Mapping[str, float], unit: str, caption: str) -> Figure:
    """The most important features as bars, the most important on top."""
    ranked = sorted(importance.items(), key=lambda item: item[1], reverse=True)
    shown = ranked[:_FEATURES_SHOWN][::-1]
    more = f" (first {len(shown)} of {len(ranked)})" if len(ranked) > len(shown) else ""
    figure, axes = canvas(f"Feature importance{more}", caption)
    axes.barh([plotted(name) for name, _ in shown], [value for _, value in shown], color=_GENUINE, height=0.7)
    axes.set(xlabel=unit[:1].upper() + unit[1:])
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", labelsize=8 if len(shown) > 12 else 9)
    return figure


def canvas(title: str, caption: str, *, height: float = 4.8) -> tuple[Figure, Axes]:
    """A figure that belongs to nobody: no pyplot, so nothing is kept alive or drawn on a screen.

    Args:
        title: In large letters.
        caption: One line below it.
        height: Inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, height), layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)
    figure.suptitle(plotted(title), x=0.012, ha="left", fontsize=13, fontweight="bold")
    axes: Any = figure.add_subplot()
    axes.set_title(plotted(caption), loc="left", fontsize=8.5, color="#555555")
    axes.grid(visible=True, color=_GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _percent(value: float) -> str:
    """Three digits, and as many nines as there are: 99.99 % is not 100 %."""
    return f"{100 * value:.6g} %" if 0.99 < value < 1 else f"{100 * value:.3g} %"
