"""How many trees, and of how many leaves: chosen by average precision as far as the frauds can tell, else by log loss.

A validation of a few frauds says little, and early stopping believes it: where three trees happen to rank its ten
frauds best, three trees are kept, and score a certain fraud .3. So

- a model learns at least half of what LightGBM's defaults learn (trees times rate), whatever a validation says;
- it grows on while either average precision or log loss still gets better;
- where validation has few frauds, earlier stretches of the training rows are looked at as well: models of what came
  before each are asked about it, and the frauds of all stretches count alike;
- of all that were looked at, those count as equally good whose average precision is within half a standard error of the
  best, over the frauds; of these the one with the least log loss is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Trees times rate: half of LightGBM's 100 times 0.1.
_LEAST_LEARNED = 5.0

#: Validation frauds from which no earlier stretch is looked at, and cells of training rows up to which one is.
_ENOUGH_FRAUDS, _MOST_CELLS = 200, 20_000_000

#: Standard errors within which two average precisions are the same.
_TOLERATED = 0.5

_GROWTH = 1.06


@dataclass(frozen=True)
class Rows:
    """Rows as LightGBM takes them.

    Attributes:
        x: Features, shape (n, features).
        y: Labels, shape (n,), 0 or 1.
        weight: For how many transactions each row stands, shape (n,); None for one each.
    """

    x: NDArray[np.float64]
    y: NDArray[np.int8]
    weight: NDArray[np.float64] | None

    def at(self, rows: NDArray[np.bool_]) -> Rows:
        """Some of them."""
        return Rows(self.x[rows], self.y[rows], None if self.weight is None else self.weight[rows])

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weights: shape (n,)."""
        return np.ones(len(self.y)) if self.weight is None else self.weight


@dataclass(frozen=True)
class Judged:
    """What a model with some trees was worth on rows it was not fitted on.

    Attributes:
        precision: For each fraud the precision of flagging it and all that scores as high, shape (frauds,); their
            weighted mean is the average precision.
        weight: For how many frauds each stands.
        log_loss: Mean of the rows' log loss.
    """

    precision: NDArray[np.float64]
    weight: NDArray[np.float64]
    log_loss: float


def least_trees(rate: float, most: int) -> int:
    """Trees below which none is looked at.

    Args:
        rate: The learning rate.
        most: `n_estimators`, which is never exceeded.
    """
    return max(1, round(min(most, _LEAST_LEARNED / rate)))


def looked_at(least: int, trees: int) -> list[int]:
    """Numbers of trees to look at: from the least to all, each some hundredths more than the one before."""
    found = [min(least, trees)]
    while found[-1] < trees:
        found.append(min(trees, max(found[-1] + 1, round(found[-1] * _GROWTH))))
    return found


def few(frauds: int, cells: int) -> bool:
    """Whether validation frauds are few, and the cells of the training rows not too many to do more than once."""
    return frauds < _ENOUGH_FRAUDS and cells <= _MOST_CELLS


def stretches(
    y: NDArray[np.int8],
    time: NDArray[np.datetime64],
    seed: int,
    shares: Sequence[tuple[float, float]] = ((0.4, 0.6), (0.6, 0.8), (0.8, 1.0)),
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Earlier stretches of the training rows: which to fit on, and which to ask about, as masks.

    Args:
        y: Labels of the training rows, shape (n,); stretches without both classes are left out.
        time: Their times; where one is missing, all are in the order of the seed.
        seed: Of that order.
        shares: Ends of what is fitted on and of what is asked about, as shares of the rows.
    """
    count = len(y)
    untimed = np.isnat(time).any()
    order = np.random.default_rng(seed).permutation(count) if untimed else np.argsort(time, kind="stable")
    place = np.empty(count, dtype=np.intp)
    place[order] = np.arange(count)
    for end, after in shares:
        fitted = place < int(end * count)
        asked = ~fitted & (place < int(after * count))
        if y[fitted].sum() > 1 and 0 < y[asked].sum() < asked.sum():
            yield fitted, asked


def raw_scores(booster: Any, x: NDArray[np.float64], trees: Sequence[int]) -> Iterator[NDArray[np.float64]]:
    """The log-odds that the first so many trees give rows, for increasing numbers of trees; each tree is asked once.

    A booster with fewer trees gives those of all that it has. One after the other: all of them are more than the rows.
    """
    total, before = np.zeros(len(x)), 0
    averaged = "\naverage_output\n" in booster.model_to_string(num_iteration=1).partition("\nTree=")[0] + "\n"
    for count in trees:
        until = min(count, booster.current_iteration())
        if until > before:
            total = total + booster.predict(x, raw_score=True, start_iteration=before, num_iteration=until - before)
            before = until
        yield total / until if averaged else total


def judged(rows: Rows, raw: NDArray[np.float64]) -> Judged:
    """How good log-odds are on labelled rows, shape (n,)."""
    order = np.argsort(-raw, kind="stable")
    scores, labels, weights = raw[order], rows.y[order], rows.weights[order]
    last = np.searchsorted(-scores, -scores, side="right") - 1  # of the rows that score as high
    precision = np.cumsum(weights * labels)[last] / np.cumsum(weights)[last]
    fraud = labels == 1
    back = np.argsort(order[fraud])  # in the order of the rows, so that two models' are of the same frauds
    lost = np.average(np.logaddexp(0, raw) - rows.y * raw, weights=rows.weights)
    return Judged(precision[fraud][back], weights[fraud][back], float(lost))


def best(candidates: Sequence[Sequence[Judged]]) -> int:
    """The place of the best candidate.

    Args:
        candidates: What each was worth on each stretch; the same stretches for all.
    """
    precision = np.array([np.concatenate([one.precision for one in each]) for each in candidates])
    weight = np.concatenate([one.weight for one in candidates[0]])
    share = weight / weight.sum()
    first = int(np.argmax(precision @ share))
    behind = precision[first] - precision
    mean = behind @ share
    error = np.sqrt(((behind - mean[:, None]) ** 2) @ share**2)
    good = np.flatnonzero(mean <= _TOLERATED * error + 1e-12)
    lost = np.array([np.mean([one.log_loss for one in candidates[int(place)]]) for place in good])
    return int(good[np.argmin(lost)])
