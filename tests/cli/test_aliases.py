"""Options that were renamed: the old name is understood for one release, and no help shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import pytest
from click.testing import CliRunner

from fds_mlflow.cli.aliased import AliasedOption
from fds_mlflow.cli.main import main

OLD_NAMES = {
    ("serve", "--budget"): "--canary-timeout",
    ("serve", "--patience"): "--champion-timeout",
    ("serve", "--allow-pins"): "--allow-variant-override",
    ("compare", "--rounds"): "--n-boot",
}


def aliased(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], AliasedOption]]:
    """Every option that has an old name, with the words of its command."""
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            yield from aliased(sub, (*path, name))
    for option in command.params:
        if isinstance(option, AliasedOption):
            yield path, option


ALIASED = list(aliased(main))


def parsed(path: tuple[str, ...], words: list[str]) -> dict[str, Any]:
    """What a command would be called with."""
    command: click.Command = main
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    with click.Context(command, info_name=path[-1]) as context:
        arguments = ["1"] * sum(isinstance(one, click.Argument) for one in command.params)
        command.parse_args(context, [*arguments, *words])
        return context.params


def test_every_renamed_option_is_known_here() -> None:
    """The names that the changelog promises to understand are these."""
    found = {(" ".join(path), option._old): option.opts[0] for path, option in ALIASED}
    assert found.items() >= OLD_NAMES.items()


@pytest.mark.parametrize(("path", "option"), ALIASED, ids=str)
def test_an_old_name_does_what_the_new_one_does(path: tuple[str, ...], option: AliasedOption) -> None:
    """A script that was written for the last release goes on working."""
    new, old = option.opts[0], option._old
    value = [] if option.is_flag else ["7"]
    assert parsed(path, [old, *value]) == parsed(path, [new, *value]) != parsed(path, [])


@pytest.mark.parametrize(("path", "option"), ALIASED, ids=str)
def test_no_help_and_no_error_shows_an_old_name(path: tuple[str, ...], option: AliasedOption) -> None:
    """Whoever asks for help, or gives a value that does not fit, is told the new name alone."""
    said = CliRunner().invoke(main, [*path, "--help"])
    assert option.opts[0] in said.output
    assert option._old not in said.output
    if not option.is_flag:
        with pytest.raises(click.BadParameter) as caught:
            parsed(path, [option._old, "much"])
        assert option.opts[0] in caught.value.format_message()
        assert option._old not in caught.value.format_message()
