"""Transactions in: sources, schemas, and what is refused."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.data.schema import SHIPPED, parse_duration
from fds_mlflow.data.transactions import Schema, digest, load
from fds_mlflow.errors import ConfigError, DataError
from fds_mlflow.runtime.text_column import is_text
from fds_mlflow.simulator import simulate

ROLES: dict[str, Any] = {"transaction_id": "id", "time": "t", "amount": "eur", "entities": {"customer": "cust"}}
LABELLED: dict[str, Any] = {**ROLES, "label": "y"}


def frame(**columns: Any) -> pd.DataFrame:
    """Four good rows, with some columns replaced or added."""
    good = {
        "id": ["a", "b", "c", "d"],
        "t": pd.date_range("2026-01-01", periods=4, freq="h"),
        "eur": [1.5, 2.0, 3.25, 4.0],
        "cust": ["x", "y", "x", "z"],
        "y": [0, 1, 0, 0],
    }
    return pd.DataFrame(good | columns)


@pytest.fixture(scope="module")
def simulated() -> pd.DataFrame:
    """Transactions of the simulator, with its awkward values: missing types, fractions, microseconds."""
    return simulate.transactions(500, seed=3, fraud_rate=0.05)


def database(frame: pd.DataFrame, path: Path) -> str:
    """Write a frame to SQLite; returns its URL."""
    url = f"sqlite:///{path}"
    engine = sqlalchemy.create_engine(url)
    frame.to_sql("tx", engine, index=False)
    engine.dispose()
    return url


BROKEN = {
    "an open quote": ('e,2026-01-02,"x,1,0\n', "line 6 of .* never closed"),
    "text behind a quote": ('e,2026-01-02,"x"y,1,0\n', "line 6 of .* does not parse"),
    "a comma too many": ("e,2026-01-02,x,1,0,\n", "line 6 of .* has 6 fields where its header has 5"),
    "a short row": ("e,2026-01-02\n", "line 6 of .* has 2 fields"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_csv_file_is_refused_with_its_line(name: str, tmp_path: Path) -> None:
    """A quote or a comma out of place is no transaction and shifts no column: the error names the line."""
    text, words = BROKEN[name]
    file = tmp_path / "x.csv"
    file.write_text(frame()[["id", "t", "cust", "eur", "y"]].to_csv(index=False) + text)
    with pytest.raises(DataError, match=words):
        load(file, **LABELLED)


def test_free_text_in_a_csv_file_is_kept(tmp_path: Path) -> None:
    """A line break or an inch mark in a text is part of it: texts that people typed are data."""
    file = tmp_path / "x.csv"
    file.write_text('id,t,cust,eur,y\na,2026-01-02,"two\nlines",1,0\nb,2026-01-03,15" screen,1,1\n')
    assert list(load(file, **LABELLED).frame["customer"]) == ["two\nlines", '15" screen']


class TestSources:
    def test_every_source_gives_the_same_transactions(self, simulated: pd.DataFrame, tmp_path: Path) -> None:
        """CSV, compressed CSV, Parquet, a frame and a database give the same frame and the same digest."""
        simulated.to_csv(tmp_path / "x.csv", index=False)
        simulated.to_csv(tmp_path / "x.csv.gz", index=False)
        simulated.to_parquet(tmp_path / "x.parquet")
        url = database(simulated, tmp_path / "x.db")
        expected = load(simulated, "simulator")
        for found in (
            load(tmp_path / "x.csv", "simulator"),
            load(str(tmp_path / "x.csv.gz"), "simulator"),
            load(tmp_path / "x.parquet", "simulator"),
            load(url, "simulator", table="tx"),
            load(url, "simulator", query="SELECT * FROM tx ORDER BY time, transaction_id"),
        ):
            pd.testing.assert_frame_equal(found.frame, expected.frame)
            assert found.digest == expected.digest
            assert found.period == expected.period

    def test_the_canonical_frame_has_the_promised_columns_and_dtypes(self, simulated: pd.DataFrame) -> None:
        """Whatever the source's names, the frame has the roles' names, in one order, with fixed dtypes."""
        found = load(simulated, "simulator")
        dtypes = {name: "str" if is_text(dtype) else str(dtype) for name, dtype in found.frame.dtypes.items()}
        assert dtypes == {
            "transaction_id": "str",
            "time": "datetime64[us]",
            "amount": "float64",
            "customer": "str",
            "card": "str",
            "device": "str",
            "ip": "str",
            "merchant": "str",
            "label": "int8",
            "label_known_at": "datetime64[us]",
            "is_foreign_ip": "float64",
            "failed_login_attempts": "float64",
            "account_age_days": "float64",
            "merchant_category": "str",
            "payment_method": "str",
            "country": "str",
        }
        assert found.period[0].tzinfo is UTC

    def test_the_password_of_a_database_is_not_shown(self, tmp_path: Path) -> None:
        """Neither the source's name nor an error tells the password of the URL."""
        with pytest.raises(DataError) as caught:
            load("postgresql+psycopg2://me:secret@localhost:1/x", table="tx", **ROLES)
        assert "secret" not in str(caught.value)
        found = load(database(frame(), tmp_path / "x.db"), table="tx", **ROLES)
        assert found.source.startswith("sqlite:///")
        assert found.source.endswith("(table tx)")

    def test_a_table_is_read_in_the_order_of_time_and_id(self, tmp_path: Path) -> None:
        """A table has no order of its own, so ties in time are always decided in the same way: by id."""
        same = frame(t=pd.Timestamp("2026-01-01"), id=["d", "b", "a", "c"])
        found = load(database(same, tmp_path / "x.db"), table="tx", **ROLES)
        assert list(found.frame["transaction_id"]) == ["a", "b", "c", "d"]

    def test_only_the_named_columns_are_read(self, tmp_path: Path) -> None:
        """A column that plays no role may hold anything."""
        frame(junk=[object() for _ in range(4)]).drop(columns="junk").assign(note="x").to_csv(tmp_path / "x.csv")
        assert list(load(tmp_path / "x.csv", **ROLES).frame) == ["transaction_id", "time", "amount", "customer"]

    def test_fields_may_hold_line_breaks_and_commas(self, tmp_path: Path) -> None:
        """Quoted CSV fields are read as they are."""
        (tmp_path / "x.csv").write_text('id,t,eur,cust\n1,2026-01-01,5,"A, ""B""\nC"\n', encoding="utf-8")
        assert load(tmp_path / "x.csv", **ROLES).frame["customer"][0] == 'A, "B"\nC'


