"""The schema: which column of a source plays which role."""

from __future__ import annotations

import codecs
import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fds_mlflow.core.text.duration import parse_duration
from fds_mlflow.data.origin import origin
from fds_mlflow.display.characters import acting
from fds_mlflow.errors import ConfigError
from fds_mlflow.runtime import yaml_file

SHIPPED = Path(__file__).parent / "schemas"
FEATURES_SUFFIX = ".features.yaml"
RESERVED = ("transaction_id", "time", "arrived_at", "amount", "label", "label_known_at", "label_propensity")
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
    with _refusing(model, where):
        return model.model_validate(_with_text_keys(values))


class Declaration(BaseModel):
    """A declaration that refuses what does not fit by a `ConfigError`, however it is built."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, /, **values: Any) -> None:
        with _refusing(type(self), f"the {type(self).__name__}"):
            super().__init__(**_with_text_keys(values))


_building: ContextVar[bool] = ContextVar("building", default=False)


@contextmanager
def _refusing(model: type[BaseModel], where: str) -> Iterator[None]:
    """Tell all complaints about a declaration as one `ConfigError`; those about its parts are told with the whole's."""
    if _building.get():
        yield
        return
    token = _building.set(True)
    try:
        yield
    except ValidationError as error:
        raise _refusal(error, model, where) from None
    finally:
        _building.reset(token)


def _refusal(error: ValidationError, model: type[BaseModel], where: str) -> ConfigError:
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
    return ConfigError(
        f"{where} is not valid: {'; '.join(complaints)}",
        fix=f"the keys are {', '.join(model.model_fields)}; see docs/data.md for what each one takes",
    )


def _with_text_keys(values: Any) -> Any:
    """The same values with every key as text: YAML reads `1` and `on` as other things, and pydantic chokes on them."""
    if isinstance(values, Mapping):
        return {str(key): _with_text_keys(value) for key, value in values.items()}
    return [_with_text_keys(value) for value in values] if isinstance(values, list | tuple) else values


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


TimeUnit = Literal["ns", "us", "ms", "s", "min", "h", "d"]
"""What a numeric time counts."""


def _encoding(value: str) -> str:
    try:
        return codecs.lookup(value).name
    except LookupError:
        raise ValueError(f"{value!r} is no encoding such as utf-8, cp1252 or latin-1") from None


Encoding = Annotated[str, AfterValidator(_encoding)]
"""The name of a text encoding, checked when it is read."""

_Value = str | bool | int | float


