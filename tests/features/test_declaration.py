"""A declaration in a version's folder: what is read is what was written, or an error that says what is wrong."""

from __future__ import annotations

import itertools
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import ConfigError
from fds_mlflow.features import declaration
from fds_mlflow.features.declaration import FEATURES, KEY, SCHEMA, Declared
from fds_mlflow.features.defaults import default_spec
from fds_mlflow.features.spec import FeatureSpec, Gap, Window, handbook_spec

ODD = ["null", "~", "yes", "No", "1:30", "1e3", "0o17", "0x1F", "010", ".5", "-", "a: b", "a #b", "'", '"', "{x}", "&a"]
ODD += ["*a", "!t", "%d", "@", "\x85", "\u2028x", "日本", " a ", "a\nb", "a\tb", "\ufeffa", "true", "2026-03-01", "<<"]
_column = st.one_of(st.sampled_from(ODD), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))
_duration = st.sampled_from(["90s", "30m", "1h", "12h", "1d", "7d", "30d", "2w", "1h30m"])
_zone = st.none() | st.sampled_from(["Europe/Berlin", "Asia/Seoul", "UTC"])
_role = st.from_regex(r"\A[a-z][a-z0-9_]{0,6}\Z")


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    """Any schema."""
    names = iter(draw(st.lists(_column, min_size=14, max_size=14, unique=True)))
    values: dict[str, Any] = {
        "transaction_id": draw(st.none() | st.just(next(names))),
        "time": draw(st.sampled_from([next(names), (next(names), next(names))])),
        "amount": draw(st.none() | st.just(next(names))),
        "entities": {role: next(names) for role in draw(st.lists(_role, max_size=3, unique=True))},
        "numeric": [next(names) for _ in range(draw(st.integers(0, 2)))],
        "categorical": [next(names) for _ in range(draw(st.integers(0, 2)))],
        "time_zone": draw(_zone),
        "missing": draw(st.lists(_column, max_size=2)),
        "currency": draw(st.lists(_column, max_size=2)),
        "separator": draw(st.none() | st.sampled_from(";|\t~")),
    }
    if draw(st.booleans()):
        values |= {"label": next(names), "label_delay": draw(st.none() | _duration)}
        marks = draw(
            st.lists(st.one_of(_column, st.booleans(), st.integers(-3, 9)), min_size=2, max_size=4, unique=True)
        )
        values["label_values"] = {"fraud": marks[:1], "genuine": marks[1:]}
    try:
        return Schema(**values)
    except ConfigError:
        assume(condition=False)
        raise


@st.composite
def specs(draw: st.DrawFn) -> FeatureSpec:
    """Any specification: windows, gaps, flags, columns under odd names, expressions over them, some of it hidden."""
    fresh = (f"{name}{number}" for number, name in enumerate(itertools.cycle(draw(st.lists(_column, min_size=3)))))
    spans = st.lists(_duration, min_size=1, max_size=3, unique_by=lambda span: span)
    windows: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(0, 3))):
        aggregate = draw(st.sampled_from(["count", "mean", "std", "distinct", "risk"]))
        of = (
            next(fresh)
            if aggregate == "distinct"
            else draw(st.none() | _column)
            if aggregate in ("mean", "std")
            else None
        )
        windows.append(
            {"entity": draw(_role), "aggregate": aggregate, "windows": draw(spans), "of": of}
            | {"name": next(fresh).replace("{", "(") + " {window}"}
        )
    values: dict[str, Any] = {
        "numeric": [next(fresh) for _ in range(draw(st.integers(1, 3)))],
        "flags": draw(st.sampled_from([[], [{"flag": "night"}], [{"flag": "weekend", "name": next(fresh)}]])),
        "windows": windows,
        "gaps": [{"entity": draw(_role), "name": next(fresh)} for _ in range(draw(st.integers(0, 2)))],
        "categorical": [next(fresh) for _ in range(draw(st.integers(0, 2)))],
        "label_delay": draw(st.none() | _duration),
        "time_zone": draw(_zone),
    }
    known = FeatureSpec(**values)
    read = [name for name in known.computed if name not in known.categorical]
    read = [name for name in read if not re.search("['\\\\\\s\x00]", name)]
    if read:
        chosen = draw(st.lists(st.sampled_from(read), max_size=3))
        values["expressions"] = [{"name": next(fresh), "of": f"log('{name}') / 2.5"} for name in chosen]
        derived = dict.fromkeys(name for name in chosen if name not in known.numeric)
        values["hidden"] = draw(st.lists(st.sampled_from([*derived]), unique=True)) if derived else []
    return FeatureSpec(**values)


