"""Plain values, for JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any

from fds_mlflow.core.evidence.evidence import EventKind, Tally, Terms
from fds_mlflow.core.judge.labels import known
from fds_mlflow.core.lifecycle.decision import ended
from fds_mlflow.core.lifecycle.events import Event, Rollout
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.lifecycle.reports import CanaryStatus
from fds_mlflow.outcomes.summary import VariantCounts


def plain(value: Any) -> Any:
    """Plain values for JSON: dataclasses as objects with their public fields, times as ISO 8601."""
    if isinstance(value, Plan):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no NaN
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value


def _fields(value: Any) -> dict[str, Any]:
    fields = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, VariantCounts):
        rates = ("success_rate", "error_rate", "flag_rate", "coverage", "mean_score", "mean_latency_ms")
        fields.update({name: getattr(value, name) for name in rates})
        if not value.labelled:
            fields.update(dict.fromkeys(_TRUTHS))
    elif isinstance(value, Rollout):
        fields["plan"] = value.plan_values()
        _without(fields, "is_watch", "plan_written")  # they are about the plan, which stands there
    elif isinstance(value, Event):
        fields["decision"] = plain(ended(value))
        _without(fields, "holds_plan")
    elif isinstance(value, CanaryStatus):
        for name in ("champion", "canary"):
            tally = getattr(value, name)
            fields[name] |= _known(tally, value.rollout.plan.terms)
            fields[name]["weight"] = tally.weight or value.rollout.weight  # no outcome has told it yet
    return fields


def _without(fields: dict[str, Any], *names: str) -> None:
    """Leave out what says how a value is stored, and what a later release has written where it has not."""
    for name in names:
        del fields[name]
    later = fields.pop("later")
    fields.update({"later": json.loads(later)} if later else {})


_TRUTHS = ("true_positives", "false_positives", "false_negatives", "true_negatives")


def _known(tally: Tally, terms: Terms) -> dict[str, Any]:
    """What JSON says of a tally's events and labels: null where nobody looked."""
    found: dict[str, Any] = {"events": {kind.value: known(tally, kind, terms) for kind in EventKind}}
    if not tally.matured:
        found |= dict.fromkeys(("matured", "labelled", "matured_alerts"))
    if not tally.reviewed_alerts:
        found |= dict.fromkeys(("reviewed_alerts", "false_alerts"))
    return found
