"""Inference: from any file of the street to a schema that reads it, each guess with its evidence."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fds_mlflow.data import delimited, readers
from fds_mlflow.data.inference import InferredSchema, infer
from fds_mlflow.data.schema import Schema
from fds_mlflow.data.transactions import load
from fds_mlflow.errors import ConfigError, DataError
from tests.support.street_files import SHAPES, Shape, world

ROWS = 700
MARKED = [
    pytest.param(shape, id=shape.name, marks=[pytest.mark.slow] if shape.name in ("wide", "workbook") else [])
    for shape in SHAPES
]


def written(frame: pd.DataFrame, folder: Path, **options: Any) -> Path:
    """A frame as a CSV file."""
    path = folder / "file.csv"
    frame.to_csv(path, index=False, **options)
    return path


def reread(made: InferredSchema, folder: Path) -> Schema:
    """The schema as it comes back from its YAML."""
    path = folder / "file.schema.yaml"
    path.write_text(made.yaml(), encoding="utf-8")
    return Schema.load(path)


def small(**columns: Any) -> pd.DataFrame:
    """Two hundred rows with a label, and what a test is about."""
    fraud = (np.arange(200) % 10 == 0).astype(int)
    return pd.DataFrame({"label": fraud, "x": np.random.default_rng(0).normal(size=200).round(3), **columns})


@pytest.mark.tested(24)
@pytest.mark.parametrize("shape", MARKED)
def test_every_shape_is_inferred_and_read(shape: Shape, tmp_path: Path) -> None:
    """The schema of each shape says what there is, and the loader reads the file by it."""
    if shape.name == "workbook":
        pytest.importorskip("openpyxl")
    source, options = shape.write(tmp_path, ROWS)
    made = infer(source, shape.label, **options)
    schema = reread(made, tmp_path)
    assert schema == made.schema
    assert {key: getattr(schema, key) for key in shape.expected} == shape.expected
    assert schema.label == shape.named
    assert not set(shape.absent) & set(schema.columns())
    read = load(source, schema, **options)
    assert len(read) == made.rows == ROWS
    truth = world(ROWS)["fraud"]
    known = read.frame["label"].notna().to_numpy()
    order = np.arange(ROWS)
    if schema.time is not None and shape.name == "database":  # a table comes in the order of its times
        order = read.frame["transaction_id"].astype(int).to_numpy()
    assert (read.frame["label"].to_numpy()[known].astype(int) == truth.to_numpy()[order][known]).all()


@pytest.mark.parametrize("shape", MARKED)
def test_every_column_is_accounted_for(shape: Shape, tmp_path: Path) -> None:
    """A column is read, or is named with the reason why it is not; what is read has its evidence."""
    if shape.name == "workbook":
        pytest.importorskip("openpyxl")
    source, options = shape.write(tmp_path, ROWS)
    made = infer(source, shape.label, **options)
    spoken = {item.column for item in made.evidence}
    form = {"separator": made.schema.separator, "encoding": made.schema.encoding}
    present = next(iter(readers.every_column(source, **form, **options))).column_names
    assert set(present) == {*made.schema.columns(), *made.schema.known_later, *made.left_out}
    roles = made.schema.roles()
    assert not set(made.left_out) & (set(made.schema.columns()) | set(made.schema.known_later))
    for role in (*made.schema.entities, *made.schema.numeric, *made.schema.categorical):
        assert roles[role][0] in spoken
    assert {"label", "time", "amount", "transaction_id"} <= {item.key for item in made.evidence}
    assert made.unknown


def test_one_plausible_label_is_taken(tmp_path: Path) -> None:
    """A single column of two values that is named like a label is taken, and it is said."""
    made = infer(written(small(fraudulent=np.arange(200) % 7 == 0).drop(columns="label"), tmp_path))
    assert made.schema.label == "fraudulent"
    assert any("only column of two values" in item.reason for item in made.evidence)


def test_several_plausible_labels_are_named(tmp_path: Path) -> None:
    """With two candidates nothing is guessed: both are named, and how to say which."""
    path = written(small(is_fraud=np.arange(200) % 7 == 0, chargeback=np.arange(200) % 9 == 0), tmp_path)
    with pytest.raises(ConfigError) as error:
        infer(path)
    assert "'is_fraud'" in error.value.what
    assert "'chargeback'" in error.value.what
    assert "--label 'is_fraud' or --label 'chargeback'" in error.value.fix
    assert infer(path, "chargeback").schema.known_later == ["is_fraud"]


def test_no_plausible_label_names_the_columns_of_two_values(tmp_path: Path) -> None:
    """Where no name speaks, the columns of two values are listed."""
    frame = small(gender=np.where(np.arange(200) % 2, "M", "F")).rename(columns={"label": "kind_7"})
    with pytest.raises(ConfigError, match=r"'kind_7'.*'gender'"):
        infer(written(frame, tmp_path))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(200, dtype=int), "one value only"),
        (np.arange(200), "about 200 different values"),
        (np.arange(200) % 4, "4 values"),
        (np.full(200, np.nan), "is empty"),
    ],
)
def test_a_label_that_is_none_is_refused(values: Any, message: str, tmp_path: Path) -> None:
    """One value, many values, or none at all tell no frauds."""
    with pytest.raises(DataError, match=message):
        infer(written(small(truth=values), tmp_path), "truth")


def test_a_wrong_label_is_answered_with_the_nearest(tmp_path: Path) -> None:
    """A name that is not there is answered with the one that is meant."""
    with pytest.raises(ConfigError) as error:
        infer(written(small(), tmp_path), "Lable")
    assert "did you mean 'label'?" in error.value.fix


@pytest.mark.parametrize(
    ("fraud", "genuine"),
    [
        *(("Y", "N"), ("yes", "no"), ("TRUE", "FALSE"), ("1", "0"), ("1.0", "0.0"), ("fraud", "legit")),
        *(("Fraudulent", "not fraud"), ("bad", "good"), ("illicit", "licit")),
    ],
)
def test_words_decide_what_a_label_means(fraud: str, genuine: str, tmp_path: Path) -> None:
    """Words that say fraud mean fraud, even where they are the more frequent ones."""
    values = np.where(np.arange(200) % 10 < 7, fraud, genuine)
    made = infer(written(small(truth=values), tmp_path), "truth")
    assert load(tmp_path / "file.csv", made.schema).frame["label"].sum() == 140
    assert any("70%" in sentence for sentence in made.unknown)


def test_without_words_the_rarer_value_is_fraud(tmp_path: Path) -> None:
    """Of two codes that say nothing the rarer one is fraud, and that is named as a guess."""
    made = infer(written(small(truth=np.where(np.arange(200) % 10 < 7, "A", "B")), tmp_path), "truth")
    assert made.schema.label_values is not None
    assert made.schema.label_values.fraud == ("B",)
    assert any("rarer" in sentence for sentence in made.unknown)


@pytest.mark.parametrize(
    "name",
    ["Is it?", "no", "y", "Unnamed: 0", "12", "#", ": ", "a # b", "- x", "é\tü", "'", '"', "null", "~", "1e3"],
)
def test_any_name_comes_back_from_the_yaml(name: str, tmp_path: Path) -> None:
    """A column may be called what YAML would read as something else."""
    frame = small(category=np.where(np.arange(200) % 3, "a", "b"))
    frame = frame.rename(columns={"category": name, "x": f"{name}2"})
    path = written(frame, tmp_path)
    made = infer(path, "label")
    assert reread(made, tmp_path) == made.schema
    assert made.schema.categorical == [name]
    assert len(load(path, made.schema)) == 200


DATES = pd.Series(pd.date_range("2024-11-20 01:02:03", periods=200, freq="11h"))


@pytest.mark.parametrize(
    "form",
    [
        *(
            "%d/%m/%Y %H:%M",
            "%m/%d/%Y %H:%M:%S",
            "%d-%m-%y",
            "%y-%m-%d",
            "%m/%d/%y %I:%M %p",
            "%d.%m.%Y",
            "%Y/%m/%d",
            "%d.%m.%y %H:%M",
        ),
        *("%d-%b-%Y", "%b %d, %Y %H:%M", "%Y%m%d %H%M%S", "%d/%b/%Y:%H:%M:%S +0100", "%Y-%m-%d %H:%M:%S UTC"),
        *("%Y-%m-%dT%H:%M:%SZ", "%a %b %d %H:%M:%S %Y", "%H:%M %d/%m/%Y", "%Y-%m-%d %H.%M.%S", "%Y-%m-%d"),
    ],
)
def test_times_are_read_as_they_were_written(form: str, tmp_path: Path) -> None:
    """However a time is written, the loader gives it back; days and months are told apart by what fits."""
    frame = small(when=DATES.dt.strftime(form))
    path = written(frame, tmp_path)
    schema = reread(infer(path), tmp_path)
    form = form.replace("+0100", "%z")
    expected = pd.Series(pd.to_datetime(frame["when"], format=form, utc=True)).dt.tz_localize(None)
    assert (load(path, schema).frame["time"] == expected).all()


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_epochs_are_known_by_their_size(unit: str, factor: int, tmp_path: Path) -> None:
    """Seconds since 1970 in any unit are times."""
    seconds = (DATES - pd.Timestamp(0)) // pd.Timedelta("1s")
    schema = infer(written(small(ts=seconds * factor), tmp_path)).schema
    assert (schema.time, schema.time_unit) == ("ts", unit)


def test_an_order_of_day_and_month_that_nothing_decides_is_named(tmp_path: Path) -> None:
    """Where both readings fit every value, the rival is named among what the file cannot tell."""
    days = pd.Series(pd.date_range("2024-03-01", periods=12, freq="D")).sample(200, replace=True, random_state=1)
    made = infer(written(small(when=days.dt.strftime("%d/%m/%Y").to_numpy()), tmp_path))
    assert made.schema.time_format == "%d/%m/%Y"
    assert any("'%m/%d/%Y'" in sentence for sentence in made.unknown)


def test_a_rhythm_of_a_day_tells_hours(tmp_path: Path) -> None:
    """A step is hours where the rows repeat after 24 of them, and days where they repeat after 7."""
    rng = np.random.default_rng(2)
    n = 4_000
    hours = np.sort(rng.integers(0, 20, n) * 24 + np.minimum(rng.poisson(12, n), 23))
    days = np.sort(rng.integers(0, 20, n) * 7 + rng.choice(7, n, p=[0.05, 0.05, 0.1, 0.1, 0.2, 0.3, 0.2]))
    label = (np.arange(n) % 20 == 0).astype(int)
    for step, unit in ((hours, "h"), (days, "d")):
        made = infer(pd.DataFrame({"step": step, "x": rng.normal(size=n), "label": label}))
        assert made.schema.time_unit == unit
        assert any("repeat after" in item.reason for item in made.evidence)


def test_hours_of_the_day_are_no_time(tmp_path: Path) -> None:
    """A column that begins again each day is a number, not the time."""
    assert infer(small(hour=np.arange(200) // 3 % 24)).schema.time is None


def test_what_separates_the_classes_is_known_later(tmp_path: Path) -> None:
    """A column that tells every fraud is kept out of the features, by name or by what it holds."""
    fraud = np.arange(200) % 10 == 0
    frame = pd.concat([small()] * 3, ignore_index=True).drop(columns="x")
    fraud = frame["label"].to_numpy() == 1
    rng = np.random.default_rng(3)
    frame = frame.assign(
        loss=np.where(fraud, 50.0, 0.0) + rng.random(600),
        kind=np.where(fraud, np.where(np.arange(600) % 20, "theft", "takeover"), "none"),
        agent_note=np.where(fraud, rng.choice(["a", "b", "c"], 600), ""),
        honest=rng.random(600),
    )
    made = infer(written(frame, tmp_path))
    assert set(made.schema.known_later) == {"loss", "kind", "agent_note"}
    assert made.schema.numeric == ["honest"]


@pytest.mark.slow
def test_a_number_that_breaks_late_costs_its_role_and_nothing_else(tmp_path: Path) -> None:
    """What the sample cannot show, the loader's own reading of every row does."""
    frame = pd.concat([small(y2=np.arange(200) * 1.5)] * 1500, ignore_index=True)
    values = frame["x"].astype(str)
    values.iloc[262_143] = "twelve"  # an odd row: not in the sample of 200,000
    path = written(frame.assign(x=values), tmp_path)
    made = infer(path)
    assert made.sampled < made.rows
    assert "twelve" in made.left_out["x"]
    assert made.schema.numeric == ["y2"]


