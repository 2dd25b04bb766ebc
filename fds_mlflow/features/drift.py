"""How far rows have moved from a version's training, as effects that do not grow with the number of rows.

Features and scores are compared by the population stability index of at most 24 bins, a gap being a bin of its own:
0 where nothing changed; from 0.1 something has moved, from 0.25 much has (Siddiqi, *Credit Risk Scorecards*, 2006).
Numbers must have moved far as well, by a quarter of their standard deviation on average (Wasserstein's distance): where
one merchant has half of the transactions, its mean is a new number every day, and an index alone would call that much.
Rates are compared by their ratio.

An effect counts where it goes beyond what the quarters of the training show of each other (`Profile.wander`), and where
chance does not explain it, all quantities that are looked at together taken into account (Bonferroni). Where so few
rows could not be told from chance, there is no answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, log
from typing import TYPE_CHECKING, Any

import numpy as np

from fds_mlflow.core.lifecycle.verdict import Status
from fds_mlflow.core.text.numbers import percent
from fds_mlflow.features.profile import Profile
from fds_mlflow.features.stability import (
    ALPHA,
    Bins,
    by_chance,
    far_by_chance,
    log_odds,
    of_categories,
    of_numbers,
    ratio_of,
    stability_index,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


LIMIT = 0.25
"""Population stability index from which on there is a drift."""

BEYOND = 1.5
"""How many times as far as the training's own quarters; of ratios, of their logarithms."""

RATIO = 1.5
"""Factor by which a rate must have changed, up or down."""

_SAID = 0.01
"""Share of missing or unseen values from which on it is said."""

FAR = 0.25
"""Standard deviations of the training by which numbers must have moved on average; for scores, of their log-odds."""


@dataclass(frozen=True)
class Change:
    """One quantity beside the training.

    Attributes:
        name: The feature; `score`, `flagged rate` or `fraud rate` for what is none.
        kind: number, category, score or rate.
        status: FAIL for a drift, PASS for none, NODATA where the rows are too few to tell.
        effect: The population stability index; of a rate its ratio to the training's. None where there are no rows.
        limit: What the effect must reach: the limit, or more where few rows would reach it by chance.
        before: The training's median or rate, or the share of the category that changed most, for people.
        now: The same of the rows.
        distance: How far numbers have moved on average, in standard deviations; None of what are none.
        missing: Shares without a value, in training and now; None of rates.
        unseen: Share of values that the training did not have; None of numbers and where it kept not all of them.
        reason: One sentence with both numbers.
        part: How far on its way to a drift it is, which begins at 1; None where there are no rows.
    """

    name: str
    kind: str
    status: Status
    effect: float | None
    limit: float
    before: str
    now: str
    reason: str
    part: float | None = None
    distance: float | None = None
    missing: tuple[float, float] | None = None
    unseen: float | None = None


@dataclass(frozen=True)
class _Limits:
    """What an effect and a distance must reach: as asked for, and as the training wanders by itself."""

    asked: float
    effect: float
    distance: float
    together: int

    @classmethod
    def of(cls, profile: Profile, name: str, limit: float, together: int) -> _Limits:
        effect, distance = profile.wander.get(name, (0.0, 0.0))
        return cls(limit, max(limit, BEYOND * effect), max(FAR, BEYOND * distance), together)


def features(
    profile: Profile,
    columns: Mapping[str, Sequence[Any] | NDArray[Any]],
    *,
    limit: float = LIMIT,
    together: int | None = None,
) -> list[Change]:
    """Each feature that both the training and the rows have, the farthest moved first.

    Args:
        profile: Of the training.
        columns: Values by feature, shape (n,) each: numbers with NaN for gaps, categories as text, None for gaps.
        limit: The index from which on there is a drift.
        together: How many quantities are looked at together; None for as many as there are features.
    """
    names = [name for name in columns if name in profile.numbers or name in profile.categories]
    found = []
    for name in names:
        number = name in profile.numbers
        bins = (
            of_numbers(profile.numbers[name], np.asarray(columns[name], dtype=np.float64))
            if number
            else of_categories(profile.categories[name], columns[name])
        )
        kind, rows = "number" if number else "category", (profile.rows, len(columns[name]))
        found.append(_change(name, kind, bins, rows, _Limits.of(profile, name, limit, together or len(names))))
    return sorted(found, key=lambda one: (-(one.part or 0.0), one.name))


