"""Notifications: what receivers are told, how it is signed and retried, and that no receiver gets in the way."""

from __future__ import annotations

import base64
import importlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import standardwebhooks
from click.testing import CliRunner

from fds_mlflow import ManagedModel, Plan
from fds_mlflow.cli.main import main
from fds_mlflow.core.lifecycle.events import Event, Kind
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.errors import ConfigError, RefusedError, UnavailableError
from fds_mlflow.notifications.notification import Notification, of_event
from fds_mlflow.notifications.notifier import (
    AT_ONCE,
    Failure,
    Hook,
    Notifier,
    Receiver,
    default_notifier,
    from_environment,
)
from fds_mlflow.notifications.notifier import _installed as installed
from fds_mlflow.notifications.webhook import BRIEF, Patience, Webhook, _seconds
from fds_mlflow.registry import records, tags
from fds_mlflow.registry.store import SetAlias, SetStage
from tests.support.places import ROOT
from tests.support.receiver import HANG, HttpReceiver, http_receiver
from tests.support.registry_model import MODEL, Killed, World

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
FAST = Patience(timeout=5.0, attempts=3, first_wait=0.0, longest_wait=0.0)
TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HIDDEN = ("token-in-path", "token-in-query", SECRET, SECRET.removeprefix("whsec_"))


def notification(name: str = "N1") -> Notification:
    """Something to tell."""
    return Notification(name, "test", TIME, "fraud", {"reason": 'Prüfung "1" €'})


@pytest.fixture
def http() -> Iterator[HttpReceiver]:
    """A receiver on loopback."""
    with http_receiver() as receiver:
        yield receiver


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Everything that any library logs."""
    caplog.set_level(logging.DEBUG)
    return caplog


def deliver(webhook: Webhook, told: Notification | None = None) -> None:
    """Deliver now."""
    webhook.deliver(told or notification(), threading.Event())


class Recording:
    """A receiver that keeps what it gets, and waits or fails where told."""

    name = "recording"

    def __init__(self) -> None:
        self.got: list[str] = []
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.error: Exception | None = None

    def deliver(self, notification: Notification, stopping: threading.Event) -> None:
        """Keep it."""
        self.entered.set()
        self.go_on.wait()
        if self.error is not None:
            raise self.error
        self.got.append(notification.id)


# --- the webhook ---------------------------------------------------------------------------------------------------


def test_a_webhook_posts_signed_json_that_a_standard_receiver_verifies(http: HttpReceiver) -> None:
    """The body is the notification; the official library verifies id, time and signature with the same secret."""
    deliver(Webhook(http.url, SECRET))
    (got,) = http.received
    verified = standardwebhooks.Webhook(SECRET).verify(got.body, got.headers)
    assert verified == {
        "type": "test",
        "timestamp": "2026-01-02T03:04:05+00:00",
        "data": {"model": "fraud", "reason": 'Prüfung "1" €'},
    }
    assert got.headers["webhook-id"] == "N1"
    assert got.headers["content-type"] == "application/json; charset=utf-8"
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(OTHER).verify(got.body, got.headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(SECRET).verify(got.body.replace(b"fraud", b"Fraud"), got.headers)


def test_while_a_secret_is_replaced_both_the_old_and_the_new_verify(http: HttpReceiver) -> None:
    """Two secrets, separated by a space, sign both: receivers change over when it suits them."""
    deliver(Webhook(http.url, f"{SECRET} {OTHER}"))
    (got,) = http.received
    for secret in (SECRET, OTHER):
        assert standardwebhooks.Webhook(secret).verify(got.body, got.headers)


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408, 425])
def test_an_answer_that_may_change_is_asked_for_again(http: HttpReceiver, status: int) -> None:
    """A receiver that fails once gets the same notification again, under the same id, and that is the end of it."""
    http.answer(status, 200)
    deliver(Webhook(http.url, SECRET, patience=FAST))
    assert [got.headers["webhook-id"] for got in http.received] == ["N1", "N1"]
    assert http.received[0].body == http.received[1].body


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 410])
def test_an_answer_that_will_not_change_ends_the_attempts_at_once(http: HttpReceiver, status: int) -> None:
    """Redirects are not followed, refusals are not repeated: the error names the answer and the fix."""
    http.answer(status, location=http.url + "/elsewhere")
    with pytest.raises(UnavailableError, match=rf"127\.0\.0\.1 refused N1: it answered {status}"):
        deliver(Webhook(http.url, SECRET, patience=FAST))
    assert len(http.received) == 1


def test_a_receiver_that_keeps_failing_is_given_up_after_the_attempts_allowed(http: HttpReceiver) -> None:
    """The number of attempts is a limit, and the error says how many there were and what came back."""
    http.answer(500, 500, 503, 200)
    with pytest.raises(UnavailableError, match="in 3 attempts: it answered 503 Service Unavailable"):
        deliver(Webhook(http.url, SECRET, patience=FAST))
    assert len(http.received) == 3


def test_a_receiver_that_hangs_costs_its_timeout_and_is_tried_again(http: HttpReceiver) -> None:
    """No answer within the timeout counts as a failed attempt."""
    http.answer(HANG, 200)
    deliver(Webhook(http.url, SECRET, patience=Patience(timeout=0.2, attempts=2, first_wait=0.0)))
    assert len(http.received) == 2
    http.answer(HANG)
    with pytest.raises(UnavailableError, match=r"in 1 attempts: no answer within 0.2 s \(ReadTimeout\)"):
        deliver(Webhook(http.url, SECRET, patience=Patience(timeout=0.2, attempts=1)))


def test_a_receiver_that_is_not_there_is_reported_without_its_url() -> None:
    """A refused connection names the host and the cause."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: it refuses
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/hooks/token-in-path"
        with pytest.raises(UnavailableError, match=r"webhook at 127\.0\.0\.1 .* in 3 attempts: ConnectError") as caught:
            deliver(Webhook(url, SECRET, patience=FAST))
    assert "token" not in str(caught.value)


