"""Progressive delivery for fraud models, on nothing but MLflow."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fds_mlflow.core.plan import Guardrail as Guardrail
    from fds_mlflow.core.plan import Plan as Plan
    from fds_mlflow.core.plan import Watch as Watch
    from fds_mlflow.core.routing import Route as Route
    from fds_mlflow.errors import FdsError as FdsError
    from fds_mlflow.lifecycle import ManagedModel as ManagedModel
    from fds_mlflow.outcomes.records import CaseRecord as CaseRecord
    from fds_mlflow.outcomes.records import OutcomeRecord as OutcomeRecord
    from fds_mlflow.outcomes.store import OutcomeStore as OutcomeStore
    from fds_mlflow.serving.router import Router as Router

_HOMES = {
    "CaseRecord": "fds_mlflow.outcomes.records",
    "FdsError": "fds_mlflow.errors",
    "Guardrail": "fds_mlflow.core.plan",
    "ManagedModel": "fds_mlflow.lifecycle",
    "OutcomeRecord": "fds_mlflow.outcomes.records",
    "OutcomeStore": "fds_mlflow.outcomes.store",
    "Plan": "fds_mlflow.core.plan",
    "Route": "fds_mlflow.core.routing",
    "Router": "fds_mlflow.serving.router",
    "Watch": "fds_mlflow.core.plan",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `import fds_mlflow` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