class TestCodes:
    def test_codes_survive_every_source_unchanged(self, tmp_path: Path) -> None:
        """Leading zeros, NA for Namibia, long numbers and integers beside gaps keep their digits."""
        codes = frame(cust=["007", "NA", "12345678901234567890", "None"])
        codes.to_csv(tmp_path / "x.csv", index=False)
        assert list(load(tmp_path / "x.csv", **ROLES).frame["customer"]) == list(codes["cust"])
        frame(cust=["007", "08", "9", "010"]).to_csv(tmp_path / "x.csv", index=False)
        assert list(load(tmp_path / "x.csv", **ROLES).frame["customer"]) == ["007", "08", "9", "010"]
        gaps = frame(cust=[7.0, np.nan, 4111111111111111.0, 12.0])
        found = load(gaps, **ROLES).frame["customer"]
        assert found[0] == "7"
        assert found.isna()[1]
        assert found[2] == "4111111111111111"
        gaps.astype({"cust": "Int64"}).to_parquet(tmp_path / "x.parquet")
        assert list(load(tmp_path / "x.parquet", **ROLES).frame["customer"].dropna()) == list(found.dropna())

    def test_codes_that_lost_digits_are_refused(self) -> None:
        """A float too large to be exact is no code: its digits are gone already."""
        with pytest.raises(DataError, match=r"'cust' \(customer\) holds 1 codes stored as floats too large"):
            load(frame(cust=[1.0, np.nan, 2.0**60, 3.0]), **ROLES)

    def test_mixed_codes_are_their_text(self) -> None:
        """An object column of numbers and text is read as text, one value at a time."""
        assert list(load(frame(cust=[7, "A7", 12, "x"]), **ROLES).frame["customer"]) == ["7", "A7", "12", "x"]

    def test_empty_text_is_a_missing_entity(self) -> None:
        """An empty code names nobody; the row stays."""
        assert list(load(frame(cust=["x", "", None, "y"]), **ROLES).frame["customer"].isna()) == [
            False,
            True,
            True,
            False,
        ]

    def test_categories_are_their_values(self) -> None:
        """A pandas categorical is read as the values it stands for."""
        assert list(load(frame(cust=pd.Categorical(["x", "y", "x", "z"])), **ROLES).frame["customer"]) == list("xyxz")

    def test_rows_are_numbered_where_there_is_no_id(self) -> None:
        """A schema with transaction_id: null numbers the rows from 0."""
        assert list(load(frame(), **{**ROLES, "transaction_id": None}).frame["transaction_id"]) == list("0123")


