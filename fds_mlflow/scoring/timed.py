"""Asks somebody else's code and waits only so long: a model that hangs costs its own answer and no other."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

THREADS = 4
"""Calls at a time. While so many are overdue, nothing more is asked: each would only wait its whole time as well."""


class Timed:
    """A function that is asked in threads of its own, because nothing can end a call from outside.

    Args:
        call: The function.
        threads: Calls at a time.
    """

    def __init__(self, call: Callable[[Any], Any], threads: int = THREADS) -> None:
        self._call = _kept_in(call)
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="model")
        self._overdue: set[Future[Any]] = set()

    def __call__(self, argument: Any, seconds: float) -> Any:
        """The function's answer.

        Raises:
            TimeoutError: It did not come in time, or so many calls are overdue that it was not asked.
            Exception: Whatever the function raises.
        """
        if len(self._overdue) >= self._threads:
            raise TimeoutError(f"was not asked: {self._threads} calls are still at work that took longer than allowed")
        future = self._pool.submit(self._call, argument)
        try:
            return future.result(seconds)
        except TimeoutError as error:
            if future.done() and not future.cancelled():
                raise  # the function's own
            if not future.cancel():
                self._overdue.add(future)
                future.add_done_callback(self._overdue.discard)
            raise TimeoutError(f"took longer than {seconds:g} s") from error


def _kept_in(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A call that ends nothing but itself: `sys.exit` in somebody else's code is no reason to end this process."""

    def kept_in(argument: Any) -> Any:
        try:
            return call(argument)
        except SystemExit as error:
            raise RuntimeError(f"it asked for the end of the process: {error}") from error

    return kept_in
