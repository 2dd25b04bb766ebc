"""What people read: tables for a terminal, and plain values for JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from fds_mlflow.core.comparison import Advice, Change, Comparison, Delta
from fds_mlflow.core.evidence.evidence import EventKind, Tally
from fds_mlflow.core.judge.judge import Status
from fds_mlflow.core.judge.labels import known
from fds_mlflow.core.judge.values import value_of
from fds_mlflow.core.lifecycle.decision import done
from fds_mlflow.core.lifecycle.events import Ending, Event, Rollout
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.text.duration import describe_duration
from fds_mlflow.core.text.numbers import UNKNOWN, percent, short
from fds_mlflow.core.weight import to_percent
from fds_mlflow.display.characters import printable
from fds_mlflow.lifecycle.reports import CanaryStatus, Candidate, Overview, Validation
from fds_mlflow.registry.doctor import Finding, Severity
from fds_mlflow.registry.store import VersionView
from fds_mlflow.registry.tags import ALGORITHM, THRESHOLD, Intent
from fds_mlflow.runtime.streams import answers, errors, legible

_COLOURS = {
    Change.IMPROVED: "green",
    Change.WORSE: "red",
    Change.UNCLEAR: "dim",
    Status.PASS: "green",
    Status.FAIL: "red",
    Status.ERROR: "red",
    Status.INCONCLUSIVE: "yellow",
    Status.NODATA: "yellow",
    Advice.PROMOTE: "green",
    Advice.KEEP: "yellow",
    Advice.UNDECIDED: "yellow",
    Ending.DONE: "green",
    Ending.ABANDONED: "yellow",
    Ending.OVERTAKEN: "yellow",
    Severity.NOTE: "dim",
    Severity.WARNING: "yellow",
    Severity.DANGER: "red",
}


class _Console(Console):
    """A console that writes out what acts on a terminal, or hides, in whatever it is given."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render; only what rich itself says to the terminal (colours, movements) is taken by it as such."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text, keep="\n"))


def console(*, stderr: bool = False) -> Console:
    """A console; where the output is no terminal, wide enough that no cell is cut. Nothing is read as markup."""
    stream = errors() if stderr else answers()
    return _Console(file=stream, width=None if stream.isatty() else 160, highlight=False, emoji=False, markup=False)