class TestTimes:
    @pytest.mark.parametrize(
        ("values", "extra", "expected"),
        [
            (["2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00"], {}, "2026-01-01T00:00:00"),
            (["2026-03-29T03:30:00", "2026-03-29T03:30"], {"time_zone": "Europe/Berlin"}, "2026-03-29T01:30:00"),
            ([1767225600, 1767225600], {"time_unit": "s"}, "2026-01-01T00:00:00"),
            ([1767225600123, 1767225600123], {"time_unit": "ms"}, "2026-01-01T00:00:00.123"),
            (["1767225600.5", "1767225600.5"], {"time_unit": "s"}, "2026-01-01T00:00:00.5"),
            ([60.0, 60.0], {"time_unit": "s", "time_origin": "2026-01-01"}, "2026-01-01T00:01:00"),
            (
                [0, 0],
                {"time_unit": "s", "time_origin": "2026-07-01T00:00:00", "time_zone": "Asia/Seoul"},
                "2026-06-30T15:00:00",
            ),
            (pd.to_datetime(["2026-01-01T09:00+09:00"] * 2), {}, "2026-01-01T00:00:00"),
            ([datetime(2026, 1, 1, tzinfo=UTC).date()] * 2, {}, "2026-01-01T00:00:00"),
        ],
        ids=["offsets", "zone", "seconds", "milliseconds", "text", "origin", "local origin", "aware", "dates"],
    )
    def test_times_become_utc(self, values: Any, extra: dict[str, Any], expected: str) -> None:
        """Text, numbers with a unit and an origin, local and aware times all become UTC in microseconds."""
        source = frame().head(2).assign(t=values)
        found = load(source, **ROLES, **extra).frame["time"]
        assert (found == pd.Timestamp(expected)).all()

    def test_the_repeated_hour_is_its_first_reading(self) -> None:
        """In the autumn hour that occurs twice, a time without offset means the first: summer time."""
        source = frame().head(1).assign(t=["2026-10-25T02:30:00"])
        assert load(source, **ROLES, time_zone="Europe/Berlin").frame["time"][0] == pd.Timestamp("2026-10-25T00:30")

    @pytest.mark.parametrize(
        ("values", "extra", "message"),
        [
            (["2026-01-01", "yesterday", "soon", "2026-01-02"], {}, r"holds 2 values that are not times in 4 rows"),
            (["2026-01-01", "yesterday", "soon", "2026-01-02"], {}, r"first: 'yesterday' in row 2"),
            ([1, 2, 3, 4], {}, "set time_unit"),
            ([1767225600000] * 4, {"time_unit": "s"}, "outside the years 1900 to 2199"),
            ([1e300] * 4, {"time_unit": "s"}, "beyond any calendar"),
            (pd.date_range("2026-01-01", periods=4), {"time_unit": "s"}, "leave time_unit out"),
            ([None, "2026-01-01", "2026-01-01", ""], {}, "holds 2 missing times in 4 rows"),
            (
                ["2026-01-01T00:00Z", "2026-01-01T00:00+05:00", "2026-01-01", "2026-01-01T00:00Z"],
                {},
                "without an offset",
            ),
            (["2026-01-01T00:00Z", "2026-01-01T01:00", "2026-01-01T00:00Z", None], {}, "without an offset"),
            (["2026-03-29T02:30:00"] * 4, {"time_zone": "Europe/Berlin"}, "do not exist in Europe/Berlin"),
        ],
    )
    def test_times_that_cannot_be_read_are_refused(self, values: Any, extra: dict[str, Any], message: str) -> None:
        """The message names the column, how many rows, the first bad value and its row."""
        with pytest.raises(DataError, match=message) as caught:
            load(frame(t=values), **ROLES, **extra)
        assert "'t' (time)" in caught.value.what


