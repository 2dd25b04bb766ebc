"""Outcomes on disk: whole, in order, within a limit, for several processes at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.outcomes.records import Vector
from fds_mlflow.serving.disk.spool import SIZE_SECONDS, Item, Label, Spool, SpooledOutcome, SpooledShadow
from tests.conftest import FakeClock
from tests.support.effort import at_most

TEXT = st.text(max_size=20)
VALUES = st.dictionaries(TEXT, st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(0, 1) | TEXT)
OUTCOMES = st.builds(
    SpooledOutcome,
    *(TEXT, TEXT, TEXT, st.none() | TEXT, st.integers(0, 9), st.integers(0, 10_000), TEXT, TEXT, st.integers(1, 99)),
    st.none() | st.floats(0, 1),
    st.booleans(),
    st.floats(0, 1e6),
    st.none() | TEXT,
    st.floats(0, 2e9),
    degraded=st.booleans(),
    inputs_digest=st.none() | TEXT,
    reasons=st.none() | TEXT,
    vector=st.none() | st.builds(Vector, VALUES, st.none() | VALUES, st.none() | TEXT),
)
SHADOWS = st.builds(
    SpooledShadow,
    TEXT,
    st.integers(1, 99),
    st.floats(0, 1),
    st.booleans(),
    st.floats(0, 1e6),
    st.none(),
    st.floats(0, 2e9),
)
LABELS = st.builds(Label, TEXT, TEXT, TEXT, st.none() | TEXT, st.none() | st.floats(0, 1e6))


def values(batches: Iterable[Iterable[Item]]) -> list[list[dict[str, object]]]:
    """What items hold, whatever kind of record they are read as."""
    return [[msgspec.structs.asdict(item) for item in batch] for batch in batches]


def label(name: str) -> Label:
    """A label that is told by its transaction."""
    return Label(name, "genuine", "2026-03-01T12:00:00+00:00")


@at_most(50)
@given(batches=st.lists(st.one_of(*(st.lists(kind, min_size=1, max_size=4) for kind in (OUTCOMES, SHADOWS, LABELS)))))
def test_everything_comes_back_in_order(tmp_path_factory: pytest.TempPathFactory, batches: list[list[Item]]) -> None:
    """Whatever was put comes back as it was, a file per hand-over, the oldest first."""
    spool = Spool(tmp_path_factory.mktemp("spool"))
    for batch in batches:
        assert spool.put(batch)
    assert values(spool.read(path) for path in spool.waiting()) == values(batches)
    for path in list(spool.waiting()):
        spool.done(path)
    assert list(spool.waiting()) == []


def test_a_full_spool_takes_nothing_until_the_store_has_some(tmp_path: Path, fake_clock: FakeClock) -> None:
    """At its limit a spool takes no more, counts what other processes put, and takes again once some is gone."""
    ours, theirs = (Spool(tmp_path, limit=100, monotonic=fake_clock.monotonic) for _ in range(2))
    while ours.put([label("ours")]):
        pass
    assert 100 <= ours.size < 200
    fake_clock.seconds += SIZE_SECONDS
    assert not theirs.put([label("theirs")])
    assert theirs.size == ours.size == sum(path.stat().st_size for path in ours.waiting())
    for path in list(ours.waiting()):
        theirs.done(path)
    fake_clock.seconds += SIZE_SECONDS
    assert ours.size == 0
    assert ours.put([label("again")])


def test_the_size_is_known_without_looking_each_time(tmp_path: Path, fake_clock: FakeClock) -> None:
    """Between two looks at the folder the size is what was there and what was put since."""
    spool = Spool(tmp_path, monotonic=fake_clock.monotonic)
    sizes = []
    for _ in range(3):
        spool.put([label("one")])
        sizes.append(spool.size)
    real = sum(path.stat().st_size for path in spool.waiting())
    assert sizes == [real // 3, 2 * real // 3, real]
    for path in list(spool.waiting()):
        spool.done(path)
    assert spool.size == real
    fake_clock.seconds += SIZE_SECONDS
    assert spool.size == 0


def test_what_was_left_half_written_is_never_read(tmp_path: Path) -> None:
    """A file that a killed process left half written is no outcome, takes no room, and goes at the next start."""
    spool = Spool(tmp_path)
    spool.put([label("whole")])
    half = tmp_path / "00000000000000000001-1-000000.new"
    half.write_bytes(b"\x91")
    assert values(spool.read(path) for path in spool.waiting()) == values([[label("whole")]])
    spool.tidy()
    assert not half.exists()
    assert len(list(spool.waiting())) == 1


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    """A file that cannot be parsed is an error of its own, and put aside it waits no more but is not lost."""
    spool = Spool(tmp_path)
    spool.put([label("whole")])
    (path,) = spool.waiting()
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(msgspec.DecodeError):
        spool.read(path)
    spool.refuse(path)
    assert list(spool.waiting()) == []
    assert [found.name for found in (tmp_path / "refused").iterdir()] == [path.name]


def test_threads_and_processes_may_put_at_once(tmp_path: Path) -> None:
    """What is put at the same time by many is all there."""
    spools = [Spool(tmp_path), Spool(tmp_path)]

    def put(number: int) -> None:
        for place in range(50):
            assert spools[0].put([label(f"{number}-{place}")], durable=place == 0)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = {item.transaction_id for path in spools[1].waiting() for item in spools[1].read(path)}  # type: ignore[union-attr]
    assert names == {f"{number}-{place}" for number in range(4) for place in range(50)}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_takes_nothing_is_an_error(tmp_path: Path) -> None:
    """Where nothing can be written that is an error, and nothing half done stays."""
    spool = Spool(tmp_path / "spool")
    spool.folder.chmod(0o500)
    with pytest.raises(OSError, match="denied"):
        spool.put([label("lost")])
    spool.folder.chmod(0o700)
    assert list(spool.folder.iterdir()) == []


def test_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    """Where the folder is gone that is an error, which the caller hears of."""
    spool = Spool(tmp_path / "spool")
    assert spool.size == 0
    spool.folder.rmdir()
    with pytest.raises(FileNotFoundError):
        spool.put([label("lost")])
