"""Which column is the id, which the amount, which ones are entities, numbers, categories, and which say nothing."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from fds_mlflow.data.inference import names
from fds_mlflow.data.inference.columns import Column
from fds_mlflow.data.inference.numbers import PLAIN
from fds_mlflow.data.schema import RESERVED

_FEWEST = 20
"""An entity has at least so many values; fewer are kinds of something."""
_CATEGORIES = 200
_LONG_TEXT = 40
_WEAK = frozenset({"value", "price", "total"})
"""Words of amounts that are words of other things too."""


@dataclass
class Roles:
    """The role of each column, and why.

    Attributes:
        transaction_id: Column of the id.
        amount: Column of the amount.
        entities: Role -> column.
        numeric: Numeric columns.
        categorical: Categories.
        reasons: Column -> why it has its role.
        left_out: Column -> why it has none.
    """

    transaction_id: str | None = None
    amount: str | None = None
    entities: dict[str, str] = field(default_factory=dict)
    numeric: list[str] = field(default_factory=list)
    categorical: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def assign(columns: Mapping[str, Column], taken: Iterable[str], rows: int) -> Roles:
    """Give every column that is not taken a role, or a reason why it has none."""
    taken = set(taken)
    free = {name: column for name, column in columns.items() if name not in taken}
    made = Roles()
    for name, column in free.items():
        reason = _says_nothing(column, rows)
        if reason is not None:
            made.left_out[name] = reason
    free = {name: column for name, column in free.items() if name not in made.left_out}
    _identify(free, made)
    _find_amount(free, made)
    free = {name: column for name, column in free.items() if name not in (made.transaction_id, made.amount)}
    _find_entities(free, made, rows)
    for name, column in free.items():
        if name not in made.entities.values():
            _place(column, made, rows)
    return made


def _says_nothing(column: Column, rows: int) -> str | None:
    """Why a column is of no use, whatever it is called."""
    if column.survey.missing >= rows or not column.distinct or not len(column.texts.dropna()):
        return "it is empty"
    if column.distinct == 1 and not column.survey.missing and not column.missing:
        return f"it is {column.example!r} in every row"
    if is_index(column):
        return "it numbers the rows"
    if column.moments is not None:
        return "a further time: the schema takes one"
    return None


def is_index(column: Column) -> bool:
    """Whether a column counts the rows and has a name that says no more, or none."""
    bare = not names.words(column.name) or names.words(column.name)[0] in names.INDEX
    if column.numbers is None or not column.integers:
        return False
    known = column.numbers[~np.isnan(column.numbers)]
    climbs = len(known) > 1 and bool((np.diff(known) > 0).mean() > 0.99)
    return (bare and climbs) or (not column.name.strip() and climbs)


def _identify(free: Mapping[str, Column], made: Roles) -> None:
    unique = [column for column in free.values() if column.survey.is_unique() and _is_code(column)]
    fitting = [c for c in unique if names.identifies(c.name) or names.has(c.name, names.TRANSACTION) or _is_one_word(c)]
    if not fitting:
        return

    def rank(column: Column) -> tuple[bool, bool, bool, bool]:
        name = column.name
        own, identifies = names.has(name, names.TRANSACTION), names.identifies(name)
        return own and identifies, identifies, own, names.entity_role(name) is None

    best = max(fitting, key=rank)
    made.transaction_id = best.name
    made.reasons[best.name] = f"each of its values occurs once, such as {best.example!r}"
    for other in fitting:
        if other is not best:
            made.left_out[other.name] = "each of its values occurs once too: an id, which tells nothing"


def _is_one_word(column: Column) -> bool:
    """Whether the values are texts without a space, in a column that is not named like a measure."""
    if column.numbers is not None or names.has(column.name, names.MEASURE):
        return False
    return not column.texts.dropna().head(200).str.contains(" ").any()


def _is_code(column: Column) -> bool:
    """Whether the values may be codes: whole numbers, or texts without a sentence."""
    if column.numbers is not None:
        return column.style == PLAIN and (column.integers or names.entity_role(column.name) == "ip")
    return bool(column.texts.dropna().head(200).map(lambda text: len(text) <= _LONG_TEXT and text.count(" ") < 3).all())


def _find_amount(free: Mapping[str, Column], made: Roles) -> None:
    def rank(column: Column) -> tuple[bool, bool, bool, bool]:
        name, found = column.name, names.words(column.name)
        plain = names.holds(name, names.AMOUNT - _WEAK)
        currency = column.style is not None and bool(column.style.currency)
        return currency, plain, names.has(name, names.OF_TRANSACTION | {"total"}), len(found) == 1

    fitting = [c for c in free.values() if c.numbers is not None and c.name not in made.left_out and _named_amount(c)]
    whole = [c for c in fitting if not c.missing and not c.survey.missing]
    if not whole:
        for column in fitting:
            made.reasons[column.name] = f"an amount by its name, but {column.survey.missing:,} rows have none: a number"
        return
    best = max(whole, key=rank)
    made.amount = best.name
    others = [c.name for c in whole if c is not best]
    rivals = f"; {', '.join(map(repr, others[:4]))} were the others" if others else ""
    assert best.numbers is not None
    low, high = best.numbers.min(), best.numbers.max()
    made.reasons[best.name] = f"by its name; {low:,.2f} to {high:,.2f}, such as {best.example!r}{rivals}"


def _named_amount(column: Column) -> bool:
    name = column.name
    if names.has(name, names.NO_AMOUNT) or not names.holds(name, names.AMOUNT):
        return column.style is not None and bool(column.style.currency) and not names.has(name, names.NO_AMOUNT)
    weak = _WEAK & set(names.words(name))
    strong = names.holds(name, names.AMOUNT - _WEAK)
    return strong or (
        bool(weak) and (len(names.words(name)) == 1 or names.has(name, names.OF_TRANSACTION | {"basket"}))
    )


def _find_entities(free: Mapping[str, Column], made: Roles, rows: int) -> None:
    """Codes that come again: by the name the role, by the repetition whether it is one."""
    fitting = [c for c in free.values() if c.name not in made.left_out and _is_code(c) and _comes_again(c)]
    for column in sorted(fitting, key=_entity_rank):
        hinted = _shown_role(column) or names.entity_role(column.name)
        if hinted is None and (not names.identifies(column.name) or names.has(column.name, names.MEASURE)):
            continue
        if names.has(column.name, names.PERSON) or (hinted == "customer" and " " in column.example):
            continue  # people's names: several have one, and it is nobody's business
        role = next((name for name in _role_names(column, hinted) if _is_free(name, column, free, made)), None)
        if role is None:
            continue
        made.entities[role] = column.name
        made.reasons[column.name] = (
            f"{column.distinct:,} values in {rows:,} rows, {column.survey.repetition:.1f} rows each on average;"
            f" such as {column.examples}"
        )


def _role_names(column: Column, hinted: str | None) -> list[str]:
    """What the role may be called: as its kind, else by the column's own name; not a second time for `card2`."""
    own = [] if hinted is not None and names.is_numbered(column.name) else [names.as_role(column.name)]
    return [*([hinted] if hinted is not None else []), *own, *(f"{name}_code" for name in own)]


