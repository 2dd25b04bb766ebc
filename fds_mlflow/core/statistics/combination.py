"""Tests, and what they add up to: any of several harms, all of several assurances.

A test's evidence is the log of a process that is an e-process under its hypothesis: reaching log(1/alpha) at any time
has a chance of at most alpha while the hypothesis holds. The mean of several such processes is one under all of their
hypotheses at once, the smallest one under any of them (Vovk and Wang, E-values: calibration, combination and
applications, Annals of Statistics 49, 2021, sections 3 and 4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, inf, log
from typing import Protocol

Until = Callable[[float], int | None]


class SequentialTest(Protocol):
    """Evidence against one hypothesis."""

    @property
    def evidence(self) -> float:
        """Log of the wealth of who bets against it."""
        ...

    def until(self, alpha: float) -> int | None:
        """About how many more requests until it rejects at alpha, if they are like those so far; None for never."""
        ...


@dataclass(frozen=True)
class Single:
    """One test.

    Attributes:
        evidence: Log of its wealth.
        wait: How many more requests it takes at a given alpha.
    """

    evidence: float
    wait: Until

    def until(self, alpha: float) -> int | None:
        """About how many more requests until it rejects."""
        return self.wait(alpha)


@dataclass(frozen=True)
class AnyOf:
    """Rejects "all of the hypotheses hold": the mean of the processes.

    Attributes:
        tests: At least one.
    """

    tests: Sequence[SequentialTest]

    @property
    def evidence(self) -> float:
        """Log of the mean of the wealths."""
        found = [test.evidence for test in self.tests]
        most = max(found)
        if most == -inf:
            return -inf
        return most + log(sum(exp(evidence - most) for evidence in found) / len(found))

    def until(self, alpha: float) -> int | None:
        """The quickest, as if each had its share of alpha: no later than their mean gets there."""
        waits = [wait for test in self.tests if (wait := test.until(alpha / len(self.tests))) is not None]
        return min(waits, default=None)


@dataclass(frozen=True)
class AllOf:
    """Rejects "one of the hypotheses holds": the smallest of the processes.

    Attributes:
        tests: At least one.
    """

    tests: Sequence[SequentialTest]

    @property
    def evidence(self) -> float:
        """The least evidence."""
        return min(test.evidence for test in self.tests)

    def until(self, alpha: float) -> int | None:
        """The slowest."""
        waits = [test.until(alpha) for test in self.tests]
        return None if None in waits else max(wait for wait in waits if wait is not None)
