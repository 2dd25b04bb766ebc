"""MLflow deployments to the target `fds`: through Python, MLflow's command line and the tools of its MCP server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from mlflow.deployments import BaseDeploymentClient, cli, get_deploy_client
from mlflow.exceptions import MlflowException

from fds_mlflow import ManagedModel
from fds_mlflow.core.lifecycle.events import Kind
from tests.support import tiny_models
from tests.support.places import pointing_at

ROWS = pd.DataFrame({"transaction_id": ["a", "b"], "amount": [0.25, 0.75], "hour": [1.0, 23.0]})

CHAMPION, CANARY = "fraud@champion", "fraud@canary"

WRITES = {
    "create_deployment": {"name": CANARY, "model_uri": "models:/fraud/2"},
    "update_deployment": {"name": CHAMPION, "model_uri": "models:/fraud/2"},
    "delete_deployment": {"name": CANARY, "config": ["reason=why not"]},
}
"""MLflow's tools that move something, and what they are asked to do."""


@pytest.fixture(scope="module")
def registries(migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of registries to copy: `idle.db`, where none of three versions serves, and `rollout.db`."""
    folder = tmp_path_factory.mktemp("registries")
    made = {"good": tiny_models.GOOD, "better": tiny_models.BETTER, "too_high": tiny_models.TOO_HIGH}
    shutil.copyfile(migrated_database, folder / "idle.db")
    with pointing_at(f"sqlite:///{folder / 'idle.db'}"):
        for name, expression in made.items():
            tiny_models.register("fraud", tiny_models.save(folder, name, expression))
    shutil.copyfile(folder / "idle.db", folder / "rollout.db")
    with pointing_at(f"sqlite:///{folder / 'rollout.db'}"):
        client = get_deploy_client("fds")
        client.create_deployment(CHAMPION, "models:/fraud/1", config={"reason": "first"})
        client.create_deployment(CANARY, "models:/fraud/2", config={"reason": "weekly"})
    return folder


@pytest.fixture
def client(registries: Path, mlflow_uri: str, tmp_path: Path) -> BaseDeploymentClient:
    """MLflow's client of the target, where none of three versions serves, and the third may not."""
    shutil.copyfile(registries / "idle.db", tmp_path / "mlflow.db")
    return get_deploy_client("fds")


@pytest.fixture
def rollout(registries: Path, mlflow_uri: str, tmp_path: Path) -> BaseDeploymentClient:
    """The same, where the first version serves, and the second is on trial."""
    shutil.copyfile(registries / "rollout.db", tmp_path / "mlflow.db")
    return get_deploy_client("fds")


@pytest.fixture
def model(mlflow_uri: str) -> ManagedModel:
    """The model."""
    return ManagedModel("fraud")


def run(command: Any, *words: str) -> Result:
    """What a command of `mlflow deployments` says."""
    done = CliRunner().invoke(command, [*words, "-t", "fds"])
    assert done.exit_code == 0, done.exception
    return done


def code_of(call: Callable[[], Any], match: str) -> str:
    """MLflow's code of the error that a call ends in, whose message says this and names a fix."""
    with pytest.raises(MlflowException, match=match) as refused:
        call()
    assert "\nFix: " in refused.value.message
    return str(refused.value.error_code)


# --- a rollout, from the first version to the next champion --------------------------------------------------


def test_a_rollout_is_played_through_the_client(client: BaseDeploymentClient, model: ManagedModel) -> None:
    """Create, update, get, list and delete are the operations of a rollout, and the history has them as such."""
    made = client.create_deployment(CHAMPION, "models:/fraud/1", config={"reason": "first"})
    assert (made["name"], made["flavor"]) == (CHAMPION, "python_function")
    assert [one["name"] for one in client.list_deployments()] == [CHAMPION]
    client.create_deployment("canary", "models:/fraud/2", endpoint="fraud")
    assert client.get_deployment(CANARY)["weight"] == 10
    client.update_deployment(CANARY, config={"weight": "next"})
    client.update_deployment(CANARY, config={"weight": "30", "reason": "looks well"})
    told = {one["name"]: (one["version"], one["weight"]) for one in client.list_deployments("fraud")}
    assert told == {CHAMPION: (1, 70), CANARY: (2, 30)}
    client.delete_deployment(CANARY, config={"reason": "enough"})
    client.delete_deployment(CANARY, config={"reason": "enough"})
    client.create_deployment(CANARY, "models:/fraud/2")
    client.update_deployment(CANARY, config={"complete": "true", "force": "true", "reason": "known good"})
    client.update_deployment(CHAMPION, "models:/fraud/1", config={"reason": "no, after all"})
    kinds = [Kind.PROMOTE, Kind.START, Kind.ADVANCE, Kind.ADVANCE, Kind.ABORT, Kind.START, Kind.COMPLETE, Kind.PROMOTE]
    assert [event.kind for event in reversed(model.history())] == kinds
    assert client.get_endpoint("fraud")["deployments"] == client.list_deployments("fraud")
    assert client.list_endpoints() == [{"name": "fraud"}]


def test_a_plan_comes_from_a_file(rollout: BaseDeploymentClient, tmp_path: Path) -> None:
    """A canary is created by the plan that is named."""
    rollout.delete_deployment(CANARY, config={"reason": "another plan"})
    (tmp_path / "plan.yaml").write_text("steps: [5, 50]\n", encoding="utf-8")
    rollout.create_deployment(CANARY, "models:/fraud/2", config={"plan": str(tmp_path / "plan.yaml")})
    assert rollout.get_deployment(CANARY)["weight"] == 5


def test_a_team_calls_its_deployments_as_it_calls_its_aliases(
    client: BaseDeploymentClient, model: ManagedModel
) -> None:
    """A model whose alias is `prod` has the deployment `fraud@prod`."""
    client.create_deployment(CHAMPION, "models:/fraud/1")
    model.rename_aliases(champion="prod", reason="as everywhere")
    assert client.get_deployment("fraud@prod")["version"] == 1
    assert code_of(lambda: client.get_deployment(CHAMPION), "no deployment 'champion'") == "RESOURCE_DOES_NOT_EXIST"


# --- what MLflow expects of a plugin -------------------------------------------------------------------------


def test_the_command_line_of_mlflow_manages_deployments(
    client: BaseDeploymentClient, model: ManagedModel, tmp_path: Path
) -> None:
    """Every verb of `mlflow deployments` that names a deployment does what it says; so does its help."""
    create, why = ("-m", "models:/fraud/1", "--name", CHAMPION), ("-C", "reason=a = b")
    assert "python_function deployment fraud@champion is created" in run(cli.create_deployment, *create, *why).output
    run(cli.create_deployment, "-m", "models:/fraud/2", "--name", CANARY)
    updated = run(cli.update_deployment, "--name", CANARY, "-C", "weight=next").output
    assert "Deployment fraud@canary is updated (with flavor python_function)" in updated
    assert "'name': 'fraud@canary'" in run(cli.list_deployment).output
    assert "weight: 25.0" in run(cli.get_deployment, "--name", CANARY).output
    rows = tmp_path / "rows.json"
    rows.write_text(ROWS.to_json(orient="records"), encoding="utf-8")
    said = json.loads(run(cli.predict, "--name", CANARY, "-I", str(rows)).output)
    assert [row["score"] for row in said["predictions"]] == [0.125, 0.875]
    run(cli.predict, "--endpoint", "fraud", "-I", str(rows), "-O", str(tmp_path / "said.json"))
    assert {row["variant"] for row in json.loads((tmp_path / "said.json").read_text())["predictions"]} <= {
        *("champion", "canary")
    }
    assert "Deployment fraud@canary is deleted" in run(cli.delete_deployment, "--name", CANARY, *why).output
    assert "fraud@canary" in run(cli.target_help).output
    assert "'name': 'fraud'" in run(cli.list_endpoints).output
    assert "deployments: " in run(cli.get_endpoint, "--endpoint", "fraud").output
    assert [event.reason for event in model.history()][::3] == ["a = b", "a = b"]


def test_run_local_tries_a_version_and_moves_nothing(client: BaseDeploymentClient, model: ManagedModel) -> None:
    """A version that may serve is said to, with its scores of its own example; what may not serve is refused."""
    said = run(cli.run_local, "-m", "models:/fraud/1", "--name", CHAMPION).output
    assert "version 1 of fraud may serve" in said
    assert "scores of its own example: 0, 0.25, 1" in said
    done = CliRunner().invoke(cli.run_local, ["-m", "models:/fraud/3", "--name", CHAMPION, "-t", "fds"])
    assert isinstance(done.exception, MlflowException)
    assert "version 3 may not serve" in done.exception.message
    assert model.history() == []


def test_explanations_are_left_to_the_server(client: BaseDeploymentClient) -> None:
    """What the target does not offer is MLflow's own error, not a crash."""
    with pytest.raises(MlflowException, match="not yet supported"):
        client.explain(CHAMPION, ROWS)


# --- what is refused -----------------------------------------------------------------------------------------


def test_what_is_there_is_not_created_again(rollout: BaseDeploymentClient) -> None:
    """A deployment, or an endpoint, that exists is updated, never created over."""
    for name in (CHAMPION, CANARY):
        assert code_of(lambda n=name: rollout.create_deployment(n, "models:/fraud/3"), "already") == (
            "RESOURCE_ALREADY_EXISTS"
        )
    with pytest.raises(MlflowException, match="already exists"):
        rollout.create_endpoint("fraud")
    assert rollout.create_endpoint("returns") == {"name": "returns"}


def test_what_serves_is_not_deleted(rollout: BaseDeploymentClient, model: ManagedModel) -> None:
    """Neither the champion nor a model with its history goes by way of deployments; the fix says what is meant."""
    assert code_of(lambda: rollout.delete_deployment(CHAMPION), "rollback emergency fraud") == "INVALID_STATE"
    assert code_of(lambda: rollout.delete_endpoint("fraud"), "its history would go") == "INVALID_STATE"
    assert rollout.delete_endpoint("returns") is None
    assert code_of(lambda: rollout.update_endpoint("fraud"), "nothing of its own") == "INVALID_STATE"
    assert model.overview().champion == 1


def test_a_canary_of_another_version_is_another_rollout(rollout: BaseDeploymentClient, model: ManagedModel) -> None:
    """An update never swaps the version under a rollout, and its own version is no change."""
    assert code_of(lambda: rollout.update_deployment(CANARY, "models:/fraud/3"), "rollout of version 2") == (
        "INVALID_STATE"
    )
    rollout.update_deployment(CANARY, "models:/fraud/2", config={"weight": 25.0})
    assert rollout.get_deployment(CANARY)["weight"] == 25


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"model_uri": "runs:/0f3c/model"}, "no version of 'fraud'"),
    ({"model_uri": "models:/returns/1"}, "no version of 'fraud'"),
    ({"model_uri": "models:/fraud/latest"}, "no version of 'fraud'"),
    ({"model_uri": "models:/fraud/²"}, "no version of 'fraud'"),
    ({"flavor": "lightgbm"}, "the flavor is 'lightgbm'"),
    ({"config": {"raesno": "typo", "\x1b[31m": ""}}, r"config has '\\x1b\[31m', 'raesno'"),
    ({"config": {"force": "perhaps"}}, "force is 'perhaps'"),
    ({"config": {"reason": "\u202eevil"}}, "control character"),
    ({"config": {"plan": "absent.yaml"}}, "absent.yaml"),
    ({"name": "fraud"}, "no name of a deployment"),
    ({"name": "@canary"}, "no name of a deployment"),
    ({"name": "returns@canary", "endpoint": "fraud"}, "no deployment of 'fraud'"),
)


