"""The default features of a schema as a commented specification, to be changed by hand."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from fds_mlflow.data.inference.inferred_schema import printable, scalar
from fds_mlflow.data.schema import Schema
from fds_mlflow.features.defaults import default_features
from fds_mlflow.features.expressions import FUNCTIONS
from fds_mlflow.features.spec import FeatureSpec, Window

_WIDTH = 80


def template(schema: Schema) -> str:
    """A specification in YAML with every key explained; as it stands it is `default_spec(schema)`."""
    spec, notes = default_features(schema)
    lines = [*_comment("The features that a training computes by itself from this schema. Change what you like, then:")]
    lines += ["#   fds features check FILE --schema SCHEMA", "#   fds train MODEL --data DATA --features FILE"]
    for note in notes:
        lines += _comment(f"- not in it: {note}")
    for about, key, values, example in _sections(spec):
        lines += ["", *_comment(about), f"{key}: []" if not values else f"{key}:"]
        lines += [f"  - {value}" for value in values]
        lines += [f"#  - {example}"] if example else []
    lines += ["", *_comment("The IANA zone of weekend and night; UTC by default.")]
    lines.append("# time_zone: Europe/Berlin" if spec.time_zone is None else f"time_zone: {scalar(spec.time_zone)}")
    lines += ["", *_comment("The least age at which a label is used; by default when it became known.")]
    lines.append("# label_delay: 7d")
    return "\n".join(lines) + "\n"


def _sections(spec: FeatureSpec) -> Iterator[tuple[str, str, Sequence[str], str]]:
    """What a key is about, the key, its values, each on a line, and an example."""
    yield "Numeric columns, taken as they are.", "numeric", [*map(scalar, spec.numeric)], ""
    flags = [f"{{flag: {flag.flag}}}" for flag in spec.flags]
    yield "weekend (Saturday, Sunday) and night (0:00 to 6:59), 0 or 1.", "flags", flags, ""
    yield (
        "Aggregates over an entity's past, up to and including the transaction itself, or without it (earlier: true)."
        " count; sum, mean, median, max, min, std of a numeric column (of, amount by default) or of an expression"
        " (expression: its name); count of those of them that are above a number (above); distinct values of another"
        " entity (of); known labels, frauds among them, and risk = frauds / known; fraud_run, the frauds since the last"
        " genuine label; since_first_fraud and since_last_fraud, seconds. name: may have {window} or {days} in it.",
        "windows",
        [_window(item) for item in spec.windows],
        "" if spec.windows else "{entity: customer, aggregate: count, windows: [1h, 7d]}",
    )
    gap = spec.windows[0].entity if spec.windows else "customer"
    yield "Seconds since the entity's previous transaction.", "gaps", [], f"{{entity: {gap}}}"
    yield (
        "Numbers computed from numeric columns, flags, windows, gaps and earlier expressions: + - * /, parentheses, "
        f"{', '.join(FUNCTIONS)}. What has no finite value is missing; coalesce passes over what is missing.",
        "expressions",
        [],
        f"{{name: amount_to_mean, of: {_ratio(spec)}}}",
    )
    yield (
        "Names of flags, windows, gaps and expressions that expressions read and that are no features themselves.",
        "hidden",
        [],
        "",
    )
    yield "Categorical columns, taken as they are.", "categorical", [*map(scalar, spec.categorical)], ""


def _window(item: Window) -> str:
    of = "" if item.of is None else f", of: {scalar(item.of)}"
    return f"{{entity: {item.entity}, aggregate: {item.aggregate}{of}, windows: [{', '.join(item.windows)}]}}"


def _ratio(spec: FeatureSpec) -> str:
    means = [item.feature(item.windows[-1]) for item in spec.windows if item.aggregate == "mean"]
    return f"amount / {means[0] if means else 'customer_mean_amount_30d'}"


def _comment(text: str) -> list[str]:
    indent = "#   " if text.startswith("- ") else "# "
    return textwrap.wrap(printable(text), _WIDTH, initial_indent="# ", subsequent_indent=indent)
