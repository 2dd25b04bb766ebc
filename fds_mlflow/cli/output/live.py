"""A rollout as it is watched: a live view for terminals, a line per tick for logs, a value per tick for machines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fds_mlflow.cli.output import tables
from fds_mlflow.cli.output.plain import plain
from fds_mlflow.core.evidence.arms import added
from fds_mlflow.core.evidence.evidence import Evidence, Tally
from fds_mlflow.core.judge.judge import Status, Verdict
from fds_mlflow.core.judge.values import value_of
from fds_mlflow.core.lifecycle.decision import ending
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.routing.routing import Variant
from fds_mlflow.core.text.numbers import UNKNOWN, percent, ratio
from fds_mlflow.core.weight import to_percent
from fds_mlflow.display.characters import printable
from fds_mlflow.runtime import streams

if TYPE_CHECKING:
    from fds_mlflow.core.lifecycle.events import Rollout
    from fds_mlflow.rollouts.tick import OnTick, Tick
    from fds_mlflow.runtime.clock import Clock

WIDE = 112
"""Columns of a terminal from which intervals are shown too."""

_EIGHTHS = " ▏▎▍▌▋▊▉█"


class LiveView:
    """What a terminal shows of a rollout: the last tick, and the time that has passed since.

    Args:
        clock: Time.
        interval: Seconds between two ticks; None where nobody keeps one.
    """

    def __init__(self, clock: Clock, interval: float | None = None) -> None:
        self._clock = clock
        self._interval = interval
        self._tick: Tick | None = None
        self._shown: Tick | None = None  # the last tick that could judge
        self._actions: list[str] = []

    def __call__(self, tick: Tick) -> None:
        """Take a tick: a hook of the autopilot."""
        self._tick = tick
        if tick.rollout is not None and tick.error is None:
            self._shown = tick
        if tick.applied is not None and tick.applied.changed:
            self._actions.append(f"{tick.time:%H:%M:%S}  {tick.applied.message}")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._panel(wide=options.max_width >= WIDE)

    def _panel(self, *, wide: bool) -> Panel:
        tick, shown = self._tick, self._shown
        if tick is None:
            return Panel("looking …")
        parts: list[Any] = []
        title = f"{tick.model}"
        if shown is not None and shown.rollout is not None:
            rollout = shown.rollout
            title = _title(tick.model, rollout)
            parts += [steps(rollout), Text(), Text(tables.step_time(rollout, self._clock.now())), Text()]
            if shown.evidence is not None:
                parts += [numbers(rollout, shown.evidence, wide=wide), Text()]
            if shown.judgement is not None:
                verdicts = shown.judgement.verdicts
                parts += [guardrails(verdicts, control=shown.rollout.is_watch, wide=wide), Text()]
        parts += self._closing(tick)
        return Panel(Group(*parts), title=Text(title, style="bold"), title_align="left", padding=(1, 2 if wide else 1))

    def _closing(self, tick: Tick) -> Iterable[Text]:
        if tick.error is not None:
            yield Text.assemble(("ERROR", "bold red"), f"  {tick.error.what}  Nothing was done; trying again.")
        elif tick.recommendation is not None:
            decision, opening, numbers = tick.recommendation.reason.partition(" (")
            yield Text.assemble((decision, "bold"), opening, numbers)
        elif tick.ended:
            yield Text.assemble(("no active rollout", "bold"), ending(tick.last))
        for action in self._actions[-3:]:
            yield Text.assemble(("done  ", "dim"), action)
        if not tick.ended:
            passed = (self._clock.now() - tick.time).total_seconds()
            every = "" if self._interval is None else f", one every {self._interval:g} s"
            yield Text(f"last look {max(0.0, passed):.0f} s ago{every}", style="dim")


def _title(model: str, rollout: Rollout) -> str:
    if rollout.is_watch:
        return f" {model}: watch of champion {rollout.champion} against its control, version {rollout.canary} "
    return f" {model}: canary {rollout.canary} against champion {rollout.champion} "


def steps(rollout: Rollout) -> Text:
    """The plan's steps in a row: what is behind, where the rollout stands, what is to come, and where a gate stands."""
    made = Text()
    ahead = False
    for weight in rollout.plan.weights:
        if made:
            made.append(" ── ", style="dim")
        here = not ahead and weight >= rollout.weight
        name = f"{to_percent(weight):g} %"
        gate = " (gate)" if weight in rollout.plan.gated else ""
        if here and weight == rollout.weight:
            made.append(f"◉ {name}{gate}", style="bold cyan")
        elif here:  # a person chose a weight between two steps
            made.append(f"◉ {to_percent(rollout.weight):g} %", style="bold cyan")
            made.append(" ── ", style="dim").append(f"○ {name}{gate}", style="dim")
        elif ahead:
            made.append(f"○ {name}{gate}", style="dim")
        else:
            made.append(f"● {name}{gate}", style="green")
        ahead = ahead or here
    return made


