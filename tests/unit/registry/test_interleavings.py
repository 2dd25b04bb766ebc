"""Every interleaving of the registry's operations, within a bound that fits a test run."""

import pytest

from benchmarks._mutants import MUTANTS, Mutant
from benchmarks._scenarios import SMALL, Group, explore
from benchmarks.interleavings import traced


@pytest.mark.parametrize("group", SMALL, ids=lambda group: group.name)
def test_no_interleaving_violates_an_invariant(group: Group) -> None:
    """Whatever runs side by side, dies or is slow: one champion, no third state, no event lost, all recovered."""
    for scenario in group.scenarios():
        found = explore(scenario)
        assert found.violation is None, traced(scenario.name, found)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_safeguard_is_needed_and_missed(mutant: Mutant) -> None:
    """Taking any one safeguard away violates an invariant that the exploration checks."""
    found = explore(mutant.scenario, mutant.code)
    assert found.violation is not None
