"""People are told in words: what they read, who is told what, and that no key of an address is shown."""

from __future__ import annotations

import json
import logging
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy

import pytest

from fds_mlflow import ManagedModel, Plan
from fds_mlflow.cli.main import main
from fds_mlflow.core.lifecycle.events import Ending, Event, Kind
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.errors import ConfigError, UnavailableError
from fds_mlflow.notifications.notification import Notification, of_event
from fds_mlflow.notifications.notifier import Notifier, from_environment
from fds_mlflow.notifications.people import People
from fds_mlflow.notifications.webhook import Patience
from fds_mlflow.notifications.words import Urgency, words
from tests.support.receiver import HttpReceiver, http_receiver
from tests.support.registry_model import MODEL, World

TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FAST = Patience(timeout=5.0, attempts=3, first_wait=0.0, longest_wait=0.0)
KEY = "TIiajkdnlazkcOXrIdevi7FQ"
LINK = "https://mlflow.example.com/#/models/fraud/versions/4"
VERDICT = Notification(
    "R-1",
    "rollout.verdict",
    TIME,
    "fraud",
    {
        "rollout": "R",
        "champion": 3,
        "canary": 4,
        "weight": 10.0,
        "overall": {
            "status": "FAIL",
            "check": "false_positives",
            "reason": "false positives: 2.1 times",
        },
        "changes": [{"check": "false_positives", "from": "INCONCLUSIVE", "to": "FAIL", "reason": "2.1 times"}],
        "recommendation": {"from": "wait", "to": "abort", "reason": "a guardrail failed"},
    },
    LINK,
)


@pytest.fixture
def http() -> Iterator[HttpReceiver]:
    """A receiver on loopback."""
    with http_receiver() as receiver:
        yield receiver


def address(http: HttpReceiver, scheme: str = "json") -> str:
    """The receiver's address for Apprise, with a key in it."""
    return f"{scheme}://{http.url.removeprefix('http://')}/{KEY}"


def told(notification: Notification, receiver: People) -> None:
    """Tell it now."""
    receiver.deliver(notification, threading.Event())


def with_status(status: str) -> Notification:
    """The verdict with another status."""
    return replace(VERDICT, data={**VERDICT.data, "overall": {**VERDICT.data["overall"], "status": status}})


def test_a_verdict_is_told_in_words_with_a_link(http: HttpReceiver) -> None:
    """Who reads it knows the model, the versions, the verdict, what changed, what is recommended, and where to look."""
    told(VERDICT, People(address(http), "FDS_NOTIFY"))
    (got,) = http.received
    said = json.loads(got.body)
    assert said["title"] == "fraud: FAIL, canary 4 against champion 3 at 10 %"
    assert said["message"].splitlines() == [
        "Verdict: false positives: 2.1 times",
        "false positives: INCONCLUSIVE -> FAIL: 2.1 times",
        "Recommendation: abort: a guardrail failed",
        "2026-01-02 03:04:05 UTC",
        LINK,
    ]
    assert said["type"] == "failure"


def test_every_operation_is_told_in_words() -> None:
    """What was done, to which versions, why and by whom; what was decided is said, and how urgent it is."""
    world = World()
    model = ManagedModel(MODEL, store=world.store, clock=world.clock, actor="ann", notifier=Notifier())
    first, second, third = 1, 2, 3
    now = world.clock.now()
    for request, reason in (
        (Request(Kind.PROMOTE, first), "first model"),
        (Request(Kind.START, second, plan=Plan([10, 100]), rollout_id="R" * 26, now=now), "weekly retrain"),
        (Request(Kind.PAUSE, now=now), "lunch"),
        (Request(Kind.RESUME, now=now), "back"),
        (Request(Kind.ABORT), "support reports blocked customers"),
        (Request(Kind.START, third, plan=Plan([10, 100]), rollout_id="S" * 26, now=now), "again"),
        (Request(Kind.COMPLETE), "shown to the team"),
        (Request(Kind.EMERGENCY), "it burns"),
    ):
        model.session.run(request, reason)
    found = [words(of_event(MODEL, event)) for event in reversed(model.history())]
    shown = [(one.title.partition(": ")[2], one.urgency.value) for one in found]
    assert shown == [
        (f"promote, version {first}", "success"),
        (f"start 10 %, canary {second} against champion {first}", "info"),
        (f"pause 10 %, canary {second} against champion {first}", "warning"),
        (f"resume 10 %, canary {second} against champion {first}", "info"),
        (f"abort (aborted by hand), canary {second} against champion {first}", "warning"),
        (f"start 10 %, canary {third} against champion {first}", "info"),
        (f"complete (completed by hand without a PASS), canary {third} against champion {first}", "success"),
        (f"emergency, from version {third} to {first}", "failure"),
    ]
    assert found[0].body.splitlines()[:2] == ["Why: first model", "Who: ann"]


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("outcome", Ending)
def test_whatever_happened_can_be_said(kind: Kind, outcome: Ending) -> None:
    """No kind of event, however it ended, is without words; one without effect warns and says so."""
    event = Event(1, "O" * 26, kind, "ann", "a\x1b[31m\nreason", TIME, 3, 4, outcome=outcome)
    said = words(of_event("fraud", event))
    assert said.title.startswith(f"fraud: {kind.shown}")
    assert ("did not take effect" in said.title) is (outcome is not Ending.DONE)
    assert outcome is Ending.DONE or said.urgency is Urgency.WARNING
    assert "\x1b" not in said.body


