"""What a schema can say of files as people have them, and what is refused with the words that would say it."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.data.schema import Schema
from fds_mlflow.data.transactions import load
from fds_mlflow.errors import ConfigError, DataError

ROLES: dict[str, Any] = {"transaction_id": None, "time": "t", "amount": "eur"}
LABELLED: dict[str, Any] = {**ROLES, "label": "y"}


def frame(**columns: Any) -> pd.DataFrame:
    """Four good rows, with some columns replaced or added."""
    good = {"t": pd.date_range("2026-01-01", periods=4, freq="h"), "eur": [1.5, 2.0, 3.25, 4.0], "y": [0, 1, 0, 0]}
    return pd.DataFrame(good | columns)


@pytest.mark.parametrize(
    ("written", "says", "expected"),
    [
        ("4/18/15 2:47", {"time_format": "%m/%d/%y %H:%M"}, "2015-04-18 02:47"),
        ("25-01-15", {"time_format": "%y-%m-%d"}, "2025-01-15"),
        ("25-01-15", {"time_format": "%d-%m-%y"}, "2015-01-25"),
        ("18.04.2015 2:47 PM", {"time_format": "%d.%m.%Y %I:%M %p"}, "2015-04-18 14:47"),
        ("18 Apr 2015", {"time_format": "%d %b %Y"}, "2015-04-18"),
        ("18/04/2015 02:47:01 +0200", {"time_format": "%d/%m/%Y %H:%M:%S %z"}, "2015-04-18 00:47:01"),
        ("2015-04-18T02:47:00+02:00", {}, "2015-04-18 00:47"),
        ("2015-04-18 02:47", {"time_zone": "Europe/Berlin"}, "2015-04-18 00:47"),
        ("1429325220", {"time_unit": "s"}, "2015-04-18 02:47"),
        ("1429325220123456789", {"time_unit": "ns"}, "2015-04-18 02:47:00.123456"),
        (1429325220123, {"time_unit": "ms"}, "2015-04-18 02:47:00.123"),
        (90, {"time_unit": "min", "time_origin": "2026-01-01"}, "2026-01-01 01:30"),
        (25, {"time_unit": "h", "time_origin": "2026-01-01"}, "2026-01-02 01:00"),
        (1.5, {"time_unit": "d", "time_origin": "2026-01-01"}, "2026-01-02 12:00"),
        (2, {"time_unit": "d", "time_origin": "2026-01-01", "time_zone": "Europe/Berlin"}, "2026-01-02 23:00"),
    ],
)
def test_times_as_people_write_them(written: Any, says: dict[str, Any], expected: str) -> None:
    """A time in any format, unit or zone that the schema says is the moment it means, in UTC."""
    assert load(frame(t=[written] * 4), **ROLES, **says).frame["time"].tolist() == [pd.Timestamp(expected)] * 4


@pytest.mark.parametrize(
    ("columns", "how"),
    [
        ({"d": "2026-03-01", "h": "6:21"}, "%Y-%m-%d %H:%M"),
        ({"year": 2026, "month": 3, "day": 1, "h": "06:21"}, "%Y %m %d %H:%M"),
        ({"year": 2026.0, "month": 3.0, "day": 1.0, "h": "06:21"}, "%Y %m %d %H:%M"),
        ({"d": pd.Timestamp("2026-03-01"), "h": "06:21:00"}, None),
    ],
)
def test_a_time_may_stand_in_several_columns(columns: dict[str, Any], how: str | None) -> None:
    """A date and a time of day, or year, month and day apart, are one time."""
    data = frame().drop(columns="t").assign(**columns)
    says = {} if how is None else {"time_format": how}
    found = load(data, transaction_id=None, amount="eur", time=list(columns), **says)
    assert found.frame["time"].tolist() == [pd.Timestamp("2026-03-01 06:21")] * 4


@pytest.mark.parametrize(
    ("written", "says", "expected"),
    [
        ("1.234,50", {"decimal": ",", "thousands": "."}, 1234.5),
        ("1 234,50", {"decimal": ",", "thousands": " "}, 1234.5),
        ("1\u202f234,50", {"decimal": ",", "thousands": " "}, 1234.5),
        ("1'234.50", {"thousands": "'"}, 1234.5),
        ("1,234,567", {"thousands": ","}, 1234567),
        ("0,5", {"decimal": ","}, 0.5),
        ("$1,234.50", {"thousands": ",", "currency": ["$"]}, 1234.5),
        ("-$12.00", {"currency": ["$"]}, -12),
        ("$ -12.00", {"currency": ["$"]}, -12),
        ("($12.00)", {"currency": ["$"]}, -12),
        ("1.234,50 EUR", {"decimal": ",", "thousands": ".", "currency": ["EUR", "€"]}, 1234.5),
        ("R$ 12", {"currency": ["R$", "$"]}, 12),
        (" 7 ", {}, 7),
    ],
)
def test_numbers_as_people_write_them(written: str, says: dict[str, Any], expected: float) -> None:
    """Decimal commas, thousands, currency signs and an accountant's minus are the number they mean."""
    assert load(frame(eur=[written] * 4), **ROLES, **says).frame["amount"].tolist() == [expected] * 4


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("1,234.50", 'thousands: ","'),
        ("12,5", 'decimal: ","'),
        ("1.234,50", 'decimal: "," and thousands: "."'),
        ("$12", 'currency: ["$"]'),
        ("12 EUR", 'currency: ["EUR"]'),
        ("?", "missing"),
    ],
)
def test_a_number_that_is_refused_names_what_would_say_it(written: str, hint: str) -> None:
    """Numbers in another notation are never guessed: the refusal names the key of the schema that says it."""
    with pytest.raises(DataError, match="not numbers") as refused:
        load(frame(eur=[written] * 4), **ROLES)
    assert hint in refused.value.fix


