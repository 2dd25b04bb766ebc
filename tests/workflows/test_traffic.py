"""Simulated traffic for a server: every transaction with its label, in time, and refusals told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pandas as pd
import pytest
from click.testing import CliRunner

from fds_mlflow.cli.main import main
from fds_mlflow.errors import DataError, UnavailableError
from fds_mlflow.serving.disk.spool import Label, SpooledOutcome
from fds_mlflow.serving.http.app import App
from fds_mlflow.serving.worker.settings import ServerSettings
from fds_mlflow.workflows.traffic import Traffic, send, simulated
from tests.conftest import FakeClock
from tests.support.servers import free_port
from tests.support.version_caches import put, table

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DELAY = timedelta(seconds=5)


class Application(httpx.BaseTransport):
    """A server's application, without the network.

    Args:
        folder: Of its cache: champion 1 and canary 2, which take amounts.
        inputs: What they take.
    """

    def __init__(self, folder: Path, inputs: dict[str, str]) -> None:
        self.settings = ServerSettings("fraud", "memory:", folder)
        for version in (1, 2):
            put(self.settings.version_cache(), version, inputs=inputs)
        self.settings.version_cache().write_table(table(weight=5_000))
        self.app = App(self.settings)
        self.app.worker.follow()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Let the application answer."""
        return asyncio.run(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app)) as client:
            given = {"content": request.read(), "headers": request.headers}
            answer = await client.request(request.method, request.url, **given)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def kept(self) -> list[object]:
        """What went to the spool."""
        self.app.worker.stop()
        spool = self.settings.spool()
        return [item for path in spool.waiting() for item in spool.read(path)]


@pytest.fixture
def frame() -> pd.DataFrame:
    """Forty transactions."""
    return simulated(40, days=30, fraud_rate=0.2, seed=1, now=NOW)


def sent(application: Application, frame: pd.DataFrame, clock: FakeClock, traffic: Traffic) -> None:
    """Send them, four a second."""
    with httpx.Client(transport=application, base_url="http://localhost") as client:
        send(client, frame, traffic, rate=4.0, label_delay=DELAY, clock=clock)


def test_every_transaction_is_scored_and_labelled_in_time(frame: pd.DataFrame, tmp_path: Path) -> None:
    """Each leaves one outcome under its own id, and one label so long after it; the counts add up."""
    application, clock, traffic = Application(tmp_path, {"amount": "double"}), FakeClock(), Traffic()
    sent(application, frame, clock, traffic)
    kept = application.kept()
    outcomes = [item for item in kept if isinstance(item, SpooledOutcome)]
    labels = [item for item in kept if isinstance(item, Label)]
    assert [one.transaction_id for one in outcomes] == [*frame["transaction_id"]]
    assert {one.transaction_id: one.status for one in labels} == {
        row.transaction_id: "confirmed" if row.is_fraud else "genuine" for row in frame.itertuples()
    }
    assert traffic.answered == {"champion": 40 - traffic.answered["canary"], "canary": traffic.answered["canary"]}
    assert (traffic.frauds, traffic.labels, traffic.flagged) == (8, 40, sum(one.flagged for one in outcomes))
    assert 39 / 4 + 5 <= clock.seconds < 39 / 4 + 6.5
    since = [datetime.fromisoformat(str(one.known_at)) - clock.start for one in labels]
    due = [number / 4 + 5 for number in range(40)]
    assert all(at <= told.total_seconds() <= at + 1.5 for at, told in zip(due, since, strict=True))


def test_what_is_sent_lies_before_now_and_under_new_ids(frame: pd.DataFrame) -> None:
    """No server refuses a transaction as one of tomorrow's, or as another one under an id that it knows."""
    assert frame["time"].max() <= NOW.replace(tzinfo=None)
    again = simulated(40, days=30, fraud_rate=0.2, seed=1, now=NOW)
    assert not {*frame["transaction_id"]} & {*again["transaction_id"]}
    assert [*frame["amount"]] == [*again["amount"]]


def test_a_refusal_is_told(frame: pd.DataFrame, tmp_path: Path) -> None:
    """A server whose model takes other columns says which; nothing more is sent."""
    application, traffic = Application(tmp_path, {"amount": "double", "hour": "double"}), Traffic()
    with pytest.raises(DataError, match="hour"):
        sent(application, frame, FakeClock(), traffic)
    assert traffic == Traffic()


def test_a_server_that_is_not_there_is_told() -> None:
    """The message says how to start one, on the command line as well; what is no address has its own."""
    with httpx.Client(base_url=f"http://127.0.0.1:{free_port()}") as client, pytest.raises(UnavailableError) as error:
        send(
            client,
            simulated(1, days=1, fraud_rate=0, seed=1, now=NOW),
            Traffic(),
            rate=1,
            label_delay=DELAY,
            clock=FakeClock(),
        )
    assert "fds serve" in error.value.fix
    found = CliRunner().invoke(main, ["simulate", "--serve", f"http://127.0.0.1:{free_port()}", "--rows", "60"])
    assert found.exit_code == 1
    assert "does not answer" in found.stderr
    for words in (
        (),
        ("x.csv", "--serve", "http://127.0.0.1:1"),
        ("--serve", "http://127.0.0.1:1", "--rate", "quickly"),
    ):
        assert CliRunner().invoke(main, ["simulate", *words]).exit_code in (1, 2)
