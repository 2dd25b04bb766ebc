"""Progressive delivery for fraud models, on nothing but MLflow."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fds_mlflow.core.plan.plan import Guardrail, Plan, Segments, Watch
    from fds_mlflow.core.routing.routing import Route
    from fds_mlflow.errors import FdsError
    from fds_mlflow.model import ManagedModel
    from fds_mlflow.outcomes.records import CaseRecord, OutcomeRecord
    from fds_mlflow.outcomes.store import OutcomeStore
    from fds_mlflow.serving.router import Router

_HOMES = {
    "CaseRecord": "fds_mlflow.outcomes.records",
    "FdsError": "fds_mlflow.errors",
    "Guardrail": "fds_mlflow.core.plan.plan",
    "ManagedModel": "fds_mlflow.model",
    "OutcomeRecord": "fds_mlflow.outcomes.records",
    "OutcomeStore": "fds_mlflow.outcomes.store",
    "Plan": "fds_mlflow.core.plan.plan",
    "Segments": "fds_mlflow.core.plan.segments",
    "Route": "fds_mlflow.core.routing.routing",
    "Router": "fds_mlflow.serving.router",
    "Watch": "fds_mlflow.core.plan.watch",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `import fds_mlflow` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
