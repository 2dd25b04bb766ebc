"""What is watched while LightGBM grows: its curves, and when there is nothing more to gain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fds_mlflow.training.fitted import Curve

_CURVE_POINTS = 200

#: Training figures are measured at every tenth iteration: sorting all training rows costs more than the trees.
_TRAIN_EVERY = 10


class Patience:
    """LightGBM callback: stop once no figure on validation has become better for some iterations.

    LightGBM's own stops by the first figure, or by whichever fails first: average precision is at its best by chance
    where frauds are few, while log loss still falls.

    Args:
        rounds: Iterations without a gain in any figure.
        least: What counts as a gain.
        at_least: Iterations before which nothing stops.
    """

    def __init__(self, rounds: int, least: float, at_least: int) -> None:
        self._rounds, self._least, self._at_least = rounds, least, at_least
        self._best: dict[str, float] = {}
        self._last = 0

    def __call__(self, environment: Any) -> None:
        """After an iteration."""
        from lightgbm.callback import EarlyStopException

        for part, quantity, value, higher in environment.evaluation_result_list:
            if part != "validation":
                continue
            signed = value if higher else -value
            if signed > self._best.get(quantity, -np.inf) + self._least:
                self._best[quantity], self._last = signed, environment.iteration
        if environment.iteration - self._last >= self._rounds and environment.iteration + 1 >= self._at_least:
            raise EarlyStopException(environment.iteration, environment.evaluation_result_list)


class Curves:
    """LightGBM callback: the training rows' figures now and then, for the gap between them and validation's."""

    def __init__(self) -> None:
        self._points: dict[str, tuple[list[int], list[float]]] = {}

    def __call__(self, environment: Any) -> None:
        """After an iteration."""
        step = environment.iteration + 1
        if step != 1 and step % _TRAIN_EVERY:
            return
        for _, quantity, value, _ in environment.model.eval_train():
            steps, values = self._points.setdefault(quantity, ([], []))
            steps.append(step)
            values.append(float(value))

    @property
    def on_training(self) -> list[Curve]:
        """One curve a quantity."""
        return [Curve(f"curve_train_{name}", *points) for name, points in self._points.items()]

    @staticmethod
    def on_validation(results: Mapping[str, list[float]]) -> list[Curve]:
        """Every quantity by iteration, thinned so that a long training stays quick to log."""
        curves = []
        for quantity, values in results.items():
            count = len(values)
            picked = np.unique(np.linspace(0, count - 1, min(count, _CURVE_POINTS)).round().astype(int))
            curves.append(
                Curve(
                    name=f"curve_val_{quantity}",
                    steps=[int(index) + 1 for index in picked],
                    values=[float(values[index]) for index in picked],
                )
            )
        return curves
