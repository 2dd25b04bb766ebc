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
from fds_mlflow.runtime.yaml_file import CoreDumper, parse_yaml
from tests.support.effort import at_most
from tests.support.refusals import taken_or_refused

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


def _bomb(levels: int, width: int = 9) -> str:
    """Lists of aliases of lists: few hundred bytes that stand for `width` to the power of `levels` values."""
    return "\n".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}' if level else 'x'] * width)}]" for level in range(levels)
    )


REFUSED = {
    "aliases of aliases": (_bomb(9), "20,000 values"),
    "an alias of itself": ("a: &a [*a]", "an alias of what it stands in"),
    "a mapping of itself": ("a: &a {b: *a}", "an alias of what it stands in"),
    "a chain of aliases": ("a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 99)), "32 levels"),
    "deep lists": ("[" * 100_000, "32 levels"),
    "deep mappings": ("{a: " * 50_000, "32 levels"),
    "deep blocks": ("".join(f"{' ' * n}a:\n" for n in range(999)), "32 levels"),
    "very many values": ("[" + "1," * 30_000 + "]", "20,000 values"),
    "very many keys": ("".join(f"k{n}: 1\n" for n in range(11_000)), "20,000 values"),
    "very long": ("#" * 2**20 + "\n{}", "1,048,579 characters"),
    "a long number": ("a: " + "9" * 5_001, "line 1 has a number of 5,001 digits"),
    "a tag that runs code": ("a: !!python/object/apply:os.system [true]", "none of the kind"),
    "a tag of a date": ("a:\n  !!timestamp 2026-02-30", "line 2 is none of the kind"),
    "a tag that does not fit": ("a: !!int one", "none of the kind"),
    "an empty number": ("a: !!int ''", "none of the kind"),
    "a set": ("!!set {a, b}", "none of the kind"),
    "a key that is a list": ("? [a]\n: 1", "no text"),
    "a key that is an alias of one": ("a: &a [1]\n*a : 2", "no text"),
    "the same key as text": ("1: a\n'1': b", "1 twice"),
    "two documents": ("a: 1\n---\na: 2", "line 2 begins another document"),
    "a NUL": ("a: \0", "not YAML"),
    "nothing": ("", "is empty"),
    "a null": ("~", "is empty"),
}


@pytest.mark.tested(99)
@pytest.mark.parametrize("name", REFUSED)
def test_what_no_plan_or_schema_needs_is_refused(name: str) -> None:
    """Whatever a document unfolds to, it is refused by what it is before it fills the memory, and the fix is told."""
    text, says = REFUSED[name]
    with pytest.raises(ConfigError, match=says) as error:
        parse_yaml(text, "the file", fix="see the docs")
    assert error.value.what.startswith("the file ")
    assert error.value.fix


@pytest.mark.tested(99)
@pytest.mark.parametrize(
    ("written", "means"),
    [
        *(("1:30", "1:30"), ("1_000", "1_000"), ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y")),
        *(("2026-03-01", "2026-03-01"), ("2026-02-30", "2026-02-30"), ("010", 10), ("0o10", 8), ("0x1F", 31)),
        *(("1e3", 1000.0), ("+1", 1), ("-.5", -0.5), ("true", True), ("FALSE", False), ("~", None), ("", None)),
        *(
            (".inf", float("inf")),
            ("-.INF", float("-inf")),
            ("'1'", "1"),
            ("!!str 1", "1"),
            ("0b1", "0b1"),
            ("<<", "<<"),
        ),
    ],
)
def test_a_value_is_what_yaml_1_2_says(written: str, means: Any) -> None:
    """A time, a date, `yes` and `1_000` are text, and never 90, a date, true and 1000; `010` is ten."""
    found = parse_yaml(f"a: {written}", "the file", fix="see")
    assert found == {"a": means}
    assert type(found["a"]) is type(means)
    assert parse_yaml(f"{written or 'x'}: 1", "the file", fix="see").keys() == {
        written.strip("'").removeprefix("!!str ") or "x"
    }


def test_an_alias_is_read_as_what_it_stands_for() -> None:
    """Within bounds, whoever writes a list once may use it twice."""
    assert parse_yaml("a: &a [1, 2]\nb: *a\nc: [*a, *a]", "it", fix="see") == {
        "a": [1, 2],
        "b": [1, 2],
        "c": [[1, 2], [1, 2]],
    }
    assert parse_yaml(_bomb(3), "it", fix="see")["a2"][8][8] == ["x"] * 9


@at_most(60)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=6,
    )
)
def test_what_is_written_reads_the_same(value: Any) -> None:
    """A schema that is inferred reads back as it was meant, whatever its columns and texts are called."""
    text = yaml.dump({"a": value}, Dumper=CoreDumper, allow_unicode=True)
    assert parse_yaml(text, "it", fix="see") == {"a": value}


@given(st.text(st.sampled_from("abc012:-?[]{}&*!|>'\"%@`#,. \n\t\\~_+xoe<="), max_size=60) | st.text(max_size=40))
def test_any_text_is_a_value_or_refused(text: str) -> None:
    """No text ends a reader by an error of a library; what is refused is refused with a fix."""
    taken_or_refused(lambda: parse_yaml(text, "it", fix="see"))