class TestRefusals:
    @pytest.mark.parametrize(
        ("columns", "roles", "what"),
        [
            ({"eur": [1, np.nan, 2, np.nan]}, LABELLED, "'eur' (amount) holds 2 NaN in 4 rows of the DataFrame"),
            ({"eur": ["1.5", "2,0", "x", "4"]}, LABELLED, "holds 2 values that are not numbers in 4 rows"),
            ({"eur": [1, np.inf, 2, 3]}, LABELLED, "holds 1 infinite values"),
            ({"eur": pd.date_range("2026", periods=4)}, LABELLED, "of type timestamp"),
            ({"id": ["a", "b", "a", "a"]}, LABELLED, "'id' (transaction_id) repeats 2 ids in 4 rows"),
            ({"id": ["a", None, "c", ""]}, LABELLED, "'id' (transaction_id) holds 2 missing ids"),
            ({"y": [np.nan] * 4}, LABELLED, "'y' (label) of the DataFrame has no label in 4 rows"),
            ({"y": [0, 1, 2, 0]}, LABELLED, "holds 1 labels other than 0 and 1"),
            ({"y": ["0", "1", "fraud", "0"]}, LABELLED, "first: 'fraud' in row 3"),
            ({"k": ["2025-01-01"] * 4}, {**LABELLED, "label_known_at": "k"}, "known before their transaction"),
        ],
    )
    def test_bad_values_are_counted_and_shown(self, columns: Any, roles: dict[str, Any], what: str) -> None:
        """NaN, wrong types, duplicates and impossible labels are refused with the column and the numbers."""
        with pytest.raises(DataError) as caught:
            load(frame(**columns), **roles)
        assert what in str(caught.value)
        assert caught.value.fix

    def test_a_missing_column_names_its_role_and_the_nearest_name(self) -> None:
        """A column that is not there: the message has its role, what there is, and a suggestion."""
        with pytest.raises(DataError) as caught:
            load(frame(), **{**ROLES, "amount": "euro"})
        assert "column 'euro' (amount) is not in the DataFrame, which has 5 columns" in caught.value.what
        assert "did you mean 'eur'?" in caught.value.fix

    def test_repeated_columns_are_refused(self) -> None:
        """Two columns of one name cannot both play a role."""
        twice = pd.concat([frame(), frame()[["eur"]]], axis=1)
        with pytest.raises(DataError, match="2 columns named 'eur'"):
            load(twice, **ROLES)

    def test_sources_without_rows_are_refused(self, tmp_path: Path) -> None:
        """An empty file, a header alone, an empty frame, table or Parquet file say that they are empty."""
        (tmp_path / "empty.csv").write_text("")
        frame().head(0).to_csv(tmp_path / "header.csv", index=False)
        frame().head(0).to_parquet(tmp_path / "x.parquet")
        url = database(frame().head(0), tmp_path / "x.db")
        with pytest.raises(DataError, match="is empty: not even a header"):
            load(tmp_path / "empty.csv", **ROLES)
        for source, more in (
            (tmp_path / "header.csv", {}),
            (tmp_path / "x.parquet", {}),
            (frame().head(0), {}),
            (url, {"table": "tx"}),
        ):
            with pytest.raises(DataError, match="has no rows"):
                load(source, **ROLES, **more)

    def test_unreadable_files_are_refused(self, tmp_path: Path) -> None:
        """No file, a wrong suffix, ragged lines, broken compression, no Parquet: each has its message."""
        (tmp_path / "x.doc").write_text("id")
        (tmp_path / "semi.csv").write_text("id;t;eur;cust\n1;2;3;4\n")
        (tmp_path / "ragged.csv").write_text("id,t,eur,cust\n1,2\n")
        (tmp_path / "x.parquet").write_bytes(b"no parquet at all")
        (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"id,t,eur,cust\n" * 1000)[:30])
        for name, message in {
            "none.csv": "there is no file",
            "x.doc": "neither text, Parquet nor a workbook",
            "semi.csv": "is separated by ';', not by ','",
            "ragged.csv": "line 2 of .*ragged.csv has 2 fields",
            "x.parquet": "cannot read .* as Parquet",
            "x.csv.gz": "cannot read .* as text|damaged",
        }.items():
            with pytest.raises(DataError, match=message):
                load(tmp_path / name, **ROLES)

    def test_databases_that_cannot_be_read_are_refused(self, tmp_path: Path) -> None:
        """An unknown table, a broken query, a URL that is none, a driver that is not installed."""
        url = database(frame(), tmp_path / "x.db")
        for source, more, message in (
            (url, {"table": "ty"}, "there is no table 'ty'"),
            (url, {"query": "SELEC"}, "cannot read sqlite"),
            ("what://x", {"table": "t"}, "cannot be used"),
            (url, {"query": "SELECT id, t, eur FROM tx"}, "column 'cust'"),
        ):
            with pytest.raises(DataError, match=message):
                load(source, **ROLES, **more)

    def test_options_that_do_not_go_together_are_refused(self, tmp_path: Path) -> None:
        """table= and query= go with a URL, and with a URL exactly one of them."""
        url = f"sqlite:///{tmp_path}/x.db"
        for source, more in ((frame(), {"table": "t"}), (url, {}), (url, {"table": "t", "query": "q"})):
            with pytest.raises(ConfigError):
                load(source, **ROLES, **more)


