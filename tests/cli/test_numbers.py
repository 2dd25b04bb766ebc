"""Numbers on the command line: what is none, or has room nowhere, is wrong usage, whatever verb takes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fds_mlflow.cli.main import main
from tests.cli.test_main import COMMANDS


def _numbers(kind: type[click.ParamType]) -> Iterator[tuple[str, str]]:
    for verb, command in COMMANDS.items():
        for param in command.params:
            if isinstance(param.type, kind):
                yield verb, param.opts[0]


FLOATS = list(_numbers(click.types.FloatParamType))
INTEGERS = list(_numbers(click.types.IntParamType))


def _call(verb: str, name: str, value: str) -> str:
    """What a verb says of one value; its other arguments are there, and nothing is asked before they are parsed."""
    words = []
    for param in COMMANDS[verb].params:
        given = value if param.opts[0] == name else "1" if param.required else None
        if given is not None:
            words += [given] if isinstance(param, click.Argument) else [param.opts[0], given]
    told = CliRunner().invoke(main, [*verb.split(), *words])
    assert told.exit_code == 2, (verb, name, value, told.output)
    return told.stderr


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
def test_no_number_is_infinite_or_none(value: str) -> None:
    """NaN lies within any bounds, since no comparison holds for it, so each option looks for it."""
    assert len(FLOATS) > 10
    for verb, name in FLOATS:
        said = _call(verb, name, value)
        assert "finite" in said or "not in the range" in said, (verb, name)


@pytest.mark.parametrize("value", ["1_0.5x", "9" * 5_001, "-1", "1e3", "0x10"])
def test_a_whole_number_is_one(value: str) -> None:
    """Whatever is none, is negative or has thousands of digits is refused with the option's name."""
    for verb, name in INTEGERS:
        said = _call(verb, name, value)
        assert name.strip("-").upper().replace("-", "_") in said.upper().replace("-", "_"), (verb, name)


def test_a_version_has_room_in_a_registry() -> None:
    """A number that no registry's column holds is refused before a registry is asked."""
    found = [(verb, name) for verb, name in INTEGERS if name in ("version", "--version", "--champion", "baseline")]
    assert len(found) > 6
    for verb, name in found:
        assert "2147483647" in _call(verb, name, str(2**31))


def test_a_value_is_given_once(tmp_path: Path) -> None:
    """Two rates of one metric, or two values for one model, are refused: neither is taken in silence."""
    (tmp_path / "plan.yaml").write_text("steps: [10]")
    twice = ["plan", "check", str(tmp_path / "plan.yaml"), "--rate", "error_rate=0.1", "--rate", "error_rate=0.2"]
    for words, says in (
        (twice, "error_rate is given twice"),
        (["serve", "a", "b", "--row-limit", "5,b=6,b=7"], "'b' has two values"),
    ):
        told = CliRunner().invoke(main, words)
        assert told.exit_code == 2
        assert says in told.stderr


def test_the_name_of_a_model_is_text() -> None:
    """Bytes that are no UTF-8 are refused by every verb that takes a model, before a registry is asked for them."""
    taking = [verb for verb, command in COMMANDS.items() if any(param.name == "model" for param in command.params)]
    assert len(taking) > 15
    for verb in taking:
        if not isinstance(next(p for p in COMMANDS[verb].params if p.name == "model"), click.Option):
            assert "is not UTF-8" in _call(verb, "model", "fr\udcffaud")
