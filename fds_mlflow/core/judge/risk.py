"""Who can still have an event: the weights of first events where keys come again.

A key has a first event once. Where customers are the keys, a canary that harms uses its keys up faster than its
champion does, until as many keys of either have had the event: counted by the weight alone, ever later events look ever
more alike. So an event is compared by the requests of keys that were at risk, as a logrank test does (Mantel 1966;
always valid: ter Schure, Perez-Ortiz, Ly and Gruenwald, The safe logrank test, Proceedings of Machine Learning Research
238, 2024): of the requests of one hour that were at risk, y are the canary's and z are the champion's, and an event
among them is the canary's with the chance y r / (y r + z); several events of one hour are drawn without replacement,
which a bet wins less by (Hoeffding, Probability inequalities for sums of bounded random variables, JASA 58, 1963,
theorem 4).

That takes requests to be alike. One customer who makes a tenth of them and never has the event is not: whichever arm
the hash sends it to looks too good for ever. Keys bear that: while versions are alike, whose key is whose has nothing
to do with when its first event comes, however unlike customers are. So the weight is corrected by the share of keys
that have not had the event before the hour, S of the treatment's and T of its control's: w S / (w S + (1 - w) T).
Where the most active keys go first, that corrects too little: events look more alike than they are. So what speaks
for a ratio further from 1 than the boundary (every FAIL) is tested by keys, which can only make it harder. What
speaks for one nearer to 1 (every PASS) is tested in each hour by whichever of weight, keys and requests makes it
hardest.

Where no request of an hour is of a key that has had the event, as always where transactions are the keys, all are the
weight.
"""

from __future__ import annotations

from collections.abc import Sequence

from fds_mlflow.core.evidence.arms import Arms
from fds_mlflow.core.evidence.evidence import LABELLED, EventKind, Tally


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


def weights_by_keys(arms: Sequence[Arms], kind: EventKind) -> list[float]:
    """The weight, corrected by the shares of keys that have not had the event before the hour.

    Where the weight moves, the keys that change their variant take their part of those that have had it along.

    Args:
        arms: One per hour and weight, in this order.
        kind: Of event.
    """
    found: list[float] = []
    keys = ours = theirs = 0.0  # distinct keys of both; of each arm's, those that have had the event
    before = arms[0].weight if arms else 0.0
    for each in arms:
        weight = each.weight
        moved = theirs * (weight - before) / (1 - before) if weight > before else ours * (weight - before) / before
        ours, theirs, before = ours + moved, theirs - moved, weight
        keys += _keys(each.treatment, kind) + _keys(each.control, kind)
        treatment, control = max(0.0, keys * weight - ours), max(0.0, keys * (1 - weight) - theirs)
        found.append(treatment / (treatment + control) if treatment and control else weight)
        ours += each.treatment.events.get(kind, 0)
        theirs += each.control.events.get(kind, 0)
    return found


def _keys(tally: Tally, kind: EventKind) -> int:
    return tally.matured if kind in LABELLED else tally.keys