def _is_free(role: str, column: Column, free: Mapping[str, Column], made: Roles) -> bool:
    """Whether no other column has the name of a role, or that role."""
    return role not in made.entities and role not in RESERVED and free.get(role, column) is column


def _entity_rank(column: Column) -> tuple[bool, bool]:
    """Names that say id before others, so that `merchant_id` is the merchant and not `merchant_name`."""
    return not names.identifies(column.name), column.numbers is None


def _comes_again(column: Column) -> bool:
    """Whether its values occur often enough to have a past; a rare repetition counts where the name promises one."""
    least = 1.02 if names.entity_role(column.name) is not None else 1.1
    return column.distinct >= _FEWEST and column.survey.repetition >= least


def _shown_role(column: Column) -> str | None:
    """A role that the values themselves show."""
    some = [str(text) for text in column.texts.dropna().head(20)]
    if column.numbers is not None:
        return None
    if all(re.fullmatch(r"[^@\s]+@[^@\s]+\.[a-z]{2,}", text, re.IGNORECASE) for text in some):
        return "email"
    return "ip" if all(_is_ip(text) for text in some) else None


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _place(column: Column, made: Roles, rows: int) -> None:
    """A number, a category, or nothing that the schema can use."""
    name = column.name
    if name in made.left_out:
        return
    if name in RESERVED or name in made.entities:
        made.left_out[name] = f"its name is that of a role; rename the column to use it ({column.examples})"
        return
    if column.numbers is not None:
        _place_number(column, made, rows)
        return
    some = column.texts.dropna().head(1_000)
    average = some.str.len().mean()
    if names.has(name, names.TIME) and some.str.count(r"\d").median() >= 4:
        made.left_out[name] = f"a time by its name, which does not read as one: {column.examples}"
        return
    if names.has(name, names.PERSON) and column.distinct > _FEWEST:
        made.left_out[name] = f"names of persons, such as {column.examples}"
    elif column.survey.repetition < 1.05 or column.distinct > rows / 2:
        what = "free text" if " " in column.example else "codes"
        made.left_out[name] = f"{what} whose values hardly come again: {column.distinct:,} in {rows:,} rows"
    elif column.distinct > _CATEGORIES or average > 2 * _LONG_TEXT:
        made.left_out[name] = f"too many values for a category: {column.distinct:,}, such as {column.examples}"
    else:
        made.categorical.append(name)
        made.reasons[name] = _few(column)


def _few(column: Column) -> str:
    return f"{column.distinct:,} values, such as {column.examples}{_gaps(column)}"


def _gaps(column: Column) -> str:
    return f"; {column.survey.missing:,} rows have none" if column.survey.missing else ""


def _place_number(column: Column, made: Roles, rows: int) -> None:
    name = column.name
    assert column.numbers is not None
    kind = names.identifies(name) or names.has(name, names.ATTRIBUTE) or names.entity_role(name) is not None
    kind = kind and not names.is_numbered(name)
    if kind and column.integers and not names.has(name, names.MEASURE):
        if column.distinct <= _CATEGORIES and column.survey.repetition >= 1.05:
            made.categorical.append(name)
            made.reasons[name] = f"a code by its name: {_few(column)}"
        else:
            made.left_out[name] = f"a code by its name, with {column.distinct:,} values in {rows:,} rows"
        return
    known = column.numbers[~np.isnan(column.numbers)]
    made.numeric.append(name)
    made.reasons.setdefault(name, f"{known.min():g} to {known.max():g}, such as {column.example!r}{_gaps(column)}")
