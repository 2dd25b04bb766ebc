"""Segments: a canary that harms one part of the traffic is failed there, and good ones are not failed more often."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fds_mlflow.core.evidence.arms import evidence_of
from fds_mlflow.core.evidence.evidence import EventKind, Evidence, Tally
from fds_mlflow.core.evidence.variant import Variant
from fds_mlflow.core.judge.judge import Status, judge
from fds_mlflow.core.plan.plan import Guardrail, Metric, Plan, Segments
from fds_mlflow.errors import ConfigError
from tests.support.trials import NOON, rollout, tally

PLAN = Plan(
    [10, 100],
    guardrails=[Guardrail(Metric.ERROR_RATE, margin=0.5)],
    segments=Segments("country", ["KR", "US"]),
)


def known(rates: dict[str, float], *, keys: int = 20_000) -> Evidence:
    """A champion with 1 % of errors everywhere, and a canary with these rates."""
    tallies: list[Tally] = []
    for name, rate in rates.items():
        champion = tally(Variant.CHAMPION, 9 * keys // 10, error=9 * keys // 1_000)
        canary = tally(Variant.CANARY, keys // 10, error=round(rate * keys / 10))
        tallies += [replace(each, segment=name) for each in (champion, canary)]
    return evidence_of(PLAN.terms, NOON, tallies, {})


def test_a_canary_that_harms_one_country_only_is_failed_there() -> None:
    """The verdict names the segment, and the whole traffic alone would not have shown it."""
    found = judge(known({"KR": 0.04, "US": 0.01, "other": 0.01}), rollout(PLAN))
    assert found.overall.status is Status.FAIL
    assert found.overall.segment == "KR"
    assert found.overall.check == "error_rate in country KR"
    assert "in country KR" in found.overall.reason
    assert [verdict.segment for verdict in found.verdicts if verdict.segment] == ["KR"]
    assert found.verdicts[1].status is not Status.FAIL


def test_a_canary_that_is_alike_everywhere_fails_nowhere() -> None:
    """Segments add no verdicts where nothing is wrong, and the whole is judged as ever."""
    found = judge(known({"KR": 0.01, "US": 0.01, "other": 0.01}, keys=200_000), rollout(PLAN))
    assert [verdict.check for verdict in found.verdicts] == ["split", "error_rate"]


def test_alpha_is_split_and_never_exceeded() -> None:
    """What the whole traffic and all segments may spend adds up to the plan's alpha, by the weights."""
    plan = Plan(segments=Segments("country", {"KR": 3, "US": 1}, share=0.4))
    each = len(plan.guardrails)
    parts = {name: each * plan.alpha_of(name) for name in ("KR", "US", "other", "FR")}
    assert parts == pytest.approx({"KR": 0.012, "US": 0.004, "other": 0.004, "FR": 0.0})
    assert each * plan.alpha_each + sum(parts.values()) == pytest.approx(plan.alpha)


def test_values_belong_to_the_segments_that_are_named() -> None:
    """Texts and whole numbers by their value, amounts by their band, and everything else is other."""
    countries = Segments("country", ["KR", "US", "410"])
    assert [countries.of(value) for value in ("KR", 410, 410.0, "FR", None, float("nan"))] == [
        *("KR", "410", "410"),
        *("other", "other", "other"),
    ]
    amounts = Segments("amount", edges=(50, 500))
    assert [amounts.of(value) for value in (49.99, 50, "500", -1, None, "much", np.float64("nan"))] == [
        *("below 50", "50 to 500", "from 500", "below 50"),
        *("other", "other", "other"),
    ]
    assert Segments.from_dict(amounts.to_dict()) == amounts
    assert Segments.from_dict(countries.to_dict()) == countries


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"column": "country"}, "either values or edges"),
        ({"column": "country", "values": ["KR"], "edges": [1]}, "either values or edges"),
        ({"column": "country", "values": [str(n) for n in range(51)]}, "51 are named, more than 50"),
        ({"column": "country", "values": ["KR", "KR"]}, "named twice"),
        ({"column": "country", "values": ["other"]}, "named twice"),
        ({"column": "country", "values": {"KR": 0}}, "weight of 'KR'"),
        ({"column": "country", "values": ["K" * 65]}, "65 characters"),
        ({"column": "amount", "edges": [50, 50]}, "edges"),
        ({"column": "amount", "edges": [50], "share": 1.0}, "share"),
        ({"column": "", "values": ["KR"]}, "column"),
        ({"values": ["KR"]}, "without a column"),
        ({"column": "country", "values": "KR"}, "not a list"),
    ],
)
def test_segments_that_cannot_be_are_refused(values: dict[str, object], said: str) -> None:
    """Each refusal says what is wrong and how it is written."""
    with pytest.raises(ConfigError, match=said):
        Segments.from_dict(values)


def test_events_of_all_segments_are_those_of_the_whole() -> None:
    """Nothing is counted twice or lost where segments are added up."""
    found = known({"KR": 0.04, "US": 0.01, "other": 0.01})
    assert sum(t.events[EventKind.ERROR] for t in found.tallies) == sum(
        t.events[EventKind.ERROR] for hours in found.segments.values() for t in hours
    )
    assert len(found.tallies) == 2
