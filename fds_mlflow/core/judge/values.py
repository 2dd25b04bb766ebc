"""The value of a metric in one variant, and the keys it is counted among: everything that shows one reads it here."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from fds_mlflow.core.evidence.arms import Counts
from fds_mlflow.core.evidence.bins import LOSS_BINS, LOSS_EDGES, LOSS_VALUES, SCORE_VALUES
from fds_mlflow.core.evidence.evidence import EventKind, Tally, Terms
from fds_mlflow.core.judge.firsts import above, firsts, quantile_of
from fds_mlflow.core.judge.labels import alerts_of, event_of, events_by_chance, known, least_chance
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.statistics.sequential import Trials


def value_of(
    metric: Metric, tally: Tally, terms: Terms, cap: float | None = None, quantile: float | None = None
) -> float | None:
    """The value of a metric in one variant; None where nobody looked.

    Args:
        metric: The metric.
        tally: The variant's outcomes.
        terms: On which they were counted.
        cap: For money: the cap of one loss.
        quantile: For latency and scores: the quantile that is asked for, if one is.
    """
    if quantile is not None:
        return quantile_of(metric, above(metric, tally), quantile)
    if metric is Metric.SCORE_SHIFT:
        return mean_score(tally)
    if metric is Metric.ALERT_PRECISION:
        trials = precision_of(tally, least_chance(tally))
        total = sum(each.worth * each.total for each in trials)
        return sum(each.worth * each.successes for each in trials) / total if total else None
    if metric is Metric.MONEY_LOST:
        return mean_loss(tally, cap or 0.0, exposed(metric, tally, terms))
    among = exposed(metric, tally, terms)
    if metric.kind is None or not among or known(tally, metric.kind, terms) is None:
        return None
    return sum(count / chance for chance, count in events_by_chance(metric, tally, least_chance(tally)).items()) / among


def compared_values(
    metric: Metric, counts: Counts, terms: Terms, cap: float | None = None, quantile: float | None = None
) -> tuple[float | None, float | None]:
    """The values of both arms under the same weights: the treatment's, and the control's had it had its requests.

    A rate moves with time, and so does the weight: added up over both, two versions that are alike in every hour look
    different. So the control's value under each weight counts as much as the treatment has requests there (direct
    standardisation).

    Args:
        metric: The metric.
        counts: Of both variants.
        terms: On which they were counted.
        cap: For money: the cap of one loss.
        quantile: For latency and scores: the quantile that is asked for, if one is.
    """
    found: list[tuple[int, float, float]] = []
    for arms in counts.by_weight:
        treatment, control = (value_of(metric, tally, terms, cap, quantile) for tally in (arms.treatment, arms.control))
        if treatment is not None and control is not None:
            found.append((exposed(metric, arms.treatment, terms, quantile), treatment, control))
    among = sum(row[0] for row in found)
    if not terms.hourly or not among:
        treatment, control = (
            value_of(metric, tally, terms, cap, quantile) for tally in (counts.whole.treatment, counts.whole.control)
        )
        return treatment, control
    return sum(row[0] * row[1] for row in found) / among, sum(row[0] * row[2] for row in found) / among


def exposed(metric: Metric, tally: Tally, terms: Terms, quantile: float | None = None) -> int:
    """What a metric is counted among: requests that could have had its event, keys with a score, reviewed alerts.

    Where `terms` know no hours, nobody counted which requests those are: keys, wherever they went then.
    """
    if quantile is not None:
        return sum(firsts(metric, tally).values())
    if metric is Metric.ALERT_PRECISION:
        return sum(alerts.reviewed for _, alerts in alerts_of(tally, least_chance(tally)))
    if metric is Metric.SCORE_SHIFT:
        return sum(tally.scores)
    if terms.hourly:
        return tally.at_risk(event_of(metric))
    return tally.matured if metric.needs_labels else tally.keys


def precision_of(tally: Tally, least: float | None) -> list[Trials]:
    """Frauds among the reviewed alerts of one variant, and how much each counts; `least` as of `labels.alerts_of`."""
    alerts = alerts_of(tally, least)
    return [Trials(each.reviewed - each.false, each.reviewed, worth=worth) for worth, each in alerts]


def mean_score(tally: Tally) -> float | None:
    """Mean score over keys; by bins where their sum is not known (see `approximate`)."""
    if tally.score_sum is None:
        return binned(SCORE_VALUES, tally.scores)
    return tally.score_sum / sum(tally.scores)


def mean_loss(tally: Tally, cap: float, among: int) -> float | None:
    """Money lost per request whose label has matured, each loss capped; by bins where the sums are not known.

    None where nobody looked: without a label of what was not flagged, or an amount of the frauds among it.
    """
    missed = tally.events.get(EventKind.MISSED_FRAUD, 0)
    looked = any(tally.losses) if missed else tally.labelled > tally.reviewed_alerts
    return lost(tally, cap) / among if among and looked else None


def approximate(metric: Metric, tally: Tally, cap: float | None) -> bool:
    """Whether a mean of the metric can only be read off bins, be it because an older release counted without sums."""
    if metric is Metric.SCORE_SHIFT:
        return tally.score_sum is None and any(tally.scores)
    if metric is not Metric.MONEY_LOST or not any(tally.losses):
        return False
    straddling = bisect_left(LOSS_EDGES, cap) if cap is not None and cap not in LOSS_EDGES else LOSS_BINS
    return not tally.loss_sums or (straddling < LOSS_BINS and tally.losses[straddling] > 1)


def lost(tally: Tally, cap: float) -> float:
    """Money lost in all, each loss capped: each bin's own mean stands for its losses, else its middle."""
    if tally.loss_sums:
        return sum(min(total, n * cap) for total, n in zip(tally.loss_sums, tally.losses, strict=True))
    return sum(min(value, cap) * n for value, n in zip(LOSS_VALUES, tally.losses, strict=False))


def binned(values: Sequence[float], counts: Sequence[int]) -> float | None:
    """The mean of what is counted in bins; None without any."""
    keys = sum(counts)
    return dot(values, counts) / keys if keys else None


def dot(values: Sequence[float], counts: Sequence[int]) -> float:
    """The sum of what is counted in bins."""
    return sum(value * count for value, count in zip(values, counts, strict=False))
