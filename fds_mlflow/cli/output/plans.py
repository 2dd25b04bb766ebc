"""A checked plan, and a rehearsal, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from fds_mlflow.cli.output.tables import table
from fds_mlflow.core.lifecycle.controller import Action
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.core.text.numbers import UNKNOWN, money, percent

if TYPE_CHECKING:
    from fds_mlflow.rollouts.plan.cost import PlanCheck, Price
    from fds_mlflow.rollouts.rehearsal.rehearsal import Catch, Rehearsal


def plan_check(found: PlanCheck) -> Group:
    """What a plan means, its prices and warnings."""
    rows = [
        (
            price.metric.value,
            _rate(price),
            _count(price.passes),
            _days(price.pass_days),
            price.row.describe_harm(price.harm),
            _count(price.fails),
            _days(price.fail_days),
        )
        for price in found.prices
    ]
    columns = ("guardrail", "rate assumed", "PASS after", "days", "harm", "FAIL after", "days ")
    prices = table("Canary requests until the verdict, on average", columns, rows, right=columns[1:])
    prices.caption = Text(
        "PASS: a canary like the champion, at the last step below 100 %. FAIL: a canary that does that much more harm,"
        " at the first step. Days include the wait for labels."
    )
    prices.caption_justify = "left"
    warnings = [Text(f"warning: {warning}", style="yellow") for warning in found.warnings]
    return Group(*(Text(f"- {sentence}") for sentence in found.words), Text(), prices, *warnings)


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
    return UNKNOWN if value is None else f"{value:,.2f}"


def _rate(price: Price) -> str:
    """The rate that is assumed; money has none, and is priced by the frauds that take it."""
    if price.rate is None:
        return UNKNOWN
    return percent(price.rate) + (" missed" if price.metric is Metric.MONEY_LOST else "")
