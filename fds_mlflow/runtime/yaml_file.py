"""YAML as people write it, by the core schema of YAML 1.2: read safely, within bounds, no key twice.

PyYAML scans and parses; what it makes of scalars is YAML 1.1, where `1:30` is 90, `010` is 8 and `no` is false.
Source of the schema: https://yaml.org/spec/1.2.2/#103-core-schema
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from fds_mlflow.errors import ConfigError, FdsError
from fds_mlflow.runtime import text_file

LARGEST = 2**20
"""Bytes a file may have: a plan has a few hundred, and a schema of a thousand columns, explained, a tenth of it."""

MOST_VALUES = 20_000
"""Values a document may hold, what its aliases stand for included: aliases of aliases fill any memory otherwise."""

MOST_DEPTH = 32
"""Levels its values may be nested in."""

_MOST_DIGITS = 40
"""Digits of a whole number: such a one still has a float, and Python writes it."""

_TAG = "tag:yaml.org,2002:"
_CORE = (
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
)
"""Kind of a bare scalar, its spellings, and the signs it may begin with; what is none of these is text."""

_KIND = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern, _ in _CORE)).fullmatch
_BASES = {"0o": 8, "0x": 16}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Document:
    """Makes values of a document's events, and stops where one is nested too deeply or holds too much."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
        self._named: dict[str | None, tuple[Any, int, int] | None] = {}
        self._seen = 0

    def value(self) -> Any:
        """What the document holds; None where there is none, or nothing in it."""
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        found, _, _ = self._value(next(self._events), 1)
        next(self._events)
        further = next(self._events)
        if isinstance(further, yaml.DocumentStartEvent):
            raise ConfigError(f"line {_line(further)} begins another document", fix="leave one")
        return found

    def _value(self, event: yaml.Event, depth: int) -> tuple[Any, int, int]:
        """A value, how many it holds with itself, and in how many levels; aliases count as what they stand for."""
        line, name = _line(event), getattr(event, "anchor", None)
        self._seen += 1
        _check(self._seen, depth, line)  # before it is looked into
        if isinstance(event, yaml.AliasEvent):
            known = self._named.get(event.anchor)
            if known is None:
                why = "of what it stands in" if event.anchor in self._named else "of nothing before it"
                raise ConfigError(f"line {line} has an alias {why}", fix="write it out")
            return known
        if name is not None:
            self._named[name] = None
        if isinstance(event, yaml.ScalarEvent):
            made: tuple[Any, int, int] = _scalar(event), 1, 1
        elif event.tag not in (None, "!", f"{_TAG}map", f"{_TAG}seq"):  # type: ignore[attr-defined]
            raise _mistagged(event)
        else:
            made = self._mapping(line, depth) if isinstance(event, yaml.MappingStartEvent) else self._list(depth)
        _check(made[1], made[2], line)
        if name is not None:
            self._named[name] = made
        return made

    def _list(self, depth: int) -> tuple[list[Any], int, int]:
        parts = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            parts.append(self._value(event, depth + 1))
        return [value for value, _, _ in parts], *_extent(parts)

    def _mapping(self, line: int, depth: int) -> tuple[dict[str, Any], int, int]:
        parts, keys = [], []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise yaml.YAMLError(f"line {_line(event)} has a key that is no text")
            if event.anchor is not None:
                self._named[event.anchor] = event.value, 1, 1
            keys.append(event.value)
            parts.append(self._value(next(self._events), depth + 1))
        if len(set(keys)) < len(keys):
            twice = sorted(key for key, count in Counter(keys).items() if count > 1)
            raise ConfigError(f"it has {', '.join(twice)} twice, in what begins in line {line}", fix="keep one")
        values, deep = _extent(parts)
        return dict(zip(keys, (value for value, _, _ in parts), strict=True)), values + len(keys), deep


class CoreDumper(yaml.SafeDumper):
    """Writes what reads the same here and by YAML 1.1: text that either takes for something else stands in quotes."""


