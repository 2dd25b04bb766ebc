"""A model's champion and canary as deployments of an endpoint: found by name, moved, and asked for scores."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fds_mlflow.core.lifecycle.decision import AGENT
from fds_mlflow.core.routing.routing import Variant
from fds_mlflow.core.weight import to_percent
from fds_mlflow.errors import ConfigError, NotFoundError, RefusedError, UnavailableError
from fds_mlflow.model import ManagedModel
from fds_mlflow.registry.texts import MAX_ACTOR, clipped
from fds_mlflow.rollouts.plan.file import load_plan
from fds_mlflow.runtime import environment

if TYPE_CHECKING:
    import pandas as pd

    from fds_mlflow.registry.store import ModelView
    from fds_mlflow.registry.transaction import Result
    from fds_mlflow.registry.view import View

SECONDS = 30.0
"""How long a server that is asked for scores may take."""

PROMOTE = frozenset({"reason", "force", "allow_new_columns"})
START = PROMOTE | {"plan"}
MOVE = frozenset({"reason", "force", "weight", "complete"})
STOP = frozenset({"reason"})
"""What may be said about an operation, by name; a command line says it in texts."""

_FLAGS = frozenset({"force", "allow_new_columns", "complete"})

_DOUBLES = ("double", "float")


@dataclass(frozen=True)
class Deployment:
    """One of a model's two deployments, as the registry had it.

    Attributes:
        model: The endpoint.
        variant: Which of the two.
        version: What serves there; None where nothing does.
        view: The model.
    """

    model: ManagedModel
    variant: Variant
    version: int | None
    view: View

    @property
    def name(self) -> str:
        """The model, and what its team calls the alias: `fraud@champion`."""
        return f"{self.model.name}@{self.alias}"

    @property
    def alias(self) -> str:
        """What the model's team calls its alias."""
        return self.view.names.champion if self.variant is Variant.CHAMPION else self.view.names.canary

    def require(self) -> int:
        """The version.

        Raises:
            NotFoundError: Nothing serves there.
        """
        if self.version is None:
            raise NotFoundError(
                f"there is no deployment {self.name}",
                fix=f"create it: mlflow deployments create -t fds --name {self.name} -m models:/{self.model.name}/1",
            )
        return self.version

    def described(self) -> dict[str, Any]:
        """What is known of it; weights in percent of the traffic.

        Raises:
            NotFoundError: Nothing serves there.
        """
        rollout = self.view.rollout
        canary = 0.0 if rollout is None else to_percent(rollout.weight)
        value: dict[str, Any] = {
            "name": self.name,
            "endpoint": self.model.name,
            "version": self.require(),
            "model_uri": f"models:/{self.model.name}/{self.version}",
            "weight": canary if self.variant is Variant.CANARY else 100.0 - canary,
        }
        if rollout is not None:
            value |= {"rollout": rollout.id, "step": rollout.step, "since": rollout.since.isoformat()}
        return value

    def start(self, version: int, config: Mapping[str, Any] | None) -> Result:
        """Make a version the champion, or start its rollout.

        Raises:
            ConfigError: The configuration is not understood.
            FdsError: As of `ManagedModel.promote` and `Canary.start`.
        """
        if self.variant is Variant.CHAMPION:
            return self.model.promote(version, **understood(config, PROMOTE))
        given = understood(config, START)
        if "plan" in given:
            given["plan"] = load_plan(Path(str(given["plan"])))
        return self.model.canary.start(version, **given)

    def move(self, config: Mapping[str, Any] | None) -> Result:
        """Give a canary more traffic, or make it the champion.

        Raises:
            ConfigError: The configuration is not understood, or does not say how far.
            FdsError: As of `Canary.advance` and `Canary.complete`.
        """
        given = understood(config, MOVE)
        weight, complete = given.pop("weight", None), given.pop("complete", False)
        if complete and weight is None:
            return self.model.canary.complete(**given)
        if complete or weight is None:
            raise ConfigError(
                f"it is not said how far {self.name} is to move",
                fix="set weight to a percentage or to next, or complete to true",
            )
        try:
            to = None if weight == "next" else float(weight)
        except (TypeError, ValueError):
            raise ConfigError(f"the weight is {weight!r}", fix="write a percentage such as 25, or next") from None
        return self.model.canary.advance(to, **given)

    def stop(self, config: Mapping[str, Any] | None) -> Result:
        """Stop a canary.

        Raises:
            ConfigError: The configuration is not understood.
            RefusedError: It is the champion, or no reason is given.
        """
        given = understood(config, STOP)
        if self.variant is Variant.CHAMPION:
            raise RefusedError(
                f"{self.name} serves, and is not deleted: nothing would answer",
                fix=f"update it to another version, or `fds rollback emergency {self.model.name} --reason WHY`",
            )
        return self.model.canary.abort(reason=str(given.get("reason", "")))

    def scores(self, frame: pd.DataFrame) -> list[dict[str, Any]]:
        """Score rows by its version; see `routed`.

        Raises:
            NotFoundError: Nothing serves there.
            DataError: The rows do not fit the version's signature.
        """
        version = self.require()
        scorer = self.model.session.scorer(version)
        told = {"variant": str(self.variant), "version": version}
        scores = scorer.score(_fitted(frame, self.model, version)).tolist()
        return [{"score": score, "flagged": score >= scorer.threshold, **told} for score in scores]


