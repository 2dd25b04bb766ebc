"""Standard output belongs to the answer, and standard error to what we say: libraries are let through, made safe."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import IO, Any, TextIO, cast

from fds_mlflow.display.characters import in_json, paragraph, printable
from fds_mlflow.display.redaction import redacted

_ANSWERS: ContextVar[TextIO | None] = ContextVar("answers", default=None)


def answers() -> TextIO:
    """Where answers go: standard output as it was before `answers_only`."""
    return _ANSWERS.get() or sys.stdout


def errors() -> TextIO:
    """Where we ourselves write errors, whose colours are ours: standard error as it was before `guarded`."""
    return sys.stderr.stream if isinstance(sys.stderr, _Guarded) else sys.stderr


class _Guarded(io.TextIOBase):
    """A stream for what others print: MLflow prints its address, password included, and anybody prints names."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    @property
    def encoding(self) -> str:  # type: ignore[override] # the base class has one of its own, None
        """Of the stream behind it."""
        return self.stream.encoding

    def write(self, text: str) -> int:
        self.stream.write(_foreign(text))
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def fileno(self) -> int:
        return self.stream.fileno()

    def isatty(self) -> bool:
        return self.stream.isatty()


def _foreign(text: str) -> str:
    r"""What others print, made safe; `\r` at its beginning is how bars of progress are drawn."""
    lead = "\r" if text.startswith("\r") else ""
    return lead + printable(redacted(text.removeprefix("\r").replace("\r\n", "\n")), keep="\n\t")


class _Aside(_Guarded):
    """Standard error, for what was meant for standard output."""

    def __init__(self) -> None:
        super().__init__(errors())


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Make safe what libraries print on standard error, log where nobody else takes logs, and die of."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Lines())
    sys.excepthook = _told
    with contextlib.redirect_stderr(cast("TextIO", _Guarded(errors()))):
        yield


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """A record of which no further line looks like one of ours."""
        return paragraph(redacted(super().format(record)))


def _told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A traceback, made safe."""
    errors().write(_foreign("".join(traceback.format_exception(kind, error, trace))))


@contextlib.contextmanager
def safe_prints(address: str | None) -> Iterator[None]:
    """Make safe what MLflow prints in a program of somebody else's: the address of each run that ends.

    Args:
        address: Of its server; where it holds no secret nothing is changed.
    """
    if not address or redacted(address) == address:
        yield
        return
    with contextlib.redirect_stdout(cast("TextIO", _Guarded(sys.stdout))):
        yield


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
        stack.enter_context(contextlib.redirect_stdout(cast("TextIO", _Aside())))
        stack.callback(_ANSWERS.reset, _ANSWERS.set(stdout))
        yield


_IN_ASCII = {
    **{"…": "...", "\N{EN DASH}": "-", "→": "->", "≈": "~", "∞": "inf", "±": "+-", "·": "."},
    **{"─": "-", "│": "|", "█": "#", "●": "*", "◉": "@", "○": "o"},
    **dict.fromkeys("▏▎▍", " "),
    **dict.fromkeys("▌▋▊▉", "#"),
}
"""What stands for the signs of our own texts where a terminal's encoding lacks them."""


def _in_ascii(error: UnicodeError) -> tuple[str | bytes, int]:
    """For codecs: what stands for signs of ours that an encoding lacks; an escape for each other one."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacked = error.object[error.start : error.end]
    shown = (_IN_ASCII.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in lacked)
    return "".join(shown), error.end


codecs.register_error("fds", _in_ascii)


def forgiving() -> None:
    """Let no sign that the terminal's encoding lacks end a command: what looks like it is shown, or an escape."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="fds")


def legible(text: str) -> str:
    """A text as standard output can show it: where cells stand below each other, each must be as long as it says."""
    encoding = getattr(answers(), "encoding", None) or "utf-8"
    return text if text.isascii() else text.encode(encoding, "fds").decode(encoding)


def say(value: Any, stream: IO[str] | None = None) -> None:
    """Print a value as one line of JSON, in ASCII where the stream's encoding lacks a sign: escapes mean the same.

    Args:
        value: Plain values.
        stream: Where to; None for where answers go.
    """
    stream = stream or answers()
    text = in_json(json.dumps(value, ensure_ascii=False))
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
