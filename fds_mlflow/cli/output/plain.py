"""Plain values, for JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any

from fds_mlflow.cli.output.tables import _TRUTHS, _known
from fds_mlflow.core.lifecycle.decision import ended
from fds_mlflow.core.lifecycle.events import Event
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.lifecycle.reports import CanaryStatus
from fds_mlflow.outcomes.summary import VariantCounts


def plain(value: Any) -> Any:
    """Plain values for JSON: dataclasses as objects with their public fields, times as ISO 8601."""
    if isinstance(value, Plan):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, VariantCounts):
            rates = ("success_rate", "error_rate", "flag_rate", "coverage", "mean_score", "mean_latency_ms")
            fields.update({name: getattr(value, name) for name in rates})
            if not value.labelled:
                fields.update(dict.fromkeys(_TRUTHS))
        elif isinstance(value, Event):
            fields["decision"] = plain(ended(value))
        elif isinstance(value, CanaryStatus):
            for name in ("champion", "canary"):
                tally = getattr(value, name)
                fields[name] |= _known(tally, value.rollout.plan.terms)
                fields[name]["weight"] = tally.weight or value.rollout.weight  # no outcome has told it yet
        return fields
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
