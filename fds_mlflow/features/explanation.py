"""What each feature of a specification is, in a sentence."""

from __future__ import annotations

from datetime import timedelta

from fds_mlflow.core.text.duration import describe_duration, parse_duration
from fds_mlflow.features import meaning
from fds_mlflow.features.spec import LABEL_AGGREGATES, FeatureSpec, Flag, Window

_AMOUNTS = {
    "sum": "sum",
    "mean": "mean",
    "median": "median",
    "max": "largest",
    "min": "smallest",
    "std": "standard deviation",
}
_DAY = timedelta(days=1)


def sentences(spec: FeatureSpec) -> dict[str, str]:
    """What everything that is computed is, by name, in order: what is hidden too."""
    found = {name: f"the column {name}, as it is" for name in spec.numeric}
    found |= {flag.feature: _flag(flag, spec.time_zone or "UTC") for flag in spec.flags}
    for item in spec.windows:
        found |= {item.feature(window): _window(item, window, spec.label_delay) for window in item.windows}
    for gap in spec.gaps:
        found[gap.feature] = f"seconds since the {gap.entity}'s previous transaction; missing at its first one"
    for expression in spec.expressions:
        text = " ".join(expression.of.split())
        found[expression.name] = f"{text}; missing where that has no finite value, or a part of it is missing"
    return found | {name: f"the category {name}, as it is" for name in spec.categorical}


def _flag(flag: Flag, zone: str) -> str:
    when = "on Saturdays and Sundays" if flag.flag == "weekend" else "from 0:00 to 6:59"
    return f"1 {when} ({zone}), else 0"


def _window(item: Window, window: str, delay: str | None) -> str:
    length = parse_duration(window)
    span = f"in the {'24 h' if length == _DAY else describe_duration(length)} up to"
    if item.aggregate in LABEL_AGGREGATES:
        return _of_labels(item, f"{span} this one", delay)
    over = f"the {item.entity}'s {'earlier ' if item.earlier else ''}transactions {span}"
    over += " this one" if item.earlier else " and including this one"
    each = "" if item.expression is None else ", each as it was at its own moment,"
    if item.aggregate == "count":
        return f"number of {over}" + ("" if item.above is None else f" with {item.column}{each} above {item.above:g}")
    if item.aggregate == "distinct":
        return f"number of different values of {item.column} among {over}"
    nothing = "0" if item.aggregate == "sum" else "missing"
    what = _AMOUNTS[item.aggregate]
    of = f"{what} of {item.column}" if item.aggregate not in ("max", "min") else f"{what} {item.column}"
    return f"{of}{each} over {over}; {nothing} where there is none"


def _of_labels(item: Window, span: str, delay: str | None) -> str:
    waits = f", {describe_duration(parse_duration(delay))} after its transaction at the earliest" if delay else ""
    known = f"the {item.entity}'s transactions whose label became known {span}{waits}"
    match item.aggregate:
        case "risk":
            return f"share of frauds among {known}; 0 where there is none"
        case "known":
            return f"number of {known}"
        case "fraud_run":
            return f"number of frauds since the last genuine one among {known}"
        case "since_first_fraud" | "since_last_fraud":
            which = "first" if item.aggregate == "since_first_fraud" else "last"
            return f"seconds since the {which} fraud became known among {known}; missing where there is none"
        case _:
            return f"number of frauds among {known}"


def longest(spec: FeatureSpec) -> timedelta | None:
    """How far back any window looks; None where there is none."""
    return timedelta(microseconds=meaning.longest(spec)) if spec.windows else None


def columns(spec: FeatureSpec) -> dict[str, str]:
    """The canonical columns that a specification reads, each with what it has to be."""
    found = {need.column: need.kinds[0] for need in reversed(spec.needs)}
    found |= dict.fromkeys(spec.inputs, "numeric")
    if spec.uses_labels:
        found["label"] = "label"
    if spec.flags or spec.windows or spec.gaps:
        found["time"] = "time"
    return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))
