"""Four eyes on the command line: who asks, who approves, and what a shell is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fds_mlflow import ManagedModel
from fds_mlflow.cli.main import main
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.core.lifecycle.operations import Request
from tests.support import tiny_models

pytestmark = pytest.mark.usefixtures("mlflow_uri")
WHY = "too [red]slow[/red] & <b>bold</b>"


def fds(*words: str, actor: str = "ann") -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(main, ["--actor", actor, *words])


@pytest.fixture
def fraud() -> str:
    """A registered model without versions, and a policy."""
    from mlflow import MlflowClient

    MlflowClient().create_registered_model("fraud")
    assert fds("policy", "fraud", "--require-approval", "promote,start").exit_code == 0
    return "fraud"


def asked(fraud: str) -> str:
    """What lifts the policy waits for an approval; the id of its request."""
    found = fds("policy", fraud, "--require-approval", "none", "--reason", WHY, "--json")
    assert found.exit_code == 4
    value = json.loads(found.stdout)
    assert value["type"] == "AwaitsApprovalError"
    assert f"fds approve {value['request']}" in value["fix"]
    return str(value["request"])


def test_a_policy_is_shown_and_takes_names_it_knows(fraud: str) -> None:
    """What needs an approval, in one order; an unknown name is refused with those that there are."""
    assert json.loads(fds("policy", fraud, "--json").stdout) == {"require": ["start", "promote"]}
    found = fds("policy", fraud, "--require-approval", "promotion")
    assert found.exit_code == 1
    assert "use promote" in found.stderr


def test_a_second_person_approves_and_carries_out(fraud: str) -> None:
    """Exit code 4 while it waits, 1 for one's own approval, 0 for the second person's, after which nothing waits."""
    request = asked(fraud)
    (listed,) = json.loads(fds("requests", "--json").stdout)
    assert (listed["request"], listed["model"], listed["by"], listed["why"]) == (request, fraud, "ann", WHY)
    assert json.loads(fds("requests", fraud, "--json").stdout)[0]["request"] == request
    refused = fds("approve", request, actor=" ANN ")
    assert refused.exit_code == 1
    assert "a second person has to" in refused.stderr
    assert json.loads(fds("policy", fraud, "--json").stdout)["require"]
    assert fds("approve", request, "--execute", "--dry-run", actor="bob").exit_code == 0
    assert json.loads(fds("policy", fraud, "--json").stdout)["require"]
    done = fds("approve", request, "--execute", actor="bob")
    assert done.exit_code == 0, done.stderr
    assert json.loads(fds("policy", fraud, "--json").stdout) == {"require": []}
    assert json.loads(fds("requests", "--json").stdout) == []


def test_what_people_write_is_shown_as_text(fraud: str) -> None:
    """No reason is read as markup."""
    asked(fraud)
    shown = fds("requests").stdout.split()
    assert [word for word in WHY.split() if word not in shown] == []


def test_a_rejection_says_why(fraud: str) -> None:
    """It needs a reason, and what was asked for is asked anew afterwards."""
    request = asked(fraud)
    assert fds("reject", request, actor="bob").exit_code == 2
    assert fds("reject", request, "--reason", "not now", actor="bob").exit_code == 0
    assert fds("approve", request, actor="bob").exit_code == 1
    assert asked(fraud) != request


def test_a_request_that_nobody_made_is_not_found(fraud: str) -> None:
    """The message names where to look."""
    found = fds("approve", "01ARZ3NDEKTSV4RRFFQ69G5FAV", actor="bob")
    assert found.exit_code == 1
    assert "fds requests" in found.stderr


DOORS: dict[str, tuple[int, int]] = {
    "promote fraud 3 --reason x": (4, 2),
    "promote fraud 3 --force --reason x": (4, 2),
    "canary start fraud 3": (4, 2),
    "canary start fraud 3 --steps 100 --force --reason x": (4, 2),
    "aliases fraud --champion taken": (1, 2),
    "adopt fraud 2 --threshold 0.1": (1, 2),
    "policy fraud --require-approval none": (4, 2),
    "stage fraud 3": (0, 2),
    "settle fraud": (0, 2),
    "rollback emergency fraud --reason x": (0, 1),
    "rollback to fraud 2 --reason x": (0, 2),
}
"""What is asked for, in this order: its exit code, and who serves then."""


def test_no_verb_moves_traffic_without_an_approval_but_those_that_go_back(tmp_path: Path) -> None:
    """Whatever a verb is called and however forced: it waits, is refused, or gives traffic to nothing new."""
    from mlflow import MlflowClient

    good = tiny_models.save(tmp_path, "good", tiny_models.GOOD)
    for _ in range(3):
        tiny_models.register("fraud", good)
    session = ManagedModel("fraud", actor="zoe").session
    for version in (1, 2):
        session.run(Request(Kind.PROMOTE, version), "set up")
    client = MlflowClient()
    client.set_registered_model_alias("fraud", "taken", "3")
    assert fds("policy", "fraud", "--require-approval", "start,gate,complete,promote").exit_code == 0
    wrong = {}
    for call, expected in DOORS.items():
        found = fds(*call.split())
        aliases = client.get_registered_model("fraud").aliases
        if (found.exit_code, int(aliases["champion"])) != expected or "canary" in aliases:
            wrong[call] = (found.exit_code, aliases, found.output)
    assert wrong == {}
