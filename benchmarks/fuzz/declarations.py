"""Files that declare something: plans, schemas, feature specifications."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml

from benchmarks.fuzz import mutate
from benchmarks.fuzz.target import Target

FILES = Path("tests/golden/files")


EXPRESSIONS = """\
numeric: [amount]
flags: [{flag: night}]
windows: [{entity: card, aggregate: mean, windows: [7d]}]
gaps: [{entity: card, name: "since last"}]
expressions:
  - {name: ratio, of: amount / card_mean_amount_7d}
  - {name: both, of: "coalesce(log(ratio), -1) * 'since last' + max(night, items, 1e3) - sqrt(abs(-2.5))"}
hidden: [ratio, card_mean_amount_7d]
"""


@cache
def _samples(kind: str) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Valid files of a kind, and what they hold."""
    from fds_mlflow.data.schema import SHIPPED
    from fds_mlflow.rollouts.plan.template import TEMPLATE

    texts = {
        "plan": [
            TEMPLATE,
            TEMPLATE.replace("\n#", "\n"),
            (FILES / "plan.yaml").read_text(),
            "steps: &s [10, 50]\ngates: *s\nwatch: {duration: 7d, control: 5}\n",
        ],
        "schema": [
            *((FILES / name).read_text() for name in ("schema.yaml", "known.yaml")),
            *(path.read_text() for path in SHIPPED.glob("*.yaml") if "features" not in path.name),
        ],
        "features": [
            (FILES / "features.yaml").read_text(),
            *(path.read_text() for path in SHIPPED.glob("*.features.yaml")),
            EXPRESSIONS,
        ],
    }[kind]
    return tuple(texts), tuple(filter(None, (_loaded(text) for text in texts)))


def _loaded(text: str) -> Any:
    from fds_mlflow.errors import ConfigError
    from fds_mlflow.runtime.yaml_file import parse_yaml

    try:
        return parse_yaml(text, "it", fix="none")
    except ConfigError:
        return None


def _generator(kind: str) -> Callable[[Random], str]:
    def generate(rng: Random) -> str:
        texts, values = _samples(kind)
        if rng.random() < 0.5:
            return mutate.text(rng, texts)
        made = mutate.value(rng, rng.choice(values))
        if rng.random() < 0.2:
            return mutate.dumped(rng, made)
        try:
            return yaml.safe_dump(made, allow_unicode=rng.random() < 0.5, default_flow_style=rng.random() < 0.5)
        except (yaml.YAMLError, ValueError, RecursionError):
            return mutate.dumped(rng, made)

    return generate


def _plans(_: Path) -> Callable[[str], None]:
    from fds_mlflow.core.plan.plan import Plan
    from fds_mlflow.rollouts.plan.file import parse_plan

    def take(text: str) -> None:
        plan = parse_plan(text)
        assert Plan.from_dict(plan.to_dict()) == plan

    return take


def _costs(_: Path) -> Callable[[str], str]:
    """What a plan means and costs, as people see it."""
    from fds_mlflow.cli.output import plans
    from fds_mlflow.cli.output.tables import console
    from fds_mlflow.rollouts.plan.cost import check_plan
    from fds_mlflow.rollouts.plan.file import parse_plan

    shown = console()

    def take(text: str) -> str:
        found = check_plan(parse_plan(text), traffic=50.0)
        with shown.capture() as printed:
            shown.print(plans.plan_check(found))
        return printed.get()

    return take


def _schemas(_: Path) -> Callable[[str], None]:
    from fds_mlflow.data.schema import Schema, validated
    from fds_mlflow.errors import ConfigError
    from fds_mlflow.features.defaults import default_spec

    def take(text: str) -> None:
        found = _read(text, ConfigError)
        schema = validated(Schema, found, where="the schema")
        assert Schema.of(**schema.model_dump()) == schema
        default_spec(schema)

    return take


def _features(_: Path) -> Callable[[str], None]:
    from fds_mlflow.data.schema import validated
    from fds_mlflow.errors import ConfigError
    from fds_mlflow.features.conflicts import conflicts
    from fds_mlflow.features.declaration import to_yaml
    from fds_mlflow.features.explanation import sentences
    from fds_mlflow.features.expressions import extended
    from fds_mlflow.features.spec import FeatureSpec

    def take(text: str) -> None:
        spec = validated(FeatureSpec, _read(text, ConfigError), where="the features")
        again = validated(FeatureSpec, _read(to_yaml(spec), ConfigError), where="the features")
        assert again == spec
        assert conflicts(spec, again) == []
        assert list(sentences(spec)) == spec.computed
        row = {name: np.ones(1) for name in (*spec.computed, *spec.inputs) if name not in spec.nodes}
        extended(row, spec.nodes)
        spec.check(dict.fromkeys(spec.numeric, "numeric"), where="it")

    return take


def _read(text: str, refused: type[Exception]) -> dict[str, Any]:
    from fds_mlflow.runtime.yaml_file import parse_yaml

    found = parse_yaml(text, "it", fix="see the docs")
    if not isinstance(found, dict):
        raise refused("it holds no keys", fix="write some")  # type: ignore[call-arg]
    return found


TARGETS = (
    Target("plans", 180_000, _generator("plan"), _plans, quick=300),
    Target("plan costs", 4_000, _generator("plan"), _costs, quick=4),
    Target("schemas", 90_000, _generator("schema"), _schemas, quick=200),
    Target("features", 60_000, _generator("features"), _features, quick=150),
)
