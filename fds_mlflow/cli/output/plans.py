"""A checked plan, and a rehearsal, for people."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from fds_mlflow.cli.output.tables import table
from fds_mlflow.core.lifecycle.controller import Action
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.text.duration import describe_duration
from fds_mlflow.core.text.numbers import UNKNOWN, money, percent

if TYPE_CHECKING:
    from fds_mlflow.rollouts.plan.cost import PlanCheck, Price
    from fds_mlflow.rollouts.plan.expected import Assumptions
    from fds_mlflow.rollouts.plan.exploration import Exploration
    from fds_mlflow.rollouts.plan.exposure import Exposure
    from fds_mlflow.rollouts.rehearsal.rehearsal import Catch, Rehearsal


def plan_check(found: PlanCheck) -> Group:
    """What a plan means, its prices and warnings."""
    rows = [
        (
            p.metric.value,
            _rate(p, found.assumed),
            _count(p.passes),
            _days(p.pass_days),
            "yes" if p.required else "no",
        )
        for p in found.prices
    ]
    columns = ("guardrail", "rate assumed", "PASS after", "days", "required")
    passes = _captioned(
        table("A canary like the champion: canary requests until its PASS", columns, rows, right=columns[1:]),
        "At the last step below 100 %, on average. Days include the wait for labels.",
    )
    warnings = [Text(f"WARNING: {warning}", style="bold yellow") for warning in found.warnings]
    parts: list[Text | Table] = [passes, _harmful(found)]
    if found.completion_days is not None:
        parts.append(
            Text(f"A canary like the champion completes by itself after about {_lasts(found.completion_days)}.")
        )
    if found.exploration is not None:
        parts += _exploration(found.exploration, found.assumed.loss)
    spaced = [line for part in parts for line in (Text(), part)]
    return Group(
        *(Text(f"- {sentence}") for sentence in found.words), *spaced, *([Text()] if warnings else []), *warnings
    )


def _harmful(found: PlanCheck) -> Table:
    """What a harmful canary gets."""
    title = "A harmful canary, until it is stopped"
    if found.assumed.traffic is None:
        columns, caption = (
            ("guardrail", "harm", "FAIL after"),
            ("Canary requests that are judged, at the first step. With --traffic: along the plan, days and money."),
        )
        rows = [(p.metric.value, p.row.describe_harm(p.harm), _count(p.fails)) for p in found.prices]
        return _captioned(table(title, columns, rows, right=columns[1:]), caption)
    names = ("guardrail", "harm", "requests", "days", "at %", "extra", "money")
    cells = [(p.metric.value, p.row.describe_harm(p.harm), *_exposed(p.exposure)) for p in found.prices]
    return _captioned(
        table(title, names, cells, right=names[1:]),
        "Requests of the canary along the plan's steps, on average, and its share in the end. Extra: errors, alerts,"
        " slow requests, missed frauds (missed_fraud, money_lost) or false alerts beyond what the champion would have"
        f" had. A missed fraud takes {money(found.assumed.loss)}.",
    )


def _exposed(found: Exposure | None) -> tuple[str, ...]:
    if found is None:
        return "endless", UNKNOWN, "never", UNKNOWN, UNKNOWN
    end = "completes" if found.ending is Action.COMPLETE else "undecided"
    extra, taken = ((UNKNOWN if each is None else f"{each:,.0f}") for each in (found.extra, found.money))
    return _count(found.requests), _days(found.days), f"{found.weight:g}" if found.failed else end, extra, taken


def _exploration(found: Exploration, loss: float) -> list[Text | Table]:
    """What exploration costs and buys."""
    most = "" if found.cap is None else "at most "
    cost = Text(
        f"Exploration lets {most}{found.passed:,.0f} of {found.alerts:,.0f} alerts a day pass ({found.percent:g} %):"
        f" {most}{_few(found.frauds)} frauds and {money(found.money)} a day, at"
        f" {money(min(loss, found.cap or loss))} a fraud."
    )
    if not found.decisions:
        return [cost, Text("No guardrail needs labels of alerts, so it buys this plan nothing.")]
    rows = [
        (
            d.metric.value,
            *(_days(days) for p in (d.explored, d.reviewed) for days in (p.pass_days, _failing(p))),
            "never",
        )
        for d in found.decisions
    ]
    columns = ("guardrail", "PASS", "FAIL", "PASS ", "FAIL ", "without")
    return [
        cost,
        _captioned(
            table("Days until a guardrail on labels of alerts decides", columns, rows, right=columns[1:]),
            "First with the labels of explored alerts alone, then as if every alert got a label. Without either, what"
            " is blocked never shows its truth.",
        ),
    ]


def _failing(price: Price) -> float | None:
    return price.exposure.days if price.exposure is not None and price.exposure.failed else None


def _captioned(made: Table, caption: str) -> Table:
    made.caption = Text(caption)
    made.caption_justify = "left"
    return made


def _few(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _lasts(days: float) -> str:
    return describe_duration(timedelta(days=days))


def rehearsal(found: Rehearsal) -> Group:
    """What a rehearsal found."""
    frauds = UNKNOWN if found.fraud_rate is None else percent(found.fraud_rate)
    ours, theirs = (UNKNOWN, UNKNOWN) if found.lost is None else map(money, found.lost)
    head = [
        Text(
            f"{found.replays:,} replays of {found.rows:,} requests in {found.days:.1f} days;"
            f" {frauds} are frauds; the champion flags {percent(found.alert_rates[0])}, the canary"
            f" {percent(found.alert_rates[1])}."
        ),
        Text(
            "This canary: "
            + ", ".join(f"{_ENDS.get(action, action.value)} {share:.0%}" for action, share in found.outcomes.items())
            + f", after {found.days_to_end:.1f} days (median)."
            + (f" Stopped by {', '.join(f'{c} {s:.0%}' for c, s in found.causes.items())}." if found.causes else "")
        ),
        Text(
            f"Frauds that it misses until then take {ours} on average; of the same requests the"
            f" champion would have missed {theirs}."
        ),
        Text(
            f"False abort (the champion as its own canary): {found.false_abort:.1%} +- {found.false_abort_error:.1%},"
            f" at most {found.plan.alpha:.1%} is promised. Such a canary completes in {found.completes:.0%}."
        ),
    ]
    rows = [
        (
            f"{s.percent:g} %",
            f"{s.reached:.0%}",
            f"{s.through:.0%}",
            _days(s.days),
            _days(s.days_90),
            UNKNOWN if s.requests is None else _count(s.requests),
        )
        for s in found.steps
    ]
    columns = ("step", "reached", "came through", "days (median)", "days (90 %)", "canary requests")
    steps = table("Steps of this canary", columns, rows, right=columns[1:])
    caught = [_catch(catch) for catch in found.catches]
    columns = ("guardrail", "caught", "smallest caught", "canary requests", "days", "money at risk")
    catches = table("Regressions that are caught (in 90 % of the replays)", columns, caught, right=columns[2:])
    left = [Text(f"left out, since a history does not tell it: {name}", style="yellow") for name in found.left_out]
    return Group(*head, Text(), steps, catches, *left)


def _catch(catch: Catch) -> tuple[str, ...]:
    harm = catch.metric.describe_harm
    return (
        catch.metric.value,
        ", ".join(f"{harm(ratio)}: {share:.0%}" for ratio, share in catch.caught.items()) or "too few events",
        "none" if catch.smallest is None else harm(catch.smallest),
        UNKNOWN if catch.requests is None else _count(catch.requests),
        _days(catch.days),
        UNKNOWN if catch.lost is None else money(catch.lost),
    )


_ENDS = {
    Action.COMPLETE: "completed",
    Action.ABORT: "aborted",
    Action.HOLD: "held for a person",
    Action.WAIT: "undecided",
}


def _count(value: float | None) -> str:
    return "never" if value is None else f"{value:,.0f}"


def _days(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:,.2f}" if value >= 0.01 or not value else f"{value:.3f}" if value >= 0.001 else "<0.001"


def _rate(price: Price, assumed: Assumptions) -> str:
    """What is assumed of the champion: money is priced by the frauds that take it, scores by their mean."""
    if price.row is not price.metric.row:
        return UNKNOWN  # a quantile, whatever it is
    rate = assumed.rates[price.metric]
    return f"{percent(rate)} missed" if price.metric is Metric.MONEY_LOST else price.row.describe(rate)
