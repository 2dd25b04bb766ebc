"""Passwords in addresses: none is shown, whatever it is made of and wherever the address stands."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.display.redaction import redacted
from fds_mlflow.errors import ConfigError
from fds_mlflow.runtime.databases import parse, shown

PASSWORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=8, max_size=20).filter(
    lambda text: "***" not in text
)
SCHEMES = st.sampled_from(["postgresql", "postgresql+psycopg", "mysql", "http", "https", "oracle"])


@given(PASSWORDS, SCHEMES, st.sampled_from(["", "{} did not answer", "'{}' and more", "from {}/api/2.0?x=1"]))
def test_no_part_of_a_password_is_shown(password: str, scheme: str, around: str) -> None:
    """Whatever signs a password has, raw or encoded, an address in a text shows user and host and none of them."""
    for written in (password, quote(password, safe="")):
        address = f"{scheme}://ann:{written}@db.example:5432/fraud"
        text = redacted((around or "{}").format(address))
        assert f"{scheme}://ann:***@db.example:5432/fraud" in text
        assert len(text) == len((around or "{}").format(f"{scheme}://ann:***@db.example:5432/fraud"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://ghp_token@host/x", "https://***@host/x"),
        ("postgresql://ann@host/db", "postgresql://ann@host/db"),
        ("sqlite:////tmp/a@b.db", "sqlite:////tmp/a@b.db"),
        ("models:/fraud@champion", "models:/fraud@champion"),
        ("http://u:p@ss w@host/x", "http://u:***@host/x"),
        ("no schema for postgresql://u:my secret@h/d", "no schema for postgresql://u:***@h/d"),
        ("a http://u:p q@h and http://u:x@g", "a http://u:***@h and http://u:***@g"),
        ("at http://h:5000 for models:/fraud@champion", "at http://h:5000 for models:/fraud@champion"),
        ("'http://h:5000/x', mail ann@example.com", "'http://h:5000/x', mail ann@example.com"),
        ("http://h/x?api-key=abc", "http://h/x?api-key=***"),
        ("http://h/x?sig=abc&rows=1", "http://h/x?sig=***&rows=1"),
        ("postgresql://h/d?sslpassword=abc&sslmode=require", "postgresql://h/d?sslpassword=***&sslmode=require"),
        ("mssql+pyodbc:///?odbc_connect=PWD%3Dabc", "mssql+pyodbc:///?odbc_connect=***"),
        ("see http://h/x, mail ann@example.com", "see http://h/x, mail ann@example.com"),
    ],
)
def test_what_is_a_secret_and_what_is_not(text: str, expected: str) -> None:
    """Bare tokens and secret parameters are hidden; users, paths, aliases and mail addresses are not."""
    assert redacted(text) == expected


def test_every_error_of_the_package_is_without_passwords() -> None:
    """A message that quotes an address, of ours or of a library, hides its password in every form of the error."""
    error = ConfigError("cannot use http://ann:hun@ter2@host", fix="write another")
    assert "ter2" not in f"{error} {error.what} {error!r} {error.args}"


@pytest.mark.parametrize("password", ["hun@ter2", "hun ter2", "@hunter2", "h@nt@er", "h@/nt@r", "h/n@ter", "h@?ter"])
def test_a_database_address_that_would_be_read_wrongly_is_refused(password: str) -> None:
    """A raw @ or space in a password is refused with its encoding, since drivers take the rest for the host."""
    with pytest.raises(ConfigError) as refused:
        parse(f"postgresql://ann:{password}@host/db", named="the address")
    assert "%40" in refused.value.fix
    assert password not in str(refused.value)
    good = f"postgresql://ann:{quote(password)}@host/db"
    assert parse(good, named="the address").password == password
    assert shown(parse(good, named="the address")) == "postgresql://ann:***@host/db"
