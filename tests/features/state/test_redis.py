"""A past in a Redis: what it may lose, what it says where it cannot answer, and what it is not mixed up with."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from fds_mlflow.errors import ConfigError, DataError, NotFoundError, UnavailableError
from fds_mlflow.features.engines.online import Online
from fds_mlflow.features.state.opening import opened
from fds_mlflow.features.state.redis_store import RedisStore
from fds_mlflow.features.state.state import Arrival, Arriving, State
from tests.support.arrivals import SPEC, arriving, past
from tests.support.redis_server import RedisServer, no_redis, running_redis

pytestmark = pytest.mark.slow


@contextmanager
def own(*options: str) -> Iterator[RedisServer]:
    """A Redis of the test's own, or a skip with the reason."""
    reason = no_redis()
    if reason is not None:
        pytest.skip(reason)
    with running_redis(*options) as made:
        yield made


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    with own() as made:
        yield made


def again(arrival: Arrival) -> bool:
    """Whether a transaction had arrived before."""
    return arrival.again


def filled(address: str, number: int = 150) -> State:
    """A past with some transactions."""
    known = past(address)
    for each in range(number):
        assert not known.arrive(arriving("T", each), again)
    return known


def test_a_server_that_is_killed_loses_nothing_that_was_acknowledged() -> None:
    """Where it writes its file before it answers, nothing is missing afterwards; clients go on by themselves."""
    with own("--appendfsync", "always") as server:
        _killed(server)


def _killed(server: RedisServer) -> None:
    known = filled(server.url())
    server.send(signal.SIGKILL)
    with pytest.raises(UnavailableError, match="is not available"):
        known.arrive(arriving("T", 0), again)
    server.start()
    assert all(known.arrive(arriving("T", number), again) for number in range(150))
    last = arriving("N", 150)
    found = known.arrive(last, partial(Online(SPEC, known.layout).features, last.time))
    assert (found["customer_count_1d"], found["customer_distinct_device_1d"]) == (151, 7)


def test_what_a_server_has_lost_is_remembered_by_nobody() -> None:
    """One that comes back as it was before is computed from as it is, whatever clients have seen of what it lost."""
    with own("--appendonly", "no") as server:
        known = filled(server.url(), 60)
        known.store._client.save()  # type: ignore[attr-defined]
        for number in range(60, 70):
            known.arrive(arriving("A", number), again)
        server.send(signal.SIGKILL)
        server.start()
        for number in range(70, 80):
            last = arriving("B", 1_000 + number)
            known.arrive(last, again)
        whole = [
            state.look(
                last,
                lambda arrival: sorted(
                    row for run in arrival.told["customer"].records.runs for row in run.columns[0].tolist()
                ),
            )
            for state in (known, past(server.url()))
        ]
        assert whole[0] == whole[1] != []


def test_a_server_that_has_stopped_is_not_waited_for(server: RedisServer) -> None:
    """Who asks a server that does not answer is told so, connected before or not; it answers again, and so do we."""
    known = filled(server.url(), 3)
    server.send(signal.SIGSTOP)
    try:
        for ask in (partial(known.arrive, arriving("T", 3), again), partial(opened, server.url())):
            with pytest.raises(UnavailableError, match=r"is not available: [Tt]ime"):
                ask()
    finally:
        server.send(signal.SIGCONT)
    known.arrive(arriving("T", 3), again)
    assert known.number == 4


def test_a_server_that_was_emptied_is_not_taken_for_a_past(server: RedisServer) -> None:
    """What was lost is not computed from, as if nothing had ever happened, and a state that begins anew is another."""
    known = filled(server.url(), 3)
    known.store._client.flushall()  # type: ignore[attr-defined]
    for begun_anew in (False, True):
        if begun_anew:
            past(server.url())
        for ask in (partial(known.arrive, arriving("T", 0), again), lambda: known.number):
            with pytest.raises(UnavailableError, match="was emptied, or begun anew"):
                ask()


def test_a_server_that_is_full_says_so_and_keeps_what_it_has() -> None:
    """Beyond its memory a transaction is refused with the fix, and nothing of it is recorded; the others are there."""
    with own("--maxmemory", "3mb") as small:
        known = past(small.url())
        with pytest.raises(UnavailableError, match="more memory"):
            _overfilled(known)
        assert known.number > 100
        assert known.arrive(arriving("T", known.number - 1), again)


def _overfilled(known: State) -> None:
    """Send transactions for ever."""
    number = 0
    while True:
        known.arrive(arriving("T", number), again)
        number += 1
        assert known.number == number


def test_a_server_that_drops_keys_is_refused() -> None:
    """Windows would lose transactions without anybody knowing: the address is refused with the setting to change."""
    with (
        own("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru") as dropping,
        pytest.raises(ConfigError, match="drops keys") as refused,
    ):
        opened(dropping.url())
    assert "noeviction" in refused.value.fix


