"""What the span of an operation says, where traces are asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Concatenate, ParamSpec, TypeVar

from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.registry.dry_run import DryRunStore
from fds_mlflow.registry.exclusion import Exclusion
from fds_mlflow.registry.result import Result
from fds_mlflow.runtime import tracing

Who = TypeVar("Who", bound=Exclusion)
Options = ParamSpec("Options")
Run = Callable[Concatenate[Who, str, Request, Options], Result]


def traced(run: Run[Who, Options]) -> Run[Who, Options]:
    """Have each operation leave a span; a dry run, which does nothing, leaves none."""

    def within(who: Who, model: str, request: Request, /, *rest: Options.args, **options: Options.kwargs) -> Result:
        if isinstance(who.store, DryRunStore):
            return run(who, model, request, *rest, **options)
        with tracing.operation(f"fds {request.kind}", {"fds.model": model, "fds.kind": request.kind}) as told:
            result = run(who, model, request, *rest, **options)
            told(_known(result))
            return result

    update_wrapper(within, run)
    return within


def _known(result: Result) -> dict[str, str | int]:
    event = result.event
    if event is None:
        return {"fds.outcome": "nothing to do"}
    versions = {"fds.from_version": event.from_version, "fds.to_version": event.to_version}
    known = {name: version for name, version in versions.items() if version is not None}
    return {"fds.outcome": event.outcome, "fds.operation": event.operation, **known}
