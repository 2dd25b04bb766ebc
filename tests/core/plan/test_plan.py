"""Plans are validated when they are made, survive the registry, and only they convert percent into basis points."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.evidence.evidence import Terms
from fds_mlflow.core.plan.plan import GUARDRAILS, MAX_ENCODED, Guardrail, Metric, Plan, Undecided, Watch
from fds_mlflow.core.statistics.sequential import Side
from fds_mlflow.core.text.duration import from_duration, to_duration
from fds_mlflow.core.weight import FULL, to_basis_points, to_percent
from fds_mlflow.errors import ConfigError


@given(st.integers(0, FULL))
def test_percent_and_basis_points_convert_without_loss(points: int) -> None:
    """Every weight that can be stored reads as a percentage that leads back to it."""
    assert to_basis_points(to_percent(points)) == points


@pytest.mark.parametrize(
    ("percent", "points"), [(0, 0), (0.01, 1), (0.29, 29), (33.33, 3_333), (99.99, 9_999), (100, FULL)]
)
def test_percentages_down_to_a_hundredth_are_exact(percent: float, points: int) -> None:
    """Two decimals are kept exactly, however the binary fraction falls."""
    assert to_basis_points(percent) == points


@pytest.mark.parametrize("percent", [-1, -0.001, 100.01, 101, math.nan, math.inf, True, "10", None, [10]])
def test_what_is_no_percentage_is_refused(percent: Any) -> None:
    """Out of range, not a number, or a boolean: the message shows the value and a good one."""
    with pytest.raises(ConfigError, match="not a percentage") as error:
        to_basis_points(percent)
    assert "25" in error.value.fix


def test_a_percentage_finer_than_a_basis_point_is_refused_with_the_rounded_one() -> None:
    """12.345 % cannot be stored; the message says which weight can."""
    with pytest.raises(ConfigError, match="finer than one basis point") as error:
        to_basis_points(12.345)
    assert "12.34" in error.value.fix


@pytest.mark.parametrize("steps", [[], [0, 10], [10, 10], [25, 10], [10, 25, 24.99], [0]])
def test_steps_rise_from_above_zero(steps: list[float]) -> None:
    """Steps that are empty, start at nothing, repeat or fall are refused and shown."""
    with pytest.raises(ConfigError, match="do not rise"):
        Plan(steps)


def test_the_default_plan_is_the_documented_one() -> None:
    """Without options: 10, 25, 50, 100 %, three guardrails that need no labels, alpha 5 %, no time limit, no gate.

    Plans leave their defaults out of the registry, so a change here changes what stored rollouts were judged by.
    """
    plan = Plan()
    assert plan.steps == (10.0, 25.0, 50.0, 100.0)
    assert plan.guardrails == (
        Guardrail(Metric.ERROR_RATE, margin=1.0, negligible=0.002),
        Guardrail(Metric.ALERT_RATE, margin=0.5),
        Guardrail(Metric.SCORE_SHIFT, margin=0.05),
    )
    assert (plan.alpha, plan.min_outcomes, plan.bake_time, plan.max_step_time) == (0.05, 100, timedelta(0), None)
    assert (plan.undecided, plan.gates, plan.label_maturity, plan.max_canary_keys) == (Undecided.HOLD, (), None, None)
    assert (plan.watch, plan.terms) == (None, Terms(hourly=True))
    with pytest.raises(TypeError):
        Plan(control=True)  # type: ignore[call-arg]
    assert plan.to_dict() == {"steps": [10, 25, 50, 100], "test": 2}
    assert Plan.from_dict({}) == Plan.from_dict(plan.to_dict()) == plan


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("min_outcomes", value) for value in (0, -5, 2.5, True, "100", None)),
        *(("max_canary_keys", value) for value in (0, -5, 2.5, True)),
        *(("alpha", value) for value in (0, -0.05, 0.51, 1, math.nan, True, "0.05", None)),
        *(("bake_time", value) for value in (30, "30", "half an hour", "", "-5m", "1.5h", timedelta(milliseconds=1))),
        *(("bake_time", value) for value in (None, "9" * 30 + "d", timedelta(seconds=-1))),
        *(("max_step_time", value) for value in ("0s", 7)),
        *(("label_maturity", value) for value in ("0d", 30)),
        *(("undecided", value) for value in ("promote", "HOLD", None)),
        *(("gates", value) for value in (50, "50")),
        *(("guardrails", value) for value in ((), "error_rate", ["error_rate"], 5)),
        ("watch", "7d"),
    ],
)
def test_a_value_out_of_range_names_its_field(name: str, value: Any) -> None:
    """A wrong setting is refused with its name."""
    with pytest.raises(ConfigError) as error:
        Plan(**{name: value})
    assert name.rstrip("s") in error.value.what


@pytest.mark.parametrize(
    ("values", "unknown", "meant"),
    [
        ({"min_outcome": 5, "bake_times": "1h"}, "bake_times, min_outcome", "bake_time instead of bake_times"),
        ({"guardrails": {"eror_rate": {"margin": 1}}}, "eror_rate", "error_rate instead of eror_rate"),
        ({"guardrails": {"error_rate": {"margn": 1}}}, "margn", "margin instead of margn"),
        ({"watch": {"duration": "7d", "control": 5, "rolback": True}}, "rolback", "rollback instead of rolback"),
        ({"xyz": 1}, "xyz", "known are advance_unlabelled, alpha"),
        ({"control": True}, "control", "watch: {control: ...} instead of control"),
        ({"duration": "7d"}, "duration", "watch: {duration: ...} instead of duration"),
        ({"error_rate": {"margin": 1}}, "error_rate", "guardrails: {error_rate: ...} instead of error_rate"),
        ({"is_watch": True}, "is_watch", "watch instead of is_watch"),
    ],
)
def test_an_unknown_key_is_refused_with_the_closest_known_one(values: Any, unknown: str, meant: str) -> None:
    """A misspelt key is never ignored, at any depth; the fix names what was probably meant."""
    with pytest.raises(ConfigError, match=f"unknown keys: {unknown}") as error:
        Plan.from_dict(values)
    assert meant in error.value.fix


@pytest.mark.parametrize(
    "values", [None, [], "steps", {"guardrails": ["error_rate"]}, {"guardrails": {"error_rate": 1}}, {"watch": "7d"}]
)
def test_values_of_the_wrong_shape_are_refused(values: Any) -> None:
    """A list where names and values are expected is an error of ours, not a traceback."""
    with pytest.raises(ConfigError):
        Plan.from_dict(values)


LABELS = {"label_maturity": "30d"}


@pytest.mark.parametrize(
    ("metric", "options", "says"),
    [
        ("error_rate", {}, "neither a margin nor a limit"),
        ("error_rate", {"margin": -0.1}, r"margin is -0.1, not in \[0, 1000\]"),
        ("error_rate", {"margin": math.inf}, "margin is inf"),
        ("error_rate", {"margin": "much"}, "margin is 'much'"),
        ("error_rate", {"margin": True}, "margin is True"),
        ("score_shift", {"margin": 0}, r"not in \(0, 1\)"),
        ("alert_precision", {"margin": 1.5}, r"not in \(0, 1\)"),
        ("error_rate", {"limit": 1}, "limit is 1, not a rate"),
        ("error_rate", {"limit": 0}, "limit is 0, not a rate"),
        ("score_shift", {"margin": 0.1, "limit": 0.5}, "limit means nothing"),
        ("money_lost", {"margin": 1, "bound": 1, "negligible": 0.5}, "negligible means nothing"),
        ("error_rate", {"limit": 0.1, "negligible": 0.01}, "negligible is given without a margin"),
        ("error_rate", {"margin": 1, "limit": 0.01, "negligible": 0.01}, "not below the limit 0.01"),
        ("latency", {"margin": 1}, "bound is None"),
        ("latency", {"margin": 1, "bound": 0}, "bound is 0"),
        ("latency", {"margin": 1, "bound": 5, "quantile": 0.99}, "bound and quantile are given"),
        ("latency", {"margin": 0.05, "quantile": 0.99}, "margin is 0.05"),
        ("latency", {"margin": 1, "quantile": 1}, "quantile is 1"),
        ("latency", {"margin": 1, "quantile": "p99"}, "quantile is 'p99'"),
        ("latency", {"margin": 1, "quantile": 0.99, "negligible": 1e6}, "negligible is 1e"),
        ("latency", {"limit": 0.001, "quantile": 0.99}, "limit is 0.001"),
        ("score_shift", {"margin": 1, "quantile": 0.5}, "no share can be 2 times"),
        ("score_shift", {"margin": 1, "quantile": 0.99, "limit": 0.5}, "limit means nothing"),
        ("score_shift", {"margin": 1, "quantile": 0.99, "bound": 1}, "bound and quantile are given"),
        ("error_rate", {"margin": 1, "quantile": 0.99}, "quantile means nothing"),
        ("error_rate", {"margin": 1, "bound": 5}, "bound means nothing"),
        ("error_rate", {"margin": 1, "side": "both"}, "side cannot be chosen: higher"),
        ("alert_rate", {"margin": 1, "side": "up"}, "side is 'up'"),
        ("alert_rate", {"margin": 1, "negligible": 0.01}, "negligible is given where both harms"),
        ("latency", {"margin": 1, "bound": 5, "paired": True}, "cannot be paired"),
        ("error_rate", {"margin": 1, "required": "no"}, "required is 'no'"),
    ],
)
def test_a_guardrail_that_means_nothing_is_refused(metric: str, options: dict[str, Any], says: str) -> None:
    """Every option is checked against its metric, and the message names both."""
    with pytest.raises(ConfigError, match=says) as error:
        Plan(guardrails=[Guardrail.from_dict(metric, options)], **LABELS)
    assert metric in error.value.what


def test_a_metric_has_one_guardrail() -> None:
    """Two guardrails for one metric would be two opinions about one number."""
    with pytest.raises(ConfigError, match="two guardrails for error_rate"):
        Plan(guardrails=[Guardrail("error_rate", margin=1), Guardrail("error_rate", limit=0.1)])  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", [metric for metric in Metric if metric.needs_labels])
def test_a_guardrail_that_waits_for_labels_needs_a_maturity(metric: Metric) -> None:
    """Without an age at which labels are trusted there is no label to judge by."""
    guardrail = Guardrail(metric, margin=0.5, bound=100 if metric.row.bound else None)
    with pytest.raises(ConfigError, match=f"{metric} need labels"):
        Plan(guardrails=[guardrail])
    assert Plan(guardrails=[guardrail], label_maturity="30d").terms == Terms(maturity=timedelta(days=30), hourly=True)


def test_the_terms_of_a_plan_are_its_latency_bound_and_maturity() -> None:
    """What outcomes are counted by follows from the plan, so that nobody can count by anything else."""
    slow = Guardrail(Metric.LATENCY, margin=1.0, bound=50)
    assert Plan(guardrails=[slow], label_maturity="12h").terms == Terms(
        latency_bound=50.0, maturity=timedelta(hours=12), hourly=True
    )


def test_a_gate_is_a_step_and_a_step_time_outlasts_the_bake_time() -> None:
    """A gate that no step reaches would never open, and a step that must end before it may would never advance."""
    with pytest.raises(ConfigError, match="the gate 33 is no step of 10, 25, 50, 100"):
        Plan(gates=[33])
    with pytest.raises(ConfigError, match="max_step_time 1h is not above the bake_time 2h"):
        Plan(bake_time="2h", max_step_time="1h")
    assert Plan(gates=[50, 10]).gated == (1_000, 5_000)


@pytest.mark.parametrize(
    ("duration", "control", "rollback"), [("0s", 5, False), ("7d", 0, False), ("7d", 50.01, False), ("7d", 5, "yes")]
)
def test_a_watch_keeps_a_small_control_for_a_time(duration: str, control: float, rollback: Any) -> None:
    """A watch without a time, without a control, or with most of the traffic under control is none."""
    with pytest.raises(ConfigError):
        Watch(duration, control, rollback)  # type: ignore[arg-type]
    assert Watch("7d", 5).duration == timedelta(days=7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("90s", 90), ("30m", 1_800), ("1h30m", 5_400), ("2w1d", 1_296_000), ("0d5m", 300)]
)
def test_durations_read_as_people_write_them(text: str, seconds: int) -> None:
    """Weeks, days, hours, minutes and seconds, in this order."""
    assert to_duration("x", text) == timedelta(seconds=seconds)


seconds = st.integers(0, 10**9).map(lambda s: timedelta(seconds=s))


@given(seconds)
def test_a_duration_survives_its_text(value: timedelta) -> None:
    """What is written for a duration is read as the same duration."""
    assert to_duration("x", from_duration(value)) == value


def _guardrail(metric: Metric) -> st.SearchStrategy[Guardrail]:
    return _plain(metric) | _quantile(metric) if metric in (Metric.LATENCY, Metric.SCORE_SHIFT) else _plain(metric)


def _quantile(metric: Metric) -> st.SearchStrategy[Guardrail]:
    ms = st.none() | st.floats(1, 1_000) if metric is Metric.LATENCY else st.none()
    margin, quantile = st.floats(0.1, 8), st.sampled_from([0.9, 0.99, 0.999])
    return st.builds(Guardrail, st.just(metric), margin=margin, quantile=quantile, limit=ms, required=st.booleans())


def _plain(metric: Metric) -> st.SearchStrategy[Guardrail]:
    rate = st.none()
    if metric.kind is not None:
        rate = st.none() | st.floats(0.1, 0.9)
    negligible = st.none() if metric is Metric.ALERT_RATE else rate.map(lambda r: None if r is None else r / 1_000)
    return st.builds(
        Guardrail,
        st.just(metric),
        margin=st.floats(0.001, 0.999) if metric.kind is None else st.floats(0, 1_000),
        limit=rate,
        negligible=negligible,
        required=st.booleans(),
        side=st.none() | st.sampled_from(Side) if metric in ("alert_rate", "score_shift") else st.none(),
        bound=st.floats(1, 1e6) if metric.row.bound else st.none(),
        paired=st.booleans() if metric.row.can_be_paired else st.just(False),
    )


guardrails = st.lists(st.sampled_from(Metric), min_size=1, unique=True).flatmap(
    lambda metrics: st.tuples(*map(_guardrail, metrics))
)
watches = st.builds(Watch, seconds.filter(bool), st.integers(1, FULL // 2).map(to_percent), st.booleans())


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Any valid plan."""
    steps = draw(st.lists(st.integers(1, FULL).map(to_percent), min_size=1, max_size=12, unique=True).map(sorted))
    bake = draw(seconds)
    return Plan(
        steps,
        guardrails=draw(st.just(GUARDRAILS) | guardrails),
        alpha=draw(st.floats(1e-6, 0.5)),
        min_outcomes=draw(st.integers(1, 10**9)),
        bake_time=bake,
        max_step_time=draw(st.none() | seconds.filter(bool).map(lambda more: bake + more)),
        undecided=draw(st.sampled_from(Undecided)),
        gates=draw(st.lists(st.sampled_from(steps), unique=True)),
        label_maturity=draw(seconds.filter(bool)),
        max_canary_keys=draw(st.none() | st.integers(1, 10**9)),
        watch=draw(st.none() | watches),
    )


@given(plans())
def test_a_plan_survives_plain_values(plan: Plan) -> None:
    """What `to_dict` gives is JSON that fits a tag, `from_dict` takes it, and equal plans compare and hash as equal."""
    text = json.dumps(plan.to_dict(), separators=(",", ":"))
    assert len(text) <= MAX_ENCODED
    again = Plan.from_dict(json.loads(text))
    assert again == plan
    assert hash(again) == hash(plan)
    assert repr(again) == repr(plan)


def test_the_order_of_guardrails_means_nothing() -> None:
    """Plans with the same guardrails are the same plan, in whatever order they were listed."""
    assert Plan(guardrails=list(reversed(GUARDRAILS))) == Plan()


def test_a_plan_too_long_for_the_registry_is_refused() -> None:
    """A thousand steps do not fit into one tag; the message says how long it is."""
    with pytest.raises(ConfigError, match=r"characters, more than the 3,000") as error:
        Plan([n / 100 for n in range(1, 1_001)])
    assert "fewer steps" in error.value.fix


def test_a_plan_cannot_be_changed() -> None:
    """A plan is a value: nobody edits a running rollout's rules in place."""
    with pytest.raises(AttributeError):
        Plan().min_outcomes = 1  # type: ignore[misc]
