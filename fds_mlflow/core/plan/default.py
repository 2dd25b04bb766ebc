"""The plan of a rollout for which none is named."""

from __future__ import annotations

from fds_mlflow.core.plan.plan import Guardrail, Metric, Plan

DEFAULT_PLAN = Plan(
    guardrails=(
        Guardrail(Metric.ERROR_RATE, margin=1.0, negligible=0.002),
        Guardrail(Metric.ALERT_RATE, margin=0.5),
        Guardrail(Metric.LATENCY, margin=1.0, quantile=0.99),
        Guardrail(Metric.SCORE_SHIFT, margin=1.0, quantile=0.99),
    ),
    bake_time="24h",
    shadow=10,
)
"""The plan of a rollout for which none is named: a shadow beside it from the first request on, a day's cycle at each
step, and bounds that are relative to the champion. It asks for no label, which whoever starts it is told: labels, and
how late they come, differ from team to team."""


def labels_missing(plan: Plan) -> str:
    """What a completion by this plan does not say; empty where a required guardrail needs labels."""
    if any(guardrail.required and guardrail.metric.needs_labels for guardrail in plan.guardrails):
        return ""
    return (
        "no required guardrail needs labels: a canary that misses every fraud would complete; add"
        " missed_fraud: {margin: 0.5} and label_maturity to the plan, or let a person complete it (gates)"
    )