def test_what_is_asked_wrongly_is_said_so(client: BaseDeploymentClient, model: ManagedModel) -> None:
    """Names, versions, flavors and keys that are none are refused with what they should be, and nothing moves."""
    for asked, says in WRONG:
        given = {"name": CANARY, "model_uri": "models:/fraud/2", **asked}
        assert code_of(lambda g=given: client.create_deployment(**g), says) == "INVALID_PARAMETER_VALUE"
    assert model.history() == []


def test_a_canary_moves_only_as_far_as_it_is_told(rollout: BaseDeploymentClient) -> None:
    """No update is a step without a word of how far."""
    for config, says in (
        (None, "not said how far"),
        ({"complete": "true", "weight": "next"}, "not said how far"),
        ({"weight": "x"}, "the weight is 'x'"),
        ({"weight": "nan"}, "not a percentage"),
    ):
        update = lambda c=config: rollout.update_deployment(CANARY, config=c)  # noqa: E731
        assert code_of(update, says) == "INVALID_PARAMETER_VALUE"
    assert rollout.get_deployment(CANARY)["weight"] == 10


def test_what_is_not_there_is_not_found(client: BaseDeploymentClient) -> None:
    """A deployment, a model or a version that does not exist is said to be missing, as MLflow says it."""
    for call in (
        lambda: client.get_deployment(CANARY),
        lambda: client.get_deployment("returns@champion"),
        lambda: client.update_deployment(CHAMPION, "models:/fraud/1"),
        lambda: client.create_deployment(CHAMPION, "models:/fraud/99"),
        lambda: client.list_deployments("returns"),
        lambda: client.predict(CHAMPION, ROWS),
    ):
        assert code_of(call, "Fix: ") == "RESOURCE_DOES_NOT_EXIST"
    assert client.list_deployments() == []
    assert client.delete_deployment(CANARY) is None


