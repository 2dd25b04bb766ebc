"""MLflow deployments to the target `fds`: a registered model is an endpoint, its champion and canary are deployments.

Nothing is installed anywhere: aliases move in the registry, by the operations of `fds` and `ManagedModel`, and whoever
follows them serves. MLflow asks of this module exactly one client, `target_help` and `run_local`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlflow.deployments import BaseDeploymentClient, PredictionsResponse
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2 as codes

from fds_mlflow.core.routing.routing import Variant
from fds_mlflow.errors import ConfigError, RefusedError
from fds_mlflow.registry.texts import checked_model
from fds_mlflow.runtime import environment, mlflow_client
from fds_mlflow.workflows import deployments

if TYPE_CHECKING:
    from fds_mlflow.registry.transaction import Result
    from fds_mlflow.workflows.deployments import Deployment

log = logging.getLogger(__name__)

FLAVOR = "python_function"

_HELP = """\
fds: progressive delivery on the registry that MLFLOW_TRACKING_URI or MLFLOW_REGISTRY_URI names.

A registered model is an endpoint; what its two aliases point at are its deployments, fraud@champion and fraud@canary.
The target is written fds, with nothing behind it, and --model-uri models:/NAME/VERSION, a version of the same model.

  create fraud@champion   make the first version serve
  update fraud@champion   make another version serve
  create fraud@canary     start a rollout against the champion, by the default plan or -C plan=plan.yaml
  update fraud@canary     move on: -C weight=25 (percent) or -C weight=next; -C complete=true to make it champion
  delete fraud@canary     stop it; needs -C reason=WHY. The champion is never deleted
  predict                 --name: scores of one version. --endpoint fraud: each row by the version that its
                          transaction_id is routed to. --endpoint http://HOST:PORT: what a running `fds serve` answers
  run-local               the checks that a version must pass before it may serve, and its scores of its own example

-C reason=WHY and -C force=true go with create and update, -C allow_new_columns=true with those that bring a version.
Predictions leave no outcome, but for those of a running server.