def managed(name: str) -> ManagedModel:
    """A model; what an agent does to it is an agent's in the history."""
    model = ManagedModel(name)
    if by_agent():
        model.session.actor = clipped(f"{AGENT}{model.session.actor}", MAX_ACTOR)
    return model


def models() -> Mapping[str, ModelView]:
    """All registered models."""
    from fds_mlflow.registry.connection import connect

    return connect().models()


def deployments(model: ManagedModel) -> tuple[Deployment, Deployment]:
    """The champion's, and the canary's, whose version is that of the rollout that takes traffic."""
    view = model.session.look()
    trial = None if view.rollout is None else view.rollout.canary
    champion = Deployment(model, Variant.CHAMPION, view.champion_alias, view)
    return champion, Deployment(model, Variant.CANARY, trial, view)


def split(name: str, endpoint: str | None = None) -> tuple[str, str]:
    """The model and the alias that a deployment's name names.

    Args:
        name: `fraud@champion`, or `champion` where the endpoint is given.
        endpoint: The model.

    Raises:
        ConfigError: It names no model, or another one than `endpoint`.
    """
    if not isinstance(name, str):
        raise ConfigError(f"{name!r} is no name of a deployment", fix="write it as fraud@champion or fraud@canary")
    model, at, alias = name.rpartition("@")
    if endpoint is not None and at and model != endpoint:
        raise ConfigError(f"{name!r} is no deployment of {endpoint!r}", fix="leave one of the two out")
    if not (model or endpoint) or not alias:
        raise ConfigError(f"{name!r} is no name of a deployment", fix="write it as fraud@champion or fraud@canary")
    return model or str(endpoint), alias


def deployment(name: str, endpoint: str | None = None) -> Deployment:
    """The deployment of a name, be there one or not; arguments as for `split`.

    Raises:
        ConfigError: As of `split`.
        NotFoundError: There is no such model, or its aliases have other names.
    """
    model, alias = split(name, endpoint)
    found = deployments(managed(model))
    for one in found:
        if alias == one.alias:
            return one
    raise NotFoundError(f"{model!r} has no deployment {alias!r}", fix=f"name {found[0].name} or {found[1].name}")


def version_of(model: str, uri: str) -> int:
    """The version of a model that `models:/NAME/VERSION` names.

    Raises:
        ConfigError: It names none.
    """
    uri = str(uri)
    name, _, number = uri.removeprefix("models:/").rpartition("/")
    if not uri.startswith("models:/") or name != model or not (number.isascii() and number.isdecimal()):
        raise ConfigError(
            f"{uri!r} is no version of {model!r}",
            fix=f"register it, and write models:/{model}/VERSION (`fds show {model}` lists them)",
        )
    return int(number)