class TestSchema:
    def test_the_shipped_schemas_load_by_name(self) -> None:
        """simulator, sample, handbook and ulb are names that work everywhere."""
        names = {path.name.removesuffix(".yaml") for path in SHIPPED.glob("*.yaml") if ".features." not in path.name}
        assert names == {"simulator", "sample", "handbook", "ulb"}
        for name in names:
            assert Schema.load(name).time

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"amout": "eur"}, r"'amout': unknown key \(did you mean 'amount'\?\)"),
            ({"time": 3}, "'time"),
            ({"time_unit": "minutes"}, "'time_unit'"),
            ({"time_zone": "Berlin"}, "no IANA time zone"),
            ({"time_origin": "2026-01-01"}, "needs 'time_unit'"),
            ({"time_origin": "x", "time_unit": "s"}, "'time_origin'"),
            ({"label_delay": "7d"}, "need 'label'"),
            ({"time": None, "arrived_at": "a"}, "'arrived_at' need 'time'"),
            ({"label_propensity": "p"}, "'label_propensity' needs 'label'"),
            ({"label": "y", "label_propensity": "p", "numeric": ["p"]}, "'p' is 'label_propensity', so 'p' may not"),
            ({"label": "y", "label_delay": "a week"}, "is not a duration"),
            ({"label": "y", "label_delay": "7d", "label_known_at": "k"}, "not both"),
            ({"entities": {"time": "t"}}, "entity role 'time'"),
            ({"entities": {"Customer No": "t"}}, "entity role 'Customer No'"),
            ({"numeric": ["v", "v"]}, "'v' is named twice"),
            ({"categorical": ["amount"]}, "'amount'"),
        ],
    )
    def test_schemas_that_make_no_sense_are_refused(self, change: dict[str, Any], message: str) -> None:
        """Unknown keys, wrong values and contradictions are refused when the schema is read, with the key's name."""
        with pytest.raises(ConfigError, match=message):
            Schema.of(**(ROLES | change))

    def test_arrivals_are_read_as_times_are(self) -> None:
        """In the time's format and zone, also where it may not be read for a feature; empty is empty."""
        schema = {**LABELLED, "arrived_at": "a", "known_later": ["a"], "time_zone": "Europe/Berlin"}
        arrived = load(frame(a=["2026-03-01 13:00", None, "2026-07-01 13:00", None]), schema).frame["arrived_at"]
        assert arrived.isna().tolist() == [False, True, False, True]
        assert [time.hour for time in arrived.dropna()] == [12, 11]
        with pytest.raises(DataError, match=r"column 'a' \(arrived_at\).*row 2"):
            load(frame(a=["2026-03-01 13:00", "soon", None, None]), schema)

    def test_chances_of_labels_come_with_them(self) -> None:
        """Each row has the chance of its label, 1 where nothing is said; what is none is refused by its row."""
        schema = {**LABELLED, "label_propensity": "p"}
        known = load(frame(p=[0.005, None, "0.5", 1]), schema).frame["label_propensity"]
        assert known.tolist() == [0.005, 1.0, 0.5, 1.0]
        assert "label_propensity" not in load(frame(), LABELLED).frame
        for wrong in (1.5, -0.1):
            with pytest.raises(DataError, match=r"column 'p' \(label_propensity\).* no chances .*row 2"):
                load(frame(p=[1.0, wrong, 1.0, 1.0]), schema)
        with pytest.raises(DataError, match=r"labels of a chance of 0 .*row 3"):
            load(frame(p=[1.0, 1.0, 0.0, 1.0]), schema)
        unlabelled = load(frame(p=[1.0, 1.0, 0.0, 1.0], y=[0, 1, None, 0]), schema)
        assert unlabelled.frame["label_propensity"].tolist() == [1.0, 1.0, 0.0, 1.0]

    def test_required_roles_must_be_given(self) -> None:
        """transaction_id (null counts), time and amount must be there; the message names each missing one."""
        with pytest.raises(ConfigError) as caught:
            Schema.of(label="y")
        for role in ("transaction_id", "time", "amount"):
            assert f"'{role}': is missing" in caught.value.what

    def test_a_schema_is_given_once(self) -> None:
        """A schema object, name, file or mapping, or keyword arguments; neither none nor two."""
        assert load(frame(), ROLES).digest == load(frame(), **ROLES).digest == load(frame(), Schema.of(**ROLES)).digest
        with pytest.raises(ConfigError, match="give the schema once"):
            load(frame())
        with pytest.raises(ConfigError, match="give the schema once"):
            load(frame(), "simulator", amount="eur")

    def test_schema_files_that_cannot_be_read_are_refused(self, tmp_path: Path) -> None:
        """An unknown name lists the names there are; a file that is missing or no YAML mapping says so."""
        (tmp_path / "bad.yaml").write_text("a: [")
        (tmp_path / "list.yaml").write_text("- a")
        for source, message in (
            ("simulater", "handbook, sample, simulator, ulb"),
            (tmp_path / "none.yaml", "cannot be read"),
            (tmp_path / "bad.yaml", "is not YAML"),
            (tmp_path / "list.yaml", "holds list"),
        ):
            with pytest.raises(ConfigError, match=message):
                Schema.load(source)

    def test_the_label_delay_makes_the_known_time(self) -> None:
        """With a constant delay, each label is known that long after its transaction."""
        found = load(frame(), **LABELLED, label_delay="7d").frame
        assert (found["label_known_at"] - found["time"] == pd.Timedelta(days=7)).all()

    def test_labels_may_be_words(self) -> None:
        """Labels may be true and false in any case, booleans and 0/1 as text or float."""
        for values in (
            [False, True, False, False],
            ["False", "TRUE", "false", "0"],
            [0.0, 1.0, 0.0, 0.0],
            list("0100"),
        ):
            assert list(load(frame(y=values), **LABELLED).frame["label"]) == [0, 1, 0, 0]

    def test_a_missing_known_time_means_never(self) -> None:
        """A label without a known time stays unknown: NaT."""
        known = ["2026-02-01", None, "", "2026-02-02"]
        found = load(frame(k=known), **LABELLED, label_known_at="k").frame["label_known_at"]
        assert list(found.isna()) == [False, True, True, False]

    @pytest.mark.parametrize("text", ["", "7", "d", "7 d", "1.5d", "-1d", "7D", "7days"])
    def test_durations_have_one_form(self, text: str) -> None:
        """A duration is a whole number and one letter; anything else is refused."""
        with pytest.raises(ValueError, match="not a duration"):
            parse_duration(text)