def numbers(rollout: Rollout, evidence: Evidence, *, wide: bool = True) -> Table:
    """Both variants' numbers in this step, and the keys of the whole rollout beside them.

    Args:
        rollout: The rollout.
        evidence: What is known about it.
        wide: Show the rates of all events too; those of the guardrails stand with them.
    """
    labels, terms = rollout.plan.label_maturity is not None, rollout.plan.terms
    rates = [
        metric
        for metric in (Metric if wide else ())
        if metric.kind is not None
        and (labels or not metric.needs_labels)
        and (metric is not Metric.LATENCY or terms.latency_bound is not None)
    ]
    columns = ["", "traffic", "requests", "keys", *(metric.row.column for metric in rates)]
    columns += ["labelled"] if labels else []
    columns += ["keys in all"]
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        made.add_column(column, justify="right" if column else "left")
    weight = to_percent(rollout.weight)
    for variant, version, share in (
        (Variant.CHAMPION, rollout.champion, 100 - weight),
        (Variant.CANARY, rollout.canary, weight),
    ):
        everything = [tally for tally in evidence.tallies if tally.variant is variant]
        step = [tally for tally in everything if tally.step == rollout.step]
        keys = sum(tally.keys for tally in step)
        name = "control" if rollout.is_watch and variant is Variant.CANARY else variant.value
        row = [f"{name} {version}", f"{share:g} %", f"{sum(t.requests for t in step):,}", f"{keys:,}"]
        row += [metric.describe(value_of(metric, added(variant, step), terms)) for metric in rates]
        row += [_coverage(step)] if labels else []
        row += [f"{sum(t.keys for t in everything):,}"]
        made.add_row(*row)
    return made


def _coverage(tallies: list[Tally]) -> str:
    matured, labelled = sum(t.matured for t in tallies), sum(t.labelled for t in tallies)
    return percent(labelled / matured) if matured else UNKNOWN


def guardrails(verdicts: Iterable[Verdict], *, control: bool = False, wide: bool = True) -> Table:
    """Each guardrail: both numbers, the interval, its evidence between FAIL and PASS, and what it still needs.

    Args:
        verdicts: One per guardrail.
        control: The rollout is a watch: the canary is the champion's control.
        wide: Show the intervals, and longer bars.
    """
    cells = 9 if wide else 5
    made = Table(box=None, padding=(0, 2 if wide else 1, 0, 0), pad_edge=False, header_style="dim")
    made.add_column("guardrail", no_wrap=True)
    made.add_column("champion", justify="right", no_wrap=True)
    made.add_column("control" if control else "canary", justify="right", no_wrap=True)
    made.add_column("estimate", no_wrap=True)
    ends = Text.assemble(("FAIL", "red"), " " * (2 * cells - 7), ("PASS", "green"))
    made.add_column(ends, no_wrap=True, min_width=2 * cells + 1)
    made.add_column("", no_wrap=True)
    made.add_column("remaining", justify="right", no_wrap=True)
    for verdict in verdicts:
        made.add_row(
            verdict.check,
            _number(verdict, verdict.champion),
            _number(verdict, verdict.canary),
            _estimate(verdict, wide=wide),
            evidence_bar(verdict.fail_evidence, verdict.pass_evidence, verdict.threshold, cells),
            tables.text(verdict.status),
            UNKNOWN if verdict.requests_to_go is None else f"{verdict.requests_to_go:,}",
        )
    return made