def score(profile: Profile, scores: NDArray[np.float64], *, limit: float = LIMIT, together: int = 1) -> Change | None:
    """The scores, shape (n,), beside those that the version gave to validation and test; None without those."""
    if not profile.scores:
        return None
    bins = of_numbers(log_odds(profile.scores), log_odds(scores))
    medians = [f"{np.median(of):.4g}" if len(of) else "nothing" for of in (profile.scores, scores)]
    bins = replace(bins, words=(medians[0], medians[1]))
    return _change("score", "score", bins, (profile.scored, len(scores)), _Limits.of(profile, "score", limit, together))


def rate(
    name: str,
    before: tuple[float, float],
    now: tuple[float, float],
    *,
    ratio: float = RATIO,
    together: int = 1,
    wander: float = 1.0,
) -> Change:
    """A rate beside the training's, by their ratio.

    Its interval is that of Katz, Baptista, Azen and Pike, *Obtaining Confidence Intervals for the Risk Ratio in Cohort
    Studies*, Biometrics 34, 1978, half a case added to each rate.

    Args:
        name: What it is a rate of.
        before: The training's rate, in [0, 1], and of how many rows, or what they are worth as rows of equal weight.
        now: The rate of the rows, and of how many, likewise.
        ratio: The factor from which on there is a drift, up or down.
        together: How many quantities are looked at together.
        wander: The largest such ratio between a quarter of the training and the rest of it.
    """
    from scipy.stats import norm

    words = percent(before[0]), percent(now[0])
    if not now[1] or not before[1]:
        return Change(name, "rate", Status.NODATA, None, ratio, words[0], "", f"{name}: no rows to tell it by")
    value, width = ratio_of(before, now)
    chance = exp(float(norm.isf(ALPHA / together / 2)) * width)
    needed, far = max(ratio, chance, wander**BEYOND), max(value, 1 / value)
    part = log(far) / log(needed)
    status = Status.FAIL if part >= 1 else Status.NODATA if chance > ratio else Status.PASS
    said = f"a factor of {far:.3g} {'up' if value >= 1 else 'down'}, limit {needed:.3g}"
    if status is Status.NODATA:
        said += f"; {now[1]:,.0f} rows reach {chance:.3g} by chance"
    return Change(
        name, "rate", status, value, needed, *words, f"{name}: {words[0]} in training, {words[1]} now ({said})", part
    )


def _change(name: str, kind: str, bins: Bins, rows: tuple[int, int], limits: _Limits) -> Change:
    before, now = bins.words
    if not rows[1]:
        return Change(name, kind, Status.NODATA, None, limits.asked, before, "", f"{name}: no rows to tell it by")
    effect, chance = stability_index(bins.before, bins.now), by_chance(len(bins.before), *rows, limits.together)
    needed, distance = max(limits.effect, chance), limits.distance
    few = chance > limits.asked
    if bins.distance is not None:
        apart = far_by_chance(*rows, limits.together)
        few, distance = few or apart > FAR, max(distance, apart)
    gaps = stability_index(*(np.array([1 - share, share]) for share in bins.missing))
    far = inf if bins.distance is None else max(bins.distance / distance, gaps / needed)
    part = min(effect / needed, far)
    status = Status.FAIL if part >= 1 else Status.NODATA if few else Status.PASS
    said = [f"stability index {effect:.3g}, limit {needed:.3g}"]
    if status is Status.NODATA:
        said.append(f"{rows[1]:,} rows are too few to tell that from chance")
    if bins.distance is not None and effect >= limits.asked:
        said.append(f"moved by {bins.distance:.3g} standard deviations, limit {distance:.3g}")
    if max(bins.missing) >= _SAID and abs(bins.missing[1] - bins.missing[0]) >= _SAID:
        said.append(f"missing {percent(bins.missing[0])}, now {percent(bins.missing[1])}")
    if bins.unseen is not None and bins.unseen >= _SAID:
        said.append(f"{percent(bins.unseen)} are values that training did not have")
    reason = f"{name}: {before} in training, {now} now ({'; '.join(said)})"
    return Change(
        name, kind, status, effect, needed, before, now, reason, part, bins.distance, bins.missing, bins.unseen
    )
