"""Where a secret stands in an address or a setting, nothing that quotes it shows it: the planted run's quick part."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from fds_mlflow.cli.output.lines import shown
from fds_mlflow.data import readers
from fds_mlflow.data.transactions import load
from fds_mlflow.display.redaction import redacted
from fds_mlflow.errors import FdsError, RefusedError
from fds_mlflow.notifications.notifier import Hook, Notifier
from fds_mlflow.notifications.webhook import Webhook
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.registry.beside import BesideStore
from fds_mlflow.registry.connection import connect
from fds_mlflow.registry.store import SetModelTag
from fds_mlflow.runtime import environment
from fds_mlflow.runtime.streams import safe_prints
from fds_mlflow.serving.host import prepare

SECRETS = ("Pl4nted-one", "Pl4nted-two", "Pl4nted-three")
AWAY = f"127.0.0.1:1/db?options={SECRETS[1]}&sslpassword={SECRETS[2]}"
ADDRESS = f"postgresql+psycopg://ann:{SECRETS[0]}@{AWAY}"


def clean(*texts: object) -> bool:
    """Whether no text shows a secret."""
    return not any(secret in f"{each}" for each in texts for secret in SECRETS)


@pytest.mark.parametrize(
    "fails",
    [
        lambda: load(ADDRESS, "simulator", table="tx"),
        lambda: load(f"{ADDRESS}&nonsense={SECRETS[0]}", "simulator", table="tx"),
        lambda: OutcomeStore(ADDRESS),
        lambda: OutcomeStore(f"{ADDRESS}&nonsense={SECRETS[0]}"),
        lambda: OutcomeStore(f"oracle://ann:{SECRETS[0]}@{AWAY}"),
        lambda: connect(ADDRESS, ADDRESS),
        lambda: connect(f"http://ann:{SECRETS[0]}@127.0.0.1:port", None),
        lambda: connect(f"http://ann:{SECRETS[0]}@127.0.0.1:1", None).read("fraud"),
        lambda: Webhook(f"ftp://ann:{SECRETS[0]}@h/{SECRETS[1]}", SECRETS[2]),
        lambda: Webhook(f"https://ann:{SECRETS[0]}@h/{SECRETS[1]}", SECRETS[2]),
    ],
)
def test_no_error_quotes_a_secret(fails: Any) -> None:
    """Wrong hosts, options that no driver knows, other databases: the message names the place without its secrets."""
    with pytest.raises(FdsError) as error:
        fails()
    assert clean(error.value, error.value.what, error.value.fix, repr(error.value), error.value.args)


def test_a_source_is_named_without_its_secrets() -> None:
    """What a tag, a run and a description call the data shows no password of the address or of the query."""
    named = readers.describe(ADDRESS, None, f"SELECT * FROM dblink('password={SECRETS[0]}')")
    assert clean(named)
    assert readers.describe(ADDRESS, "tx", None).endswith("?options=***&sslpassword=*** (table tx)")


def test_what_mlflow_prints_in_another_program() -> None:
    """A training in a notebook prints where its run is, without the password that the address holds."""
    file = io.StringIO()
    with redirect_stdout(file), safe_prints(f"http://ann:{SECRETS[0]}@host"):
        sys.stdout.write(f"View run x at: http://ann:{SECRETS[0]}@host/#/experiments/0\n")
    assert clean(file.getvalue())
    assert "View run x at: http://ann:***@host/#/experiments/0" in file.getvalue()


def test_a_process_that_is_started_gets_none_by_its_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Everybody on a machine may list arguments: addresses reach the process that prepares by its environment."""
    started: list[tuple[list[str], dict[str, str]]] = []

    def start(command: list[str], **more: Any) -> Any:
        started.append((command, more["env"]))
        raise RefusedError("far enough", fix="none")

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(RefusedError, match="far enough"):
        prepare.Preparation("fraud", ADDRESS, ADDRESS)(1, tmp_path)
    command, given = started[0]
    assert clean(*command)
    assert given["MLFLOW_TRACKING_URI"] == ADDRESS


def test_a_hook_that_fails_and_quotes_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an environment's secrets are is known: whoever quotes one bare, it is hidden."""
    monkeypatch.setenv(environment.SERVE_TOKEN, SECRETS[0])
    environment.hide_secrets()

    def fail(_: object) -> None:
        raise ValueError(f"{SECRETS[0]} was not taken")

    notifier = Notifier([Hook(fail, "hook")])
    failures = notifier.send_now(None)  # type: ignore[arg-type] # it is not looked at
    assert clean(*(failure.why for failure in failures))
    assert shown(f"{SECRETS[0]}!") == "***!"
    assert redacted(f"header value: '{SECRETS[0]}\\n'") == "header value: '***\\n'"


class _Bare:
    """A registry that holds no tags."""

    uri = f"uc://ann:{SECRETS[0]}@host"
    write_limit = 1.0
    holds_aliases = True

    def read(self, model: str) -> Any:
        """Nothing."""


def test_the_database_of_tags_keeps_no_password(tmp_path: Path) -> None:
    """Tags that an earlier release kept under the address with its password are found, and the password is gone."""
    url = f"sqlite:///{tmp_path}/tags.db"
    BesideStore(_Bare(), url)  # type: ignore[arg-type]
    engine = create_engine(url)
    table = "fds_registry_tags"
    with engine.begin() as connection:
        names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
        table = names[0]
        old = {"registry": _Bare.uri, "model": "fraud", "version": 0, "name": "fds.x", "value": "kept"}
        connection.execute(text(f"INSERT INTO {table} VALUES (:registry, :model, :version, :name, :value)"), old)
    store = BesideStore(_Bare(), url)  # type: ignore[arg-type]
    store.write("fraud", SetModelTag("fds.y", "new"))
    with engine.connect() as connection:
        rows = connection.execute(text(f"SELECT registry, name FROM {table} ORDER BY name")).all()
    assert [tuple(row) for row in rows] == [("uc://ann:***@host", "fds.x"), ("uc://ann:***@host", "fds.y")]
