"""Every interleaving of the registry's operations, within a bound that fits a test run."""

import pytest

from benchmarks.interleavings.explorer import Limits
from benchmarks.interleavings.interleavings import traced
from benchmarks.interleavings.mutants import MUTANTS, Mutant
from benchmarks.interleavings.scenarios import SMALL, Code, Group, Scenario, explore
from fds_mlflow.core.lifecycle.events import Kind
from tests.support.effort import graded

QUICK, CAMPAIGN = ("three writers",), ("two writers and a router", "a first version")
"""The quickest search, and those that take longest."""


def _marks(group: Group) -> tuple[pytest.MarkDecorator, ...]:
    if group.name in CAMPAIGN:
        return (pytest.mark.campaign,)
    return () if group.name in QUICK else (pytest.mark.slow,)


@pytest.mark.tested(3)
@pytest.mark.slow
@pytest.mark.parametrize("group", [pytest.param(group, id=group.name, marks=_marks(group)) for group in SMALL])
def test_no_interleaving_violates_an_invariant(group: Group) -> None:
    """Whatever runs side by side, dies or is slow: one champion, no third state, no event lost, all recovered."""
    for scenario in group.scenarios():
        found = explore(scenario)
        assert found.violation is None, traced(scenario.name, found)


@pytest.mark.tested(4)
@pytest.mark.slow
@pytest.mark.parametrize("mutant", graded(MUTANTS, quick=2), ids=lambda mutant: mutant.name)
def test_every_safeguard_is_needed_and_missed(mutant: Mutant) -> None:
    """Taking any one safeguard away violates an invariant that the exploration checks."""
    found = explore(mutant.scenario, mutant.code)
    assert found.violation is not None


@pytest.mark.tested(1)
@pytest.mark.parametrize(
    "scenario",
    [
        Scenario("idle", (Kind.PROMOTE, Kind.START)),
        Scenario("rollout", (Kind.ADVANCE, Kind.ABORT), Limits(crashes=1)),
    ],
    ids=lambda scenario: scenario.name,
)
@pytest.mark.slow
def test_the_reductions_lose_no_state_of_the_registry(scenario: Scenario) -> None:
    """What is explored first and alone, or taken for one, leads to every state that the whole search reaches."""
    reduced, whole = explore(scenario), explore(scenario, Code())
    assert reduced.states < whole.states
    assert reduced.registry_states == whole.registry_states