def test_repeated_ids_are_no_ids(tmp_path: Path) -> None:
    """One repetition in many rows is enough for the rows to be numbered."""
    ids = [f"T{n}" for n in range(200)]
    ids[150] = "T3"
    assert infer(written(small(transaction_id=ids), tmp_path)).schema.transaction_id is None


def test_a_frame_is_inferred_like_its_file(tmp_path: Path) -> None:
    """A DataFrame, its CSV and its Parquet file have the same schema."""
    frame = world(400).rename(columns={"fraud": "is_fraud"})
    frame.to_parquet(tmp_path / "file.parquet")
    schemas = [infer(s).schema for s in (frame, written(frame, tmp_path), tmp_path / "file.parquet")]
    assert schemas[0] == schemas[1] == schemas[2]


def test_progress_goes_from_nothing_to_all(tmp_path: Path) -> None:
    """Whoever asks is told how much of both passes is done, in order, to the end."""
    shares: list[float] = []
    infer(written(small(), tmp_path), progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


def test_progress_is_of_what_was_given_not_of_what_was_read_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of many stretches moves the bar with each of them, though the reader has long read on."""
    monkeypatch.setattr(delimited, "_BLOCK", 1_000)
    shares: list[float] = []
    infer(written(small(), tmp_path), progress=shares.append)
    assert len(shares) > 4
    assert max(np.diff([0.0, *shares])) < 0.3


def test_the_answer_for_machines_is_plain(tmp_path: Path) -> None:
    """The JSON form holds the schema's keys as YAML would, the evidence, and what is unknown."""
    made = infer(written(small(when=DATES.astype(str)), tmp_path))
    plain = made.plain()
    assert Schema.of(**plain["schema"]) == made.schema == Schema.of(**yaml.safe_load(made.yaml()))
    assert {"key", "column", "reason"} == set(plain["evidence"][0])


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(
    lambda name: name.strip() not in ("", "label") and not name.startswith("\ufeff")
)
COLUMNS = st.sampled_from(
    [
        lambda rng, n: rng.normal(size=n).round(3),
        lambda rng, n: rng.integers(0, 9, n),
        lambda rng, n: rng.choice(["", "?", "7", "NULL"], n),
        lambda rng, n: [f"${value:,.2f}" for value in rng.normal(5_000, 900, n)],
        lambda rng, n: [
            f"{value:,.1f} EUR".translate(str.maketrans(",.", ".,")) for value in rng.normal(5_000, 900, n)
        ],
        lambda rng, n: [f"C{value}" for value in rng.integers(0, 30, n)],
        lambda rng, n: pd.Series(rng.integers(0, 50, n)).astype(float).where(rng.random(n) < 0.8),
        lambda rng, n: pd.Series(pd.Timestamp("2025-02-03") + pd.to_timedelta(rng.integers(0, 10**7, n), unit="s")),
        lambda rng, n: (pd.Timestamp("2025-02-03") + pd.to_timedelta(rng.integers(0, 10**7, n), unit="s")).strftime(
            "%d/%m/%y"
        ),
        lambda rng, n: rng.choice(["True", "False"], n),
        lambda _, n: ["" for _ in range(n)],
        lambda rng, n: [f"some text, number {value}\nand more" for value in rng.permutation(n)],
        lambda rng, n: rng.permutation(n),
        lambda rng, n: rng.choice(["inf", "1.5", "-inf", "1e999"], n),
        lambda rng, n: rng.integers(2**53, 2**62, n),
    ]
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    columns=st.dictionaries(NAMES, COLUMNS, min_size=1, max_size=5),
    seed=st.integers(0, 99),
    rows=st.integers(20, 60),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    tail=st.integers(0, 2),
)
@pytest.mark.slow
def test_whatever_is_written_is_read(columns: dict[str, Any], seed: int, rows: int, separator: str, tail: int) -> None:
    """The promise: the schema that is written loads the file that it was inferred from, whatever its columns are."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({name: make(rng, rows) for name, make in columns.items()})
    label = np.arange(rows) % 5 == 0
    frame["label"] = np.where(label, "Y", "N")
    with tempfile.TemporaryDirectory() as folder:
        path = written(frame, Path(folder), sep=separator)
        with path.open("a") as file:
            file.write((separator * (frame.shape[1] - 1) + "\n") * tail)
        made = infer(path, "label")
        read = load(path, reread(made, Path(folder)))
    assert len(read) == rows
    assert (read.frame["label"] == label).all()


def test_a_label_of_fraud_or_nothing_is_explained(tmp_path: Path) -> None:
    """Where only frauds are marked, the refusal says what an empty label means."""
    values = np.where(np.arange(200) % 10 == 0, "X", "")
    with pytest.raises(DataError) as error:
        infer(written(small(truth=values), tmp_path), "truth")
    assert "is empty in 180 rows" in error.value.what
    assert "an empty label means that nothing is known" in error.value.fix


def test_a_word_for_no_label_is_not_taken_from_other_columns_in_silence(tmp_path: Path) -> None:
    """A text that means no label is a missing value everywhere, and where it also stands is said."""
    truth = np.where(np.arange(200) % 10 == 0, "1", np.where(np.arange(200) % 7 == 0, "-1", "0"))
    made = infer(written(small(truth=truth, balance=np.arange(200) % 5 - 1), tmp_path), "truth")
    assert made.schema.missing == ["-1"]
    assert any("'balance'" in sentence for sentence in made.unknown)


def test_spaces_around_labels_do_not_matter(tmp_path: Path) -> None:
    """`Y` and `Y ` are one value."""
    truth = np.where(np.arange(200) % 10 == 0, np.where(np.arange(200) % 20 == 0, "Y", "Y "), "N")
    path = written(small(truth=truth), tmp_path)
    assert load(path, infer(path, "truth").schema).frame["label"].sum() == 20


def test_a_file_without_names_is_refused(tmp_path: Path) -> None:
    """A file that begins with its first row has no columns to speak of."""
    path = tmp_path / "file.csv"
    path.write_text("17,3.5,0\n18,2.5,1\n19,1.5,0\n")
    with pytest.raises(DataError, match="holds values, not names"):
        infer(path, "0")


@pytest.mark.parametrize(
    ("text", "message"), [("", "is empty"), ("a,label\n", "has no rows"), ("a,label\n,\n", "has no rows")]
)
def test_a_file_without_rows_is_refused(text: str, message: str, tmp_path: Path) -> None:
    """Nothing can be learned from nothing."""
    path = tmp_path / "file.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        infer(path, "label")


def test_a_day_and_a_time_of_day_with_types_are_joined(tmp_path: Path) -> None:
    """A column of dates and one of times of day are one time in Parquet too."""
    moments = DATES
    frame = small(day=moments.dt.date, clock=moments.dt.time)
    frame.to_parquet(tmp_path / "file.parquet")
    schema = infer(tmp_path / "file.parquet").schema
    assert schema.time == ("day", "clock")
    assert (load(tmp_path / "file.parquet", schema).frame["time"] == moments).all()


def test_letters_before_digits_are_money_only_where_people_pay_by_them(tmp_path: Path) -> None:
    """`DEV7146` is a device and no amount in a currency called DEV; `EUR 12.50` is money."""
    rows = range(1, 201)
    frame = pd.DataFrame(
        {
            "when": pd.date_range("2026-01-01", periods=200, freq="h"),
            "device_id": [f"DEV{number % 40}" for number in rows],
            "price": [f"EUR {number / 4:.2f}" for number in rows],
            "fraud": [int(number % 9 == 0) for number in rows],
        }
    )
    frame.to_csv(tmp_path / "x.csv", index=False)
    schema = infer(tmp_path / "x.csv", "fraud").schema
    assert (schema.amount, schema.entities, schema.currency) == ("price", {"device": "device_id"}, ["EUR"])


def test_a_time_that_does_not_read_as_one_is_named(tmp_path: Path) -> None:
    """A column that is a time by its name, and holds offsets in some rows only, is said to be none, by its name."""
    frame = pd.DataFrame({"when": ["2026-01-01 10:00", "2026-01-02 10:00+01:00"] * 50, "fraud": [0, 0, 0, 1] * 25})
    frame.to_csv(tmp_path / "x.csv", index=False)
    found = infer(tmp_path / "x.csv", "fraud")
    assert found.schema.time is None
    assert any("'when' is a time by its name" in sentence for sentence in found.unknown)


def test_a_file_without_a_label_has_a_schema_too(tmp_path: Path) -> None:
    """Who says that there is none gets a schema for an isolation forest."""
    path = written(small(when=DATES.astype(str)).drop(columns="label"), tmp_path)
    with pytest.raises(ConfigError, match="named like a label"):
        infer(path)
    made = infer(path, labelled=False)
    assert reread(made, tmp_path).label is None
    assert "which transactions are frauds" in made.unknown
    assert len(load(path, made.schema)) == 200


def test_a_time_with_gaps_is_named(tmp_path: Path) -> None:
    """A few rows without a time cost the time its role, and are said to."""
    when = DATES.astype(str).where(np.arange(200) != 7)
    made = infer(written(small(when=when), tmp_path))
    assert made.schema.time is None
    assert any("'when' is empty there" in sentence for sentence in made.unknown)


def test_a_comma_before_three_digits_everywhere_is_one_of_thousands(tmp_path: Path) -> None:
    """`1,234` among `987` is a thousand, and `1,25` among `3,5` one and a quarter."""
    thousands = [f"{value:,}" for value in np.arange(200) * 37 + 500]
    quarters = [f"{value / 4}".replace(".", ",") for value in range(200)]
    made = infer(written(small(amount=thousands), tmp_path))
    assert (made.schema.decimal, made.schema.thousands) == (".", ",")
    assert load(tmp_path / "file.csv", made.schema).frame["amount"].iloc[-1] == 199 * 37 + 500
    made = infer(written(small(amount=quarters).drop(columns="x"), tmp_path, sep=";"))
    assert (made.schema.decimal, made.schema.thousands) == (",", None)
    assert load(tmp_path / "file.csv", made.schema).frame["amount"].iloc[-1] == 199 / 4


def test_what_is_missing_elsewhere_may_be_a_label(tmp_path: Path) -> None:
    """`-` stands for no value in a column of numbers, and for genuine in a label of `-` and `fraud`: the label wins."""
    path = written(small(balance=["-", "3"] * 100, truth=np.where(np.arange(200) % 10 == 0, "fraud", "-")), tmp_path)
    schema = infer(path, "truth").schema
    assert schema.missing == []
    assert load(path, schema).frame["label"].tolist() == (np.arange(200) % 10 == 0).astype(int).tolist()


def test_an_entity_gives_way_to_a_column_of_its_name(tmp_path: Path) -> None:
    """Where a column is called like the role, the role is called otherwise, and both are used."""
    frame = small(when=DATES.astype(str), customer=["a", "b"] * 100, customer_id=np.arange(200) % 40)
    made = infer(written(frame, tmp_path))
    assert made.schema.entities == {"customer_code": "customer_id"}
    assert made.schema.categorical == ["customer"]


def test_frauds_of_the_past_are_neither_label_nor_leak(tmp_path: Path) -> None:
    """What is known of a customer's earlier frauds is a feature."""
    frame = small(previous_fraud=np.arange(200) % 3 == 0).rename(columns={"label": "fraud_label"})
    schema = infer(written(frame, tmp_path)).schema
    assert schema.label == "fraud_label"
    assert schema.categorical == ["previous_fraud"]
    assert schema.known_later == []


@pytest.mark.slow
def test_a_time_of_the_label_that_breaks_late_is_known_later(tmp_path: Path) -> None:
    """One label that is known before its transaction, beyond the sample, closes its column to features all the same."""
    n = 210_001
    when = pd.Series(pd.Timestamp("2025-01-01") + pd.to_timedelta(np.arange(n) * 60, unit="s"))
    label = np.arange(n) % 50 == 0
    reported = (when + pd.Timedelta("2D")).where(label)
    reported.iloc[210_000 - 1] = when.iloc[0]
    frame = pd.DataFrame({"when": when, "fraud": label.astype(int), "reported_at": reported})
    made = infer(frame)
    assert made.schema.label_known_at is None
    assert made.schema.known_later == ["reported_at"]
    assert any("before their transaction" in item.reason for item in made.evidence)
