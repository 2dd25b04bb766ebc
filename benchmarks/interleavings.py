"""Every interleaving of the registry's operations, explored state by state on the real code.

`python -m benchmarks.interleavings --json` explores a small bound in under a minute on one core; `--full` everything.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import click

from benchmarks._explorer import Found
from benchmarks._mutants import MUTANTS
from benchmarks._report import report
from benchmarks._scenarios import FULL, SMALL, Group, explore


@dataclass
class Explored:
    """What a group of searches found.

    Attributes:
        name: The group.
        searches: How many scenarios.
        states: Global states.
        steps: Steps between them.
        cut: Scenarios that were cut off at their limit of states.
        violations: Scenario and its shortest trace, for each violation.
        seconds: Wall-clock time.
    """

    name: str
    searches: int = 0
    states: int = 0
    steps: int = 0
    cut: int = 0
    violations: list[tuple[str, Found]] = field(default_factory=list)
    seconds: float = 0.0


def explored(groups: tuple[Group, ...]) -> Iterator[Explored]:
    """Search every scenario of every group."""
    for group in groups:
        began = time.perf_counter()
        row = Explored(group.name)
        for scenario in group.scenarios():
            found = explore(scenario)
            row.searches += 1
            row.states += found.states
            row.steps += found.steps
            row.cut += not found.complete
            if found.violation is not None:
                row.violations.append((scenario.name, found))
        row.seconds = time.perf_counter() - began
        yield row


def traced(name: str, found: Found) -> str:
    """A violation and its shortest trace, for people."""
    return "\n".join([f"{name}: {found.violation}", *(f"  {n:3} {step}" for n, step in enumerate(found.trace, 1))])


def run(*, full: bool = False, mutants: bool = True, traces: bool = False) -> dict[str, Any]:
    """Explore, check the mutants, and report on standard error.

    Args:
        full: The whole bound instead of the small one.
        mutants: Whether to take the safeguards away, one at a time.
        traces: Whether to print the shortest trace of every mutant's violation as well.
    """
    logging.getLogger("fds_mlflow").setLevel(logging.CRITICAL)  # mutants and overtaken operations warn by design
    began = time.perf_counter()
    rows: list[list[object]] = [["explored", "searches", "states", "steps", "cut off", "violations", "seconds"]]
    found = []
    for row in explored(FULL if full else SMALL):
        found.append(row)
        rows.append([row.name, row.searches, row.states, row.steps, row.cut, len(row.violations), row.seconds])
        for name, violation in row.violations:
            click.echo(traced(name, violation), err=True)
    caught = 0
    for mutant in MUTANTS if mutants else ():
        violation = explore(mutant.scenario, mutant.code)
        caught += violation.violation is not None
        steps = len(violation.trace)
        rows.append(
            [
                f"without {mutant.name}",
                1,
                violation.states,
                violation.steps,
                "",
                f"caught in {steps}" if steps else "MISSED",
                "",
            ]
        )
        if traces:
            click.echo(traced(f"without {mutant.name}", violation), err=True)
    result = {
        "states": sum(row.states for row in found),
        "violations": sum(len(row.violations) for row in found),
        "mutants": len(MUTANTS) if mutants else 0,
        "mutants_caught": caught,
        "seconds": round(time.perf_counter() - began, 3),
    }
    report("Interleavings of registry operations, real code", rows, result, as_json=False)
    return result


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object, last on standard output.")
@click.option("--full", is_flag=True, help="The whole bound; takes most of an hour on one core.")
@click.option("--traces", is_flag=True, help="Print the shortest trace that catches each mutant.")
def main(as_json: bool, full: bool, traces: bool) -> None:
    """Explore every interleaving of the registry's operations."""
    import json

    result = run(full=full, traces=traces)
    if as_json:
        click.echo(json.dumps(result))


if __name__ == "__main__":
    main()
