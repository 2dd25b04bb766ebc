"""Routing by consistent hash: the same answer everywhere, half-open, monotone in the weight."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.lifecycle.events import Rollout, RolloutStatus
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.routing.routing import (
    SEED,
    Route,
    RoutingTable,
    Split,
    Variant,
    bucket,
    buckets,
    effective_rollout,
)
from fds_mlflow.core.weight import FULL
from tests.support.golden_cases import NOON, case, cases, rollout

ROLLOUT = Rollout("01JGFJJZ000000000000000000", 1, 2, Plan(), 1_000, 0, NOON)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
weights = st.integers(0, FULL)

_MASK = 2**64 - 1
_P1, _P2, _P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_P4, _P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & _MASK


def _round(accumulator: int, lane: int) -> int:
    return _rotate((accumulator + lane * _P2) & _MASK, 31) * _P1 & _MASK


def xxh64(data: bytes, seed: int) -> int:
    """XXH64 as its specification words it, in plain Python."""
    at = 0
    value = (seed + _P5) & _MASK
    if len(data) >= 32:
        lanes = [(seed + _P1 + _P2) & _MASK, (seed + _P2) & _MASK, seed, (seed - _P1) & _MASK]
        for at in range(0, len(data) - 31, 32):
            for i in range(4):
                lanes[i] = _round(lanes[i], int.from_bytes(data[at + 8 * i : at + 8 * i + 8], "little"))
        at += 32
        value = sum(_rotate(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True)) & _MASK
        for lane in lanes:
            value = ((value ^ _round(0, lane)) * _P1 + _P4) & _MASK
    value = (value + len(data)) & _MASK
    for at in range(at, len(data) - 7, 8):  # noqa: B020
        value = (_rotate(value ^ _round(0, int.from_bytes(data[at : at + 8], "little")), 27) * _P1 + _P4) & _MASK
    rest = data[len(data) - (len(data) % 32 if len(data) >= 32 else len(data)) :]
    rest = rest[len(rest) // 8 * 8 :]
    if len(rest) >= 4:
        value = (_rotate(value ^ int.from_bytes(rest[:4], "little") * _P1 & _MASK, 23) * _P2 + _P3) & _MASK
        rest = rest[4:]
    for byte in rest:
        value = _rotate(value ^ byte * _P5 & _MASK, 11) * _P1 & _MASK
    for shift, prime in ((33, _P2), (29, _P3)):
        value = (value ^ value >> shift) * prime & _MASK
    return value ^ value >> 32


@pytest.mark.parametrize(
    ("text", "seed", "expected"),
    [
        ("", 0, 0xEF46DB3751D8E999),
        ("a", 0, 0xD24EC4F1A98C6E5B),
        ("xxhash", 20141025, 0xB559B98D844E0635),
        ("ABC", SEED, 4105715581806190027),  # the example in the documentation of PySpark's xxhash64
    ],
)
def test_the_hash_is_xxh64(text: str, seed: int, expected: int) -> None:
    """The hash gives the published values, Spark's own among them, so every language finds the same buckets."""
    assert xxhash.xxh64_intdigest(text.encode(), seed) == expected
    assert xxh64(text.encode(), seed) == expected


@given(keys, keys)
def test_a_bucket_is_the_hash_by_its_specification(rollout_id: str, key: str) -> None:
    """The bucket is XXH64 of `rollout:key` with seed 42, unsigned, modulo 10,000."""
    assert bucket(rollout_id, key) == xxh64(f"{rollout_id}:{key}".encode(), 42) % 10_000


@pytest.mark.parametrize("name", cases("routing"))
def test_golden_routes(name: str) -> None:
    """The keys of a golden case go where it says, today and in every later release."""
    values = case("routing", name)
    table = RoutingTable(values["champion"], rollout(values["rollout"]) if values["rollout"] else None)
    for row in values["routes"]:
        assert table.route(row["key"]) == Route(Variant(row["variant"]), row["version"], row["bucket"]), row


@given(st.lists(keys, max_size=30), weights)
def test_a_batch_is_routed_as_its_keys_one_by_one(batch: list[str], weight: int) -> None:
    """Batch jobs and servers agree on every key, Unicode and empty ones included."""
    table = RoutingTable(1, replace(ROLLOUT, weight=weight))
    to_canary = table.to_canary(batch)
    assert to_canary.dtype == np.bool_
    assert to_canary.tolist() == [table.route(key).variant is Variant.CANARY for key in batch]
    assert buckets(ROLLOUT.id, iter(batch)).tolist() == [bucket(ROLLOUT.id, key) for key in batch]