def logged(folder: Path, spec: FeatureSpec, schema: Schema, **metadata: Any) -> None:
    """The folder of a logged model that declares these."""
    digest = declaration.write(folder, spec, schema)
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": {}, "metadata": {KEY: digest, **metadata}}))


@given(specs(), schemas())
def test_what_is_read_is_what_was_written(spec: FeatureSpec, schema: Schema) -> None:
    """Any specification and schema come back equal from a version's folder, under the digest that was logged."""
    with tempfile.TemporaryDirectory() as place:
        logged(Path(place), spec, schema, other="x")
        assert declaration.read(place) == Declared(spec, schema, declaration.digest(spec, schema))


@given(specs(), specs(), schemas(), schemas())
def test_different_declarations_have_different_digests(
    spec: FeatureSpec, other: FeatureSpec, schema: Schema, another: Schema
) -> None:
    """Two declarations have one digest where they are equal, and only there."""
    same = declaration.digest(spec, schema) == declaration.digest(other, another)
    assert same == ((spec, schema) == (other, another))


def test_the_digest_of_a_declaration_stays() -> None:
    """A later release gives what is shipped today the digests of today: its defaults mean the same."""
    simulator, handbook = Schema.load("simulator"), Schema.load("handbook")
    assert declaration.digest(default_spec(simulator), simulator) == (
        "sha256:d6f690ad0f3d5b812a8eda036005928aa7a753bac93180290a8709a65a51916e"
    )
    assert (
        declaration.digest(handbook_spec(), handbook)
        == "sha256:135a90bf6937c6b6748dea5c660c25ed01b550cc399b13a783b2e5381a78f63a"
    )


def test_comments_change_nothing(tmp_path: Path) -> None:
    """The digest is that of the content: a comment or another order of keys is the same declaration."""
    spec, schema = handbook_spec(), Schema.load("handbook")
    logged(tmp_path, spec, schema)
    place = tmp_path / FEATURES
    place.write_text(f"# as published\n{place.read_text()}")
    assert declaration.read(tmp_path) == Declared(spec, schema, declaration.digest(spec, schema))


@pytest.mark.parametrize(
    "model", ["flavors: {}", "metadata:", "metadata: {fds.codes: canonical}", "metadata: [1]", "[1]", "metadata: text"]
)
def test_who_declares_nothing_says_so(tmp_path: Path, model: str) -> None:
    """Versions of older releases and of other pipelines declare nothing, whatever files of that name they have."""
    (tmp_path / "MLmodel").write_text(model)
    (tmp_path / FEATURES).write_text("theirs: [1]")
    assert declaration.read(tmp_path) is None


@pytest.mark.parametrize("name", [FEATURES, SCHEMA])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_text("numeric: [a"), "is not YAML"),
        (lambda path: path.write_text(f"{path.read_text()}\nlater: 1\n"), "'later': unknown key"),
        (lambda path: path.write_text(path.read_text().replace("30d", "31d").replace("7d", "8d")), "is not the one"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "cannot be read"),
    ],
)
def test_a_broken_declaration_is_no_declaration(tmp_path: Path, name: str, change: Any, says: str) -> None:
    """A file that is missing, torn, changed, or of a later release is refused by name, never computed by."""
    schema = Schema.load("handbook")
    logged(tmp_path, handbook_spec(), schema)
    change(tmp_path / name)
    with pytest.raises(ConfigError, match="the version's declaration") as refused:
        declaration.read(tmp_path)
    assert says in refused.value.what
    assert name in refused.value.what
    assert refused.value.fix


def test_a_model_without_its_own_file_is_refused(tmp_path: Path) -> None:
    """A folder that no MLflow logged is an error, not a version that declares nothing."""
    with pytest.raises(ConfigError, match="MLmodel"):
        declaration.read(tmp_path)


def test_what_no_file_can_hold_is_refused_when_it_is_written(tmp_path: Path) -> None:
    """A name that is no text is refused before anything is registered."""
    with pytest.raises(ConfigError, match="the declaration cannot be kept in files"):
        declaration.write(tmp_path, FeatureSpec(numeric=("a\ud800",)), Schema.load("handbook"))


def test_it_is_written_for_people(tmp_path: Path) -> None:
    """The files hold what was said and no defaults."""
    spec = FeatureSpec(
        windows=(Window(entity="card", aggregate="mean", windows=("7d",)),),
        gaps=(Gap(entity="card"),),
        expressions=({"name": "ratio", "of": "amount / card_mean_amount_7d"},),
    )
    declaration.write(tmp_path, spec, Schema.load("ulb"))
    assert (tmp_path / FEATURES).read_text() == (
        "windows:\n- entity: card\n  aggregate: mean\n  windows:\n  - 7d\ngaps:\n- entity: card\n"
        "expressions:\n- name: ratio\n  of: amount / card_mean_amount_7d\n"
    )
