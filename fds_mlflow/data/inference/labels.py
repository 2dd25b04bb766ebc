"""Which column is the label, and what its values mean."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from fds_mlflow.data.inference import names
from fds_mlflow.data.inference.survey import Survey
from fds_mlflow.data.schema import LabelValues
from fds_mlflow.errors import ConfigError, DataError

_FRAUD = re.compile(
    r"^(y|yes|t|true|ja|si|sí|oui|bad|positive|confirmed|anomaly|attack|spam|stolen)$"
    r"|fraud|chargeback|illicit|scam|malicious|laundering|betrug",
    re.IGNORECASE,
)
_GENUINE = re.compile(
    r"^(n|no|f|false|nein|non|good|ok|okay|clean|negative|benign|none)$"
    r"|legit|genuine|normal|honest|^valid|^licit|non.?fraud|not.?fraud|no.?fraud|un.?fraud|no.?chargeback",
    re.IGNORECASE,
)
_OPEN = re.compile(r"^(unknown|pending|open|undecided|unlabell?ed|-1|\?|n/?a|null|nan)$", re.IGNORECASE)
_ZERO_ONE = {"0", "1", "0.0", "1.0", "true", "false"}
_MOST = 6


def speaks_of_fraud(text: str) -> bool | None:
    """Whether a word means fraud, or genuine; None where it says neither."""
    fraud, genuine = _FRAUD.search(text.strip()), _GENUINE.search(text.strip())
    return None if not fraud and not genuine else not genuine


@dataclass(frozen=True)
class Label:
    """The label.

    Attributes:
        column: Its column.
        values: What its values mean; None where they are 0/1 or false/true.
        frauds: The texts that mean fraud.
        genuine: The texts that mean genuine.
        unlabelled: Texts that mean that nothing is known.
        reason: What speaks for it.
        doubts: What could not be told.
    """

    column: str
    values: LabelValues | None
    frauds: frozenset[str]
    genuine: frozenset[str]
    unlabelled: tuple[str, ...]
    reason: str
    doubts: tuple[str, ...]


def candidates(survey: Survey) -> list[str]:
    """The columns that may be the label, all of the best kind: two values, and a name that says so."""
    two = {n: c for n, c in survey.columns.items() if c.values is not None and _is_binary(c.values)}
    fraud = [n for n in two if names.holds(n, names.FRAUD) and not names.has(n, names.EARLIER)]
    if fraud:
        return fraud
    return [n for n in two if names.has(n, names.TARGET) or names.words(n) == ["flag"]] or _by_words(two)


def _by_words(two: dict[str, Any]) -> list[str]:
    return [
        n for n, c in two.items() if any(re.search("fraud|chargeback|legit", text, re.IGNORECASE) for text in c.values)
    ]


def find(survey: Survey, given: str | None, source: str) -> Label:
    """The label: the one that is given, or the only plausible one.

    Raises:
        ConfigError: None is given, and not exactly one is plausible; or there is no column of that name.
        DataError: Its values are no label's.
    """
    if given is not None:
        return _meaning(survey, _named(survey, given, source), "it was named as the label", source)
    found = candidates(survey)
    if len(found) == 1:
        return _meaning(survey, found[0], "it is the only column of two values that is named like a label", source)
    if found:
        raise ConfigError(
            f"{len(found)} columns of {source} may be the label: {_listed(survey, found)}",
            fix=f"say which one tells the frauds: {' or '.join(f'--label {name!r}' for name in found)}",
        )
    rest = [n for n, c in survey.columns.items() if c.values is not None and _is_binary(c.values)]
    shown = f"; of two values are: {_listed(survey, rest)}" if rest else ", and none has two values"
    raise ConfigError(
        f"no column of {source} is named like a label (fraud, label, class, target){shown}",
        fix="say which column tells the frauds: --label COLUMN; or that none does: --no-label",
    )


def _is_binary(values: Counter[str]) -> bool:
    return len({text.lower() for text in values if not _OPEN.match(text) or text.lower() in _ZERO_ONE}) == 2


def _listed(survey: Survey, found: list[str]) -> str:
    shown = []
    for name in found[:12]:
        values = survey.columns[name].values or Counter()
        shown.append(f"{name!r} ({_counts(values)})")
    return ", ".join(shown) + (", ..." if len(found) > 12 else "")


def _counts(values: Counter[str]) -> str:
    return ", ".join(f"{text!r} {count:,} times" for text, count in values.most_common(_MOST))


def _named(survey: Survey, given: str, source: str) -> str:
    there = list(survey.columns)
    if given in there:
        return given
    alike = [name for name in there if name.strip().lower() == given.strip().lower()]
    near = alike or difflib.get_close_matches(given, there, n=1, cutoff=0.5)
    shown = ", ".join(map(repr, there[:20])) + (", ..." if len(there) > 20 else "")
    raise ConfigError(
        f"{source} has no column {given!r}; it has {shown}",
        fix=f"did you mean {near[0]!r}?" if near else "name one of them",
    )


def _meaning(survey: Survey, name: str, why: str, source: str) -> Label:
    column = survey.columns[name]
    values = column.values
    if values is None:
        raise DataError(
            f"column {name!r} of {source} has about {column.sketch.distinct:,} different values: it is no label",
            fix="name a column of two values, one for fraud and one for genuine",
        )
    if not values:
        raise DataError(f"column {name!r} of {source} is empty: it is no label", fix="name another column")
    spelled: Counter[str] = Counter()
    for text, count in values.items():
        spelled[text.strip()] += count
    if len(spelled) == 1:
        rest = f", and is empty in {column.missing:,} rows" if column.missing else ""
        raise DataError(
            f"column {name!r} of {source} has one value only, {next(iter(spelled))!r}{rest}: nothing can be learned"
            " from it",
            fix="an empty label means that nothing is known: write down what genuine transactions have"
            if column.missing
            else "name a column with frauds and genuine transactions, or add the ones that are missing",
        )
    unlabelled = tuple(t for t in spelled if _OPEN.match(t)) if len(spelled) > 2 else ()
    known = Counter({text: count for text, count in spelled.items() if text not in unlabelled})
    made = _read(name, known, unlabelled, why=why, missing=column.missing, source=source)
    return replace(made, doubts=(*made.doubts, *_elsewhere(survey, made)))


def _elsewhere(survey: Survey, label: Label) -> list[str]:
    """Other columns in which the texts that mean no label would become missing values too."""
    said = []
    for text in label.unlabelled:
        others = [n for n, c in survey.columns.items() if n != label.column and text in (c.values or ())]
        if others:
            shown = ", ".join(map(repr, others[:4])) + (", ..." if len(others) > 4 else "")
            said.append(
                f"whether {text!r}, which means no label, means no value in {shown} too: the schema reads it so"
            )
    return said


def _read(name: str, known: Counter[str], unlabelled: tuple[str, ...], *, why: str, missing: int, source: str) -> Label:
    plain = {text.strip().lower() for text in known} <= _ZERO_ONE
    fraud = {text for text in known if _FRAUD.search(text.strip()) and not _GENUINE.search(text.strip())}
    genuine = {text for text in known if _GENUINE.search(text.strip())}
    if plain:
        fraud = {text for text in known if text.strip().lower() in ("1", "1.0", "true")}
        genuine = set(known) - fraud
    doubts: list[str] = []
    if fraud | genuine == set(known) and fraud and genuine:
        spoken = f"its values say so: {', '.join(map(repr, sorted(fraud)))} = fraud"
    elif len(known) == 2:
        fraud, genuine, spoken = _by_rarity(known, fraud, genuine)
        doubts.append(f"what the values of {name!r} mean: {spoken}")
    else:
        raise DataError(
            f"column {name!r} of {source} has {len(known)} values ({_counts(known)}), of which not all say whether they"
            " mean fraud",
            fix="name a column of two values, or write the schema with label_values that list what means what",
        )
    rows = sum(known.values())
    share = sum(known[text] for text in fraud) / rows
    if share > 0.5:
        doubts.append(
            f"whether {name!r} tells frauds: {share:.0%} of the rows would be frauds; swap label_values if not"
        )
    values = None if plain else LabelValues(fraud=tuple(sorted(fraud)), genuine=tuple(sorted(genuine)))
    rest = f"; {missing:,} rows without one are left out of training" if missing else ""
    rest += f"; {', '.join(map(repr, unlabelled))} means that nothing is known" if unlabelled else ""
    reason = f"{why}; {_counts(known)}; {spoken}; {share:.2%} frauds{rest}"
    return Label(name, values, frozenset(fraud), frozenset(genuine), unlabelled, reason, tuple(doubts))


def _by_rarity(known: Counter[str], fraud: set[str], genuine: set[str]) -> tuple[set[str], set[str], str]:
    """One word that speaks decides for both; else the rarer value is fraud."""
    everything = set(known)
    if len(fraud) == 1 and not genuine:
        return fraud, everything - fraud, f"{next(iter(fraud))!r} says fraud"
    if len(genuine) == 1 and not fraud:
        return everything - genuine, genuine, f"{next(iter(genuine))!r} says genuine, so the other one is fraud"
    (common, many), (rare, few) = known.most_common(2)
    return {rare}, {common}, f"the rarer value, {rare!r} ({few:,} of {many + few:,}), was taken for fraud"
