"""A simulated shop's transactions, for a start without data of one's own.

Customers, cards, devices, addresses and merchants over days; honest orders with a daily and weekly rhythm; four kinds
of fraud; drift; labels that arrive late. Everything is drawn from one seed, in whole arrays.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fds_mlflow.core.text.checks import check_seed
from fds_mlflow.errors import ConfigError
from fds_mlflow.runtime.text_column import text_column
from fds_mlflow.simulator import world as shop
from fds_mlflow.simulator.fraud import KINDS, frauds

__all__ = ["KINDS", "sample", "transactions"]

_START = "2026-01-05"
#: Days until half of the frauds of a kind are reported: a chargeback, a customer's complaint, an internal audit.
_REPORTED_AFTER = np.array([np.nan, 6.0, 3.0, 8.0, 2.0])
_SHORTEST_REPORT = 1 / 24
_ORDERS_PER_CUSTOMER_AND_DAY = 0.35


def transactions(
    n: int,
    *,
    seed: int = 42,
    days: float = 90,
    fraud_rate: float = 0.01,
    start: str | datetime = _START,
    customers: int | None = None,
    drift: float = 1.0,
    maturity: float = 14,
) -> pd.DataFrame:
    """Simulate transactions, in the columns of the shipped ``simulator`` schema.

    Args:
        n: Number of transactions.
        seed: The same seed and options give the same transactions.
        days: Length of the period.
        fraud_rate: Share of frauds, in [0, 0.5]; exactly ``round(n * fraud_rate)`` of them.
        start: Beginning of the period (UTC).
        customers: Number of customers; by default so many that each orders about once in three days.
        drift: How much the world changes over the period, in [0, 2]: prices rise, account takeovers replace card
            theft, thieves learn to spend less. 0 = not at all.
        maturity: Days after which a transaction nobody complained about counts as genuine; every fraud is reported
            before.

    Returns:
        `n` rows ordered by time: ``transaction_id``, ``time`` (datetime64[us], UTC), ``amount``, ``customer_id``,
        ``card_id``, ``device_id``, ``ip_address``, ``merchant_id``, ``merchant_category``, ``payment_method``,
        ``country`` (str), ``is_foreign_ip`` (int8), ``failed_login_attempts`` (int16), ``account_age_days``
        (float64), ``is_fraud`` (int8), ``fraud_type`` (str, missing for genuine ones), ``label_known_at``
        (datetime64[us]).

    Raises:
        ConfigError: An option is outside its range.
    """
    check_seed(seed)
    _check(n=n, days=days, fraud_rate=fraud_rate, customers=customers, drift=drift, maturity=maturity)
    begin = pd.Timestamp(start)
    begin = begin.tz_convert("UTC").tz_localize(None) if begin.tzinfo else begin
    population = customers or max(50, round(n / (_ORDERS_PER_CUSTOMER_AND_DAY * days)))
    streams = np.random.default_rng(seed).spawn(4)
    world = shop.build(
        streams[0], customers=population, seconds=days * shop.DAY, weekday=begin.day_of_week, drift=drift
    )
    bad = round(n * fraud_rate)
    good = shop.honest(world, streams[1], n - bad)
    orders = shop.Orders.join([good, frauds(world, streams[2], bad, good)]) if bad else good
    orders = orders.take(np.argsort(orders.time, kind="stable"))
    return _frame(world, orders, streams[3], begin, maturity)


def sample(seed: int = 42) -> pd.DataFrame:
    """The specification's sample: 1,000 transactions, 800 genuine and 200 fraudulent.

    They are drawn from a longer simulation, whose whole history makes ``velocity_1h`` (the customer's transactions
    within the hour, itself included).

    Returns:
        1,000 rows ordered by time, in the columns of the shipped ``sample`` schema: those of `transactions` and
        ``velocity_1h`` (int64).
    """
    from fds_mlflow.data.transactions import load
    from fds_mlflow.features.table import FeatureSpec, Window, compute

    history = transactions(8_000, seed=seed, fraud_rate=0.05, days=60)
    spec = FeatureSpec(windows=(Window(entity="customer", aggregate="count", windows=("1h",), name="velocity_1h"),))
    velocity = compute(load(history, "simulator"), spec).frame["velocity_1h"].to_numpy().astype(np.int64)
    history.insert(list(history.columns).index("is_foreign_ip"), "velocity_1h", velocity)
    rng = np.random.default_rng(seed)
    fraud = history["is_fraud"].to_numpy() == 1
    rows = np.concatenate(
        [rng.choice(np.flatnonzero(~fraud), 800, replace=False), rng.choice(np.flatnonzero(fraud), 200, replace=False)]
    )
    return history.iloc[np.sort(rows)].reset_index(drop=True)


def _check(*, n: int, days: float, fraud_rate: float, customers: int | None, drift: float, maturity: float) -> None:
    rules = {
        "the number of transactions": (n, n >= 1, "at least 1"),
        "days": (days, days >= 1, "at least 1"),
        "fraud_rate": (fraud_rate, 0 <= fraud_rate <= 0.5, "from 0 to 0.5"),
        "customers": (customers, customers is None or customers >= 50, "at least 50"),
        "drift": (drift, 0 <= drift <= 2, "from 0 to 2"),
        "maturity": (maturity, maturity >= 1, "at least 1"),
    }
    for name, (value, fine, words) in rules.items():
        if not fine:
            raise ConfigError(f"{name} is {value}", fix=f"choose {words}")


def _frame(
    world: shop.World, orders: shop.Orders, rng: np.random.Generator, begin: pd.Timestamp, maturity: float
) -> pd.DataFrame:
    """Indices become names, seconds become times."""
    n = len(orders)
    start = begin.to_datetime64().astype("datetime64[us]")
    time = start + (orders.time * 1e3).astype(np.int64).astype("timedelta64[ms]").astype("timedelta64[us]")
    fraud = orders.kind > 0
    reported = rng.lognormal(0.0, 0.7, n) * _REPORTED_AFTER[orders.kind]
    delay = np.where(fraud, np.clip(reported, _SHORTEST_REPORT, maturity), maturity) * shop.DAY
    known = time + np.round(delay).astype("timedelta64[s]").astype("timedelta64[us]")
    abroad = 1 + rng.integers(0, len(shop.COUNTRIES) - 1, n)
    return pd.DataFrame(
        {
            "transaction_id": _names("T", np.arange(n), 9),
            "time": time,
            "amount": np.round(np.maximum(orders.amount, 0.5), 2),
            "customer_id": _names("C", _opaque(orders.customer), 10),
            "card_id": _names("K", _opaque(orders.card), 10),
            "device_id": _names("D", _opaque(orders.device), 10),
            "ip_address": _addresses(orders.ip),
            "merchant_id": _names("M", orders.merchant, 5),
            "merchant_category": _words(shop.CATEGORIES, world.category[orders.merchant]),
            "payment_method": _words(shop.METHODS, orders.method),
            "country": _words(shop.COUNTRIES, np.where(orders.foreign, abroad, 0)),
            "is_foreign_ip": orders.foreign.astype(np.int8),
            "failed_login_attempts": orders.failed.astype(np.int16),
            "account_age_days": np.round(orders.age, 2),
            "is_fraud": fraud.astype(np.int8),
            "fraud_type": _words(("", *KINDS), orders.kind, missing=0),
            "label_known_at": known,
        }
    )


def _names(letter: str, index: np.ndarray[Any, Any], digits: int) -> pd.Series[str]:
    """T000000042 for 42."""
    padded = pc.utf8_lpad(pc.cast(pa.array(index), pa.string()), digits, padding="0")
    return text_column(pc.binary_join_element_wise(letter, padded, ""))


def _opaque(index: shop.Ints) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Numbers that do not tell who made them: a bijection of 32 bits (an odd multiplier keeps them distinct)."""
    return (index.astype(np.uint64) * np.uint64(2_654_435_761)) & np.uint64(0xFFFFFFFF)


def _words(words: tuple[str, ...], index: shop.Ints, missing: int | None = None) -> pd.Series[str]:
    return text_column(
        pa.array([None if i == missing else word for i, word in enumerate(words)], pa.string()).take(pa.array(index))
    )


def _addresses(index: shop.Ints) -> pd.Series[str]:
    """Dotted addresses."""
    mixed = _opaque(index)
    parts: list[Any] = [
        pc.cast(pa.array((mixed >> np.uint64(shift)) & np.uint64(255)), pa.string()) for shift in (24, 16, 8, 0)
    ]
    return text_column(pc.binary_join_element_wise(*parts, "."))
