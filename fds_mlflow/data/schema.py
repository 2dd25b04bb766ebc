"""The schema: which column of a source plays which role."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from fds_mlflow.core.text.duration import parse_duration
from fds_mlflow.errors import ConfigError
from fds_mlflow.runtime import yaml_file

SHIPPED = Path(__file__).parent / "schemas"
FEATURES_SUFFIX = ".features.yaml"
RESERVED = ("transaction_id", "time", "amount", "label", "label_known_at")
_ROLE = re.compile(r"^[a-z][a-z0-9_]*$")

_Model = TypeVar("_Model", bound=BaseModel)


def validated(model: type[_Model], values: Mapping[str, Any], *, where: str) -> _Model:
    """Build a pydantic model, turning its complaints into one `ConfigError` that names every key.

    Args:
        model: The class to build.
        values: Its keys and values, as read from YAML or keyword arguments.
        where: What is being read, for the message ("schema 'simulator'").

    Raises:
        ConfigError: A key is unknown or missing, or a value is not valid.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        complaints = []
        for item in error.errors():
            key = ".".join(str(part) for part in item["loc"])
            message = item["msg"].removeprefix("Value error, ")
            if item["type"] == "extra_forbidden":
                near = difflib.get_close_matches(str(item["loc"][-1]), model.model_fields, n=1)
                message = f"unknown key{f' (did you mean {near[0]!r}?)' if near else ''}"
            elif item["type"] == "missing":
                message = "is missing"
            complaints.append(f"'{key}': {message}" if key else message)
        raise ConfigError(
            f"{where} is not valid: {'; '.join(complaints)}",
            fix=f"the keys are {', '.join(model.model_fields)}; see docs/data.md for what each one takes",
        ) from None


def read_yaml(source: str | Path, *, suffix: str, what: str) -> tuple[dict[str, Any], str]:
    """Read a mapping from a YAML file, or from a shipped one by its bare name.

    Args:
        source: A path, or the name of a shipped file without its suffix.
        suffix: The suffix of the shipped files (".yaml" or ".features.yaml").
        what: "schema" or "feature specification", for messages.

    Returns:
        The mapping and the words that name it in messages.

    Raises:
        ConfigError: No such name or file, or not a YAML mapping.
    """
    path = Path(source)
    if path.suffix not in (".yaml", ".yml"):
        names = sorted(
            p.name.removesuffix(suffix)
            for p in SHIPPED.glob(f"*{suffix}")
            if suffix == FEATURES_SUFFIX or not p.name.endswith(FEATURES_SUFFIX)
        )
        if str(source) not in names:
            raise ConfigError(
                f"there is no shipped {what} {str(source)!r}",
                fix=f"use one of {', '.join(names)}, or the path of a file that ends in .yaml",
            )
        path = SHIPPED / f"{source}{suffix}"
    content = yaml_file.read_yaml(path, f"the {what} {path}", fix="see docs/data.md")
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path} holds {type(content).__name__}, not keys and values",
            fix="see docs/data.md for an example",
        )
    return content, f"{what} {str(source)!r}"


def _duration(value: str) -> str:
    parse_duration(value)
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{value!r} is no IANA time zone such as 'Europe/Berlin'") from None
    return value


Duration = Annotated[str, AfterValidator(_duration)]
"""A length of time such as "7d", checked when it is read."""

Zone = Annotated[str, AfterValidator(_zone)]
"""The name of an IANA time zone, checked when it is read."""


class Schema(BaseModel):
    """Which column of a source plays which role; everything downstream knows the roles only.

    Attributes:
        transaction_id: Column of the unique id. The key must be given; ``None`` numbers the rows 0, 1, ...
        time: Column of the time: timestamps, ISO 8601 text, or numbers when `time_unit` is given.
        time_unit: Unit of a numeric time.
        time_origin: ISO 8601 moment that a numeric time counts from; 1970-01-01 UTC when not given.
        time_zone: IANA zone of times that carry no offset (and of `time_origin`); UTC when not given.
            Of the two readings of an hour that occurs twice in autumn, the first is taken.
        amount: Column of the amount, in the currency's main unit.
        entities: Role -> column: ``{"customer": "CUST_NO", "device": "dev"}``.
        label: Column of the label: 0/1 or false/true, 1 = fraud. ``None`` when there is none.
        label_known_at: Column of the moment the label became known; missing = never.
        label_delay: Constant delay of the label ("7d"), where there is no `label_known_at` column.
        numeric: Further numeric columns, under their own names.
        categorical: Further text columns, under their own names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    transaction_id: str | None
    time: str
    time_unit: Literal["s", "ms", "us"] | None = None
    time_origin: str | None = None
    time_zone: Zone | None = None
    amount: str
    entities: dict[str, str] = {}
    label: str | None = None
    label_known_at: str | None = None
    label_delay: Duration | None = None
    numeric: list[str] = []
    categorical: list[str] = []

    @classmethod
    def load(cls, source: str | Path) -> Self:
        """Read a schema from a YAML file, or a shipped one by name (``simulator``, ``sample``, ``handbook``, ``ulb``).

        Raises:
            ConfigError: No such file or name; unknown or missing keys; values that do not fit.
        """
        content, where = read_yaml(source, suffix=".yaml", what="schema")
        return validated(cls, content, where=where)

    @classmethod
    def of(cls, **roles: Any) -> Self:
        """Build a schema from keyword arguments, with the same messages as `load`.

        Raises:
            ConfigError: Unknown or missing keys; values that do not fit.
        """
        return validated(cls, roles, where="the schema")

    @field_validator("time_origin")
    @classmethod
    def _is_moment(cls, value: str | None) -> str | None:
        if value is not None:
            datetime.fromisoformat(value)
        return value

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.time_origin is not None and self.time_unit is None:
            raise ValueError("'time_origin' needs 'time_unit': it is the start of a numeric time")
        if self.label is None and (self.label_known_at or self.label_delay):
            raise ValueError("'label_known_at' and 'label_delay' need 'label'")
        if self.label_known_at is not None and self.label_delay is not None:
            raise ValueError("give 'label_known_at' or 'label_delay', not both")
        for role in self.entities:
            if not _ROLE.match(role) or role in RESERVED:
                raise ValueError(f"entity role {role!r}: use lower-case letters, digits and _, and none of {RESERVED}")
        taken: set[str] = set(RESERVED) | set(self.entities)
        for name in (*self.numeric, *self.categorical):
            if name in taken:
                raise ValueError(f"extra column {name!r} is named twice or is the name of a role: rename the column")
            taken.add(name)
        return self

    def columns(self) -> dict[str, str]:
        """Map each canonical column to the source column it is read from, in canonical order."""
        found = {"transaction_id": self.transaction_id, "time": self.time, "amount": self.amount}
        found |= self.entities
        found |= {"label": self.label, "label_known_at": self.label_known_at}
        found |= {name: name for name in (*self.numeric, *self.categorical)}
        return {role: column for role, column in found.items() if column is not None}