def test_the_pause_a_receiver_asks_for_is_kept_up_to_the_longest() -> None:
    """`Retry-After` is understood as seconds and as a date; nonsense asks for nothing."""
    assert _seconds("7", TIME) == 7
    assert _seconds("Fri, 02 Jan 2026 03:04:35 GMT", TIME) == 30
    assert _seconds("Fri, 02 Jan 2026 03:00:00 GMT", TIME) == 0
    assert [_seconds(odd, TIME) for odd in ("", "soon", "-3", "²", "1e9")] == [0, 0, 0, 0, 0]


def test_the_pause_is_cut_short_when_the_process_ends(http: HttpReceiver) -> None:
    """A receiver that asks for an hour does not hold up a process that wants to end."""
    http.answer(503, retry_after="3600")
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(UnavailableError, match="in 1 attempts"):
        Webhook(http.url, SECRET).deliver(notification(), stopping)


def test_attempts_that_would_take_too_long_together_do_not_begin(http: HttpReceiver) -> None:
    """The total time is a limit too: a pause that would pass it ends the attempts."""
    http.answer(503, retry_after="30")
    with pytest.raises(UnavailableError, match="in 1 attempts"):
        deliver(Webhook(http.url, SECRET, patience=Patience(total=10.0)))


@pytest.mark.parametrize(
    "url", ["", "my-receiver", "ftp://example.com/x", "https:///path-only", "file:///etc/passwd", "http://[::1"]
)
def test_a_url_that_is_none_is_refused_without_being_repeated(url: str) -> None:
    """Only http and https with a host."""
    with pytest.raises(ConfigError, match="does not begin with http:// or https://") as caught:
        Webhook(url, SECRET)
    assert not url or url not in str(caught.value)


@pytest.mark.parametrize(
    "secret", ["", "my password", "whsec_", "whsec_c2hvcnQ=", "whsec_" + "A" * 40 + "!", "whsec_" + "A" * 100]
)
def test_a_weak_or_broken_secret_is_refused_without_being_repeated(secret: str) -> None:
    """Base64 of 24 to 64 bytes, as the standard asks: the library itself would take any text for Base64."""
    with pytest.raises(ConfigError, match="24 to 64 bytes") as caught:
        Webhook("https://example.com/", secret)
    assert not secret.strip("whsec_") or secret not in str(caught.value)