def _text(dumper: CoreDumper, value: str) -> yaml.Node:
    """A text; one with what YAML 1.1 takes for the end of a line is written with escapes."""
    style = '"' if re.search("[\x85\u2028\u2029]", value) else None
    return dumper.represent_scalar(f"{_TAG}str", value, style=style)


CoreDumper.add_representer(str, _text)
for _kind, _pattern, _first in _CORE:
    CoreDumper.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(rf"(?:{_pattern})\Z"), ["", *_first])


def parse_yaml(text: str, what: str, *, fix: str) -> Any:
    """Read one YAML document.

    Keys are text as they stand, values text, numbers, booleans or nothing by the core schema of YAML 1.2, in which
    `yes`, `1:30`, `1_000` and `2026-03-01` are text and `010` is ten.

    Args:
        text: The document.
        what: What it is, for messages: "the plan", "the schema shop.yaml".
        fix: Where one is explained, for messages.

    Returns:
        What it holds; never None.

    Raises:
        ConfigError: It is no YAML, is empty, has a key twice, at whatever depth, is longer than 2**20 characters, or
            is beyond `MOST_VALUES` or `MOST_DEPTH`; names the line.
    """
    if len(text) > LARGEST:
        raise ConfigError(f"{what} has {len(text):,} characters, more than {LARGEST:,}", fix=f"shorten it; {fix}")
    try:
        found = _Document(text).value()
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise ConfigError(f"{what} is not YAML: {' '.join(str(error).split())}", fix=fix) from None
    except ConfigError as error:
        raise ConfigError(f"{what} cannot be taken: {error.what}", fix=error.fix) from None
    if found is None:
        raise ConfigError(f"{what} is empty", fix=fix)
    return found


def read_yaml(path: str | Path, what: str, *, fix: str) -> Any:
    """Read a YAML file, as `parse_yaml` does.

    Raises:
        ConfigError: It cannot be read, or `parse_yaml` refuses what it holds.
    """
    try:
        text = text_file.whole(Path(path), LARGEST)
    except FdsError as error:
        raise ConfigError(f"{what} cannot be read: {error.what}", fix=f"{error.fix}; {fix}") from None
    return parse_yaml(text, what, fix=fix)


def _line(event: yaml.Event) -> int:
    return 1 if event.start_mark is None else event.start_mark.line + 1


def _check(values: int, depth: int, line: int) -> None:
    if depth > MOST_DEPTH:
        raise ConfigError(f"line {line} is nested in more than {MOST_DEPTH} levels", fix="write it flat")
    if values > MOST_VALUES:
        raise ConfigError(
            f"at line {line} it holds more than {MOST_VALUES:,} values, those included that aliases stand for",
            fix="write less, and without aliases",
        )


def _extent(parts: list[tuple[Any, int, int]]) -> tuple[int, int]:
    return 1 + sum(values for _, values, _ in parts), 1 + max((depth for _, _, depth in parts), default=0)


def _scalar(event: yaml.ScalarEvent) -> str | int | float | bool | None:
    found = _KIND(event.value)
    kind = "str" if found is None else found.lastgroup
    if event.tag in (None, "!"):
        kind = kind if event.implicit[0] else "str"
    elif event.tag == f"{_TAG}str":
        kind = "str"
    elif event.tag != f"{_TAG}{kind}":
        raise _mistagged(event)
    if kind == "str":
        return str(event.value)
    if kind == "null":
        return None
    if kind == "bool":
        return str(event.value).lower() == "true"
    if kind == "int":
        return _whole(event.value, _line(event))
    return float(event.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _mistagged(event: Any) -> ConfigError:
    return ConfigError(f"what begins in line {_line(event)} is none of the kind {event.tag!r}", fix="leave the tag out")


def _whole(written: str, line: int) -> int:
    if len(written) > _MOST_DIGITS:
        raise ConfigError(
            f"line {line} has a number of {len(written):,} digits",
            fix="write a smaller one, or put it in quotes where it is a text",
        )
    return int(written[2:], _BASES[written[:2]]) if written[:2] in _BASES else int(written)