class TestDigest:
    @given(st.permutations(range(4)))
    def test_the_order_of_rows_does_not_matter(self, order: list[int]) -> None:
        """The same transactions in another order have the same digest."""
        assert digest(load(frame().iloc[order], **LABELLED).frame) == digest(load(frame(), **LABELLED).frame)

    @pytest.mark.parametrize(
        "change",
        [
            {"eur": [1.5, 2.0, 3.25, 4.000001]},
            {"eur": [2.0, 1.5, 3.25, 4.0]},
            {"cust": ["y", "x", "x", "z"]},
            {"cust": ["x", None, "x", "z"]},
            {"y": [1, 0, 0, 0]},
            {"id": ["a", "b", "c", "e"]},
        ],
    )
    def test_any_change_changes_the_digest(self, change: dict[str, Any]) -> None:
        """One value more, less, different or swapped with a neighbour gives another digest."""
        assert load(frame(**change), **LABELLED).digest != load(frame(), **LABELLED).digest
        assert load(frame().head(3), **LABELLED).digest != load(frame(), **LABELLED).digest

    def test_the_digest_is_a_constant_of_the_content(self) -> None:
        """The digest of given transactions never changes between versions, or old runs could not be traced."""
        assert load(frame(), **LABELLED).digest == "fe2d8be63611cecf66d60b77f06100a7"
