"""YAML as people write it, by the core schema of YAML 1.2: read safely, within bounds, no key twice.

PyYAML scans and parses; what it makes of scalars is YAML 1.1, where `1:30` is 90, `010` is 8 and `no` is false.
Source of the schema: https://yaml.org/spec/1.2.2/#103-core-schema
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

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

_PATTERNS = {f"{_TAG}{kind}": re.compile(rf"(?:{pattern})\Z") for kind, pattern, _ in _CORE}
_BASES = {"0o": 8, "0x": 16}


class _Document(Reader, Scanner, Parser, Composer, BaseResolver):
    """Composes a document to nodes, and stops where one is nested too deeply or holds too much."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self._depth = 0
        self._extents: dict[int, tuple[int, int]] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node, once what it holds is known: so many values in so many levels, whatever aliases stand for."""
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        line = 1 if event.start_mark is None else event.start_mark.line + 1
        is_alias = isinstance(event, yaml.AliasEvent)
        self._depth += 1
        self._check(1, self._depth, line)  # before it is looked into
        node = super().compose_node(parent, index)
        self._depth -= 1
        if not is_alias:
            extents = [self._extents[id(part)] for part in _parts(node)]
            self._extents[id(node)] = 1 + sum(n for n, _ in extents), 1 + max((deep for _, deep in extents), default=0)
        elif id(node) not in self._extents:  # it is not finished
            raise ConfigError(f"line {line} has an alias of what it stands in", fix="write it out")
        self._check(*self._extents[id(node)], line)
        return node

    def _check(self, values: int, depth: int, line: int) -> None:
        if depth > MOST_DEPTH:
            raise ConfigError(f"line {line} is nested in more than {MOST_DEPTH} levels", fix="write it flat")
        if values > MOST_VALUES or len(self._extents) > MOST_VALUES:
            raise ConfigError(
                f"at line {line} it holds more than {MOST_VALUES:,} values, those included that aliases stand for",
                fix="write less, and without aliases",
            )


class CoreDumper(yaml.SafeDumper):
    """Writes what reads the same here and by YAML 1.1: text that either takes for something else stands in quotes."""


for _kind, _pattern, _first in _CORE:
    for _class in (_Document, CoreDumper):
        _class.add_implicit_resolver(f"{_TAG}{_kind}", _PATTERNS[f"{_TAG}{_kind}"], ["", *_first])


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
        node = _Document(text).get_single_node()
        found = None if node is None else _value(node)
    except yaml.YAMLError as error:
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


def _parts(node: yaml.Node | None) -> list[yaml.Node]:
    """The nodes that stand right in a node."""
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _value(node: yaml.Node) -> Any:
    """What a node means."""
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
        return [_value(part) for part in node.value]
    if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
        return _mapping(node)
    return _scalar(node)


def _scalar(node: yaml.Node) -> str | int | float | bool | None:
    if node.tag == f"{_TAG}str":
        return str(node.value)
    pattern, line = _PATTERNS.get(node.tag), node.start_mark.line + 1
    if pattern is None or isinstance(node, yaml.CollectionNode) or not pattern.match(node.value):
        raise ConfigError(f"what begins in line {line} is none of the kind {node.tag!r}", fix="leave the tag out")
    if node.tag == f"{_TAG}null":
        return None
    if node.tag == f"{_TAG}bool":
        return str(node.value).lower() == "true"
    if node.tag == f"{_TAG}int":
        return _whole(node.value, line)
    return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _mapping(node: yaml.MappingNode) -> dict[str, Any]:
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key that is no text", key.start_mark)
    counts = Counter(key.value for key, _ in node.value)
    twice = sorted(key for key, count in counts.items() if count > 1)
    if twice:
        line = node.start_mark.line + 1
        raise ConfigError(f"it has {', '.join(twice)} twice, in what begins in line {line}", fix="keep one")
    return {key.value: _value(value) for key, value in node.value}


def _whole(written: str, line: int) -> int:
    if len(written) > _MOST_DIGITS:
        raise ConfigError(
            f"line {line} has a number of {len(written):,} digits",
            fix="write a smaller one, or put it in quotes where it is a text",
        )
    return int(written[2:], _BASES[written[:2]]) if written[:2] in _BASES else int(written)