def test_groups_of_digits_must_be_groups() -> None:
    """`1,23` is no number where commas stand between thousands: a point and a comma are not mixed up silently."""
    with pytest.raises(DataError, match="holds 2 values that are not numbers"):
        load(frame(eur=["1,234", "1,23", "12,34", "1"]), **ROLES, thousands=",")


@given(st.floats(-1e12, 1e12).map(lambda value: round(value, 2)))
def test_every_number_reads_back(value: float) -> None:
    """What is written with thousands and a decimal comma is read as what it was."""
    text = f"{value:,.2f}".translate(str.maketrans(",.", ".,"))
    found = load(frame(eur=[f"€ {text}"] * 4), **ROLES, decimal=",", thousands=".", currency=["€"])
    assert found.frame["amount"].tolist() == [value + 0.0] * 4


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (["N", "Y", "n", "N"], {"fraud": ["Y"], "genuine": ["N"]}),
        ([1, 2, 1, 1], {"fraud": [2], "genuine": [1]}),
        ([1.0, 2.0, 1.0, 1.0], {"fraud": ["2"], "genuine": ["1"]}),
        (["No", "Yes", "No", "No"], {"fraud": [True], "genuine": [False]}),
        (["legit", "Fraud", "ok", "legit"], {"fraud": ["fraud"], "genuine": ["legit", "ok"]}),
        ([False, True, False, False], None),
        (["0.0", "1.0", "0.0", "0"], None),
        (["FALSE", "TRUE", "false", "False"], None),
    ],
)
def test_labels_as_people_write_them(written: list[Any], says: dict[str, Any] | None) -> None:
    """Whatever the label's values are, the schema says which mean fraud; YAML's Yes and No are the words they were."""
    more = {} if says is None else {"label_values": says}
    assert load(frame(y=written), **LABELLED, **more).frame["label"].tolist() == [0, 1, 0, 0]


