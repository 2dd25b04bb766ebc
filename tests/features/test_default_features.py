"""What is computed when nobody said what: as much as the data allows, and a sentence for each thing left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fds_mlflow.data.schema import Schema
from fds_mlflow.data.transactions import Transactions, load
from fds_mlflow.errors import ConfigError
from fds_mlflow.features.defaults import default_features, default_spec
from fds_mlflow.features.spec import FeatureSpec, Gap, Window
from fds_mlflow.features.table import compute, compute_file
from fds_mlflow.runtime.text_column import text_column

ROLES: dict[str, Any] = {"transaction_id": None, "time": "t", "amount": "eur", "entities": {"shop": "shop"}}


def orders(**columns: Any) -> pd.DataFrame:
    """Six orders of two shops, two of them frauds that were reported a day later; then the columns given."""
    time = pd.date_range("2026-01-01", periods=6, freq="D", unit="us")
    frame = pd.DataFrame({"t": time, "eur": np.arange(6.0), "shop": list("ababab"), "y": [0, 1, 0, 0, 1, 0]})
    frame["known"] = (time + pd.Timedelta(days=1)).where(frame["y"] == 1)
    return frame.assign(**columns)


def read(frame: pd.DataFrame | None = None, **roles: Any) -> Transactions:
    """Orders by `ROLES` and the roles given."""
    return load(orders() if frame is None else frame, Schema.of(**{**ROLES, **roles}))


def test_without_a_time_there_are_no_windows_and_no_flags() -> None:
    """A schema with `time: null` gives its plain columns, says so, and computes."""
    transactions = read(time=None, numeric=["known_for"], frame=orders(known_for=1.0))
    spec, notes = default_features(transactions)
    assert spec.names == ["amount", "known_for"]
    assert "names no time" in notes[0]
    table = compute(transactions, spec)
    assert table.period is None
    assert len(table) == 6


def test_without_an_amount_there_are_no_means() -> None:
    """A schema with `amount: null` counts transactions and says that it has no means of amounts."""
    spec, notes = default_features(read(amount=None))
    assert spec.names == ["weekend", "night", "shop_count_1h", "shop_count_1d", "shop_count_7d", "shop_count_30d"]
    assert any("names no amount" in note for note in notes)
    assert compute(read(amount=None), spec).features == spec.names


def test_an_entity_can_be_a_category_under_its_own_name(tmp_path: Path) -> None:
    """An entity that is also named under `categorical` is a feature beside its windows, on every road to features."""
    transactions = read(categorical=["shop"])
    table = compute(transactions, default_spec(transactions))
    assert table.categorical == ["shop"]
    assert table.x["shop"].tolist() == list("ababab")
    assert table.x["shop_count_30d"].tolist() == [1, 1, 2, 2, 3, 3]
    bare = compute(transactions.frame, default_spec(transactions.schema))
    pd.testing.assert_frame_equal(bare.x, table.x)
    orders().to_parquet(tmp_path / "orders.parquet")
    file = compute_file(tmp_path / "orders.parquet", transactions.schema, table.spec, tmp_path / "out.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(file.path), table.frame, check_dtype=False)


@pytest.mark.parametrize(
    ("own", "role"),
    [
        ("shop_count_7d", "numeric"),
        ("weekend", "numeric"),
        ("shop_count_1d", "categorical"),
        ("night", "entities"),
    ],
)
def test_a_default_feature_gives_way_to_a_column_of_its_name(own: str, role: str) -> None:
    """A file that brings windows or flags of its own keeps them: the default one is left out with a note."""
    extra = {"entities": {"shop": "shop", own: own}} if role == "entities" else {role: [own]}
    transactions = read(orders(**{own: 7.0 if role == "numeric" else "x"}), **extra)
    spec, notes = default_features(transactions)
    assert any(repr(own) in note and "gives way" in note for note in notes)
    assert spec.names.count(own) == (0 if role == "entities" else 1)
    assert {"shop_count_1h", "shop_count_30d"} <= set(spec.names)
    assert len(compute(transactions, spec)) == 6


def test_an_entity_that_is_empty_in_every_row_has_no_windows() -> None:
    """An entity without a value says nothing of a past: its windows are left out, with its name."""
    frame = orders(shop=text_column([None] * 6), card=list("xyxyxy"))
    spec, notes = default_features(read(frame, entities={"shop": "shop", "card": "card"}))
    assert not [name for name in spec.names if name.startswith("shop")]
    assert "card_count_7d" in spec.names
    assert any("'shop' is empty in every row" in note for note in notes)


def test_risks_need_to_know_when_labels_come() -> None:
    """Without a label delay there are no risks; with one there are, and nothing is left to say."""
    spec, notes = default_features(read(label="y"))
    assert not spec.uses_labels
    assert any("when labels become known" in note for note in notes)
    spec, notes = default_features(read(label="y", label_delay="1d"))
    assert spec.uses_labels
    assert notes == ()


def test_labels_known_for_frauds_only_make_no_risks(tmp_path: Path) -> None:
    """Where only frauds become known the default leaves risks out, and who asks for them is told to give a maturity."""
    transactions = read(label="y", label_known_at="known")
    spec, notes = default_features(transactions)
    assert not spec.uses_labels
    assert any("4 genuine rows" in note and "labels_mature" in note for note in notes)
    asked = FeatureSpec(windows=[Window(entity="shop", aggregate="risk", windows=["7d"])])
    with pytest.raises(ConfigError, match="none of its 4 genuine rows") as caught:
        compute(transactions, asked)
    assert "labels_mature" in caught.value.fix
    orders().to_parquet(tmp_path / "orders.parquet")
    with pytest.raises(ConfigError, match="none of its 4 genuine rows"):
        compute_file(tmp_path / "orders.parquet", transactions.schema, asked, tmp_path / "out.parquet")
    counts = FeatureSpec(windows=[Window(entity="shop", aggregate="frauds", windows=["7d"])])
    assert compute(transactions, counts).x.iloc[:, 0].sum() > 0


def test_features_of_time_are_refused_where_there_is_none() -> None:
    """A window that somebody asks for over transactions without a time is refused with what to do."""
    with pytest.raises(ConfigError, match="'shop_gap' needs the time") as caught:
        compute(read(time=None), FeatureSpec(gaps=[Gap(entity="shop")]))
    assert "'time' in the schema" in caught.value.fix


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Window(entity="shop", aggregate="count", windows=["0d"]), "the Window is not valid.*longer than 0"),
        (lambda: Window(entity="shop", aggregate="average", windows=["1d"]), "'aggregate'"),
        (lambda: Window(entity="shop", aggregate="count"), "'windows': is missing"),
        (lambda: FeatureSpec(numeric=["weekend"], flags=[{"flag": "weekend"}]), "several features are named weekend"),
        (lambda: FeatureSpec(windows=[{"entity": "a", "aggregate": "sum", "windows": []}]), r"'windows\.0\.windows'"),
        (lambda: FeatureSpec(windows=[{1: 2}, 7]), r"'windows\.1'"),
        (lambda: FeatureSpec.model_validate({"gap": []}), r"unknown key \(did you mean 'gaps'\?\)"),
        (lambda: Gap(role="shop"), "'role': unknown key"),
        (lambda: Schema(transaction_id=None, tiem="t", amount=None), r"'tiem': unknown key \(did you mean 'time'\?\)"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_a_config_error(build: Any, words: str) -> None:
    """Built in Python as from a file, a wrong window, gap or specification is refused by the family of errors."""
    with pytest.raises(ConfigError, match=words):
        build()
