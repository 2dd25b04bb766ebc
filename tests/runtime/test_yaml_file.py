"""YAML files that people write: a key that stands twice is refused, wherever it stands and whatever the file is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import ConfigError
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.outcomes.label_file import COLUMNS
from fds_mlflow.rollouts.plan.file import load_plan
from fds_mlflow.runtime.yaml_file import parse_yaml

PLAN = "steps: [5, 50]\nguardrails:\n  error_rate: {margin: 1}\nwatch: {duration: 7d, control: 5}\n"
SCHEMA = "transaction_id: id\ntime: t\namount: eur\nentities:\n  customer: who\n"
FEATURES = (
    "numeric: [amount]\nflags:\n  - {flag: night}\nwindows:\n  - entity: customer\n    aggregate: count\n"
    "    windows: [1d]\ngaps:\n  - {entity: customer}\n"
)
READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "plan": (PLAN, load_plan),
    "schema": (SCHEMA, Schema.load),
    "features": (FEATURES, FeatureSpec.load),
}


@pytest.mark.parametrize(
    ("kind", "old", "new", "says"),
    [
        ("plan", "steps: [5, 50]", "steps: [5, 50]\nsteps: [10]", "steps twice"),
        (
            "plan",
            "  error_rate: {margin: 1}",
            "  error_rate: {margin: 1}\n  error_rate: {margin: 2}",
            "error_rate twice",
        ),
        ("plan", "{margin: 1}", "{margin: 1, margin: 9}", "margin twice"),
        ("plan", "control: 5}", "control: 5, control: 6}", "control twice"),
        ("schema", "time: t", "time: t\ntime: other", "time twice"),
        ("schema", "  customer: who", "  customer: who\n  customer: whom", "customer twice"),
        ("features", "numeric: [amount]", "numeric: [amount]\nnumeric: []", "numeric twice"),
        ("features", "{flag: night}", "{flag: night, flag: weekend}", "flag twice"),
        ("features", "    windows: [1d]", "    windows: [1d]\n    windows: [7d]", "windows twice"),
        ("features", "- {entity: customer}", "- {entity: customer, entity: card}", "entity twice"),
    ],
)
def test_a_key_given_twice_is_refused_at_every_depth(kind: str, old: str, new: str, says: str, tmp_path: Path) -> None:
    """In plans, schemas and feature specifications alike: neither of two values is taken in silence."""
    text, read = READERS[kind]
    file = tmp_path / "file.yaml"
    file.write_text(text)
    read(file)
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=says) as error:
        read(file)
    assert "keep one" in error.value.fix


names = st.sampled_from("abc")
documents = st.recursive(
    st.integers(0, 3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)


@given(documents, st.data())
def test_a_key_given_twice_is_found_wherever_it_stands(document: Any, data: st.DataObject) -> None:
    """A whole document reads as it is; with one more of any of its keys, whatever depth it stands at, it is refused."""
    assert parse_yaml(yaml.safe_dump(document), "the file", fix="see") == document
    for _ in range(data.draw(st.integers(0, 3))):
        document = {"a": document} if data.draw(st.booleans()) else [0, document]
    text = yaml.safe_dump({"outer": document}, default_flow_style=True)
    places = [place for place in range(len(text)) if text.startswith(("{a:", "{b:", "{c:"), place)]
    if places:
        place = data.draw(st.sampled_from(places))
        doubled = f"{text[: place + 1]}{text[place + 1]}: 9, {text[place + 1 :]}"
        with pytest.raises(ConfigError, match=f"{text[place + 1]} twice"):
            parse_yaml(doubled, "the file", fix="see")


@pytest.mark.parametrize(
    ("page", "keys"),
    [
        ("docs/data.md", tuple(Schema.model_fields)),
        ("docs/data.md", tuple(FeatureSpec.model_fields)),
        ("docs/outcomes.md", COLUMNS),
    ],
    ids=["schema", "features", "labels"],
)
def test_every_key_that_a_file_may_have_is_explained(page: str, keys: tuple[str, ...]) -> None:
    """No file takes a key that people are not told of: what is internal has another home."""
    text = Path(page).read_text(encoding="utf-8")
    assert [key for key in keys if key not in text] == []