def test_a_target_has_no_address(mlflow_uri: str) -> None:
    """Credentials of one registry go to no other that somebody names."""
    assert code_of(lambda: get_deploy_client("fds://other.example"), "the target is") == "INVALID_PARAMETER_VALUE"


# --- scores --------------------------------------------------------------------------------------------------


def test_predictions_are_those_of_who_answers(rollout: BaseDeploymentClient, model: ManagedModel) -> None:
    """A deployment scores by its version, an endpoint each row by the version of its key; neither leaves an outcome."""
    of_canary = rollout.predict(CANARY, ROWS)
    assert of_canary.get_predictions().to_dict("list") == {
        **{"score": [0.125, 0.875], "flagged": [False, True], "variant": ["canary"] * 2, "version": [2, 2]},
    }
    many = pd.concat([ROWS] * 100, ignore_index=True).assign(transaction_id=[f"TX{i}" for i in range(200)])
    routed = rollout.predict(inputs=many, endpoint="fraud")["predictions"]
    route = model.router(record=False).route
    assert [row["version"] for row in routed] == [route(key).version for key in many["transaction_id"]]
    assert {row["version"] for row in routed} == {1, 2}
    assert json.loads(rollout.predict(inputs=many, endpoint="fraud").to_json())["predictions"] == routed
    assert not Path("fds-outcomes.db").exists()


