"""`fds serve` of several models: what each is given, and what is refused."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.cli.main import main
from fds_mlflow.cli.options import models_argument
from fds_mlflow.cli.per_model import Count, Text
from fds_mlflow.core.routing.exploration import Exploration
from fds_mlflow.serving.host.server import Options
from fds_mlflow.serving.worker.settings import ServerSettings


@pytest.fixture
def given_to_server(monkeypatch: pytest.MonkeyPatch, mlflow_uri: str) -> list[ServerSettings]:
    """What the server would be started with."""
    told: list[ServerSettings] = []

    def run(settings: Sequence[ServerSettings], *_: Any, **__: Any) -> None:
        told.extend(settings)

    monkeypatch.setattr("fds_mlflow.serving.host.server.run", run)
    monkeypatch.setattr("fds_mlflow.serving.host.server.logging_setup", lambda: None)
    return told


def test_each_model_has_limits_of_its_own(given_to_server: list[ServerSettings], tmp_path: Path) -> None:
    """A value holds for all models, one with a model's name before it for that model alone."""
    words = ["serve", "--row-limit", "1000,returns=50", "fraud", "charge", "charge=back", "returns"]
    words += ["--cache", str(tmp_path), "--key", "charge=back=case=id", "--canary-timeout", "fraud=1.5"]
    words += [
        "--patience",
        "2",
        "--shadow",
        "returns=20",
        "--step-up",
        "fraud=40,charge=30",
        "--connections",
        "returns=7",
    ]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    fraud, charge, charge_back, returns = given_to_server
    assert [one.model for one in given_to_server] == ["fraud", "charge", "charge=back", "returns"]
    assert [one.row_limit for one in given_to_server] == [1000, 1000, 1000, 50]
    assert (charge.key, charge_back.key, returns.key) == ("transaction_id", "case=id", "transaction_id")
    assert (fraud.canary_timeout, returns.canary_timeout) == (1.5, 0.25)
    assert {one.champion_timeout for one in given_to_server} == {2.0}
    assert (fraud.shadow, returns.shadow) == (0.0, 0.2)
    assert [one.bands.step_up for one in given_to_server] == [40.0, 30.0, 50.0, 50.0]
    assert (fraud.connections, returns.connections) == (1_000, 7)


@pytest.mark.usefixtures("given_to_server")
def test_whoever_calls_it_hears_ctrl_c_afterwards(tmp_path: Path) -> None:
    """A program that serves for a while, and what it starts later, can be interrupted as before."""
    result = CliRunner().invoke(main, ["serve", "fraud", "--cache", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert signal.SIG_IGN not in (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))


def test_one_model_may_have_columns_of_any_name(given_to_server: list[ServerSettings], tmp_path: Path) -> None:
    """With one model a `=` means nothing but itself, as it always did, where it is not that model's name."""
    result = CliRunner().invoke(main, ["serve", "fraud", "--cache", str(tmp_path), "--key", "a=b"])
    assert result.exit_code == 0, result.output
    assert given_to_server[0].key == "a=b"


def test_hosts_and_origins_come_with_commas(monkeypatch: pytest.MonkeyPatch, mlflow_uri: str, tmp_path: Path) -> None:
    """Names and pages that are allowed are lists with commas, as MLflow's server takes them; by default none."""
    told: list[Options] = []
    monkeypatch.setattr("fds_mlflow.serving.host.server.run", lambda _, options, **__: told.append(options))
    monkeypatch.setattr("fds_mlflow.serving.host.server.logging_setup", lambda: None)
    words = ["serve", "fraud", "--cache", str(tmp_path)]
    for more in ([], ["--allowed-hosts", "a.example, *.b.example", "--allowed-origins", "https://c.example"]):
        result = CliRunner().invoke(main, [*words, *more])
        assert result.exit_code == 0, result.output
    assert [(one.hosts, one.origins) for one in told] == [
        ((), ()),
        (("a.example", "*.b.example"), ("https://c.example",)),
    ]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["fraud", "returns", "--row-limit", "retruns=5"], "names none of the models: fraud, returns"),
        (["fraud", "returns", "--row-limit", "5,retruns=5"], "names none of the models: fraud, returns"),
        (["fraud", "returns", "--key", "fraud=id,retruns=id"], "names none of the models: fraud, returns"),
        (["fraud", "returns", "--key", "retruns=id"], "names none of the models: fraud, returns"),
        (["fraud", "returns", "--row-limit", "returns=0"], "0 is not in the range"),
        (["fraud", "returns", "--shadow", "returns=101"], "101"),
        (["fraud", " "], "it is empty"),
        ([], "Missing argument 'MODEL...'"),
    ],
)
def test_what_is_meant_for_no_model_is_refused(
    given_to_server: list[ServerSettings], words: list[str], what: str
) -> None:
    """A slip in a model's name, or a value out of range, is wrong usage and names what is wrong."""
    result = CliRunner().invoke(main, ["serve", *words])
    assert (result.exit_code, what in result.output) == (2, True), result.output
    assert given_to_server == []


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6).filter(
    lambda name: name.strip() and not name.startswith("-")
)


@given(data=st.data())
def test_a_value_is_its_models(data: st.DataObject) -> None:
    """Whatever models are called, each has the value that was given for it, else for all, else the default."""
    names = data.draw(st.lists(NAMES, min_size=2, max_size=4, unique=True))
    shared = data.draw(st.none() | st.integers(1, 99))
    own = data.draw(st.dictionaries(st.sampled_from(names), st.integers(1, 99)))
    told: dict[str, Any] = {}

    @click.command()
    @models_argument
    @click.option("--rows", type=Count(min=1), default=100)
    @click.option("--key", type=Text(), default="id")
    def verb(**values: Any) -> None:
        told.update(values)

    value = ",".join([*([] if shared is None else [str(shared)]), *(f"{name}={rows}" for name, rows in own.items())])
    result = CliRunner().invoke(verb, [*(["--rows", value] if value else []), *names])
    assert result.exit_code == 0, result.output
    assert told["rows"] == {name: own.get(name, shared or 100) for name in names}
    assert told["key"] == dict.fromkeys(names, "id")


def test_exploration_is_given_by_model(given_to_server: list[ServerSettings], tmp_path: Path) -> None:
    """A percentage becomes a share, with bounds of each model's own; without any nothing is explored."""
    words = ["serve", "fraud", "returns", "other", "--cache", str(tmp_path), "--explore", "0.5,other=0"]
    words += ["--explore-cap", "fraud=500", "--explore-column", "fraud=value", "--explore-per-day", "returns=7"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert [one.explore for one in given_to_server] == [
        Exploration("fraud", 0.005, 500.0, "value"),
        Exploration("returns", 0.005, per_day=7),
        None,
    ]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--explore", "101"], 2),
        (["--explore", "-1"], 2),
        (["--explore", "nan"], 2),
        (["--explore", "1", "--explore-cap", "0"], 2),
        (["--explore", "1", "--explore-per-day", "0"], 2),
        (["--explore-cap", "500"], 1),
        (["--explore-per-day", "5"], 1),
        (["--explore", "1", "--explore-column", "value"], 1),
        (["--explore", "1", "--no-record"], 1),
    ],
    ids=str,
)
def test_exploration_that_makes_no_sense_is_refused(
    given_to_server: list[ServerSettings], tmp_path: Path, words: list[str], code: int
) -> None:
    """A share out of range, bounds on nothing, and exploration that no outcome tells of: the server does not start."""
    result = CliRunner().invoke(main, ["serve", "fraud", "--cache", str(tmp_path), *words])
    assert (result.exit_code, given_to_server) == (code, []), result.output
