"""Writing to a store that is far away: what was looked at has to be as it was, or nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from fds_mlflow.errors import ConfigError, UnavailableError
from fds_mlflow.features.state.fetched import Runs, parted
from fds_mlflow.features.state.opening import opened
from fds_mlflow.features.state.store import ChangedError, Store, Values, write
from tests.features.state.conftest import Kind

KEY = b"e" + b"k" * 16
OPEN, NEW, SEALED, MANY = b"r\0\xff", b"z\0\xff", b"r\0\0" + (7).to_bytes(8, "big"), b"\xff\0" + b"v" * 8
TRANSACTION = b"t" + b"k" * 16

CHANGES: dict[str, tuple[Callable[[Values], object], Callable[[Values], None]]] = {
    "a part": (lambda values: values.get(KEY, OPEN), lambda values: values.put(KEY, OPEN, b"other")),
    "a part that was not there": (
        lambda values: values.get(TRANSACTION, b""),
        lambda values: values.put(TRANSACTION, b"", b"new"),
    ),
    "a run that lost rows": (lambda values: values.parts(KEY), lambda values: values.put(KEY, SEALED, b"less")),
    "a run that is gone": (lambda values: values.parts(KEY), lambda values: values.delete(KEY, SEALED)),
    "one part more": (lambda values: values.parts(KEY), lambda values: values.put(KEY, b"y\0\xff", b"label")),
    "one of many": (lambda values: values.parts(KEY, many=True), lambda values: values.put(KEY, MANY, b"later")),
}
"""What is looked at, and what somebody else does meanwhile."""


def begun(store: Store) -> None:
    """Write what the changes are about."""
    with store.writing() as values:
        values.put(KEY, OPEN, b"rows")
        values.put(KEY, SEALED, b"a sealed run")
        values.put(KEY, MANY, b"times")


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_meanwhile_is_not_written_over(remote: Kind, tmp_path: Path, change: str) -> None:
    """Nothing of the transaction is there then."""
    look, other = CHANGES[change]
    mine, theirs = (opened(remote.address(tmp_path)) for _ in range(2))
    begun(mine)

    def overtaken() -> None:
        with mine.writing() as values:
            look(values)
            values.put(KEY, NEW, b"mine")
            with theirs.writing() as others:
                other(others)

    with pytest.raises(ChangedError):
        overtaken()
    with theirs.reading() as values:
        assert values.get(KEY, NEW) is None


def test_who_was_overtaken_begins_again(remote: Kind, tmp_path: Path) -> None:
    """`write` looks once more, and writes upon what is there then; who is overtaken each time is told so in the end."""
    mine, theirs = (opened(remote.address(tmp_path)) for _ in range(2))
    begun(mine)
    tries: list[bytes] = []

    def longer(values: Values, *, times: int) -> None:
        tries.append(bytes(values.get(KEY, OPEN) or b""))
        if len(tries) <= times:
            with theirs.writing() as others:
                others.put(KEY, OPEN, tries[-1] + b"+")
        values.put(KEY, OPEN, tries[-1] + b"!")

    write(mine, partial(longer, times=2))
    with theirs.reading() as values:
        assert values.get(KEY, OPEN) == b"rows++!"
    with pytest.raises(UnavailableError, match="changed meanwhile"):
        write(mine, partial(longer, times=1_000))


def test_what_was_not_looked_at_may_change(remote: Kind, tmp_path: Path) -> None:
    """Who writes elsewhere meanwhile is in nobody's way."""
    mine, theirs = (opened(remote.address(tmp_path)) for _ in range(2))
    begun(mine)
    with mine.writing() as values:
        assert values.get(KEY, OPEN) == b"rows"
        values.delete(KEY, OPEN)
        with theirs.writing() as others:
            others.put(KEY, MANY, b"later")
    with theirs.reading() as values:
        assert (values.get(KEY, OPEN), values.get(KEY, MANY)) == (None, b"later")


def test_runs_take_no_more_than_they_may() -> None:
    """Of what is kept the part that was asked for last stays, and one that has lost rows is another one."""
    runs = Runs(10)
    for number in range(3):
        runs.put(b"e", bytes([number]), b"1234")
        runs.get(b"e", b"\0", 4)
    assert [runs.get(b"e", bytes([number]), 4) for number in range(3)] == [b"1234", None, b"1234"]
    assert runs.get(b"e", b"\0", 3) is None


@pytest.mark.parametrize("name", ["", "1st", "UPPER", "a-b", "x" * 41])
def test_a_namespace_is_a_name(name: str) -> None:
    """What could not be part of a table's name is refused; the other parameters of an address stay."""
    with pytest.raises(ConfigError, match="is no namespace"):
        parted(f"redis://h/0?namespace={name}", "redis://h")
    assert parted("redis://h/0?db=1&namespace=ok_1&x=%20", "redis://h") == ("redis://h/0?db=1&x=+", "ok_1")
