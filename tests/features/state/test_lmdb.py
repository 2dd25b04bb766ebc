"""The past in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from fds_mlflow.errors import UnavailableError
from fds_mlflow.features.state.lmdb_store import LmdbStore
from fds_mlflow.features.state.state import Arrival, State
from tests.support.arrivals import arriving, past


def again(arrival: Arrival) -> bool:
    """Whether a transaction had arrived before."""
    return arrival.again


def test_a_folder_that_is_full_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    """At the limit a transaction is refused with the fix, and nothing of it is recorded; the others are there."""
    known = State(LmdbStore(tmp_path, limit=2**18), past(tmp_path / "other").layout)
    with pytest.raises(UnavailableError, match="has reached its limit of 262,144 bytes"):
        _filled(known)
    number = known.size().transactions
    assert number > 100
    assert known.arrive(arriving("T", number - 1), again)


def _filled(known: State) -> None:
    """Send transactions for ever."""
    number = 0
    while True:
        known.arrive(arriving("T", number), again)
        number += 1
