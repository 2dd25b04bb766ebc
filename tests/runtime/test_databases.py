"""Addresses of databases: whatever is wrong with one is told as an error of ours, at every door that takes one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.data.transactions import load
from fds_mlflow.errors import ConfigError
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.runtime import databases
from tests.support.effort import at_most
from tests.support.refusals import taken_or_refused

DOORS: dict[str, Callable[[str], Any]] = {
    "outcomes": lambda url: OutcomeStore(url, timeout=1),
    "data": lambda url: load(url, {"transaction_id": None, "time": None, "amount": "a"}, table="t"),
    "registry": lambda url: databases.reach(url, named="the registry", timeout=1),
}
MALFORMED = (
    *("://", "a://", "1://x", "+sqlite:///a", "sqlite+:///a", "sqlite.dialect:///a", "postgres://h/d", "http://h/d"),
    *("sqlite:////dev/zero", "sqlite:////dev/full", "sqlite:///folder", "sqlite:///junk.db", "sqlite://host/a.db"),
    *("sqlite+nodriver:///a.db", "sqlite+pysqlcipher:///a.db", "sqlite:///a\0b.db", "sqlite:///\ud800"),
    *("sqlite:///a.db?timeout=abc", "sqlite:///a.db?cached_statements=99999999999999999999"),
    *("sqlite:///a.db?isolation_level=WRONG", "sqlite:///a.db?detect_types=x"),
    *("postgresql://h:99999/x", "postgresql://h:-1/x", "postgresql://h:abc/x", "postgresql://[::1/x"),
    *("postgresql://\ud800@127.0.0.1:1/x", "postgresql://127.0.0.1:1/%00", "postgresql://127.0.0.1:1/x?port=abc"),
    *("postgresql://127.0.0.1:1/x?connect_timeout=abc", "postgresql://127.0.0.1:1/x?sslmode=wrong"),
    *("postgresql://127.0.0.1:1/x?nooption=1", "postgresql+psycopg_async://127.0.0.1:1/x", "mssql+pyodbc://h"),
)


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with what is no database."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "junk.db").write_bytes(b"not a database" * 999)
    (tmp_path / "folder").mkdir()


@pytest.mark.slow
@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("door", DOORS)
def test_a_malformed_address_is_refused(door: str) -> None:
    """No address ends in a traceback: each is taken, or refused with what is wrong and the fix."""
    for url in MALFORMED:
        if door != "data" or "://" in url:
            taken_or_refused(lambda: DOORS[door](url))  # noqa: B023


@at_most(60)
@given(st.text(max_size=20), st.text(st.sampled_from("abc0129:/@?&=%+.[]#\\\udc80\0é "), max_size=40))
def test_any_text_is_an_address_or_refused(begins: str, rest: str) -> None:
    """Whatever stands before and behind the scheme."""
    for text in (begins + rest, f"sqlite://{rest}", f"postgresql://{rest}", f"{begins}://{rest}"):
        taken_or_refused(lambda: databases.parse(text, named="it"))  # noqa: B023


def test_a_long_address_is_refused_unread() -> None:
    """What looks for passwords takes longer, the longer a text is: no address has thousands of characters."""
    with pytest.raises(ConfigError, match="it has 65,536 characters"):
        databases.parse(("postgresql+psycopg\u2028://u" * 9_999)[:65_536], named="it")


def test_what_is_refused_is_named() -> None:
    """The message says what it is the address of, and shows an address that works."""
    with pytest.raises(ConfigError, match="the registry's address is not a database URL") as error:
        databases.parse("no address", named="the registry's address")
    assert databases.EXAMPLE in error.value.fix