def test_a_label_that_means_nothing_is_refused_with_the_values_there_are() -> None:
    """A value that the schema does not name is neither fraud nor genuine, and is never taken for one."""
    with pytest.raises(DataError, match="holds 1 labels other than 0 and 1") as refused:
        load(frame(y=["0", "1", "maybe", "0"]), **LABELLED)
    assert "label_values" in refused.value.fix
    assert "'maybe'" in refused.value.fix


def test_rows_without_a_label_are_counted_and_said(tmp_path: Path) -> None:
    """Rows without a label, and empty rows at a file's end, are left out of what is learned, and counted."""
    file = tmp_path / "x.csv"
    file.write_text("t;eur;y\n2026-01-01;1;0\n2026-01-02;2;\n2026-01-03;3;1\n;;\n;;\n")
    found = load(file, **LABELLED, separator=";")
    assert found.frame["label"].tolist() == [0, pd.NA, 1]
    assert found.notes == (
        "2 empty rows of 5 left out",
        "1 row of 3 without a label left out of training; they count as the past of others",
    )


def test_silence_counts_as_genuine_when_it_is_old_enough() -> None:
    """With `labels_mature` a transaction that nobody reported is genuine after that time."""
    known = [None, "2026-01-05", None, None]
    found = load(frame(k=known), **LABELLED, label_known_at="k", labels_mature="30d").frame
    assert found["label_known_at"][1] == pd.Timestamp("2026-01-05")
    assert (found["label_known_at"] - found["time"])[[0, 2, 3]].tolist() == [timedelta(days=30)] * 3


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize(
    ("name", "says", "encoding"),
    [
        ("x.csv", {}, "utf-8"),
        ("x.tsv", {}, "utf-8"),
        ("x.txt", {"separator": ";"}, "utf-8"),
        ("x.csv", {"separator": "|", "encoding": "cp1252"}, "cp1252"),
        ("x.csv", {"encoding": "latin-1"}, "latin-1"),
    ],
)
def test_text_files_as_people_have_them(
    name: str, says: dict[str, str], encoding: str, packed: str, tmp_path: Path
) -> None:
    """Any separator, encoding and compression gives the transactions that the frame gives."""
    data = frame(shop=["Café", "B", "Ä", "Café"])
    separator = says.get("separator", "\t" if name == "x.tsv" else ",")
    file = tmp_path / (name + packed)
    file.write_bytes(PACKED[packed](data.to_csv(index=False, sep=separator).encode(encoding)))
    roles = {**LABELLED, "categorical": ["shop"]}
    assert load(file, **roles, **says).digest == load(data, **roles).digest


def test_a_folder_of_parts_is_one_table(tmp_path: Path) -> None:
    """Parts are read in the order of their paths, with the columns that their folders name, markers left out."""
    data = frame(day=["1", "1", "2", "2"])
    for day, rows in data.groupby("day"):
        folder = tmp_path / "all" / f"day={day}"
        folder.mkdir(parents=True)
        rows.drop(columns="day").to_parquet(folder / "part-0.parquet")
    (tmp_path / "all" / "_SUCCESS").touch()
    shares: list[float] = []
    roles = {**LABELLED, "categorical": ["day"]}
    found = load(tmp_path / "all", **roles, progress=shares.append)
    assert found.digest == load(data, **roles).digest
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_sheet_is_chosen_by_name(tmp_path: Path) -> None:
    """A workbook's first sheet is read, or the one that the schema names, which has to be there."""
    with pd.ExcelWriter(tmp_path / "x.xlsx") as book:
        frame().to_excel(book, sheet_name="old", index=False)
        frame(eur=[9.0] * 4).to_excel(book, sheet_name="new", index=False)
    assert load(tmp_path / "x.xlsx", **LABELLED).frame["amount"][0] == 1.5
    assert load(tmp_path / "x.xlsx", **LABELLED, sheet="new").frame["amount"][0] == 9
    with pytest.raises(DataError, match="no sheet 'other'") as refused:
        load(tmp_path / "x.xlsx", **LABELLED, sheet="other")
    assert "old, new" in refused.value.fix