def test_only_what_is_urgent_pages(http: HttpReceiver) -> None:
    """Who is paged hears of harm, errors and emergencies, not of steps; a test they hear, since somebody asked."""
    pager = People(address(http), "FDS_PAGE", urgent=True)
    event = Event(1, "O" * 26, Kind.STAGE, "ann", "why", TIME, 3, 4)
    test = Notification("T", "test", TIME, "fraud", {"actor": "ann"})
    for notification in (*map(with_status, ("PASS", "INCONCLUSIVE", "NODATA")), of_event("fraud", event)):
        told(notification, pager)
    assert http.received == []
    emergency = of_event("fraud", replace(event, kind=Kind.EMERGENCY))
    for notification in (with_status("FAIL"), with_status("ERROR"), emergency, test):
        told(notification, pager)
    assert len(http.received) == 4


def test_what_is_not_taken_is_tried_again_and_then_reported_without_the_key(
    http: HttpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    """A receiver that fails is asked again; the error says what it answered, and nothing of the address's key."""
    caplog.set_level(logging.DEBUG, logger="apprise")
    receiver = People(address(http), "FDS_NOTIFY, number 1", patience=FAST)
    http.answer(500, 204)
    told(VERDICT, receiver)
    assert len(http.received) == 2
    http.answer(403, 403, 403)
    with pytest.raises(UnavailableError, match=r"in 3 attempts: .*403") as failed:
        told(VERDICT, receiver)
    assert KEY not in f"{failed.value} {receiver!r} {receiver.name} {caplog.text}"


@pytest.mark.parametrize("given", [KEY, f"slack://{KEY}", f"nonsense://{KEY}", "mailto://", "://", "https://"])
def test_what_is_no_address_is_refused_without_being_repeated(given: str, caplog: pytest.LogCaptureFixture) -> None:
    """The error says which of the addresses it is and how one is written, and never quotes it."""
    with pytest.raises(ConfigError, match="FDS_NOTIFY, number 2 is no address") as refused:
        from_environment({"FDS_NOTIFY": f"json://localhost/x {given}"})
    assert KEY not in f"{refused.value} {refused.value.fix} {caplog.text}"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (f"slack://T1JJ3T3L2/A1BRTD4JD/{KEY}/#ops", "Slack"),
        (f"workflows://prod-1.westus.logic.azure.com:443/643e69f83c8944/{KEY}", "Teams"),
        (f"pagerduty://0123456789abcdef0123456789abcdef@{KEY}", "Pager Duty"),
        ("mailtos://smtp.example.com?user=ann&pass=verysecret&from=fds@example.com&to=team@example.com", "E-Mail"),
    ],
)
def test_the_addresses_on_the_page_are_addresses(given: str, name: str) -> None:
    """Slack, Teams, PagerDuty and e-mail are named as the documentation names them."""
    assert name in People(given, "FDS_NOTIFY").name


def test_one_that_fails_keeps_no_other_from_being_told(http: HttpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each address has a queue of its own, so nobody is told twice because somebody else was not told."""
    monkeypatch.setenv("FDS_NOTIFY", f"{address(http)} json://127.0.0.1:9/{KEY}")
    notifier = from_environment(patience=FAST)
    (failure,) = notifier.send_now(VERDICT)
    assert "number 2" in failure.receiver
    assert len(http.received) == 1


def test_the_command_line_tries_the_settings(
    http: HttpReceiver, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`fds notify test` says who was told."""
    monkeypatch.setenv("FDS_NOTIFY", address(http))
    main(["--tracking-uri", mlflow_uri, "notify", "test", "fraud"], standalone_mode=False)
    assert json.loads(http.received[0].body)["title"] == "fraud: a test"
    assert "JSON (FDS_NOTIFY, number 1)" in capsys.readouterr().out


class Mailbox(socketserver.ThreadingTCPServer):
    """An SMTP server on loopback that keeps what it gets (RFC 5321, the commands that a client needs)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Smtp)
        self.mails: list[bytes] = []


class _Smtp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        for line in self.rfile:
            if line.upper().startswith(b"DATA"):
                self.wfile.write(b"354 go on\r\n")
                assert isinstance(self.server, Mailbox)
                self.server.mails.append(b"".join(iter(self.rfile.readline, b".\r\n")))
            self.wfile.write(b"250 fine\r\n")


def test_an_e_mail_has_the_verdict_as_its_subject() -> None:
    """It arrives through a real SMTP session, with the words as its text."""
    with Mailbox() as mailbox:
        threading.Thread(target=mailbox.serve_forever, daemon=True).start()
        port = mailbox.server_address[1]
        told(VERDICT, People(f"mailto://127.0.0.1:{port}?from=fds@example.com&to=team@example.com&format=text", "mail"))
        mailbox.shutdown()
    (raw,) = mailbox.mails
    mail = message_from_bytes(raw, policy=policy.default)
    assert mail["subject"] == "fraud: FAIL, canary 4 against champion 3 at 10 %"
    assert LINK in mail.get_content()