def test_a_server_without_a_file_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever keeps a state where it is lost when the server ends reads so in the log."""
    with own("--appendonly", "no") as forgetful, caplog.at_level(logging.WARNING):
        opened(forgetful.url()).close()
    assert "has no append-only file" in caplog.text


def test_states_of_one_server_are_apart(server: RedisServer) -> None:
    """Each namespace is a state of its own, in full: ids, entities, sizes; without one it is `fds`."""
    first, second = filled(server.url("fraud"), 100), past(server.url("returns"))
    assert (first.size().transactions, second.size().transactions) == (100, 0)
    assert not second.arrive(arriving("T", 0), again)
    assert second.expire(10**15, 10**15) == 1
    assert first.size().transactions == 100
    plain = server.url().partition("?")[0]
    past(plain).arrive(arriving("T", 0), again)
    assert past(server.url("fds")).number == 1
    assert opened(plain.replace("redis://", "valkey://")).bytes() > 0
    with pytest.raises(NotFoundError, match="no state in"):
        opened(server.url("other"), begin=False)
    with pytest.raises(ConfigError, match="is no namespace"):
        opened(server.url("No-Name"))


def test_sealed_runs_are_fetched_where_they_are_not_known(server: RedisServer) -> None:
    """A replica that has just begun, or keeps few runs, is told the same as one that sealed them."""
    known = filled(server.url(), 900)
    others = [past(server.url()), State(RedisStore(server.url(), cached=0), known.layout)]
    for number in range(900, 1_100):
        last = arriving("T", number)
        for state in (known, *others):
            found = state.arrive(last, partial(Online(SPEC, state.layout).features, last.time))
            assert (found["customer_count_1d"], found["customer_distinct_device_1d"]) == (number + 1, 7)
    key = next(known.store.keys(b"e"))
    with known.store.reading([key]) as values:
        assert len(values.parts(key)) < 15


def test_a_full_run_is_sealed_by_another_one_where_its_own_client_was_killed(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who fills an open run and dies before it is sealed leaves it to who fills as many again: nothing is missing."""
    with monkeypatch.context() as killed:
        killed.setattr(RedisStore, "_seal", lambda *_: None)
        known = filled(server.url(), 100)
    key = next(known.store.keys(b"e"))
    runs = []
    for number in range(100, 140):
        last = arriving("T", number)
        found = known.arrive(last, partial(Online(SPEC, known.layout).features, last.time))
        assert (found["customer_count_1d"], found["customer_distinct_device_1d"]) == (number + 1, 7)
        with known.store.reading([key]) as values:
            runs.append(sum(len(part) > 3 for part, _ in values.parts(key)))
    assert (runs[0], runs[-1]) == (0, 2), "one of the records, one of the pairs"


def test_a_run_is_sealed_once(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes late to seal what another one has sealed, and what has come since, changes nothing."""
    seals = []
    with monkeypatch.context() as late:
        late.setattr(RedisStore, "_seal", lambda _, full, found: seals.append((full, found)))
        known = filled(server.url(), 64)
    full, found = next(seal for seal in seals if seal[0])
    for number in range(64, 70):
        known.store._seal(full, found)  # type: ignore[attr-defined]
        last = arriving("T", number)
        told = known.arrive(last, partial(Online(SPEC, known.layout).features, last.time))
        assert (told["customer_count_1d"], told["customer_distinct_device_1d"]) == (number + 1, 7)


def test_a_time_that_cannot_be_counted_is_refused(server: RedisServer) -> None:
    """Microseconds from the year 2255 on are more than a script of Redis counts exactly."""
    with pytest.raises(DataError, match="2255"):
        past(server.url()).arrive(Arriving("T", 2**53, {"customer": "c"}, {}), again)


def test_an_address_that_cannot_be_used_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens, another scheme, a wrong option, no package: each with its fix, none with the password."""
    for address, kind, said in (
        ("redis://:hunter2secret@127.0.0.1:1/0", UnavailableError, "is not available"),
        ("mysql://u:hunter2secret@127.0.0.1/d", ConfigError, "cannot be kept in mysql://"),
        ("sqlite:///state.db", ConfigError, "cannot be kept in sqlite://"),
        ("redis://:hunter2secret@127.0.0.1:1/0?socket_timeout=soon", ConfigError, "cannot be used"),
    ):
        with pytest.raises(kind, match=said) as refused:
            opened(address)
        assert "hunter2secret" not in str(refused.value)
        assert refused.value.fix
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError, match="not installed") as refused:
        opened("redis://127.0.0.1:1/0")
    assert "fds-mlflow[redis]" in refused.value.fix