def test_a_file_without_id_amount_and_time_is_transactions_too() -> None:
    """What a file does not have is `null` in the schema: rows are numbered, there is no amount and no period."""
    found = load(frame(), transaction_id=None, time=None, amount=None, label="y", numeric=["eur"])
    assert list(found.frame) == ["transaction_id", "time", "label", "eur"]
    assert found.frame["time"].isna().all()
    assert found.period is None


def test_texts_that_stand_for_nothing_are_missing_in_every_column() -> None:
    """`missing` holds for numbers, codes, times and labels alike, and for a number however it is stored."""
    says = {"missing": ["?", "-1"], "numeric": ["n"], "categorical": ["c"]}
    text = load(frame(n=["?", "-1", "3", "-1.0"], c=["?", "a", "-1", "b"]), **LABELLED, **says).frame
    typed = load(frame(n=[np.nan, -1, 3, -1], c=[None, "a", "-1", "b"]), **LABELLED, **says).frame
    pd.testing.assert_frame_equal(text, typed)
    assert text["n"].isna().tolist() == [True, True, False, True]


def test_everything_that_does_not_fit_is_told_at_once(tmp_path: Path) -> None:
    """One run tells all that is wrong with a file, each with its fix; a column's faults add up."""
    file = tmp_path / "x.csv"
    frame(t=["?", "2026-01-01", "2026-01-02", "?"], eur=["1", "$2", "3", "4"], y=[0, 1, 7, 0]).to_csv(file, index=False)
    with pytest.raises(DataError) as refused:
        load(file, **LABELLED)
    assert refused.value.what.startswith("3 things do not fit")
    for part in (
        "'t' (time) holds 2 values",
        "first: '?' in row 1",
        "'eur' (amount) holds 1",
        'currency: ["$"]',
        "'7'",
    ):
        assert part in str(refused.value)
    with pytest.raises(DataError) as lacking:
        load(file, transaction_id="ID", time="T", amount="eur")
    assert "'ID' (transaction_id), 'T' (time)" in lacking.value.what
    assert "'t' for 'T'" in lacking.value.fix


@pytest.mark.parametrize(
    "times",
    [
        ["99999-01-01"] * 4,
        ["1066-10-14"] * 4,
        [2**62] * 4,
        list(np.array([2**62] * 4).astype("datetime64[s]")),
        [pd.Timestamp.max.to_pydatetime().replace(year=9999)] * 4,
    ],
)
def test_times_out_of_range_are_refused(times: list[Any]) -> None:
    """A moment that no transaction has, in text, numbers or timestamps, is refused and never wraps around."""
    says = {"time_unit": "s"} if isinstance(times[0], int) else {}
    with pytest.raises(DataError, match=r"not times|outside the years|beyond any calendar"):
        load(frame(t=times), **ROLES, **says)


@pytest.mark.parametrize(
    "change",
    [
        {"numeric": ["y"]},
        {"categorical": ["y"]},
        {"entities": {"customer": "y"}},
        {"amount": "y"},
        {"time": "y"},
        {"label_known_at": "k", "numeric": ["k"]},
        {"label_known_at": "y"},
        {"known_later": ["cb"], "categorical": ["cb"]},
        {"known_later": ["cb"], "entities": {"case": "cb"}},
    ],
)
def test_what_tells_the_label_may_not_be_read_by_anything_else(change: dict[str, Any]) -> None:
    """The columns of the label, of its time, and what is known later only are closed to every other role."""
    with pytest.raises(ConfigError, match=r"would tell the label|'label_known_at'|is named twice"):
        Schema.of(**{**LABELLED, **change})


def test_an_entity_is_a_category_under_its_own_name() -> None:
    """One column can be an entity whose past is looked at and a category at once, without a second name."""
    roles = {**LABELLED, "entities": {"country": "country"}, "categorical": ["country"]}
    assert list(load(frame(country=["x", "y", "x", "x"]), **roles).frame) == [
        "transaction_id",
        "time",
        "amount",
        "country",
        "label",
    ]