def understood(config: Mapping[str, Any] | None, keys: Collection[str]) -> dict[str, Any]:
    """What was said about an operation, flags as true or false.

    Raises:
        ConfigError: A key is none of these, or a flag is neither true nor false.
    """
    if not isinstance(config or {}, Mapping):
        raise ConfigError(f"config is {config!r}", fix="give names and values, such as {'reason': 'it passed'}")
    given = dict(config or {})
    unknown = sorted(given.keys() - set(keys))
    if unknown:
        raise ConfigError(
            f"config has {', '.join(map(repr, unknown))}", fix=f"it takes {', '.join(sorted(keys)) or 'nothing'} here"
        )
    for name in given.keys() & _FLAGS:
        said = str(given[name]).lower()
        if said not in ("true", "false"):
            raise ConfigError(f"{name} is {given[name]!r}", fix="write true or false")
        given[name] = said == "true"
    return given


def by_agent() -> bool:
    """Whether a tool of MLflow's MCP server asks: it calls MLflow's command line, and so stands on the stack.

    Nothing else tells: the server sets no variable, and every `mlflow` command imports its module.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None and Path(frame.f_code.co_filename).parts[-3:-1] != ("mlflow", "mcp"):
        frame = frame.f_back
    return frame is not None


def routed(model: ManagedModel, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Score rows, each by the version that its `transaction_id` is routed to. No outcome is left.

    Returns:
        For each row `score`, `flagged`, `variant` and `version`.

    Raises:
        DataError: There is no such column, or the rows do not fit the champion's signature.
        UnavailableError: There is no champion.
    """
    with model.router(record=False) as router:
        table = router.table
        versions = [table.champion] if table.rollout is None else [table.champion, table.rollout.canary]
        answer = router.predict(_fitted(frame, model, *versions))
    return [{str(name): value for name, value in row.items()} for row in answer.to_dict("records")]


def served(address: str, name: str | None, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """What a running `fds serve` answers about rows, as of `routed`; it keeps outcomes, as of every request.

    Args:
        address: Where it is, with `/models/NAME` where there are several models.
        name: The deployment that is to answer, of a server that lets requests choose; None for that of the key.
        frame: The rows.

    Raises:
        RefusedError: It refuses, or an agent asks: the token would go wherever the agent says.
        UnavailableError: It does not answer.
    """
    import httpx

    if by_agent():
        raise RefusedError("an agent may ask no address for scores", fix="give the model's name as the endpoint")
    headers = {"Content-Type": "application/json"}
    if token := environment.setting(environment.SERVE_TOKEN):
        headers["Authorization"] = f"Bearer {token}"
    address = address.rstrip("/")
    if name is not None:
        model, headers["X-FDS-Variant"] = split(name)
        address = f"{address}/models/{quote(model, safe='')}"
    body = f'{{"dataframe_split": {frame.to_json(orient="split", double_precision=15)}}}'
    try:
        answer = httpx.post(f"{address}/invocations", content=body, headers=headers, timeout=SECONDS)
        said = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise UnavailableError(f"{address} did not answer: {error}", fix="see whether `fds serve MODEL` runs") from None
    if answer.status_code != 200:
        raise RefusedError(f"{address} refused: {said.get('message', said)}", fix="do what the message says")
    return [dict(one) for one in said["details"]]


def _fitted(frame: pd.DataFrame, model: ManagedModel, *versions: int) -> pd.DataFrame:
    """The rows with columns of the types that signatures name: of JSON, pandas makes whole numbers of whole doubles."""
    for version in versions:
        inputs = model.session.scorer(version).inputs
        whole = [name for name in frame if inputs.get(str(name)) in _DOUBLES and frame[name].dtype.kind in "iu"]
        frame = frame.astype(dict.fromkeys(whole, "float64"))
    return frame
