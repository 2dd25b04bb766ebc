"""An inferred schema: what was found, by what evidence, and what the file cannot tell."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

import yaml

from fds_mlflow.data.schema import Schema
from fds_mlflow.runtime.yaml_file import CoreDumper

_WIDTH = 100


@dataclass(frozen=True)
class Evidence:
    """Why the schema says something.

    Attributes:
        key: The key of the schema; `left_out` for a column that no key names.
        column: The column it is about; None where it is about the whole file.
        reason: What speaks for it, with counts and examples, and what the rival reading was.
    """

    key: str
    column: str | None
    reason: str


@dataclass(frozen=True)
class InferredSchema:
    """A schema that was inferred from a source, and reads it.

    Attributes:
        schema: The schema.
        evidence: What each guess rests on, columns that were left out included, in the order of the keys.
        unknown: What the source cannot tell, in sentences: to be checked by a person.
        source: What it was inferred from, for people.
        rows: Rows of it.
        sampled: Rows that were looked at value by value.
    """

    schema: Schema
    evidence: tuple[Evidence, ...]
    unknown: tuple[str, ...]
    source: str
    rows: int
    sampled: int

    @property
    def values(self) -> dict[str, Any]:
        """The keys of the schema that are not what they are by default, as plain values."""
        required = {"transaction_id", "time", "amount"}
        given: dict[str, Any] = self.schema.model_dump(mode="json", exclude_defaults=True)
        return {key: given.get(key) for key in type(self.schema).model_fields if key in given or key in required}

    @property
    def left_out(self) -> dict[str, str]:
        """Columns that the schema does not read, and why."""
        return {
            item.column: item.reason for item in self.evidence if item.key == "left_out" and item.column is not None
        }

    def yaml(self) -> str:
        """The schema as YAML that `Schema.load` reads, with the evidence as comments; to be written as UTF-8."""
        looked = "all were" if self.sampled == self.rows else f"{self.sampled:,}, spread evenly, were"
        lines = _comment(
            f"Inferred from {self.source}: {self.rows:,} rows, of which {looked} looked at value by value."
        )
        lines += _comment("What the file cannot tell; please check:")
        lines += [line for sentence in self.unknown for line in _comment(sentence, bullet="- ")]
        for key, value in self.values.items():
            reasons = {item.column: item.reason for item in self.evidence if item.key == key}
            lines += ["", *_comment(reasons.pop(None))] if None in reasons else [""] if reasons else []
            lines += _mapping(key, value, reasons)
        if self.left_out:
            lines += ["", *_comment("Columns that are not read, and why:")]
            for column, reason in self.left_out.items():
                lines += _comment(f"{column!r}: {reason}", bullet="- ")
        return "\n".join(lines) + "\n"

    def plain(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            "schema": self.values,
            "evidence": [
                {"key": item.key, "column": item.column, "reason": item.reason}
                for item in self.evidence
                if item.key != "left_out"
            ],
            "left_out": self.left_out,
            "unknown": list(self.unknown),
            "source": self.source,
            "rows": self.rows,
            "sampled": self.sampled,
        }


def _mapping(key: str, value: Any, reasons: dict[str | None, str]) -> list[str]:
    """A key and its value; what is about one column stands behind it, or above it where there is no room."""
    if isinstance(value, list) and value and key in ("numeric", "categorical", "known_later"):
        rest = [line for item in value for line in _noted(f"- {scalar(item)}", reasons.get(item))]
        return [f"{key}:", *(f"  {line}" for line in rest)]
    if isinstance(value, dict) and key == "entities":
        rest = [
            line for role, column in value.items() for line in _noted(f"{role}: {scalar(column)}", reasons.get(column))
        ]
        return [f"{key}:", *(f"  {line}" for line in rest)]
    notes = [line for reason in reasons.values() for line in _comment(reason)]
    if isinstance(value, list):
        return [*notes, f"{key}: [{', '.join(map(scalar, value))}]"]
    if isinstance(value, dict):
        inner = [f"  {name}: [{', '.join(map(scalar, items))}]" for name, items in value.items()]
        return [*notes, f"{key}:", *inner]
    return [*notes, f"{key}: {scalar(value)}"]


def _noted(line: str, reason: str | None) -> list[str]:
    return [line] if reason is None else [f"{line}  # {printable(reason)}"]


def _comment(text: str | None, *, bullet: str = "") -> list[str]:
    if text is None:
        return []
    rest = " " * len(bullet)
    return textwrap.wrap(printable(text), _WIDTH, initial_indent=f"# {bullet}", subsequent_indent=f"# {rest}")


def scalar(value: Any) -> str:
    """One value as YAML on one line, quoted where it would be read as something else, within brackets too."""
    quoted = isinstance(value, str) and (not value.isprintable() or value != value.strip())
    text: str = yaml.dump(
        [value],
        Dumper=CoreDumper,
        allow_unicode=not isinstance(value, str) or value.isprintable(),
        width=10**9,
        default_flow_style=True,
        default_style='"' if quoted else None,
    )
    return text.strip()[1:-1]


def printable(text: str) -> str:
    """A text as it may stand in a comment."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