FDS_DEPLOYMENTS=read lets nothing move, FDS_DEPLOYMENTS=write everything. Where it is not set everything moves, but not
by a tool of MLflow's MCP server.
"""


def target_help() -> str:
    """What `mlflow deployments help -t fds` shows."""
    return _HELP


def run_local(name: str, model_uri: str, flavor: str | None = None, config: Mapping[str, Any] | None = None) -> None:
    """Ask of a version what must hold before it may serve, and print its scores of its own example; nothing moves.

    Raises:
        MlflowException: It may not serve.
    """
    with mlflow_client.as_mlflow():
        deployments.understood(config, ())
        there, version = _brought(name, model_uri, flavor)
        session = there.model.session
        validation = session.checks(version, there.view.champion_alias)
        validation.require()
        scorer = session.scorer(version)
        print(f"version {version} of {there.model.name} may serve, and flags from a score of {scorer.threshold:.6g} on")
        for doubt in validation.doubts:
            print(f"Warning: {doubt}")
        if scorer.example is not None:
            print(f"its scores of its own example: {', '.join(f'{one:.6g}' for one in scorer.score(scorer.example))}")


class FdsDeploymentClient(BaseDeploymentClient):  # type: ignore[misc]
    """Deployments of the models in the registry that MLflow resolves.

    Every method raises `MlflowException`, whose message ends with the fix: `INVALID_PARAMETER_VALUE` for what was asked
    wrongly, `RESOURCE_DOES_NOT_EXIST`, `RESOURCE_ALREADY_EXISTS`, `INVALID_STATE` where the model's state forbids it,
    `RESOURCE_CONFLICT` where somebody else acts on it, `PERMISSION_DENIED` where nothing may move.

    Args:
        target_uri: `fds`.
    """

    def __init__(self, target_uri: str) -> None:
        super().__init__(target_uri)
        with mlflow_client.as_mlflow():
            if target_uri != "fds":
                raise ConfigError(
                    f"the target is {target_uri!r}", fix="write fds, and name the registry by MLFLOW_TRACKING_URI"
                )

    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Make a version the first champion of its model, or start its rollout as canary.

        Args:
            name: `fraud@champion` or `fraud@canary`, or the part behind @ with `endpoint`.
            model_uri: `models:/fraud/4`.
            flavor: None, or `python_function`.
            config: `reason`, `force`, `allow_new_columns`; of a canary also `plan`, a YAML file.
            endpoint: The model.
        """
        with mlflow_client.as_mlflow():
            _require_write()
            there, version = _brought(name, model_uri, flavor, endpoint)
            if there.version is not None:
                raise MlflowException(
                    f"the deployment {there.name} is version {there.version} already\nFix: update or delete it",
                    error_code=codes.RESOURCE_ALREADY_EXISTS,
                )
            return _told(there, there.start(version, config))

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Make another version the champion, or give the canary more traffic, or make it the champion.

        Args:
            name: As for `create_deployment`.
            model_uri: Of a champion: `models:/fraud/4`. Of a canary its own, if any.
            flavor: None, or `python_function`.
            config: `reason`, `force`; of a champion `allow_new_columns`; of a canary `weight`, in percent or `next`, or
                `complete`.
            endpoint: The model.
        """
        with mlflow_client.as_mlflow():
            _require_write()
            there = _found(name, flavor, endpoint)
            serves = there.require()
            version = serves if model_uri is None else deployments.version_of(there.model.name, model_uri)
            if there.variant is Variant.CHAMPION:
                return _told(there, there.start(version, config))
            if version != serves:
                raise RefusedError(
                    f"{there.name} is a rollout of version {serves}, not of {version}",
                    fix="delete it, and create it with the other version",
                )
            return _told(there, there.move(config))

    def delete_deployment(
        self, name: str, config: Mapping[str, Any] | None = None, endpoint: str | None = None
    ) -> None:
        """Stop a canary; one that is not there any more is fine.

        Args:
            name: As for `create_deployment`.
            config: `reason`, which the history needs.
            endpoint: The model.
        """
        with mlflow_client.as_mlflow():
            _require_write()
            there = deployments.deployment(name, endpoint)
            if there.version is not None:
                _told(there, there.stop(config))

    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """Every deployment of a model, or of all models: name, version and percentage of the traffic."""
        with mlflow_client.as_mlflow():
            names = deployments.models() if endpoint is None else [endpoint]
            return [one for name in names for one in _of(name)]

    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """One deployment; arguments as for `create_deployment`."""
        with mlflow_client.as_mlflow():
            return {**deployments.deployment(name, endpoint).described(), "flavor": FLAVOR}

    def predict(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> PredictionsResponse:
        """Score rows. No outcome is left, but by a server.

        Args:
            deployment_name: As for `create_deployment`: rows are scored by that version. None for the version that each
                row's `transaction_id` is routed to.
            inputs: A frame, or what makes one. Whole numbers in a column of doubles are doubles: MLflow's command line
                reads them so.
            endpoint: The model, or the address of a running `fds serve`, which then answers.

        Returns:
            `predictions`: for each row `score`, `flagged`, `variant` and `version`.
        """
        import pandas as pd

        with mlflow_client.as_mlflow():
            frame = inputs if isinstance(inputs, pd.DataFrame) else pd.DataFrame(inputs)
            if endpoint is not None and "://" in endpoint:
                found = deployments.served(endpoint, deployment_name, frame)
            elif deployment_name is not None:
                found = deployments.deployment(deployment_name, endpoint).scores(frame)
            elif endpoint is not None:
                found = deployments.routed(deployments.managed(endpoint), frame)
            else:
                raise ConfigError("nobody is asked for the scores", fix="give a deployment's name, or an endpoint")
            return PredictionsResponse(predictions=found)

    def create_endpoint(self, name: str, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Register an empty model."""
        with mlflow_client.as_mlflow():
            _require_write()
            deployments.understood(config, ())
            mlflow_client.client(None, None).create_registered_model(checked_model(name))
            return {"name": name}

    def update_endpoint(self, endpoint: str, config: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Refused: an endpoint has nothing of its own."""
        with mlflow_client.as_mlflow():
            raise RefusedError(f"the endpoint {endpoint!r} has nothing of its own", fix="update one of its deployments")

    def delete_endpoint(self, endpoint: str) -> None:
        """Refused where there is one, since its history would be gone."""
        with mlflow_client.as_mlflow():
            if endpoint in deployments.models():
                raise RefusedError(
                    f"the endpoint {endpoint!r} is a registered model, and its history would go with it",
                    fix="delete the registered model in MLflow, if that is meant",
                )

    def list_endpoints(self) -> list[dict[str, Any]]:
        """All registered models."""
        with mlflow_client.as_mlflow():
            return [{"name": name} for name in deployments.models()]

    def get_endpoint(self, endpoint: str) -> dict[str, Any]:
        """A model and its deployments."""
        with mlflow_client.as_mlflow():
            return {"name": endpoint, "deployments": _of(endpoint)}


def _require_write() -> None:
    """Refuse to move anything where only reading is allowed.

    Raises:
        MlflowException: It is not allowed.
        ConfigError: `FDS_DEPLOYMENTS` says neither.
    """
    said = environment.setting(environment.DEPLOYMENTS)
    if said not in ("", "read", "write"):
        raise ConfigError(f"{environment.DEPLOYMENTS} is {said!r}", fix="set it to read or write")
    if said == "read" or (not said and deployments.by_agent()):
        who = f"{environment.DEPLOYMENTS}=read" if said else "a tool of MLflow's MCP server"
        raise MlflowException(
            f"{who} may read deployments, and move none\nFix: set {environment.DEPLOYMENTS}=write where this runs",
            error_code=codes.PERMISSION_DENIED,
        )


def _brought(name: str, model_uri: str, flavor: str | None, endpoint: str | None = None) -> tuple[Deployment, int]:
    """The deployment that is meant, and the version that is to serve there."""
    there = _found(name, flavor, endpoint)
    return there, deployments.version_of(there.model.name, model_uri)


def _found(name: str, flavor: str | None, endpoint: str | None) -> Deployment:
    if flavor not in (None, FLAVOR):
        raise ConfigError(f"the flavor is {flavor!r}", fix=f"leave it out: every version is served as {FLAVOR}")
    return deployments.deployment(name, endpoint)


def _of(model: str) -> list[dict[str, Any]]:
    """What is deployed of a model."""
    found = deployments.deployments(deployments.managed(model))
    return [{**one.described(), "flavor": FLAVOR} for one in found if one.version is not None]


def _told(there: Deployment, result: Result) -> dict[str, Any]:
    """What came of it. MLflow's command line shows the name and the flavor alone: the rest is logged, too."""
    log.info("%s", result.message)
    for warning in result.warnings:
        log.warning("%s", warning)
    return {"name": there.name, "flavor": FLAVOR, "message": result.message, "warnings": list(result.warnings)}
