"""Parameters of an algorithm as people write them: what a text means as a value."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from fds_mlflow.core.text.checks import RepeatedError, once
from fds_mlflow.errors import ConfigError

_WORDS = {"true": True, "false": False, "none": None, "null": None}
_NUMBER = re.compile(r"[+-]?(\d[\d_]*+)?+\.?\d*+([eE][+-]?\d++)?+")


def from_pairs(pairs: Iterable[str]) -> dict[str, object]:
    """Parameters from texts such as ``learning_rate=1e-3`` or ``monotone_constraints={"amount": 1}``.

    Raises:
        ConfigError: A text is not ``name=value``, a name is there twice, or a value is none.
    """
    made: dict[str, object] = {}
    for pair in pairs:
        name, equals, text = (part.strip() for part in pair.partition("="))
        if not equals or not name:
            raise ConfigError(f"{pair!r} is not name=value", fix="write it like learning_rate=0.1")
        if name in made:
            raise ConfigError(f"the parameter {name!r} is given twice", fix="give it once")
        if not text:
            raise ConfigError(f"the parameter {name!r} has no value", fix="write name=value, or leave it out")
        made[name] = plain_value(name, text)
    return made


def plain_value(name: str, value: object) -> object:
    """A value as an algorithm takes it: texts read, whole numbers as such.

    Args:
        name: The parameter, for the message.
        value: A text is read as JSON, with Python's ``True``, ``None``, ``.5`` and ``1_000`` besides; what is none of
            these stays a text.

    Raises:
        ConfigError: A number that is not finite or has no float, a key that stands twice, or values nested too deeply.
    """
    try:
        made = _read(name, value.strip()) if isinstance(value, str) else value
        item = getattr(made, "item", None)
        if callable(item) and getattr(made, "ndim", None) == 0:  # a number of NumPy
            made = item()
        beyond = next((number for number in _leaves(made) if not abs(number) <= sys.float_info.max), None)
    except RecursionError:
        raise ConfigError(f"the parameter {name!r} is nested too deeply", fix="write it flat") from None
    if beyond is not None:
        raise ConfigError(f"the parameter {name!r} is {str(beyond)[:40]}", fix="give a finite number")
    return int(made) if isinstance(made, float) and made.is_integer() and abs(made) >= 2 else made


def _read(name: str, text: str) -> object:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        read: object = json.loads(text, object_pairs_hook=once)
    except RepeatedError as error:
        raise ConfigError(f"the parameter {name!r} names {error.names[0]!r} twice", fix="name it once") from None
    except json.JSONDecodeError:
        if not _NUMBER.fullmatch(text) or not any(sign.isdigit() for sign in text):
            return text
        for number in (int, float):
            with suppress(ValueError):
                return number(text)
        return text
    except ValueError:  # Python reads no number of more than 4,300 digits
        raise ConfigError(f"the parameter {name!r} holds a number of too many digits", fix="write a smaller") from None
    return _read(name, read.strip()) if isinstance(read, str) and read != text else read


def _leaves(value: object) -> list[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [number for each in value for number in _leaves(each)]
    return [value] if isinstance(value, int | float) else []


def entries(value: object) -> list[Any] | None:
    """The entries of a list, or of a text of entries with commas between them, as LightGBM writes them; else None."""
    listed = getattr(value, "tolist", lambda: value)()  # of NumPy
    if isinstance(listed, str):
        try:
            listed = json.loads(f"[{listed}]")
        except (ValueError, RecursionError):
            listed = [part.strip() for part in listed.split(",")]
    return list(listed) if isinstance(listed, Sequence) else None
