"""Models to look at and act on from the page, and the page without a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import unescape
from re import sub
from typing import TYPE_CHECKING

from mlflow import MlflowClient

from fds_mlflow import Plan
from fds_mlflow.core.lifecycle.events import Kind, Rollout
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.core.plan.guardrail import Guardrail
from fds_mlflow.core.plan.metric import Metric
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.registry.transaction import Result, Transactions
from fds_mlflow.rollouts import naming
from fds_mlflow.rollouts.record.run import Point, RolloutRuns
from fds_mlflow.runtime.clock import SystemClock
from fds_mlflow.runtime.identity import new_id
from fds_mlflow.ui import permissions
from fds_mlflow.ui.permissions import Level

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

PLAN = Plan(
    [10, 25, 50, 100],
    guardrails=[Guardrail(Metric.ERROR_RATE, margin=1.0, negligible=0.002), Guardrail(Metric.ALERT_RATE, margin=0.5)],
    bake_time="10m",
    gates=[25],
)
REASONS = {
    "alert_rate": "PASS: 1.9 % < 3 %",
    "error_rate": "INCONCLUSIVE: 12 of 4,000",
    "split": "PASS: as the weights say",
}


class House:
    """A registry with models, and somebody who acts on them past the page.

    Args:
        uri: Tracking and registry.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.client = MlflowClient(uri, uri)
        self.store = MlflowStore(uri, uri)
        self.transactions = Transactions(self.store, SystemClock(), new_id)

    def register(self, model: str, versions: int = 3) -> None:
        """A model with versions that could serve, and that nobody can load."""
        self.client.create_registered_model(model)
        for _ in range(versions):
            made = self.client.create_model_version(model, "s3://nowhere/model", await_creation_for=None)
            self.client.set_model_version_tag(model, made.version, "fds.threshold", "0.5")

    def do(
        self, model: str, kind: Kind, version: int | None = None, *, reason: str = "because", actor: str = "ann"
    ) -> Result:
        """Carry out one operation."""
        started = {"plan": PLAN, "rollout_id": new_id()} if kind is Kind.START else {}
        request = Request(kind, version, now=datetime.now(UTC), **started)
        return self.transactions.run(model, request, actor=actor, reason=reason, take_over=kind is Kind.EMERGENCY)

    def rollout(self, model: str = "fraud") -> Rollout:
        """A model whose version 1 serves, and whose version 2 is on trial."""
        self.register(model)
        self.do(model, Kind.PROMOTE, 1, reason="the first model")
        result = self.do(model, Kind.START, 2, reason="weekly retrain")
        assert result.event is not None
        assert result.event.rollout is not None
        return result.event.rollout

    def judged(self, model: str, rollout: Rollout, reasons: Mapping[str, str] = REASONS, *, points: int = 20) -> None:
        """What an autopilot records of a rollout: verdicts in tags, numbers over time."""
        runs = RolloutRuns(model, self.uri)
        run = runs.open(rollout, None)
        tags = {f"{naming.VERDICT}.{check}": said for check, said in reasons.items()}
        tags |= {naming.VERDICT: "INCONCLUSIVE: error_rate is open", naming.RECOMMENDATION: "wait: error_rate is open"}
        runs.log(run, [_point(rollout, place, reasons) for place in range(points)], tags)

    def alias(self, model: str, name: str = "champion") -> int | None:
        """The version that an alias points at."""
        return self.store.read(model).aliases.get(name)


def _point(rollout: Rollout, place: int, checks: Mapping[str, str]) -> Point:
    values = {"rollout/weight": 10.0}
    for check in checks:
        values |= {f"{check}/champion": 0.02, f"{check}/canary": 0.02 + place / 10_000}
        values |= {f"{check}/fail_evidence": place / 100, f"{check}/pass_evidence": place / 50}
    return Point(rollout.since + timedelta(minutes=place), values)


@dataclass
class People:
    """Who is signed in, and what each may do: a stand-in for the app that signs users in."""

    name: str | None = None
    levels: dict[str, Level] = field(default_factory=dict)
    default: Level = Level.MANAGE

    def user(self) -> str | None:
        """Who is signed in now."""
        return self.name

    def level(self, model: str) -> Level:
        """What they may do."""
        return self.levels.get(model, self.default)


class Browser:
    """Somebody who reads pages and sends their forms, without a server or JavaScript.

    Attributes:
        people: Who they are.
    """

    def __init__(self, client: FlaskClient, people: People) -> None:
        self.client = client
        self.people = people

    def get(self, path: str, **headers: str) -> TestResponse:
        """Read a page."""
        return self.client.get(path, headers=headers)

    def read(self, path: str) -> str:
        """What a page says, without its markup."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return shown(answer.text)

    def send(self, path: str, *, reason: str = "", **more: str) -> TestResponse:
        """Read an action's page, then send its form, with other values where they are given."""
        form = fields(self.get(path).text)
        return self.client.post("/ajax-api/fds/action", data={**form, "reason": reason, **more})


def shown(html: str) -> str:
    """The text of a page."""
    return unescape(sub(r"\s+", " ", sub(r"<[^>]*>", " ", html)))


def fields(html: str) -> dict[str, str]:
    """The hidden fields of a page's form."""
    import re

    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', html)
    return {unescape(name): unescape(value) for name, value in found}


__all__ = ["Browser", "House", "People", "fields", "permissions", "shown"]
