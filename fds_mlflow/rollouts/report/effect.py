"""What a rollout did to customers and money: both models' numbers, and what the old one would have done instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from fds_mlflow.core.evidence.variant import Variant

Number = Callable[[str], float | None]
"""A metric of a rollout's run by its name; None where nobody looked."""

CHANCE = 0.95
"""How often what the old model would have done lies between the ends that are told."""

_AMONG = {
    "alerts": "requests",
    "errors": "requests",
    "frauds_caught": "due_requests",
    "frauds_missed": "due_requests",
    "false_positives": "due_requests",
    "money_missed": "due_requests",
}
"""What each number is counted among: a key may come to both models, so that keys would not do."""


class Estimate(NamedTuple):
    """What the old model would have done to as many requests as the new one decided.

    Attributes:
        about: The most likely number.
        low: Where it begins, `CHANCE` of the time; None where that is not known.
        high: Where it ends.
    """

    about: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Effect:
    """What both models did in one rollout.

    Attributes:
        number: The rollout's metrics.
        is_watch: The new model is the champion, and the old one its control.
    """

    number: Number
    is_watch: bool = False

    def new(self, what: str) -> float | None:
        """A number of the model on trial, or of the new champion that is watched; None where nobody looked."""
        return self.number(f"rollout/{Variant.CHAMPION if self.is_watch else Variant.CANARY}_{what}")

    def old(self, what: str) -> float | None:
        """The same of the model that served before."""
        return self.number(f"rollout/{Variant.CANARY if self.is_watch else Variant.CHAMPION}_{what}")

    def among(self, what: str) -> float | None:
        """Requests of the new model that a number is counted among; None where it was not recorded."""
        return self.new(_AMONG[what])

    def would(self, what: str) -> Estimate | None:
        """What the old model would have done to the new one's requests; None where that is not known.

        The ends are those of a Poisson count whose rate is only known by the old model's own count: a negative
        binomial, from Jeffreys' prior (Bayesian Data Analysis, 3rd ed., 2.6). Where few were counted the likely number
        itself may lie outside (0.02 of an interval that is 0 to 0), so the ends are moved out to it.
        """
        from scipy.stats import nbinom

        count, its, ours = self.old(what), self.old(_AMONG[what]), self.among(what)
        if count is None or not its or not ours:
            return None
        about = count * ours / its
        if what == "money_missed":
            return Estimate(about, None, None)  # of how uneven the amounts were, the run says nothing
        low, high = nbinom.interval(CHANCE, count + 0.5, its / (its + ours))
        return Estimate(about, min(float(low), about), max(float(high), about))

    def spared(self, what: str) -> float | None:
        """How much more there had been, had the new model decided the old one's requests too; None if not known.

        Less than nothing where the new model did better.
        """
        ours, its, among, others = self.new(what), self.old(what), self.among(what), self.old(_AMONG[what])
        if ours is None or its is None or not among or not others:
            return None
        return ours * others / among - its