def test_whole_numbers_are_doubles_where_the_signature_says_so(rollout: BaseDeploymentClient) -> None:
    """Rows of whole amounts, as pandas reads them from JSON, are scored; a text in a number's place is refused."""
    whole = ROWS.assign(amount=[0, 1], hour=[1, 23])
    for given in ({"deployment_name": CANARY}, {"endpoint": "fraud"}):
        assert len(rollout.predict(inputs=whole, **given)["predictions"]) == 2
        assert code_of(lambda g=given: rollout.predict(inputs=ROWS.assign(amount="x"), **g), "amount") == (
            "INVALID_PARAMETER_VALUE"
        )
    assert code_of(lambda: rollout.predict(inputs=ROWS), "nobody is asked") == "INVALID_PARAMETER_VALUE"
    assert code_of(
        lambda: rollout.predict(inputs=ROWS.drop(columns="transaction_id"), endpoint="fraud"), "transaction_id"
    ) == ("INVALID_PARAMETER_VALUE")


def test_a_running_server_answers_where_it_is_named(
    rollout: BaseDeploymentClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows go to the server with its token; its answer, and its refusal, come back as those of the registry do."""
    sent: list[httpx.Request] = []
    answers = [
        httpx.Response(200, json={"predictions": [0.5], "details": [{"score": 0.5, "version": 1}]}),
        httpx.Response(401, json={"message": "the bearer token is missing or wrong"}),
        httpx.Response(502, text="<html>"),
    ]

    def answer(self: httpx.Client, request: httpx.Request, **_: Any) -> httpx.Response:
        sent.append(request)
        return answers[len(sent) - 1]

    monkeypatch.setattr(httpx.Client, "send", answer)
    monkeypatch.setenv("FDS_SERVE_TOKEN", "t0ken")
    told = rollout.predict("my fraud@canary", ROWS, endpoint="http://127.0.0.1:9/")
    assert told["predictions"] == [{"score": 0.5, "version": 1}]
    assert str(sent[0].url) == "http://127.0.0.1:9/models/my%20fraud/invocations"
    assert (sent[0].headers["X-FDS-Variant"], sent[0].headers["Authorization"]) == ("canary", "Bearer t0ken")
    assert json.loads(sent[0].content)["dataframe_split"]["data"] == ROWS.to_numpy().tolist()
    ask = lambda: rollout.predict(inputs=ROWS, endpoint="http://127.0.0.1:9/models/fraud")  # noqa: E731
    assert code_of(ask, "token is missing") == "INVALID_STATE"
    assert code_of(ask, "did not answer") == "TEMPORARILY_UNAVAILABLE"
    assert str(sent[1].url) == "http://127.0.0.1:9/models/fraud/invocations"


# --- agents --------------------------------------------------------------------------------------------------


def tool(name: str) -> Callable[..., str]:
    """A tool of MLflow's MCP server, as the server calls it."""
    named = pytest.importorskip("mlflow.mcp.decorator", reason="this MLflow's MCP server has no tools of deployments")
    from mlflow.mcp.server import fn_wrapper

    (command,) = [one for one in cli.commands.commands.values() if named.get_mcp_tool_name(one) == name]
    return fn_wrapper(command)


def test_an_agent_reads(rollout: BaseDeploymentClient, tmp_path: Path) -> None:
    """Through MLflow's MCP server everything can be looked at, and rows can be scored."""
    assert CANARY in tool("list_deployments")(target="fds")
    assert "weight: 10.0" in tool("get_deployment")(target="fds", name=CANARY)
    assert "fraud" in tool("list_deployment_endpoints")(target="fds")
    ROWS.to_json(tmp_path / "rows.json", orient="records")
    said = tool("predict_with_deployment")(target="fds", name=CANARY, input_path=str(tmp_path / "rows.json"))
    assert [row["score"] for row in json.loads(said)["predictions"]] == [0.125, 0.875]


def test_an_agent_moves_nothing_unless_it_may(
    rollout: BaseDeploymentClient, model: ManagedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every tool that changes something is refused through MLflow's MCP server, and changes nothing."""
    before = model.history()
    for name, asked in WRITES.items():
        for said in ("", "read"):
            monkeypatch.setenv("FDS_DEPLOYMENTS", said)
            assert code_of(lambda n=name, a=asked: tool(n)(target="fds", **a), "may read") == "PERMISSION_DENIED"
    with pytest.raises(TypeError):  # MLflow's own command fails before it gets to any plugin
        tool("create_deployment_endpoint")(target="fds", name="returns")
    assert model.history() == before


def test_an_agent_that_may_is_named_in_the_history(
    rollout: BaseDeploymentClient, model: ManagedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the environment lets agents act, the history says that one did, and for whom."""
    monkeypatch.setenv("FDS_DEPLOYMENTS", "write")
    monkeypatch.setenv("FDS_ACTOR", "ann")
    tool("delete_deployment")(target="fds", name=CANARY, config=["reason=alerts doubled"])
    event = model.history()[0]
    assert (event.kind, event.actor, event.reason) == (Kind.ABORT, "agent of ann", "alerts doubled")


def test_an_agent_sends_no_token_anywhere(rollout: BaseDeploymentClient, tmp_path: Path) -> None:
    """An address that an agent names is not asked for scores: it would be shown the server's token."""
    ROWS.to_json(tmp_path / "rows.json", orient="records")
    asked = {"target": "fds", "endpoint": "http://127.0.0.1:9", "input_path": str(tmp_path / "rows.json")}
    assert code_of(lambda: tool("predict_with_deployment")(**asked), "no address") == "INVALID_STATE"


def test_whoever_may_only_read_moves_nothing(
    client: BaseDeploymentClient, model: ManagedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment can take writing from everybody, and what it says otherwise is an error."""
    monkeypatch.setenv("FDS_DEPLOYMENTS", "read")
    assert code_of(lambda: client.create_deployment(CHAMPION, "models:/fraud/1"), "move none") == "PERMISSION_DENIED"
    assert code_of(lambda: client.create_endpoint("returns"), "move none") == "PERMISSION_DENIED"
    monkeypatch.setenv("FDS_DEPLOYMENTS", "Write")
    assert code_of(lambda: client.create_deployment(CHAMPION, "models:/fraud/1"), "is 'Write'") == (
        "INVALID_PARAMETER_VALUE"
    )
    assert model.history() == []
