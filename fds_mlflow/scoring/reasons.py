"""Reasons of a score: what each feature of a row adds to it, the strongest first, with a code and a text for people.

`docs/reasons.md` says what contributions are, for LightGBM and for the Isolation Forest, and what they are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

import msgspec
import numpy as np
import numpy.typing as npt

from fds_mlflow.errors import ConfigError, RefusedError
from fds_mlflow.outcomes.records import REASONS_LENGTH
from fds_mlflow.runtime.yaml_file import read_yaml
from fds_mlflow.scoring.compiled import CompiledModel

FILE = "reasons.yaml"
"""File of a logged model that says what its reasons are called: `{feature: {code: V01, text: a sentence}}`."""

MOST_ROWS = 100
"""Rows whose reasons are asked for at once: they take milliseconds each, where scores take microseconds."""

Most = int | Literal["all"]
"""How many reasons of a row: so many at most, of those that speak for fraud; or those of all features."""

Value = bool | int | float | str | None

Wordings = Mapping[str, tuple[str, str]]
"""The code and the text of each feature."""


class Reason(msgspec.Struct, frozen=True):
    """What one feature adds to a score.

    Attributes:
        code: What it is called, by the schema; the feature's name where that says nothing.
        feature: Its name, a column of the version's signature.
        value: What the version was given; None for a gap.
        contribution: Added to the raw score; above 0 it speaks for fraud.
        text: The same for people.
    """

    code: str
    feature: str
    value: Value
    contribution: float
    text: str


class Explanation(msgspec.Struct, frozen=True):
    """The reasons of one score.

    Attributes:
        base: The raw score before any feature is looked at. With the contributions of all features it adds up to the
            raw score of the row.
        reasons: The largest contribution first.
    """

    base: float
    reasons: list[Reason]


class _Wording(TypedDict, total=False):
    code: str
    text: str


def wordings(folder: Path, names: Sequence[str]) -> Wordings:
    """The code and the text of each feature of a version, by its file; the name stands for what that does not say.

    Args:
        folder: Of the logged model.
        names: The features.

    Raises:
        ConfigError: The file cannot be read, or has another form.
    """
    there = folder / FILE
    fix = "log the version again, with reasons as docs/reasons.md has them"
    said: dict[str, _Wording] = {}
    if there.is_file():
        try:
            said = msgspec.convert(read_yaml(there, f"the file {FILE} of the model", fix=fix), dict[str, _Wording])
        except msgspec.ValidationError as error:
            raise ConfigError(f"the file {FILE} of the model has another form: {error}", fix=fix) from None
    return {name: _worded(name, said.get(name, {})) for name in names}


def _worded(name: str, said: _Wording) -> tuple[str, str]:
    return said.get("code", name), said.get("text", name)


def require_most(most: Most) -> None:
    """Refuse what is no number of reasons.

    Raises:
        ConfigError: It is neither a whole number of at least 1 nor `all`.
    """
    if most != "all" and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        raise ConfigError(f"{most!r} is no number of reasons", fix="ask for 1 or more, or for 'all'")


def require_reasons(version: int, compiled: object) -> CompiledModel:
    """What gives the reasons of a version.

    Args:
        version: Its number.
        compiled: Its compiled scorer, if it has one.

    Raises:
        RefusedError: It gives none.
    """
    if isinstance(compiled, CompiledModel):
        return compiled
    raise RefusedError(
        f"version {version} gives no reasons: only LightGBM's models as text, and what is trained here, give them",
        fix="ask its own library, or train a version by `fds train MODEL --algorithm lightgbm`",
    )


def explain(
    compiled: CompiledModel,
    columns: Sequence[npt.NDArray[Any]],
    values: Sequence[Sequence[Any]],
    worded: Wordings,
    most: Most,
) -> list[Explanation]:
    """The reasons of rows.

    Args:
        compiled: The version's compiled scorer.
        columns: The rows column by column, as `CompiledModel.matrix` takes them.
        values: The same row by row, to be shown.
        worded: Codes and texts.
        most: How many of each row.

    Raises:
        DataError: There are none of such trees.
        ConfigError: So many cannot be asked for.
    """
    require_most(most)
    found = compiled.contributions(columns)
    names = compiled.names
    explanations = []
    for row, given in zip(found, values, strict=True):
        order = np.argsort(-row[:-1], kind="stable").tolist()
        chosen = order if most == "all" else [place for place in order[:most] if row[place] > 0]
        reasons = [
            Reason(worded[names[i]][0], names[i], _shown(given[i]), float(row[i]), worded[names[i]][1]) for i in chosen
        ]
        explanations.append(Explanation(float(row[-1]), reasons))
    return explanations


def written(reasons: Sequence[Reason]) -> str | None:
    """Reasons as JSON, as many of the strongest as an outcome may keep; None where they cannot be written."""
    try:
        parts = [msgspec.json.encode(reason).decode() for reason in reasons]
    except (ValueError, OverflowError):  # lone surrogates, numbers of more than 64 bits
        return None
    while sum(map(len, parts)) + len(parts) + 1 > REASONS_LENGTH:
        parts.pop()
    return f"[{','.join(parts)}]"


def _shown(value: Any) -> Value:
    """A value as JSON has it; None for a gap, and for what a request has left out."""
    if value is None or value is msgspec.UNSET or value != value:  # noqa: PLR0124 - NaN alone
        return None
    plain: Value = value.item() if isinstance(value, np.generic) else value
    return plain
