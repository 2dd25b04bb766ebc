"""Plots: every one is drawn, says what it shows, and leaves no global state behind."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given

from fds_mlflow.training import plots
from tests.support.effort import graded
from tests.support.hostile import TEXTS


def _scores(frauds: int = 40, genuine: int = 2000) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    y = np.r_[np.ones(frauds, np.int8), np.zeros(genuine, np.int8)]
    return y, 1 / (1 + np.exp(-rng.normal(-5 + 5 * y, 1.5)))


def _draw(y: Any, score: Any, threshold: float = 0.1) -> dict[str, Any]:
    return plots.draw(y, score, threshold, {"amount": 2.0, "noise": 0.1}, importance_unit="total gain", title="m")


def _texts(figure: Any) -> str:
    axes = figure.axes[0]
    legend = axes.get_legend()
    parts = [figure.get_suptitle(), axes.get_title(loc="left"), axes.get_title(loc="right")]
    parts += [axes.get_xlabel(), axes.get_ylabel()]
    parts += [text.get_text() for text in legend.get_texts()] if legend else []
    return " | ".join(parts)


def test_every_plot_is_titled_and_carries_the_class_counts():
    """Five plots, each with a title, axis labels and, where labels count, the number of rows per class."""
    figures = _draw(*_scores())
    assert list(figures) == ["precision_recall", "roc", "score_distribution", "calibration", "importance"]
    for name, figure in figures.items():
        assert figure.get_suptitle()
        assert figure.axes[0].get_xlabel()
        if name != "importance":
            assert "2,000 genuine, 40 fraud" in _texts(figure)


@pytest.mark.slow
def test_plots_are_large_enough_to_read():
    """Saved as told, a plot has at least 1,400 pixels across and is not blank."""
    figure = _draw(*_scores())["precision_recall"]
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=plots.DPI)
    from matplotlib.image import imread

    buffer.seek(0)
    pixels = imread(buffer)
    assert pixels.shape[1] >= 1400
    assert pixels.std() > 0.05


@pytest.mark.tested(1)
@pytest.mark.parametrize(
    ("y", "score"),
    graded(
        [
            ([0, 1], [0.0, 1.0]),
            ([0, 1, 0], [0.5, 0.5, 0.5]),
            ([0] * 50 + [1], [0.0] * 51),
            ([1] * 50 + [0], [1.0] * 51),
        ]
    ),
)
@pytest.mark.parametrize("threshold", graded([0.5, 1.0001]))
@pytest.mark.slow
def test_extreme_scores_are_drawn(y: list[int], score: list[float], threshold: float):
    """Scores of exactly 0 and 1, a single fraud, ties everywhere, nothing flagged: drawn without a warning."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for figure in _draw(np.array(y, np.int8), np.array(score), threshold).values():
            figure.savefig(io.BytesIO(), dpi=30)


@pytest.mark.campaign
@pytest.mark.slow
def test_pyplot_is_never_touched():
    """Drawing keeps no figure alive in a long process: pyplot is not even imported."""
    code = (
        "import sys, numpy as np\n"
        "from fds_mlflow.training import plots\n"
        "plots.draw(np.array([0, 1], np.int8), np.array([0.2, 0.8]), 0.5, {'a': 1.0},"
        " importance_unit='gain', title='t')\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
@given(TEXTS)
@example("a$^{$").via("a formula that is none")
@example("$\\frac$ \\$ $")
def test_names_are_no_formulas(name: str) -> None:
    """A column may be called anything: its name is drawn as it is, and no training fails at its plot."""
    figure = plots.feature_importance({name: 1.0, "amount": 0.5}, "gain", f"costs $ {name} $")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # signs that the font lacks
        figure.draw_without_rendering()
