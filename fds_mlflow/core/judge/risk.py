"""Who can still have an event: the weights of first events where keys come again.

A key has a first event once. Where customers are the keys, a canary that harms uses its keys up faster than its
champion does, until as many keys of either have had the event: counted by the weight alone, ever later events look ever
more alike. So an event is compared by the requests of keys that were at risk, as a logrank test does (Mantel 1966;
always valid: ter Schure, Perez-Ortiz, Ly and Gruenwald, The safe logrank test, Proceedings of Machine Learning Research
238, 2024): of the requests of one hour that were at risk, y are the canary's and z are the champion's, and an event
among them is the canary's with the chance y r / (y r + z). Given who came, that is exact at r = 1, however few came and
however unlike the customers are; several events of one hour are drawn without replacement, which a bet wins less by
(Hoeffding, Probability inequalities for sums of bounded random variables, JASA 58, 1963, theorem 4).

Where no request of an hour is of a key that has had the event, as always where transactions are the keys, the hash says
more than who came: the weight itself is taken.
"""

from __future__ import annotations

from collections.abc import Sequence

from fds_mlflow.core.evidence.arms import Arms
from fds_mlflow.core.evidence.evidence import EventKind


def weights_at_risk(arms: Sequence[Arms], kind: EventKind) -> list[float]:
    """The treatment's share of the requests at risk, for each hour and weight.

    Args:
        arms: One per hour and weight.
        kind: Of event.

    Returns:
        Shares in [0, 1]: the weight itself where all requests are of keys at risk.
    """
    return [_weight(each, kind) for each in arms]


def _weight(arms: Arms, kind: EventKind) -> float:
    if not arms.treatment.spent.get(kind, 0) and not arms.control.spent.get(kind, 0):
        return arms.weight
    treatment, control = arms.treatment.at_risk(kind), arms.control.at_risk(kind)
    return treatment / (treatment + control) if treatment + control else arms.weight
