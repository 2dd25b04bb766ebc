"""Files of transactions as people have them: each shape is written in its own way, from the same small world."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

Written = tuple[str, dict[str, str]]
"""What to read, and further options (`table`)."""


@dataclass(frozen=True)
class Shape:
    """One way to write a file.

    Attributes:
        name: Its name.
        kinds: What is unusual about it, in words.
        write: Writes it into a folder, of so many rows.
        label: The label where it has to be named; None where it is plausible by itself.
        expected: What the schema must say.
        absent: Columns that may have no role.
        named: What its label is called.
    """

    name: str
    kinds: str
    write: Callable[[Path, int], Written]
    label: str | None = None
    expected: dict[str, object] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    named: str = "is_fraud"


def world(rows: int, *, seed: int = 3) -> pd.DataFrame:
    """Transactions of four months; frauds are larger, come at night, and share devices."""
    rng = np.random.default_rng(seed)
    fraud = rng.random(rows) < 0.05
    moment = np.sort(rng.integers(0, 120 * 86_400, rows))
    moment = np.sort(np.where(fraud, moment // 86_400 * 86_400 + rng.integers(0, 6 * 3600, rows), moment))
    return pd.DataFrame(
        {
            "time": pd.Timestamp("2025-01-03") + pd.to_timedelta(moment, unit="s"),
            "amount": np.round(np.exp(rng.normal(4 + 1.2 * fraud, 1.1)), 2),
            "customer": rng.integers(10_000, 10_000 + max(30, rows // 10), rows),
            "merchant": [f"M{n:04d}" for n in rng.integers(0, 60, rows)],
            "device": [
                f"d-{n:05x}" for n in np.where(fraud, rng.integers(0, 25, rows), rng.integers(0, rows // 3, rows))
            ],
            "country": rng.choice(["DE", "NA", "FR", "US"], rows),
            "score": rng.normal(fraud * 1.0, 1.0).round(4),
            "fraud": fraud.astype(int),
        }
    )


def _id(rows: int) -> list[str]:
    return [f"T{n:07d}" for n in range(rows)]


def _comma(values: pd.Series) -> list[str]:
    return [f"{value:,.2f}".translate(str.maketrans(",.", ".,")) for value in values]


def _dollars(values: pd.Series) -> list[str]:
    return [f"${value:,.2f}" for value in values]


def european(folder: Path, rows: int) -> Written:
    """Semicolons, decimal commas, points between thousands, latin-1, days first."""
    w = world(rows)
    frame = pd.DataFrame(
        {
            "Belegnummer": _id(rows),
            "Buchungsdatum": w["time"].dt.strftime("%d.%m.%Y %H:%M"),
            "Betrag": _comma(w["amount"] * 20),
            "Kundennummer": w["customer"],
            "Händler": w["merchant"].map(lambda m: f"Größe {m}"),
            "Betrug": np.where(w["fraud"] == 1, "ja", "nein"),
        }
    )
    path = folder / "european.csv"
    frame.to_csv(path, sep=";", index=False, encoding="latin-1")
    return str(path), {}


def tabs(folder: Path, rows: int) -> Written:
    """Tabulators, seconds since 1970, True and False."""
    w = world(rows)
    frame = w.assign(time=w["time"].astype("int64") // 10**6, is_fraud=w["fraud"] == 1).drop(columns="fraud")
    frame["time"] = (w["time"] - pd.Timestamp(0)) // pd.Timedelta("1s")
    path = folder / "tabs.tsv"
    frame.rename(columns={"time": "created_ts"}).to_csv(path, sep="\t", index=False)
    return str(path), {}


def gzipped(folder: Path, rows: int) -> Written:
    """Milliseconds since 1970, labels as 0.0 and 1.0, gzip."""
    w = world(rows)
    frame = w.assign(is_fraud=w["fraud"].astype(float)).drop(columns="fraud")
    frame["time"] = (w["time"] - pd.Timestamp(0)) // pd.Timedelta("1ms")
    path = folder / "gzipped.csv.gz"
    frame.rename(columns={"time": "event_time_ms", "customer": "user_id"}).to_csv(path, index=False)
    return str(path), {}


def zones(folder: Path, rows: int) -> Written:
    """Offsets from UTC that change from row to row, bzip2."""
    w = world(rows)
    offsets = np.array(["+01:00", "+02:00", "-05:00"])[np.arange(rows) % 3]
    frame = pd.DataFrame(
        {
            "id": _id(rows),
            "timestamp": w["time"].dt.strftime("%Y-%m-%dT%H:%M:%S") + offsets,
            "amount": w["amount"],
            "account": [f"DE{n:020d}" for n in w["customer"]],
            "ip": [f"10.{n % 7}.{n % 50}.{n % 90}" for n in w["customer"]],
            "fraud": w["fraud"],
        }
    )
    path = folder / "zones.csv.bz2"
    frame.to_csv(path, index=False)
    return str(path), {}


def workbook(folder: Path, rows: int) -> Written:
    """A workbook with dates as dates."""
    w = world(rows)
    frame = w[["time", "amount", "customer", "merchant", "fraud"]].rename(columns={"time": "Date of purchase"})
    path = folder / "workbook.xlsx"
    frame.to_excel(path, index=False)
    return str(path), {}


def parts(folder: Path, rows: int) -> Written:
    """A folder of Parquet parts with types of their own."""
    w = world(rows).rename(columns={"fraud": "is_fraud", "time": "event_timestamp"})
    w["is_fraud"] = w["is_fraud"].astype(bool)
    w["customer"] = w["customer"].astype("Int64").where(np.arange(rows) % 50 != 0)
    path = folder / "parts"
    path.mkdir()
    for number, part in enumerate(np.array_split(np.arange(rows), 3)):
        w.iloc[part].to_parquet(path / f"part-{number:05d}.parquet", index=False)
    return str(path), {}


def dollars(folder: Path, rows: int) -> Written:
    """Dollar signs, commas between thousands, date and time of day apart, months first, Yes and No."""
    w = world(rows)
    frame = pd.DataFrame(
        {
            "Trans Date": w["time"].dt.strftime("%m/%d/%Y"),
            "Trans Time": w["time"].dt.strftime("%I:%M:%S %p"),
            "Amount": _dollars(w["amount"] * 10),
            "Card Number": w["customer"] + 4_000_000_000_000_000,
            "Merchant Category": w["country"],
            "Is Fraud?": np.where(w["fraud"] == 1, "Yes", "No"),
        }
    )
    path = folder / "dollars.csv"
    frame.to_csv(path, index=False)
    return str(path), {}


def short_dates(folder: Path, rows: int) -> Written:
    """`4/18/15 2:47`, and emails in the place of customers."""
    w = world(rows)
    times = [f"{t.month}/{t.day}/{t.year % 100:02d} {t.hour}:{t.minute:02d}" for t in w["time"]]
    frame = pd.DataFrame(
        {
            "order_id": range(5_000, 5_000 + rows),
            "ordered_at": times,
            "total": w["amount"],
            "email": [f"u{n}@example.org" for n in w["customer"]],
            "chargeback": w["fraud"],
        }
    )
    path = folder / "short_dates.csv"
    frame.to_csv(path, index=False)
    return str(path), {}


def short_years(folder: Path, rows: int) -> Written:
    """`25-01-15`: a date alone, years of two digits first."""
    w = world(rows)
    frame = w.assign(date=w["time"].dt.strftime("%y-%m-%d")).drop(columns="time").rename(columns={"fraud": "label"})
    path = folder / "short_years.csv"
    frame[["date", *frame.columns.drop("date")]].to_csv(path, index=False)
    return str(path), {}


def hours(folder: Path, rows: int) -> Written:
    """A step of hours, balances, and a second column that calls itself fraud."""
    w = world(rows)
    rng = np.random.default_rng(5)
    daily = rng.choice(24, rows, p=np.array([1] * 7 + [6] * 14 + [2] * 3) / 97)
    step = np.sort(rng.integers(0, 31, rows) * 24 + daily)
    frame = pd.DataFrame(
        {
            "step": step,
            "kind": w["country"].map({"DE": "PAYMENT", "FR": "TRANSFER", "US": "CASH_OUT", "NA": "DEBIT"}),
            "amount": w["amount"],
            "accountOrig": [f"C{n}" for n in rng.integers(0, rows * 60, rows)],
            "oldBalance": (w["amount"] * 2).round(2),
            "accountDest": [f"C{n}" for n in rng.integers(0, rows // 3, rows)],
            "isFraud": w["fraud"],
            "isFlaggedFraud": (w["fraud"] & (w["amount"] > 400)).astype(int),
        }
    )
    path = folder / "hours.csv"
    frame.to_csv(path, index=False)
    return str(path), {}


def days(folder: Path, rows: int) -> Written:
    """A step of days, codes between single quotes, a constant column."""
    w = world(rows)
    frame = pd.DataFrame(
        {
            "day": (w["time"] - w["time"].min()).dt.days,
            "customer": [f"'C{n}'" for n in w["customer"]],
            "age": [f"'{n % 7}'" for n in w["customer"]],
            "zip": "'28007'",
            "merchant": w["merchant"].map("'{}'".format),
            "amount": w["amount"],
            "fraud": w["fraud"],
        }
    )
    path = folder / "days.csv"
    frame.to_csv(path, index=False)
    return str(path), {}


def bare(folder: Path, rows: int) -> Written:
    """Neither id nor amount nor time: numbers alone."""
    w = world(rows)
    frame = pd.DataFrame(
        {
            "distance_from_home": w["amount"].astype(float),
            "ratio_to_median": w["score"],
            "used_chip": (w["customer"] % 2).astype(float),
            "fraud": w["fraud"].astype(float),
        }
    )
    path = folder / "bare.csv"
    frame.to_csv(path, index=False)
    return str(path), {}


def unlabelled(folder: Path, rows: int) -> Written:
    """Rows without a label, and empty rows at the end."""
    w = world(rows).rename(columns={"fraud": "is_fraud"})
    w["is_fraud"] = w["is_fraud"].astype("Int64").where(np.arange(rows) < 0.9 * rows)
    path = folder / "unlabelled.csv"
    w.to_csv(path, index=False)
    with path.open("a") as file:
        file.write("," * (w.shape[1] - 1) + "\n" + "," * (w.shape[1] - 1) + "\n")
    return str(path), {}


def indexed(folder: Path, rows: int) -> Written:
    """As pandas writes it with its index, integer codes as floats where there are gaps, birthdays, and epochs twice."""
    w = world(rows)
    frame = pd.DataFrame(
        {
            "trans_date_trans_time": w["time"],
            "cc_num": (w["customer"] + 4_000_000_000_000).astype("Int64"),
            "merchant": w["merchant"],
            "category": w["country"],
            "amt": w["amount"],
            "first": [f"Name{n % 90}" for n in w["customer"]],
            "zip": (w["customer"] % 90 + 10_000).where(w["customer"] % 13 != 0),
            "lat": w["score"],
            "dob": (pd.Timestamp("1960-02-03") + pd.to_timedelta(w["customer"] % 9000, unit="D")).dt.strftime(
                "%Y-%m-%d"
            ),
            "trans_num": [f"{n:032x}" for n in range(rows)],
            "unix_time": (w["time"] - pd.Timestamp(0)) // pd.Timedelta("1s") - 220_000_000,
            "is_fraud": w["fraud"],
        }
    )
    path = folder / "indexed.csv"
    frame.to_csv(path)
    return str(path), {}


def questions(folder: Path, rows: int) -> Written:
    """`?` where nothing is known, an empty last column, claims with a date and an hour."""
    w = world(rows)
    frame = pd.DataFrame(
        {
            "policy_number": np.random.default_rng(1).permutation(rows * 4)[:rows] + 100_000,
            "policy_bind_date": "2014-10-17",
            "insured_sex": np.where(w["customer"] % 2, "MALE", "FEMALE"),
            "incident_date": w["time"].dt.strftime("%Y-%m-%d"),
            "incident_hour_of_the_day": w["time"].dt.hour,
            "property_damage": np.where(w["customer"] % 3 == 0, "?", np.where(w["customer"] % 3 == 1, "YES", "NO")),
            "total_claim_amount": (w["amount"] * 10).round(0).astype(int),
            "auto_year": 1995 + w["customer"] % 20,
            "fraud_reported": np.where(w["fraud"] == 1, "Y", "N"),
            "_c39": "",
        }
    )
    path = folder / "questions.csv"
    frame.to_csv(path, index=False)
    return str(path), {}


def one_two(folder: Path, rows: int) -> Written:
    """Pipes, and labels 1 and 2, of which the rarer one is fraud."""
    w = world(rows)
    frame = w.assign(target=1 + w["fraud"]).drop(columns="fraud")
    path = folder / "one_two.txt"
    frame.to_csv(path, sep="|", index=False)
    return str(path), {}


def verdicts(folder: Path, rows: int) -> Written:
    """Labels in words, some unknown, and times that end in UTC."""
    w = world(rows)
    words = np.where(w["fraud"] == 1, "fraud", "legit").astype(object)
    words[::17] = "unknown"
    frame = w.assign(time=w["time"].dt.strftime("%Y-%m-%d %H:%M:%S UTC"), verdict=words).drop(columns="fraud")
    path = folder / "verdicts.csv"
    frame.to_csv(path, index=False)
    return str(path), {}


def chargebacks(folder: Path, rows: int) -> Written:
    """The date of the chargeback and what came of it: known later, and for frauds alone."""
    w = world(rows)
    delay = pd.to_timedelta(3 + np.arange(rows) % 25, unit="D")
    fraud = w["fraud"] == 1
    frame = w.rename(columns={"fraud": "is_fraud", "time": "transaction_time"}).assign(
        chargeback_date=(w["time"] + delay).where(fraud),
        dispute_reason=np.where(fraud, np.where(w["customer"] % 2, "stolen", "not received"), ""),
        refunded=np.where(fraud, w["amount"], np.nan),
    )
    path = folder / "chargebacks.csv"
    frame.to_csv(path, index=False)
    return str(path), {}


def calendar(folder: Path, rows: int) -> Written:
    """Year, month, day and time of day in columns of their own; refunds are negative."""
    w = world(rows)
    sign = np.where(np.arange(rows) % 40 == 0, "-", "")
    frame = pd.DataFrame(
        {
            "User": w["customer"],
            "Card": w["customer"] % 5,
            "Year": w["time"].dt.year,
            "Month": w["time"].dt.month,
            "Day": w["time"].dt.day,
            "Time": w["time"].dt.strftime("%H:%M"),
            "Amount": [f"${s}{value:.2f}" for s, value in zip(sign, w["amount"], strict=True)],
            "Use Chip": w["country"].map({"DE": "Swipe", "FR": "Online", "US": "Chip", "NA": "Chip"}),
            "Merchant Name": [hash_ * 7_919_000_017 - 10**12 for hash_ in w["merchant"].str[1:].astype(int)],
            "Zip": (w["customer"] % 900 + 10_000).astype(float).where(w["customer"] % 11 != 0),
            "Errors?": np.where(w["customer"] % 30 == 0, "Bad PIN", ""),
            "Is Fraud?": np.where(w["fraud"] == 1, "Yes", "No"),
        }
    )
    path = folder / "calendar.csv"
    frame.to_csv(path, index=False)
    return str(path), {}


def wide(folder: Path, rows: int) -> Written:
    """Seconds from an unknown start, and hundreds of columns with gaps."""
    w = world(rows)
    rng = np.random.default_rng(9)
    frame = pd.DataFrame(
        {
            "TransactionID": 2_987_000 + np.arange(rows),
            "isFraud": w["fraud"],
            "TransactionDT": 86_400 + (w["time"] - w["time"].min()) // pd.Timedelta("1s"),
            "TransactionAmt": w["amount"],
            "ProductCD": w["country"].map({"DE": "W", "FR": "C", "US": "H", "NA": "R"}),
            "card1": w["customer"],
            "P_emaildomain": np.where(w["customer"] % 4, "example.org", None),
            "M1": np.where(w["customer"] % 3, "T", None),
        }
    )
    more = {f"V{n}": np.where(rng.random(rows) < 0.4, np.nan, rng.normal(size=rows).round(3)) for n in range(200)}
    path = folder / "wide.csv"
    pd.concat([frame, pd.DataFrame(more)], axis=1).to_csv(path, index=False)
    return str(path), {}


def database(folder: Path, rows: int) -> Written:
    """A table of a database, times as text."""
    w = world(rows).rename(columns={"fraud": "is_fraud", "time": "created_at"})
    path = folder / "street.db"
    with sqlite3.connect(path) as connection:
        w.assign(created_at=w["created_at"].astype(str), id=range(rows)).to_sql("payments", connection, index=False)
    connection.close()
    return f"sqlite:///{path}", {"table": "payments"}


def spreadsheet(folder: Path, rows: int) -> Written:
    """UTF-16, days as spreadsheets count them, units behind the amounts, and `-` for nothing."""
    w = world(rows)
    frame = pd.DataFrame(
        {
            "Date": ((w["time"] - pd.Timestamp("1899-12-30")) / pd.Timedelta("1D")).round(6),
            "Amount": [f"{value:.2f} EUR" for value in w["amount"]],
            "Client ID": w["customer"],
            "Limit": np.where(w["customer"] % 5 == 0, "-", (w["customer"] % 90 * 100).astype(str)),
            "fraud": w["fraud"],
        }
    )
    path = folder / "spreadsheet.csv"
    frame.to_csv(path, index=False, encoding="utf-16")
    return str(path), {}


def months(folder: Path, rows: int) -> Written:
    """`03-Jan-2025 02:07 PM`, a signup beside the purchase, labels TRUE and FALSE."""
    w = world(rows)
    frame = pd.DataFrame(
        {
            "user_id": range(rows),
            "signup_time": (w["time"] - pd.to_timedelta(w["customer"] % 400 + 1, unit="h")).dt.strftime(
                "%d-%b-%Y %I:%M %p"
            ),
            "purchase_time": w["time"].dt.strftime("%d-%b-%Y %I:%M %p"),
            "purchase_value": w["amount"].round().astype(int),
            "device_id": w["device"],
            "source": w["country"],
            "age": w["customer"] % 60 + 18,
            "class": np.where(w["fraud"] == 1, "TRUE", "FALSE"),
        }
    )
    path = folder / "months.csv"
    frame.to_csv(path, index=False)
    return str(path), {}


def _shape(
    write: Callable[[Path, int], Written], label: str | None, named: str, *absent: str, **expected: object
) -> Shape:
    kinds = (write.__doc__ or "").strip().rstrip(".")
    return Shape(write.__name__, kinds, write, label, expected, absent, named)


SHAPES = (
    _shape(
        european,
        None,
        "Betrug",
        transaction_id="Belegnummer",
        time="Buchungsdatum",
        time_format="%d.%m.%Y %H:%M",
        amount="Betrag",
        decimal=",",
        thousands=".",
        separator=";",
        entities={"customer": "Kundennummer", "merchant": "Händler"},
    ),
    _shape(tabs, None, "is_fraud", time="created_ts", time_unit="s", amount="amount", separator=None),
    _shape(gzipped, None, "is_fraud", time="event_time_ms", time_unit="ms", label_values=None),
    _shape(zones, None, "fraud", time="timestamp", time_format=None, entities={"account": "account", "ip": "ip"}),
    _shape(workbook, None, "fraud", time="Date of purchase", amount="amount"),
    _shape(parts, None, "is_fraud", time="event_timestamp", amount="amount"),
    _shape(
        dollars,
        None,
        "Is Fraud?",
        time=("Trans Date", "Trans Time"),
        time_format="%m/%d/%Y %I:%M:%S %p",
        currency=["$"],
        thousands=",",
        entities={"card": "Card Number"},
    ),
    _shape(
        short_dates,
        None,
        "chargeback",
        time="ordered_at",
        time_format="%m/%d/%y %H:%M",
        transaction_id="order_id",
        amount="total",
    ),
    _shape(short_years, None, "label", time="date", time_format="%y-%m-%d"),
    _shape(
        hours,
        "isFraud",
        "isFraud",
        "isFlaggedFraud",
        "accountOrig",
        time="step",
        time_unit="h",
        known_later=["isFlaggedFraud"],
    ),
    _shape(
        days, None, "fraud", "zip", time="day", time_unit="d", entities={"customer": "customer", "merchant": "merchant"}
    ),
    _shape(bare, None, "fraud", transaction_id=None, time=None, amount=None),
    _shape(unlabelled, None, "is_fraud", time="time", amount="amount"),
    _shape(
        indexed,
        None,
        "is_fraud",
        "",
        "first",
        "dob",
        "unix_time",
        time="trans_date_trans_time",
        transaction_id="trans_num",
        amount="amt",
        entities={"card": "cc_num", "merchant": "merchant"},
    ),
    _shape(
        questions,
        None,
        "fraud_reported",
        "_c39",
        "policy_bind_date",
        time=("incident_date", "incident_hour_of_the_day"),
        time_format="%Y-%m-%d %H",
        missing=["?"],
        transaction_id="policy_number",
        amount="total_claim_amount",
    ),
    _shape(one_two, None, "target", time="time", separator="|", amount="amount"),
    _shape(verdicts, None, "verdict", missing=["unknown"], time="time", time_format="%Y-%m-%d %H:%M:%S UTC"),
    _shape(
        chargebacks,
        None,
        "is_fraud",
        "dispute_reason",
        "refunded",
        time="transaction_time",
        label_known_at="chargeback_date",
        labels_mature="27d",
    ),
    _shape(
        calendar,
        None,
        "Is Fraud?",
        time=("Year", "Month", "Day", "Time"),
        time_format="%Y %m %d %H:%M",
        currency=["$"],
        amount="Amount",
    ),
    _shape(
        wide,
        None,
        "isFraud",
        transaction_id="TransactionID",
        time="TransactionDT",
        time_unit="s",
        amount="TransactionAmt",
    ),
    _shape(database, None, "is_fraud", time="created_at", transaction_id="id"),
    _shape(
        spreadsheet,
        None,
        "fraud",
        time="Date",
        time_unit="d",
        currency=["EUR"],
        missing=["-"],
        entities={"customer": "Client ID"},
    ),
    _shape(
        months,
        None,
        "class",
        "signup_time",
        time="purchase_time",
        time_format="%d-%b-%Y %I:%M %p",
        amount="purchase_value",
        entities={"device": "device_id"},
    ),
)