class LabelValues(Declaration):
    """Which values of the label column mean what; any other one is refused.

    Attributes:
        fraud: Values that mean fraud.
        genuine: Values that mean genuine.
    """

    fraud: tuple[_Value, ...] = Field(min_length=1)
    genuine: tuple[_Value, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        both = {str(v).lower() for v in self.fraud} & {str(v).lower() for v in self.genuine}
        if both:
            raise ValueError(f"{', '.join(sorted(both))} cannot mean both fraud and genuine")
        return self


def _shown(value: str) -> str:
    sign = acting(value)
    if sign is not None:
        raise ValueError(f"it has the control character {sign}: leave it out")
    return value


class ReasonCode(Declaration):
    """What a feature is called where it is a reason of a score.

    Attributes:
        code: What machines and letters go by; several features may share one.
        text: A sentence for people; the feature's own name when not given.
    """

    code: Annotated[str, AfterValidator(_shown)] = Field(min_length=1, max_length=64)
    text: Annotated[str, AfterValidator(_shown)] | None = Field(default=None, min_length=1, max_length=500)


class Schema(Declaration):
    """Which column of a source plays which role; everything downstream knows the roles only.

    Attributes:
        transaction_id: Column of the unique id. The key must be given; ``None`` numbers the rows 0, 1, ...
        time: Column of the time: timestamps, text, or numbers when `time_unit` is given. Several columns, such as a
            date and a time of day, are joined by a space. The key must be given; ``None`` where there is no time, and
            then there are no windows and no split by time.
        time_format: How a textual time is written, in the signs of ``strptime`` (``%d.%m.%Y %H:%M``); ISO 8601 when not
            given.
        time_unit: Unit of a numeric time.
        time_origin: ISO 8601 moment that a numeric time counts from; 1970-01-01 UTC when not given.
        time_zone: IANA zone of times that carry no offset (and of `time_origin`); UTC when not given.
            Of the two readings of an hour that occurs twice in autumn, the first is taken.
        arrived_at: Column of the moment when the transaction arrived, written as `time` is; missing = when it took
            place. Where it is given, features are as of arrival: each transaction sees what had arrived by then.
        amount: Column of the amount, in the currency's main unit. The key must be given; ``None`` where there is none.
        entities: Role -> column: ``{"customer": "CUST_NO", "device": "dev"}``.
        label: Column of the label, 1 = fraud. ``None`` when there is none.
        label_values: What its values mean; 0/1 and false/true when not given. Rows without a label serve as the past of
            others and are left out of training.
        label_known_at: Column of the moment the label became known; missing = never.
        label_delay: Constant delay of the label ("7d"), where there is no `label_known_at` column.
        labels_mature: Age at which a transaction that nobody reported counts as genuine ("30d"): where
            `label_known_at` is known for frauds only.
        label_propensity: Column of the chance with which a row got its label, above 0 and at most 1; empty = 1. Labels
            of what was let pass to explore, or of a reviewed sample, count by its inverse in training and its figures.
        known_later: Columns that are filled in after the transaction, such as the date of a chargeback; no feature and
            no role may read them.
        numeric: Further numeric columns, under their own names.
        categorical: Further text columns, under their own names; an entity's role among them is a category too.
        missing: Texts that stand for a missing value in every column, besides the empty one ("?", "NULL").
        decimal: Sign before the decimals of textual numbers.
        thousands: Sign between groups of three digits of textual numbers; none when not given.
        currency: Signs or codes before or after textual numbers, to be passed over ("$", "EUR").
        separator: Sign between the fields of a text file; a comma, or a tabulator in ``.tsv``, when not given.
        encoding: Encoding of a text file; by its byte order mark, else UTF-8, when not given.
        sheet: Sheet of a workbook; its first when not given.
        reasons: Feature, or a pattern with ``*``, -> what it is called where it is a reason of a score.
    """

    transaction_id: str | None
    time: str | tuple[str, ...] | None
    time_format: str | None = None
    time_unit: TimeUnit | None = None
    time_origin: str | None = None
    time_zone: Zone | None = None
    arrived_at: str | None = None
    amount: str | None
    entities: dict[str, str] = {}
    label: str | None = None
    label_values: LabelValues | None = None
    label_known_at: str | None = None
    label_delay: Duration | None = None
    labels_mature: Duration | None = None
    label_propensity: str | None = None
    known_later: list[str] = []
    numeric: list[str] = []
    categorical: list[str] = []
    missing: list[str] = []
    decimal: Literal[".", ","] = "."
    thousands: Literal[".", ",", " ", "'", "_"] | None = None
    currency: list[str] = []
    separator: str | None = Field(default=None, min_length=1, max_length=1)
    encoding: Encoding | None = None
    sheet: str | None = None
    reasons: dict[str, ReasonCode] = {}

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

    @field_validator("time_format")
    @classmethod
    def _is_format(cls, value: str | None) -> str | None:
        if value is not None and "%" not in value:
            raise ValueError(f"{value!r} has no sign such as %Y, %m or %d in it")
        if value is not None:
            import pandas as pd

            pd.to_datetime(pd.Series(["?"]), format=value, errors="coerce")  # its signs are known
        return value

    @model_validator(mode="after")
    def _has_consistent_time(self) -> Self:
        if self.time_origin is not None and self.time_unit is None:
            raise ValueError("'time_origin' needs 'time_unit': it is the start of a numeric time")
        origin(self.time_origin, self.time_zone)
        if self.time_format is not None and self.time_unit is not None:
            raise ValueError("give 'time_format' for text or 'time_unit' for numbers, not both")
        if isinstance(self.time, tuple) and (self.time_unit is not None or not self.time):
            raise ValueError("several columns of 'time' are joined as text: give one at least, and 'time_format'")
        if self.time is None:
            timed = ("time_format", "time_unit", "arrived_at", "label_known_at", "label_delay")
            given = [key for key in timed if getattr(self, key)]
            if given:
                raise ValueError(f"{' and '.join(map(repr, given))} need 'time'")
        return self

    @model_validator(mode="after")
    def _has_consistent_label(self) -> Self:
        if self.label is None and (self.label_known_at or self.label_delay):
            raise ValueError("'label_known_at' and 'label_delay' need 'label'")
        for key in ("label_values", "label_propensity"):
            if self.label is None and getattr(self, key) is not None:
                raise ValueError(f"'{key}' needs 'label'")
        if self.label_known_at is not None and self.label_delay is not None:
            raise ValueError("give 'label_known_at' or 'label_delay', not both")
        if self.labels_mature is not None and self.label_known_at is None:
            raise ValueError("'labels_mature' needs 'label_known_at': with 'label_delay' every label becomes known")
        return self

    @model_validator(mode="after")
    def _has_distinct_names(self) -> Self:
        for role in self.entities:
            if not _ROLE.match(role) or role in RESERVED:
                raise ValueError(f"entity role {role!r}: use lower-case letters, digits and _, and none of {RESERVED}")
        taken: set[str] = set(RESERVED) | set(self.entities)
        for name in (*self.numeric, *self.categorical):
            if name in taken and not (name in self.categorical and self.entities.get(name) == name):
                raise ValueError(f"extra column {name!r} is named twice or is the name of a role: rename the column")
            taken.add(name)
        for name in self.categorical:
            if self.categorical.count(name) > 1:
                raise ValueError(f"extra column {name!r} is named twice")
        return self

    @model_validator(mode="after")
    def _leaks_nothing(self) -> Self:
        """No role but its own may read what tells the label, or what is known later only."""
        own_roles = ("label", "label_known_at", "label_propensity")
        late = ("label_known_at", "label_propensity", "arrived_at")
        closed = {getattr(self, role): role for role in own_roles} | dict.fromkeys(self.known_later, "known_later")
        closed.pop(None, None)
        roles = self.roles()
        for role, columns in roles.items():
            for column in columns:
                own = closed.get(column)
                if own not in (None, role) and (own != "known_later" or role not in late):
                    raise ValueError(
                        f"column {column!r} is {own!r}, so {role!r} may not read it: it would tell the label before it "
                        "is known"
                    )
        return self

    @model_validator(mode="after")
    def _writes_numbers(self) -> Self:
        if self.decimal == self.thousands:
            raise ValueError(f"'decimal' and 'thousands' are both {self.decimal!r}")
        return self

    def roles(self) -> dict[str, tuple[str, ...]]:
        """Map each canonical column to the source columns that it is read from, in canonical order."""
        time = (self.time,) if isinstance(self.time, str) else self.time or ()
        single = {"transaction_id": self.transaction_id, "arrived_at": self.arrived_at, "amount": self.amount}
        single |= self.entities
        single |= {role: getattr(self, role) for role in ("label", "label_known_at", "label_propensity")}
        single |= {name: name for name in (*self.numeric, *self.categorical)}
        found = {"transaction_id": (), "time": time} | {r: (c,) for r, c in single.items() if c is not None}
        return {role: columns for role, columns in found.items() if columns}

    def columns(self) -> list[str]:
        """The source columns that are read, each once."""
        return list(dict.fromkeys(column for columns in self.roles().values() for column in columns))