@pytest.mark.parametrize("statuses", [(204,), (404,), (500, 500, 500), (301,)])
def test_no_secret_reaches_the_log(
    http: HttpReceiver, log: pytest.LogCaptureFixture, statuses: tuple[int, ...]
) -> None:
    """Neither the signing secret nor the URL's path and query are logged, by us or by the HTTP library."""
    http.answer(*statuses)
    webhook = Webhook(http.url, SECRET, patience=FAST)
    notifier = Notifier([webhook])
    notifier.send(notification())
    assert notifier.flush(30)
    shown = log.text + repr(webhook) + repr(notifier.failures) + "".join(r.getMessage() for r in log.records)
    assert http.received
    assert "127.0.0.1" in shown
    assert not [secret for secret in HIDDEN if secret in shown]


def test_two_webhooks_hide_each_other_s_secrets(http: HttpReceiver, log: pytest.LogCaptureFixture) -> None:
    """A webhook whose path is the beginning of another one's does not undo what that one hides."""
    other = Webhook(http.url.partition("/hooks")[0] + "/hook", SECRET, patience=FAST)
    http.answer(204)
    notifier = Notifier([Webhook(http.url, SECRET, patience=FAST)])
    notifier.send(notification())
    assert notifier.flush(30)
    assert not [secret for secret in HIDDEN if secret in log.text + repr(other)]


# --- hooks ---------------------------------------------------------------------------------------------------------


def test_a_hook_gets_the_notification_itself() -> None:
    """A Python function is called with the value."""
    got: list[Notification] = []
    assert Notifier([Hook(got.append)]).send_now(notification()) == ()
    assert got == [notification()]


def test_a_hook_is_found_by_module_and_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`FDS_HOOK=module:function` names it; it is imported when first needed."""
    (tmp_path / "my_team_hooks.py").write_text("got = []\ndef tell(n):\n    got.append(n.id)\n")
    monkeypatch.syspath_prepend(tmp_path)
    notifier = from_environment({"FDS_HOOK": "my_team_hooks:tell"})
    assert "my_team_hooks" not in sys.modules
    assert notifier.send_now(notification()) == ()
    assert sys.modules["my_team_hooks"].got == ["N1"]


def test_installed_hooks_are_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that declares an entry point of the group `fds_mlflow.hooks` is told without any setting."""
    (tmp_path / "their_hooks.py").write_text("got = []\ndef tell(n):\n    got.append(n.id)\n")
    info = tmp_path / "their_hooks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-hooks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fds_mlflow.hooks]\npager = their_hooks:tell\n")
    monkeypatch.syspath_prepend(tmp_path)
    installed.cache_clear()
    try:
        notifier = from_environment({})
    finally:
        installed.cache_clear()
    assert [receiver.name for receiver in notifier.receivers] == ["hook pager (their_hooks:tell)"]
    importlib.invalidate_caches()  # the module is younger than the last look into its folder may be
    assert [failure.why for failure in notifier.send_now(notification())] == []
    assert sys.modules["their_hooks"].got == ["N1"]


@pytest.mark.parametrize("hook", ["tell", "module:", ":tell"])
def test_a_hook_without_module_or_function_is_refused(hook: str) -> None:
    """The setting is read before anything happens, and the message shows the form."""
    with pytest.raises(ConfigError, match="FDS_HOOK is"):
        from_environment({"FDS_HOOK": hook})


def test_a_hook_that_does_not_exist_or_raises_is_reported() -> None:
    """Whatever goes wrong in somebody's function is a failure of that receiver, with its own words."""

    def broken(_: Notification) -> None:
        raise KeyError("pager")

    hooks = [Hook("no_such_module:tell"), Hook("json:no_such_function"), Hook(broken, "broken")]
    failures = Notifier(hooks).send_now(notification())
    assert [failure.why.split(":")[0] for failure in failures] == ["ModuleNotFoundError", "AttributeError", "KeyError"]
    assert failures[2] == Failure("broken", notification(), "KeyError: 'pager'")


