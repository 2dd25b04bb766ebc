"""Tell others what happens: webhooks and Python hooks, called in threads of their own, never in an operation's way."""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Protocol, cast

from fds_mlflow.display.characters import printable
from fds_mlflow.display.redaction import redacted
from fds_mlflow.errors import ConfigError
from fds_mlflow.notifications.notification import Notification
from fds_mlflow.runtime.environment import HOOK, NOTIFY, PAGE, WEBHOOK_SECRET, WEBHOOK_URL, setting

if TYPE_CHECKING:
    from fds_mlflow.notifications.webhook import Patience


GROUP = "fds_mlflow.hooks"
"""Entry points of this group are hooks: installed is switched on."""

WAITING = 1_000
"""Notifications that may wait for one receiver; further ones are dropped, and reported."""

AT_EXIT = 10.0
"""Seconds a process that ends waits for what has not been delivered."""

AT_ONCE = 20.0
"""Seconds a person waits at most for what is sent while they watch."""

log = logging.getLogger(__name__)

HookFunction = Callable[[Notification], object]


class Receiver(Protocol):
    """Where notifications go.

    Attributes:
        name: For reports; holds no secret.
    """

    name: str

    def deliver(self, notification: Notification, stopping: threading.Event) -> None:
        """Deliver one notification, giving up soon after `stopping` is set; raise where it was not delivered."""
        ...


@dataclass(frozen=True)
class Failure:
    """A notification that was not delivered.

    Attributes:
        receiver: Where it was to go.
        notification: What it was.
        why: What went wrong.
    """

    receiver: str
    notification: Notification
    why: str


class Hook:
    """A Python function that is called with each notification.

    Args:
        function: It, or where it is: `module:function`, imported when the first notification comes.
        name: For reports.
    """

    def __init__(self, function: HookFunction | str | EntryPoint, name: str | None = None) -> None:
        self._function = function
        self.name = name or f"hook {function if isinstance(function, str) else getattr(function, 'name', function)}"

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def deliver(self, notification: Notification, stopping: threading.Event) -> None:  # noqa: ARG002 - a call cannot be stopped
        """Call the function; whatever it raises counts as not delivered, and is not tried again."""
        self._loaded()(notification)

    def _loaded(self) -> HookFunction:
        function = self._function
        if isinstance(function, str):
            function = _found(function)
        elif not callable(
            function
        ):  # an entry point; the backport `importlib_metadata` has a class of its own for them
            function = cast("HookFunction", function.load())
        self._function = function
        return function


