"""Standard output belongs to the answer: what libraries and models print goes to standard error."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import IO, Any, TextIO

from fds_mlflow.errors import redacted

_ANSWERS: ContextVar[TextIO | None] = ContextVar("answers", default=None)


def answers() -> TextIO:
    """Where answers go: standard output as it was before `answers_only`."""
    return _ANSWERS.get() or sys.stdout


class _Aside(io.TextIOBase):
    """Standard error, for what was meant for standard output: MLflow prints its address, password included."""

    def write(self, text: str) -> int:
        return sys.stderr.write(redacted(text))

    def flush(self) -> None:
        sys.stderr.flush()


@contextlib.contextmanager
def answers_only() -> Iterator[None]:
    """Keep standard output for answers: MLflow prints addresses of runs there, and a model's code what it likes.

    Libraries in C write past Python's stream, so its descriptor is turned over too, where there is one.
    """
    with contextlib.ExitStack() as stack:
        stdout = sys.stdout
        with contextlib.suppress(OSError, ValueError):  # no descriptor: a test's or a notebook's stream
            number = stdout.fileno()
            stdout.flush()
            kept = os.dup(number)
            stdout = stack.enter_context(open(kept, "w", encoding=stdout.encoding, errors=stdout.errors))  # noqa: PTH123
            stack.callback(os.dup2, kept, number)
            os.dup2(sys.stderr.fileno(), number)
        stack.enter_context(contextlib.redirect_stdout(_Aside()))
        stack.callback(_ANSWERS.reset, _ANSWERS.set(stdout))
        yield


def forgiving() -> None:
    """Let no sign that the terminal's encoding lacks end a command: an escape is shown, as in errors already."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def say(value: Any, stream: IO[str] | None = None) -> None:
    """Print a value as one line of JSON, in ASCII where the stream's encoding lacks a sign: escapes mean the same.

    Args:
        value: Plain values.
        stream: Where to; None for where answers go.
    """
    stream = stream or answers()
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value)
    stream.write(f"{text}\n")
    stream.flush()


def say_text(text: str) -> None:
    """Print a file's text where answers go: as UTF-8 whatever the terminal's encoding, since it is to be kept."""
    stream = answers()
    stream.flush()
    binary = getattr(stream, "buffer", None)
    if binary is None:  # a notebook's stream
        stream.write(text)
    else:
        binary.write(text.encode())
        binary.flush()
    stream.flush()
