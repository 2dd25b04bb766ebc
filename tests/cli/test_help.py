"""What `--help` tells: an example of each verb that can be called, every variable, and no line too long."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from fds_mlflow.cli.help import EXAMPLES
from fds_mlflow.cli.main import main
from fds_mlflow.runtime import environment


def verbs(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All of them."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from verbs(command, (*path, name))
        else:
            yield (*path, name)


def told(*words: str) -> str:
    """The help of a verb, at 80 columns."""
    return CliRunner().invoke(main, [*words, "--help"], terminal_width=80).output


@pytest.mark.parametrize("verb", [pytest.param(one, id=" ".join(one)) for one in verbs(main)])
def test_every_verb_has_an_example_that_can_be_called(verb: tuple[str, ...]) -> None:
    """It stands in the verb's help as it is to be written, and it names options and arguments that there are."""
    example = EXAMPLES[" ".join(verb)]
    assert example in told(*verb)
    words = shlex.split(example.partition(" > ")[0])[1:]
    with main.make_context("fds", list(words), resilient_parsing=False) as ctx:
        command: click.Command = main
        rest = words
        while isinstance(command, click.Group):
            _, command, rest = command.resolve_command(ctx, rest)  # type: ignore[assignment]
        parser = command.make_parser(click.Context(command))
        _, left, _ = parser.parse_args(list(rest))
    assert left == []


def test_every_variable_is_told() -> None:
    """What the environment can set stands with its option, or in the help of the whole."""
    shown = told() + "".join(told(*verb) for verb in verbs(main))
    names = {value for name, value in vars(environment).items() if name.isupper() and str(value).startswith("FDS_")}
    assert {name for name in names if name not in shown.replace("\n", "")} <= {""}
    assert "MLFLOW_TRACKING_URI" in shown


def test_no_line_of_the_variables_is_too_long() -> None:
    """They are not wrapped, so each fits a terminal of 80 columns."""
    assert max(len(line) for line in told().splitlines()) <= 80