class Notifier:
    """Hands notifications to receivers, each in a thread of its own and in the order in which they came.

    `send` returns at once and never raises: what a receiver does can neither delay nor fail an operation.

    Args:
        receivers: Where notifications go.
        waiting: How many may wait for one receiver.
    """

    def __init__(self, receivers: Sequence[Receiver] = (), *, waiting: int = WAITING) -> None:
        self._failures: deque[Failure] = deque(maxlen=WAITING)
        self._outboxes = [_Outbox(receiver, waiting, self._report) for receiver in receivers]

    @property
    def receivers(self) -> tuple[Receiver, ...]:
        """Where notifications go."""
        return tuple(outbox.receiver for outbox in self._outboxes)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What was not delivered, the latest last; the log has them all."""
        return tuple(self._failures)

    def send(self, notification: Notification) -> None:
        """Have every receiver told, soon."""
        for outbox in self._outboxes:
            outbox.put(notification)

    def send_now(self, notification: Notification, seconds: float = AT_ONCE) -> tuple[Failure, ...]:
        """Tell all receivers at the same time and wait for them: for a person who asks.

        Args:
            notification: What to tell.
            seconds: How long to wait in all, whatever the receivers do.

        Returns:
            One failure per receiver that did not take it.
        """
        told = [_Told(outbox.receiver, notification) for outbox in self._outboxes]
        until = time.monotonic() + seconds
        return tuple(failure for one in told if (failure := one.failure(until, seconds)) is not None)

    def flush(self, seconds: float = AT_EXIT) -> bool:
        """Wait until everything sent so far was delivered or given up; whether that came about in time."""
        until = time.monotonic() + seconds
        return all(outbox.join(until) for outbox in self._outboxes)

    def close(self, seconds: float = AT_EXIT) -> None:
        """Wait as `flush` does, then stop trying; what is left is reported as not delivered."""
        self.flush(seconds)
        for outbox in self._outboxes:
            outbox.stop()

    def _report(self, failure: Failure) -> None:
        self._failures.append(failure)
        said = failure.notification
        log.error("%s of %s was not delivered (%s): %s", said.type, said.model, failure.receiver, failure.why)


class _Told:
    """One notification on its way to one receiver, in a thread that ends with the process."""

    def __init__(self, receiver: Receiver, notification: Notification) -> None:
        self._receiver = receiver
        self._notification = notification
        self._stopping = threading.Event()
        self._why: str | None = None
        # A thread, since what a receiver sends a byte at a time no timeout of the library's ends.
        self._thread = threading.Thread(target=self._deliver, name=f"fds {receiver.name}", daemon=True)
        self._thread.start()

    def _deliver(self) -> None:
        try:
            self._receiver.deliver(self._notification, self._stopping)
        except Exception as error:  # whatever a receiver raises is its failure
            self._why = _why(error)

    def failure(self, until: float, seconds: float) -> Failure | None:
        """Why it was not delivered by a moment of the monotonic clock; None where it was."""
        self._thread.join(max(0.0, until - time.monotonic()))
        self._stopping.set()
        why = f"no end of it within {seconds:g} s" if self._thread.is_alive() else self._why
        return None if why is None else Failure(self._receiver.name, self._notification, why)


class _Outbox:
    """What waits for one receiver, and the thread that delivers it."""

    def __init__(self, receiver: Receiver, waiting: int, failed: Callable[[Failure], None]) -> None:
        self.receiver = receiver
        self._waiting = waiting
        self._failed = failed
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._queue: queue.Queue[Notification] = queue.Queue(self._waiting)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._current: Notification | None = None

    def put(self, notification: Notification) -> None:
        """Queue a notification; where that is not possible, say so and go on."""
        if self._process != os.getpid():
            self._begin()  # a forked process: threads do not survive it, locks may, and the parent delivers its own
        try:
            if self._stopping.is_set():
                raise RuntimeError("the notifier is closed")
            self._ensure_thread()
            self._queue.put_nowait(notification)
        except queue.Full:
            self._fail(notification, f"{self._queue.maxsize:,} notifications wait already")
        except RuntimeError as error:  # closed, or the machine has no more threads
            self._fail(notification, str(error))

    def join(self, until: float) -> bool:
        """Wait for the queue to be worked off, at most until a moment of the monotonic clock."""
        with self._queue.all_tasks_done:
            while self._queue.unfinished_tasks:
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self._queue.all_tasks_done.wait(left)
        return True

    def stop(self) -> None:
        """Try nothing any more, and report what is left."""
        self._stopping.set()
        if cut := self._take_current():
            self._fail(cut, "the process ended while it was being delivered: it may have arrived")
        while True:
            try:
                notification = self._queue.get_nowait()
            except queue.Empty:
                return
            self._fail(notification, "the process ended before its turn came")
            self._queue.task_done()

    def _ensure_thread(self) -> None:
        with self._lock:
            if self._thread is None:
                # A daemon: a receiver that hangs must not keep a process from ending; `close` waits a limited time.
                thread = threading.Thread(target=self._work, name=f"fds {self.receiver.name}", daemon=True)
                thread.start()
                self._thread = thread

    def _work(self) -> None:
        while True:
            self._current = notification = self._queue.get()
            try:
                self.receiver.deliver(notification, self._stopping)
            except Exception as error:  # the thread must outlive whatever a receiver raises
                if self._take_current():
                    self._fail(notification, _why(error))
            finally:
                self._current = None
                self._queue.task_done()

    def _take_current(self) -> Notification | None:
        """What is being delivered, for the one that reports it: it is reported once."""
        with self._lock:
            current, self._current = self._current, None
        return current

    def _fail(self, notification: Notification, why: str) -> None:
        self._failed(Failure(self.receiver.name, notification, why))


def from_environment(environment: Mapping[str, str] | None = None, *, patience: Patience | None = None) -> Notifier:
    """A notifier as the environment says: webhook, hook, people who are told all or only what is urgent, entry points.

    Args:
        environment: The variables; the process's where None.
        patience: How long receivers are tried.

    Raises:
        ConfigError: A setting is not valid, or one of WEBHOOK_URL and secret is missing.
    """
    given = os.environ if environment is None else environment
    url, secret, hook = (given.get(name, "").strip() for name in (WEBHOOK_URL, WEBHOOK_SECRET, HOOK))
    if bool(url) != bool(secret):
        raise ConfigError(
            f"{WEBHOOK_URL if url else WEBHOOK_SECRET} is set without {WEBHOOK_SECRET if url else WEBHOOK_URL}",
            fix="set both (every notification is signed), or neither",
        )
    receivers: list[Receiver] = []
    if url:
        from fds_mlflow.notifications.webhook import Webhook

        receivers.append(Webhook(url, secret, patience=patience))
    if hook:
        _parts(hook)
        receivers.append(Hook(hook))
    for name, urgent in ((NOTIFY, False), (PAGE, True)):
        for number, address in enumerate(given.get(name, "").split(), start=1):
            from fds_mlflow.notifications.people import People

            receivers.append(People(address, f"{name}, number {number}", urgent=urgent, patience=patience))
    receivers += [Hook(found, f"hook {found.name} ({found.value})") for found in _installed()]
    return Notifier(receivers)


def default_notifier() -> Notifier:
    """The process's notifier, as its environment says; one with no receivers where a setting is not valid.

    A wrong setting is reported in the log and fails nothing: an emergency must not be stopped by it.
    """
    return _process_notifier(*((name, setting(name)) for name in (WEBHOOK_URL, WEBHOOK_SECRET, HOOK, NOTIFY, PAGE)))


@lru_cache(maxsize=8)
def _process_notifier(*settings: tuple[str, str]) -> Notifier:
    try:
        notifier = from_environment(dict(settings))
    except ConfigError as error:
        log.error("nobody is notified: %s (%s)", error.what, error.fix)  # noqa: TRY400 - the message says it all
        return Notifier()
    if notifier.receivers:
        atexit.register(notifier.close)
    return notifier


@lru_cache(maxsize=1)
def _installed() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUP))


def _parts(hook: str) -> tuple[str, str]:
    module, colon, function = hook.partition(":")
    if not (module and colon and function):
        raise ConfigError(f"{HOOK} is {hook!r}", fix="write module:function, such as my_team.hooks:tell")
    return module, function


def _found(hook: str) -> HookFunction:
    module, name = _parts(hook)
    function: HookFunction = getattr(importlib.import_module(module), name)
    return function


def _why(error: Exception) -> str:
    return getattr(error, "what", None) or printable(redacted(f"{type(error).__name__}: {error}"))
