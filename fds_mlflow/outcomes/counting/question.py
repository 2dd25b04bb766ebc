"""What a judge asks, and the terms of a question as text."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from fds_mlflow.core.evidence.evidence import Terms
from fds_mlflow.errors import DataError
from fds_mlflow.outcomes.statements import check_maturity, check_zone

_PARTS = ("hourly", "segments", "quantiles")
"""By what terms may part the counts; each is written as its first letter."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a judge asks; the arguments of `OutcomeStore.evidence`.

    Raises:
        DataError: `as_of` has no time zone, a bound is negative or not finite, the maturity no whole seconds.
    """

    model: str
    rollout_id: str
    terms: Terms
    as_of: datetime

    def __post_init__(self) -> None:
        check_zone(self.as_of)
        bound = self.terms.latency_bound
        if bound is not None and not 0 <= bound < math.inf:
            raise DataError(f"the latency bound is {bound!r}", fix="give milliseconds, at least zero")
        check_maturity(self.terms.maturity)

    @property
    def terms_text(self) -> str:
        """The terms, the same text for equal terms; see `terms_from`."""
        bound, maturity = self.terms.latency_bound, self.terms.maturity
        values = {
            "latency_bound_ms": None if bound is None else float(bound),
            "maturity_s": None if maturity is None else maturity // timedelta(seconds=1),
            "by": "".join(name[0] for name in _PARTS if getattr(self.terms, name)) or None,  # 100 characters hold all
        }
        return json.dumps({name: value for name, value in values.items() if value is not None})


def terms_from(written: str) -> Terms:
    """The terms that `Question.terms_text` wrote."""
    values = json.loads(written)
    seconds = values.get("maturity_s")
    maturity = None if seconds is None else timedelta(seconds=seconds)
    parts = {name: True for name in _PARTS if name[0] in values.get("by", "")}
    bound: float | None = values.get("latency_bound_ms")
    return Terms(latency_bound=bound, maturity=maturity, **parts)
