"""Secrets in texts: none is shown, whatever it is made of, wherever it stands and whoever quotes it."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.display import redaction
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
        ("postgresql://h/d?options=-csecret%3Dx&connect_timeout=3", "postgresql://h/d?options=***&connect_timeout=3"),
        ("postgresql://h/d?user=ann&password=abc", "postgresql://h/d?user=ann&password=***"),
        (
            "https://s3/k?X-Amz-Signature=ab12&X-Amz-Date=20260101T",
            "https://s3/k?X-Amz-Signature=***&X-Amz-Date=20260101T",
        ),
        ("http://h/cb?code=4/abc#access_token=xyz", "http://h/cb?code=***#access_token=***"),
        ("host=h user=ann password='a b' sslpassword=x", "host=h user=ann password=*** sslpassword=***"),
        ("url: /hooks?token=abc (Caused by", "url: /hooks?token=*** (Caused by"),
        ("Authorization: Basic YW5uOnNlY3JldA==", "Authorization: Basic ***"),
        ("header value: 'Bearer abc.def1'", "header value: 'Bearer ***'"),
        ("the bearer token is missing or wrong", "the bearer token is missing or wrong"),
        ("postgresql://user:password@host/database", "postgresql://user:password@host/database"),
        ("a fraud = b, rows=7, threshold=0.5", "a fraud = b, rows=7, threshold=0.5"),
        ("set MLFLOW_TRACKING_TOKEN, to who may", "set MLFLOW_TRACKING_TOKEN, to who may"),
    ],
)
def test_what_is_a_secret_and_what_is_not(text: str, expected: str) -> None:
    """Bare tokens and secret parameters are hidden; users, paths, aliases and mail addresses are not."""
    assert redacted(text) == expected


NAMES = st.from_regex(r"[a-z][a-z0-9_.-]{0,15}", fullmatch=True)


@given(NAMES, st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=10, max_size=20), st.booleans())
def test_a_parameter_that_nobody_knows_is_hidden(name: str, value: str, last: bool) -> None:
    """What is not known to be harmless is hidden in the query of an address, wherever in it and in a text it stands."""
    query = f"sslmode=require&{name}={value}" if last else f"{name}={value}&sslmode=require"
    shown = redacted(f"cannot open http://host/x?{query}, sorry")
    assert "sslmode=require" in shown
    assert name in redaction._HARMLESS or value not in shown


@given(PASSWORDS.filter(lambda text: text.lower() not in redaction._GUESSABLE), st.text())
def test_what_an_address_held_is_hidden_elsewhere(password: str, around: str) -> None:
    """A driver that quotes a password, an option or a token by itself shows none of it once the address was read."""
    redaction.remember_address(f"postgresql://ann:{quote(password, safe='')}@host/db?options={quote(password[::-1])}")
    for value in (password, password[::-1], quote(password, safe="")):
        assert value not in redacted(f"{around} invalid: {value} {around}".replace(f"{around} ", " "))


@pytest.mark.parametrize("address", ["postgresql://mlflow:mlflow@mlflow/mlflow", "http://fraud-db:fraud-db@fraud-db/x"])
def test_a_password_that_is_a_name_hides_no_names(address: str) -> None:
    """A password that is the user's or the database's name, or a word of our sentences, leaves texts legible."""
    redaction.remember_address(address)
    name = address.partition("://")[2].partition(":")[0]
    assert redacted(f"{name} did not answer") == f"{name} did not answer"
    assert f"{name}:***@" in redacted(address)


def test_a_secret_in_disguise_hides_no_short_word() -> None:
    """What is short once it is decoded is hidden as it was written, and no word of a text is for its sake."""
    redaction.remember("%41%42")
    assert redacted("AB is not %41%42") == "AB is not ***"


def test_the_latest_secrets_are_known() -> None:
    """A server whose tokens are renewed for years remembers a bounded number of them, the newest."""
    for number in range(1_000):
        redaction.remember(f"token-{number:06d}")
    assert len(redaction._known) <= 200
    assert redacted("x token-000999 token-000001") == "x *** token-000001"


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
