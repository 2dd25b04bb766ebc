"""Every interleaving of the registry's operations, explored state by state on the real code.

`python -m benchmarks.interleavings --json` explores a small bound in about a minute on one core; `--full` everything.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import click

from benchmarks.interleavings.explorer import Found
from benchmarks.interleavings.mutants import MUTANTS
from benchmarks.interleavings.scenarios import FULL, SMALL, Group, Scenario, explore
from benchmarks.report import report

HEADINGS = ["explored", "searches", "states", "steps", "cut off", "violations", "CPU seconds"]


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
        seconds: Processor time of all searches together.
    """

    name: str
    searches: int = 0
    states: int = 0
    steps: int = 0
    cut: list[str] = field(default_factory=list)
    violations: list[tuple[str, Found]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, scenario: Scenario, found: Found, seconds: float) -> None:
        """Count one search."""
        self.searches += 1
        self.states += found.states
        self.steps += found.steps
        self.seconds += seconds
        if not found.complete:
            self.cut.append(scenario.name)
        if found.violation is not None:
            self.violations.append((scenario.name, found))

    @property
    def row(self) -> list[object]:
        """For the table."""
        return [self.name, self.searches, self.states, self.steps, len(self.cut), len(self.violations), self.seconds]


def explored(groups: tuple[Group, ...], jobs: int = 1) -> Iterator[Explored]:
    """Search every scenario of every group; a group is yielded as soon as its last search has ended."""
    scenarios = {group.name: list(group.scenarios()) for group in groups}
    tasks = [(name, scenario) for name, some in scenarios.items() for scenario in some]
    rows = {name: Explored(name) for name in scenarios}
    # A process a search, so that a big one's memory is given back.
    with multiprocessing.get_context("fork").Pool(jobs, _quiet, maxtasksperchild=8) as pool:
        for name, scenario, found, seconds in pool.imap_unordered(_searched, tasks):
            rows[name].add(scenario, found, seconds)
            if rows[name].searches == len(scenarios[name]):
                yield rows[name]


def _searched(task: tuple[str, Scenario]) -> tuple[str, Scenario, Found, float]:
    name, scenario = task
    began = time.process_time()
    found = explore(scenario)
    return name, scenario, found, time.process_time() - began


def _quiet() -> None:
    logging.getLogger("fds_mlflow").setLevel(logging.CRITICAL)  # mutants and overtaken operations warn by design


def traced(name: str, found: Found) -> str:
    """A violation and its shortest trace, for people."""
    return "\n".join([f"{name}: {found.violation}", *(f"  {n:3} {step}" for n, step in enumerate(found.trace, 1))])


def checked(*, traces: bool) -> Iterator[tuple[bool, list[object]]]:
    """Take the safeguards away, one at a time: whether each was caught, and its row of the table."""
    for mutant in MUTANTS:
        began = time.process_time()
        found = explore(mutant.scenario, mutant.code)
        steps = len(found.trace)
        said = f"caught in {steps}" if steps else "MISSED"
        seconds = time.process_time() - began
        if traces:
            click.echo(traced(f"without {mutant.name}, {mutant.scenario.name}", found), err=True)
        yield bool(steps), [f"without {mutant.name}", 1, found.states, found.steps, "", said, seconds]


def run(*, full: bool = False, jobs: int = 1, mutants: bool = True, traces: bool = False) -> dict[str, Any]:
    """Explore, check the mutants, and report on standard error.

    Args:
        full: The whole bound instead of the small one.
        jobs: How many searches go on side by side.
        mutants: Whether to take the safeguards away, one at a time.
        traces: Whether to print the shortest trace of every mutant's violation as well.
    """
    _quiet()
    began = time.perf_counter()
    rows: list[list[object]] = [list(HEADINGS)]
    found = []
    for row in explored(FULL if full else SMALL, jobs):
        found.append(row)
        rows.append(row.row)
        said = ", ".join(f"{heading} {_short(cell)}" for heading, cell in zip(HEADINGS[1:], row.row[1:], strict=True))
        click.echo(f"{time.perf_counter() - began:7.1f} s  {row.name}: {said}", err=True)
        for name, violation in row.violations:
            click.echo(traced(name, violation), err=True)
        for name in row.cut if full else ():
            click.echo(f"  cut off: {name}", err=True)
    checks = list(checked(traces=traces)) if mutants else []
    rows += [row for _, row in checks]
    result = {
        "states": sum(row.states for row in found),
        "violations": sum(len(row.violations) for row in found),
        "cut_off": sum(len(row.cut) for row in found),
        "mutants": len(checks),
        "mutants_caught": sum(caught for caught, _ in checks),
        "seconds": round(time.perf_counter() - began, 3),
    }
    report("Interleavings of registry operations, real code", rows, result, as_json=False)
    return result


def _short(cell: object) -> str:
    return f"{cell:.1f}" if isinstance(cell, float) else f"{cell:,}"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object, last on standard output.")
@click.option("--full", is_flag=True, help="The whole bound; takes most of an hour.")
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Searches side by side; default: the cores.")
@click.option("--traces", is_flag=True, help="Print the shortest trace that catches each mutant.")
def main(as_json: bool, full: bool, jobs: int | None, traces: bool) -> None:
    """Explore every interleaving of the registry's operations."""
    import json

    result = run(full=full, jobs=jobs or os.cpu_count() or 1, traces=traces)
    if as_json:
        click.echo(json.dumps(result))