class _Table(Table):
    """A table whose words stay whole where its width allows it; rich breaks them in every column that is narrow."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render, in columns as wide as their longest word, or as their longest cell if there is room.

        Where not even the words have room beside each other, rows become columns, as many as have; at last one alone.
        """
        words, whole = self._sizes(console, options)
        room = options.max_width - 3 * len(words) - 1
        if sum(words) > room and len(words) > _FEWEST and self.row_count:
            yield from self._turned(console, options)
            return
        least = _within(room, words, [1] * len(words))
        for column, width in zip(self.columns, _within(room, whole, least), strict=True):
            column.width = width
        yield from super().__rich_console__(console, options)

    def _sizes(self, console: Console, options: ConsoleOptions) -> tuple[list[int], list[int]]:
        """How long the longest word of each column is, and its longest cell."""
        wide = options.update(max_width=10_000)
        words, whole = [], []
        for column in self.columns:
            sizes = [Measurement.get(console, wide, cell) for cell in (column.header, *column.cells)]
            whole.append(max(size.maximum for size in sizes))
            words.append(whole[-1] if column.no_wrap else max(min(size.minimum, _LONGEST) for size in sizes))
        return words, whole

    def _turned(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render with a row for each column."""
        names = [column.header for column in self.columns]
        rows = list(zip(*(column.cells for column in self.columns), strict=True))
        title = self.title
        begun = 0
        while begun < len(rows):
            for count in range(min(_BESIDE, len(rows) - begun), 0, -1):
                some = rows[begun : begun + count]
                made = _Table(title=title, title_justify="left", title_style="bold", show_header=False)
                made.add_column(no_wrap=True)
                for _ in some:
                    made.add_column(overflow="fold")
                for name, *cells in zip(names, *some, strict=True):
                    made.add_row(Text(str(name), style="bold"), *cells)
                if count == 1 or sum(made._sizes(console, options)[0]) <= options.max_width - 3 * (1 + count) - 1:
                    break
            begun, title = begun + count, None
            yield made
        if self.caption:
            yield self.caption


_FEWEST = 2
"""A table of so few columns is never turned: turned, it would have as many."""
_BESIDE = 3
"""So many rows stand beside each other as columns at most."""
_LONGEST = 32
"""A longer word, such as an address, may be folded."""


def _within(room: int, wanted: Sequence[int], least: Sequence[int]) -> list[int]:
    """Widths that fit together: the widest are cut first, none below its least."""
    made = list(least)
    for most in range(max(wanted, default=0), 0, -1):
        made = [max(low, min(want, most)) for want, low in zip(wanted, least, strict=True)]
        if sum(made) <= room:
            break
    return made


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> Table:
    """A table; columns named in `right` hold numbers."""
    made = _Table(
        title=Text(title, style="bold"), title_justify="left", title_style="bold", header_style="bold", expand=False
    )
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(text(cell) for cell in row))
    return made


def text(value: object) -> Text:
    """One cell: never read as markup, whatever a person wrote."""
    if value is None or value != value:  # noqa: PLR0124 - no number
        return Text(UNKNOWN)
    if isinstance(value, Enum) and value in _COLOURS:
        return Text(value.value, style=_COLOURS[value])
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, float):
        return Text(f"{value:.4f}")
    if isinstance(value, datetime):
        return Text(f"{value:%Y-%m-%d %H:%M:%S}")
    return Text(legible(printable(str(value), keep="\n\t")))


def events(
    history: Sequence[Event], pending: Sequence[Intent] = (), verified: Mapping[str, bool | None] | None = None
) -> Table:
    """The history, the newest first; operations that hang stand above it.

    Args:
        history: The events.
        pending: Operations in flight.
        verified: By operation, whether its event was recorded by somebody with the team's key; None where nobody can
            tell.
    """
    somebody = any(e.signed_in for e in history)

    def who(event: Event) -> str:
        if verified and verified.get(event.operation) is False:
            return f"{event.actor} (unverified)"
        return event.actor if event.signed_in or not somebody else f"{event.actor} (unverified)"

    hanging = [
        ("…", i.time, i.actor, i.event.kind.shown if i.event else "housekeeping", None, None, "pending", "")
        for i in pending
    ]
    rows = [
        (
            e.sequence,
            e.time,
            who(e),
            done(e),
            e.from_version,
            e.to_version,
            e.outcome,
            e.reason,
        )
        for e in history
    ]
    columns = ("#", "when (UTC)", "who", "kind", "from", "to", "outcome", "why")
    result = table("History", columns, [*hanging, *rows], right=("#", "from", "to"))
    if history and not somebody:
        result.caption, result.caption_justify = (
            "who: as they claim, unverified: nobody was signed in",
            "left",
        )
    return result


def comparison(made: Comparison, baseline: str, candidate: str) -> Table:
    """Both versions on the same rows."""
    rows = [(d.metric.replace("_", " "), d.baseline, d.candidate, *_compared(d), d.change) for d in made.deltas]
    columns = ("metric", baseline, candidate, "difference", "95 % interval", "change")
    title = f"Comparison on the same {made.rows:,} rows ({made.frauds:,} frauds)"
    result = table(title, columns, rows, right=columns[1:5])
    result.caption = Text.assemble("recommendation: ", text(made.advice), f" - {made.reason}")
    result.caption_justify = "left"
    return result


def _compared(delta: Delta) -> tuple[str | None, str | None]:
    """The difference and its interval; unknown where a metric is, such as the precision of no alerts."""
    interval = None if math.isnan(delta.low) else f"{delta.low:+.4f} … {delta.high:+.4f}"
    return (None if math.isnan(delta.difference) else f"{delta.difference:+.4f}"), interval


def canary_status(status: CanaryStatus, now: datetime) -> Table:
    """Both variants' numbers in the current step, how long it has lasted, the verdicts and the recommendation.

    Args:
        status: Where the rollout stands.
        now: The time, UTC.
    """
    rollout = status.rollout

    def row(tally: Tally, version: int) -> tuple[object, ...]:
        terms = rollout.plan.terms

        def rate(metric: Metric) -> str:
            return metric.describe(value_of(metric, tally, terms))

        return (
            tally.variant.value,
            version,
            tally.requests,
            tally.keys,
            rate(Metric.ERROR_RATE),
            rate(Metric.ALERT_RATE),
            percent(tally.labelled / tally.matured) if tally.matured else None,
            known(tally, EventKind.FALSE_POSITIVE, terms),
            known(tally, EventKind.MISSED_FRAUD, terms),
        )

    columns = ("variant", "version", "requests", "keys", "errors", "alerts", "labelled", "false positives", "missed")
    weights = " -> ".join(f"{step:g} %" for step in rollout.plan.steps)
    paused = "" if rollout.paused is None else f", paused since {rollout.paused:%Y-%m-%d %H:%M} UTC"
    made = table(
        f"Canary {rollout.canary} against champion {rollout.champion} at {to_percent(rollout.weight):g} %"
        f" (plan {weights}){paused}",
        columns,
        [row(status.champion, rollout.champion), row(status.canary, rollout.canary)],
        right=columns[1:],
    )
    lines: list[Text | str | tuple[str, str]] = [f"{step_time(rollout, now)}\n"]
    for verdict in status.verdicts:
        missing = "" if verdict.requests_to_go is None else f"; about {verdict.requests_to_go:,} more requests decide"
        lines += [text(verdict.status), f" {verdict.reason}{missing}\n"]
    lines += [Text(f"warning: {warning}\n", style="yellow") for warning in status.warnings]
    advice, opening, numbers = status.recommendation.reason.partition(" (")
    made.caption = Text.assemble(*lines, "recommendation: ", (advice, "bold"), opening, numbers)
    made.caption_justify = "left"
    return made


def step_time(rollout: Rollout, now: datetime) -> str:
    """How long a step has lasted, and what its plan still asks for or allows."""
    passed, plan = now - rollout.since, rollout.plan
    parts = [f"in this step for {describe_duration(passed)}"]
    if passed < plan.bake_time:
        parts.append(f"bakes for another {describe_duration(plan.bake_time - passed)}")
    if plan.max_step_time is not None:
        left = plan.max_step_time - passed
        parts.append("the step's time is over" if left <= timedelta(0) else f"{describe_duration(left)} left")
    return "   ".join(parts)


def overview(model: Overview) -> Table:
    """A model's versions with aliases, stages and what they carry."""

    def role(version: int) -> str:
        if model.rollout is not None and version == model.rollout.canary:
            return f"canary {to_percent(model.rollout.weight):g} %"
        if version == model.champion and model.crowned is not None:
            return f"champion ({model.crowned})"
        decided = model.decisions.get(version)
        said = "champion" if version == model.champion else "rolled back from" if version in model.withdrawn else ""
        if decided is None or version in model.withdrawn:
            return said
        return "; ".join(filter(None, (said, f"last trial: {decided}")))

    rows = [
        (
            v.version,
            role(v.version),
            v.stage,
            v.status,
            v.tags.get(ALGORITHM),
            None if (threshold := v.tags.get(THRESHOLD)) is None else short(threshold),
            v.created,
        )
        for v in model.versions
    ]
    columns = ("version", "role", "stage", "status", "algorithm", "threshold", "created (UTC)")
    made = table(f"Model {model.name}", columns, rows, right=("version", "threshold"))
    notes = []
    if not model.agrees:
        notes.append("the history does not explain the aliases; the next operation records the out-of-band change")
    notes.extend(f"in flight since {i.time:%Y-%m-%d %H:%M:%S} UTC by {i.actor} ({i.id})" for i in model.pending)
    made.caption = Text("\n").join([Text(note, style="yellow") for note in notes] + _descriptions(model.versions))
    made.caption_justify = "left"
    return made


def _descriptions(versions: Iterable[VersionView | Candidate]) -> list[Text]:
    """What each version says of itself, in a line of its own: beside seven columns it would have no room."""
    return [Text(f"version {v.version}: {line}") for v in versions if (line := v.description.split("\n")[0])]


def candidates(found: Sequence[Candidate]) -> Table:
    """Former champions, the latest first."""
    rows = [
        (
            c.version,
            c.champion_since,
            c.retired_at,
            "an emergency takes it" if c.emergency else "rolled back from" if c.withdrawn else "",
            c.metrics.get("average_precision"),
            c.metrics.get("recall"),
            c.metrics.get("false_positive_rate"),
        )
        for c in found
    ]
    columns = (
        "version",
        "champion since",
        "stepped down",
        "as a way back",
        "average precision",
        "recall",
        "FPR",
    )
    made = table("Rollback candidates", columns, rows, right=("version", "average precision", "recall", "FPR"))
    made.caption = Text("\n").join(_descriptions(found))
    made.caption_justify = "left"
    return made


def validation(made: Validation) -> Table:
    """Every check of a version, and its warnings."""
    marks = {True: ("passed", "green"), False: ("failed", "red"), None: ("warning", "yellow")}
    result = table(f"Version {made.version}", ("check", "answer", "detail"), ())
    for check in made.checks:
        detail = f"{check.detail} (fix: {check.fix})" if check.fix else check.detail
        result.add_row(check.name, Text(*marks[check.passed]), text(detail))
    for warning in made.warnings:
        result.add_row("metrics", Text(*marks[None]), text(warning))
    return result


def findings(found: Sequence[Finding]) -> Table | str:
    """What a doctor found."""
    if not found:
        return "aliases, stages, tags and history agree"
    rows = [(f.severity, f.what, f.means, f.fix) for f in found]
    return table("Findings", ("severity", "what", "what it means", "how to fix it"), rows)