def evidence_bar(fails: float | None, passes: float | None, threshold: float | None, cells: int = 12) -> Text:
    """A bar that grows from the middle: red to the left towards FAIL, green to the right towards PASS.

    Args:
        fails: Evidence for FAIL so far, as a logarithm.
        passes: Evidence for PASS so far, as a logarithm.
        threshold: The logarithm that decides.
        cells: Cells from the middle to an end.
    """
    left, right = _eighths(fails, threshold, cells), _eighths(passes, threshold, cells)
    made = Text()
    full, part = divmod(left, 8)
    made.append("·" * (cells - full - (part > 0)), style="dim")
    if part:  # a cell that is filled from the right: what is not filled of it in reverse
        made.append(_EIGHTHS[8 - part], style="red reverse")
    made.append("█" * full, style="red").append("│")
    full, part = divmod(right, 8)
    made.append("█" * full + (_EIGHTHS[part] if part else ""), style="green")
    return made.append("·" * (cells - full - (part > 0)), style="dim")


def _eighths(evidence: float | None, threshold: float | None, cells: int) -> int:
    if evidence is None or threshold is None or math.isnan(evidence) or threshold <= 0:
        return 0
    return int(min(1.0, max(0.0, evidence / threshold)) * cells * 8)


def _number(verdict: Verdict, value: float | None) -> str:
    if verdict.guardrail is not None:
        about = "≈ " if verdict.approximate and value is not None else ""
        return about + verdict.guardrail.row.describe(value)
    return UNKNOWN if value is None else percent(value)  # the split


def _estimate(verdict: Verdict, *, wide: bool) -> Text:
    if verdict.estimate is None:
        return Text(UNKNOWN)
    if not wide:
        return Text(ratio(verdict.estimate))
    guardrail = verdict.guardrail
    made = Text(guardrail.row.describe_harm(verdict.estimate) if guardrail else f"{ratio(verdict.estimate)} times")
    if verdict.interval is not None:
        made.append(f"  [{ratio(verdict.interval.low)}, {ratio(verdict.interval.high)}]", style="dim")
    return made


def line(tick: Tick) -> str:
    """A tick in one line, for logs."""
    when = f"{tick.time:%Y-%m-%d %H:%M:%S} {tick.model}:"
    if tick.error is not None:
        return f"{when} ERROR {tick.error.what}; fix: {tick.error.fix}"
    if tick.ended and tick.rollout is None:
        return f"{when} no active rollout{ending(tick.last)}"
    done = f" => {tick.applied.message}" if tick.applied is not None else ""
    if tick.rollout is None or tick.recommendation is None:
        return f"{when}{done}"
    rollout = tick.rollout
    where = f"{'control' if rollout.is_watch else 'canary'} {rollout.canary} at {to_percent(rollout.weight):g} %"
    return f"{when} {where}: {tick.recommendation.reason}{done}"


def values(tick: Tick) -> dict[str, Any]:
    """A tick as plain values for JSON; of the evidence its sums, since every verdict repeats its own numbers."""
    judgement, error = tick.judgement, tick.error
    found = {
        "model": tick.model,
        "time": tick.time,
        "rollout": tick.rollout,
        "requests": _requests(tick.evidence),
        "verdicts": judgement.verdicts if judgement else None,
        "overall": judgement.overall.status if judgement else (Status.ERROR if error else None),
        "recommendation": tick.recommendation,
        "applied": tick.applied,
        "error": {"error": error.what, "fix": error.fix, "type": type(error).__name__} if error else None,
        "ended": tick.ended,
    }
    return dict(plain(found))


def _requests(evidence: Evidence | None) -> dict[str, int] | None:
    if evidence is None:
        return None
    return {variant: sum(t.requests for t in evidence.tallies if t.variant is variant) for variant in Variant}


@contextmanager
def showing(
    clock: Clock, console: Console, *, interval: float | None = None, as_json: bool = False
) -> Iterator[OnTick]:
    """A hook that shows every tick: a live view on a terminal, else one line, or one JSON value, per tick.

    Args:
        clock: Time.
        console: Where to show it.
        interval: Seconds between two ticks; None where nobody keeps one.
        as_json: One JSON value per line, also on a terminal.
    """

    def say(text: str) -> None:
        console.print(printable(text), soft_wrap=True, highlight=False, emoji=False)

    if as_json:
        yield lambda tick: streams.say(values(tick), console.file)
    elif not console.is_terminal:
        yield lambda tick: say(line(tick))
    else:
        view = LiveView(clock, interval)
        with Live(view, console=console, refresh_per_second=2):
            yield view