@given(keys, weights, weights)
def test_whoever_is_in_stays_in(key: str, one: int, other: int) -> None:
    """A key that goes to the canary at a weight goes to it at every higher weight."""
    low, high = sorted((one, other))
    if RoutingTable(1, replace(ROLLOUT, weight=low)).route(key).variant is Variant.CANARY:
        assert RoutingTable(1, replace(ROLLOUT, weight=high)).route(key).variant is Variant.CANARY


@given(keys)
def test_the_range_is_half_open(key: str) -> None:
    """A weight of 0 sends nobody, 10,000 sends all, and a key's own bucket is the first weight that leaves it out."""
    number = bucket(ROLLOUT.id, key)
    assert 0 <= number < FULL
    at = {
        weight: RoutingTable(1, replace(ROLLOUT, weight=weight)).route(key).variant
        for weight in (0, number, number + 1, FULL)
    }
    assert at[0] is Variant.CHAMPION
    assert at[FULL] is Variant.CANARY
    assert at[number] is (Variant.CANARY if number == FULL else Variant.CHAMPION)
    assert at[number + 1] is Variant.CANARY
    for weight in (number, number + 1):
        assert RoutingTable(1, replace(ROLLOUT, weight=weight)).to_canary([key]).tolist() == [weight > number]


@pytest.mark.parametrize("weight", [100, 1_000, 2_500, 5_000, 9_900])
@pytest.mark.parametrize("pattern", ["TX{:07d}", "{}", "customer-{}@example.org"])
def test_the_share_is_close_to_the_weight(weight: int, pattern: str) -> None:
    """Of 100,000 consecutive keys the canary gets its weight, within five standard deviations."""
    n = 100_000
    share = RoutingTable(1, replace(ROLLOUT, weight=weight)).to_canary(pattern.format(i) for i in range(n)).mean()
    p = weight / FULL
    assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / n)


def test_another_rollout_tries_other_keys() -> None:
    """The rollout id salts the hash: of the keys of one 10 % canary, about 10 % are in the next one's."""
    batch = [f"TX{i}" for i in range(50_000)]
    one = RoutingTable(1, ROLLOUT).to_canary(batch)
    other = RoutingTable(1, replace(ROLLOUT, id="01JGFJJZ000000000000000001")).to_canary(batch)
    assert 0.08 < other[one].mean() < 0.12


@given(keys)
def test_without_a_rollout_the_champion_gets_all(key: str) -> None:
    """No rollout, no bucket, no canary."""
    table = RoutingTable(7)
    assert table.route(key) == Route(Variant.CHAMPION, 7, None)
    assert table.to_canary([key, key]).tolist() == [False, False]


@pytest.mark.parametrize(
    ("champion", "canary", "given", "takes"),
    [
        (1, 2, ROLLOUT, True),
        (None, 2, ROLLOUT, False),
        (1, None, ROLLOUT, False),
        (1, 2, None, False),
        (3, 2, ROLLOUT, False),
        (1, 4, ROLLOUT, False),
        (2, 2, replace(ROLLOUT, champion=2), False),
        *[(1, 2, ROLLOUT.ended(status), False) for status in RolloutStatus if status is not RolloutStatus.ACTIVE],
    ],
)
def test_a_canary_takes_traffic_only_against_its_own_champion(
    champion: int | None, canary: int | None, given: Rollout | None, takes: bool
) -> None:
    """Both aliases, an active rollout that names both, and two different versions; else the canary is inert."""
    assert effective_rollout(champion, canary, given) == (given if takes else None)


@given(rollout_id=st.text(max_size=30), key=st.text(st.characters(), max_size=40), below=st.integers(0, 10_000))
def test_a_split_takes_the_keys_whose_bucket_lies_below_its_bound(rollout_id: str, key: str, below: int) -> None:
    """What a server asks for each request agrees with `bucket`, whatever the key is made of; a salt splits anew."""
    split = Split(rollout_id, below)
    assert split.bucket(key) == bucket(rollout_id, key)
    assert split.takes(key) == (bucket(rollout_id, key) < below)
    assert Split(rollout_id, below, salt="shadow:").bucket(key) == bucket(f"shadow:{rollout_id}", key)


@given(key=st.text(max_size=20))
def test_a_table_without_a_rollout_splits_nothing_off(key: str) -> None:
    """While no rollout is active, no key goes to a canary."""
    assert not RoutingTable(1).split.takes(key)