# --- the notifier --------------------------------------------------------------------------------------------------


def test_whoever_asks_waits_no_longer_than_they_said() -> None:
    """A receiver that never ends costs the person who asks the time they gave, and the others are told all the same."""
    begun, stopped, got = threading.Event(), threading.Event(), list[Notification]()

    class Endless:
        name = "endless"

        def deliver(self, notification: Notification, stopping: threading.Event) -> None:
            begun.set()
            stopping.wait()
            stopped.set()

    (failure,) = Notifier([Endless(), Hook(got.append)]).send_now(notification(), seconds=0.2)
    assert (failure.receiver, failure.why) == ("endless", "no end of it within 0.2 s")
    assert begun.is_set()
    assert len(got) == 1
    assert stopped.wait(10)  # and it was told to stop


@pytest.mark.slow
def test_a_refused_connection_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fds notify test` tries a few times within a second or so, and not for the minutes that an event is tried."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: it refuses
        monkeypatch.setenv("FDS_WEBHOOK_URL", f"http://127.0.0.1:{taken.getsockname()[1]}/hook")
        monkeypatch.setenv("FDS_WEBHOOK_SECRET", SECRET)
        told = CliRunner().invoke(main, ["--tracking-uri", f"sqlite:///{tmp_path}/m.db", "notify", "test", "fraud"])
    assert told.exit_code == 1
    assert "in 3 attempts" in told.stderr
    assert "Fix: " in told.stderr
    longest = sum(min(BRIEF.longest_wait, BRIEF.first_wait * 2**n) for n in range(BRIEF.attempts - 1))
    assert longest < 1
    assert longest + BRIEF.attempts * BRIEF.timeout < AT_ONCE


def test_notifications_arrive_in_the_order_they_were_sent() -> None:
    """One receiver is told one thing after the other."""
    receiver = Recording()
    notifier = Notifier([receiver])
    for number in range(200):
        notifier.send(notification(f"N{number}"))
    assert notifier.flush(30)
    assert receiver.got == [f"N{number}" for number in range(200)]


def test_a_receiver_that_hangs_delays_neither_the_sender_nor_another_receiver() -> None:
    """Sending returns while a receiver is stuck, and the others are told meanwhile."""
    stuck, fine = Recording(), Recording()
    stuck.go_on.clear()
    notifier = Notifier([stuck, fine])
    notifier.send(notification("N1"))
    notifier.send(notification("N2"))
    assert stuck.entered.wait(30)
    assert notifier._outboxes[1].join(threading.TIMEOUT_MAX)
    assert (stuck.got, fine.got) == ([], ["N1", "N2"])
    assert not notifier.flush(0)
    stuck.go_on.set()
    assert notifier.flush(30)
    assert stuck.got == ["N1", "N2"]


def test_what_cannot_wait_any_more_is_dropped_and_reported(log: pytest.LogCaptureFixture) -> None:
    """The queue has a bound: memory does not grow while a receiver is down, and what was dropped is named."""
    receiver = Recording()
    receiver.go_on.clear()
    notifier = Notifier([receiver], waiting=2)
    notifier.send(notification("N0"))
    assert receiver.entered.wait(30)
    for number in range(1, 5):
        notifier.send(notification(f"N{number}"))
    assert [failure.notification.id for failure in notifier.failures] == ["N3", "N4"]
    assert "test of fraud was not delivered (recording): 2 notifications wait already" in log.text
    receiver.go_on.set()
    assert notifier.flush(30)
    assert receiver.got == ["N0", "N1", "N2"]


def test_a_receiver_that_fails_is_reported_and_told_the_next_thing(log: pytest.LogCaptureFixture) -> None:
    """A failure is in the log and in `failures`; the thread goes on."""
    receiver = Recording()
    receiver.error = UnavailableError("it is down", fix="start it")
    notifier = Notifier([receiver])
    notifier.send(notification("N1"))
    assert notifier.flush(30)
    receiver.error = None
    notifier.send(notification("N2"))
    assert notifier.flush(30)
    assert [(failure.notification.id, failure.why) for failure in notifier.failures] == [("N1", "it is down")]
    assert receiver.got == ["N2"]
    assert "not delivered (recording): it is down" in log.text


def test_closing_reports_what_is_left_once(log: pytest.LogCaptureFixture) -> None:
    """A process that ends while a receiver hangs says what was in delivery and what was waiting, and sends no more."""
    receiver = Recording()
    receiver.go_on.clear()
    notifier = Notifier([receiver])
    notifier.send(notification("N1"))
    notifier.send(notification("N2"))
    assert receiver.entered.wait(30)
    notifier.close(0)
    notifier.send(notification("N3"))
    receiver.error = UnavailableError("cut", fix="-")
    receiver.go_on.set()
    assert notifier.flush(30)
    said = [(failure.notification.id, failure.why) for failure in notifier.failures]
    assert said == [
        ("N1", "the process ended while it was being delivered: it may have arrived"),
        ("N2", "the process ended before its turn came"),
        ("N3", "the notifier is closed"),
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.slow
def test_a_forked_process_delivers_its_own_and_not_its_parent_s(tmp_path: Path) -> None:
    """Servers fork workers: each delivers what it sends, with a thread of its own."""
    script = tmp_path / "forks.py"
    script.write_text(
        "import os, threading\n"
        "from fds_mlflow.notifications.notifier import Hook, Notifier\n"
        "from tests.notifications.test_notifications import notification\n"
        "gate = threading.Event()\n"
        "def tell(n):\n"
        "    if n.id == 'parent': gate.wait()\n"
        "    print(n.id, flush=True)\n"
        "notifier = Notifier([Hook(tell)])\n"
        "notifier.send(notification('parent'))\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    notifier.send(notification('child'))\n"
        "    os._exit(0 if notifier.flush(30) else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "gate.set()\n"
        "assert notifier.flush(30)\n"
    )
    repository = ROOT
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run([sys.executable, script], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["child", "parent"]


@pytest.mark.slow
def test_a_process_that_ends_delivers_first(http: HttpReceiver, tmp_path: Path) -> None:
    """A command that sends and returns does not lose its notification: the process waits for it, a limited time."""
    script = tmp_path / "ends.py"
    script.write_text(
        "from fds_mlflow.notifications.notifier import default_notifier\n"
        "from tests.notifications.test_notifications import notification\n"
        "default_notifier().send(notification())\n"
    )
    settings = {"FDS_WEBHOOK_URL": http.url, "FDS_WEBHOOK_SECRET": SECRET}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
    subprocess.run([sys.executable, script], check=True, env=environment)
    assert len(http.received) == 1


# --- settings ------------------------------------------------------------------------------------------------------


def test_without_settings_nobody_is_told_and_nothing_is_started() -> None:
    """No receiver, no thread."""
    before = threading.active_count()
    notifier = from_environment({})
    notifier.send(notification())
    assert (notifier.receivers, threading.active_count()) == ((), before)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"FDS_WEBHOOK_URL": "https://example.com/x"}, "FDS_WEBHOOK_URL is set without FDS_WEBHOOK_SECRET"),
        ({"FDS_WEBHOOK_SECRET": SECRET}, "FDS_WEBHOOK_SECRET is set without FDS_WEBHOOK_URL"),
    ],
)
def test_half_a_webhook_is_refused(settings: dict[str, str], says: str) -> None:
    """Every notification is signed, so the URL and the secret go together."""
    with pytest.raises(ConfigError, match=says) as caught:
        from_environment(settings)
    assert SECRET not in str(caught.value)


def test_a_wrong_setting_fails_no_operation(monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture) -> None:
    """The process's own notifier says what is wrong and tells nobody: an emergency goes on."""
    monkeypatch.setenv("FDS_WEBHOOK_URL", "https://example.com/token-in-path")
    monkeypatch.setenv("FDS_WEBHOOK_SECRET", "too short")
    assert default_notifier().receivers == ()
    assert "nobody is notified: the webhook's secret is not 24 to 64 bytes" in log.text
    assert "too short" not in log.text
    assert "token-in-path" not in log.text


def test_a_process_has_one_notifier_per_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of one process share receivers and their threads."""
    monkeypatch.setenv("FDS_HOOK", "json:dumps")
    first = default_notifier()
    assert first is default_notifier()
    monkeypatch.setenv("FDS_HOOK", "json:loads")
    assert first is not default_notifier()


# --- what an event says --------------------------------------------------------------------------------------------


def test_an_event_s_notification_has_its_operation_as_id_and_says_what_the_history_says() -> None:
    """The id is the operation's, so that doubles can be dropped; times are UTC; the payload is plain JSON."""
    time = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    event = Event(7, f"{7:026d}", Kind.PROMOTE, "ann", "weekly", time, from_version=3, to_version=4)
    told = of_event("fraud", event)
    assert (told.id, told.type) == (f"{7:026d}", "lifecycle.promote")
    assert json.loads(json.dumps(told.payload())) == {
        "type": "lifecycle.promote",
        "timestamp": "2026-01-02T01:04:05+00:00",
        "data": {
            "model": "fraud",
            "sequence": 7,
            "operation": f"{7:026d}",
            "kind": "promote",
            "from": 3,
            "to": 4,
            "actor": "ann",
            "reason": "weekly",
            "time": told.data["time"],
            "outcome": "done",
        },
    }


# --- where events come from ----------------------------------------------------------------------------------------


def managed(world: World, *receivers: Receiver) -> ManagedModel:
    """A process that manages the model in memory and tells receivers."""
    return ManagedModel(MODEL, store=world.store, clock=world.clock, actor="ann", notifier=Notifier(receivers))


def test_every_event_is_told_once_whatever_verb_wrote_it() -> None:
    """Operations, what a hand did in MLflow, what a dead process left: the whole history, and each event once."""
    world = World()
    world.store.write_limit = 20.0  # as SQLite's: a dead operation then outlives the longest pause of a waiting one
    told: list[Notification] = []
    model = managed(world, Hook(told.append))
    rollout = Request(Kind.START, 2, plan=Plan(), rollout_id="R" * 26, now=world.clock.now())
    for request in (
        Request(Kind.PROMOTE, 1),
        Request(Kind.STAGE, 2),
        rollout,
        Request(Kind.ADVANCE, now=world.clock.now()),
        Request(Kind.ABORT),
    ):
        model.session.run(request, "by hand")
    world.by_hand(SetAlias(tags.CHAMPION, 5))
    model.settle()
    with pytest.raises(Killed):
        world.process(world.dying(SetStage)).run(MODEL, Request(Kind.PROMOTE, 3), actor="bob", reason="dies")
    world.clock.seconds += 60
    model.settle()
    model.session.run(Request(Kind.EMERGENCY), "back", take_over=True)
    assert model.session.notifier.flush(30)
    assert [n.data for n in told] == [records.export_line(event) for event in reversed(model.history())]
    assert [n.type.removeprefix("lifecycle.") for n in told][-3:] == ["adopt", "promote", "emergency"]


def test_an_operation_does_not_wait_for_a_receiver() -> None:
    """With a receiver that hangs, a promotion and an emergency are done and recorded all the same."""
    world, receiver = World(), Recording()
    receiver.go_on.clear()
    model = managed(world, receiver)
    model.session.run(Request(Kind.PROMOTE, 1), "")
    model.session.run(Request(Kind.PROMOTE, 2), "")
    assert model.session.run(Request(Kind.EMERGENCY), "back").changed
    assert receiver.got == []
    receiver.go_on.set()
    assert model.session.notifier.flush(30)
    assert len(receiver.got) == 3


def test_an_operation_that_was_refused_is_told_to_nobody() -> None:
    """Only what is in the history is told."""
    world, receiver = World(), Recording()
    model = managed(world, receiver)
    with pytest.raises(RefusedError):
        model.session.run(Request(Kind.ABORT), "nothing to abort")
    assert model.session.notifier.flush(30)
    assert (receiver.got, model.history()) == ([], [])
