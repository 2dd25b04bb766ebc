"""The edge of the command line: every error becomes an exit code and a message that names the fix.

Exit codes: 1 refused or failed, 2 wrong usage. With `--json` the message is one JSON value on standard output.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import click
from click.exceptions import Abort, Exit, NoArgsIsHelpError

from fds_mlflow.cli.output import lines
from fds_mlflow.display.characters import printable
from fds_mlflow.display.redaction import redacted
from fds_mlflow.errors import AwaitsApprovalError, ConfigError, DataError, FdsError, UnavailableError, UnexpectedError
from fds_mlflow.runtime import environment, streams

_PACKAGES = {"sklearn": "scikit-learn", "ulid": "python-ulid", "yaml": "pyyaml"}
"""Module -> the package that brings it, where the two differ."""


class Edge(click.Group):
    """The group of all verbs; errors of the package, of libraries and of usage are told here, and nowhere else."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the options before the verb."""
        streams.forgiving()
        environment.hide_secrets()
        given = list(args)
        with self._told(given, as_json="--json" in given):
            try:
                ctx = super().make_context(info_name, args, parent, **extra)
            except click.NoSuchOption as error:
                return self.make_context(info_name, self._moved(error, given), parent, **extra)
        ctx.meta.update({"fds.args": given, "fds.json": "--json" in given})
        return ctx

    def invoke(self, ctx: click.Context) -> Any:
        """Parse and call the verb; an option of the whole command line may stand behind it, and its own before it."""
        with streams.guarded(), self._told(ctx.meta["fds.args"], ctx=ctx):
            try:
                return super().invoke(ctx)
            except click.NoSuchOption as error:  # no verb was called yet
                moved = self._moved(error, ctx.meta["fds.args"])
        with self.make_context(ctx.info_name, moved) as anew:
            return self.invoke(anew)

    @contextmanager
    def _told(self, args: Sequence[str], *, ctx: click.Context | None = None, as_json: bool = False) -> Iterator[None]:
        try:
            yield
        except (Abort, Exit, NoArgsIsHelpError):
            raise
        except click.ClickException as error:
            what, fix = (
                printable(redacted(text), keep="\n") for text in (error.format_message(), self._help(error, args))
            )
            if ctx.meta["fds.json"] if ctx else as_json:
                streams.say({"error": what, "fix": fix, "type": type(error).__name__})
            text = f"{lines.shown(what)}\nFix: {lines.shown(fix)}"
            if isinstance(error, click.UsageError):
                raise click.UsageError(text, error.ctx) from None
            raise click.ClickException(text) from None
        except Exception as error:
            closed = isinstance(error, OSError) and error.errno == errno.EPIPE
            if closed or environment.setting(environment.TRACEBACK):
                raise
            known = error if isinstance(error, FdsError) else _known_error(error)
            if ctx.meta["fds.json"] if ctx else as_json:
                request = {"request": known.request} if isinstance(known, AwaitsApprovalError) else {}
                streams.say({"error": known.what, "fix": known.fix, "type": type(known).__name__, **request})
            else:
                lines.tell(f"Error: {known.what}", colour="red")
                lines.tell(f"Fix: {known.fix}")
            raise Exit(known.exit_code) from None

    def _help(self, error: click.ClickException, args: Sequence[str]) -> str:
        """What fixes wrong usage."""
        ctx = getattr(error, "ctx", None)
        if ctx is None:
            return "check the path and its permissions"
        unknown = getattr(error, "command_name", None)  # since click 8.4
        named = [words for words in _paths(self, "fds") if words.split()[-1] == unknown]
        if named:
            return f"write {' or '.join(named)}"
        words, group = self._reached(args)
        if isinstance(group, click.Group) and not isinstance(error, click.BadParameter | click.BadOptionUsage):
            return f"name a verb behind {words}: {', '.join(group.commands)}; {words} --help tells more"
        if isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter):
            return f"give another value: {ctx.command_path} --help tells what it takes"
        usage = " ".join([ctx.command_path, *ctx.command.collect_usage_pieces(ctx)])
        return f"write {usage}; {ctx.command_path} --help tells more"

    def _moved(self, error: click.NoSuchOption, given: Sequence[str]) -> list[str]:
        """The same call with an option where it belongs: before the verb, or behind all.

        Raises:
            click.NoSuchOption: No verb has it, or none is named.
        """
        name, command, args = error.option_name, error.ctx.command if error.ctx else self, list(given)
        ours = {option: param for param in self.params for option in param.opts}
        before = command is not self and name in ours
        param = ours[name] if before else _of_a_verb(command, name)
        if param is None:
            raise error
        place = next(i for i, word in enumerate(args) if word == name or word.startswith(f"{name}="))
        takes = not getattr(param, "is_flag", False) and args[place] == name
        moved = args[place : place + 1 + takes]
        rest = args[:place] + args[place + 1 + takes :]
        if isinstance(self._reached(rest)[1], click.Group):
            raise error
        return moved + rest if before else rest + moved

    def _reached(self, args: Sequence[str]) -> tuple[str, click.Command]:
        """The verb that a call names, or the group where it names none, with the words that lead there."""
        path, command = ["fds"], cast(click.Command, self)
        for word in args:
            if isinstance(command, click.Group) and word in command.commands:
                path.append(word)
                command = command.commands[word]
        return " ".join(path), command


def _paths(command: click.Command, words: str) -> Iterator[str]:
    """Every verb with its groups."""
    for name, verb in getattr(command, "commands", {}).items():
        yield f"{words} {name}"
        yield from _paths(verb, f"{words} {name}")


def _of_a_verb(command: click.Command, name: str) -> click.Parameter | None:
    """The option of that name of some verb of a group."""
    if not isinstance(command, click.Group):
        return None
    for verb in command.commands.values():
        own = (param for param in verb.params if name in param.opts)
        found = next(own, None) or _of_a_verb(verb, name)
        if found is not None:
            return found
    return None


def _known_error(error: Exception) -> FdsError:
    """An error of Python or of a library, as one of ours."""
    said = str(error).strip().splitlines()[:1] or [""]
    if isinstance(error, ModuleNotFoundError) and error.name:
        module = error.name.partition(".")[0]
        return ConfigError(
            f"this needs the Python package {module!r}, which is not installed here",
            fix=f"pip install {_PACKAGES.get(module, module)}, or all that fds needs: pip install fds-mlflow",
        )
    if isinstance(error, UnicodeError):
        return DataError(f"a text is not what its encoding allows: {said[0]}", fix="save the file as UTF-8")
    if isinstance(error, OSError):
        what = said[0] if error.filename is None else f"{error.filename}: {error.strerror}"
        return UnavailableError(what, fix="check the path, its permissions and the space on its disk")
    return UnexpectedError(
        f"{type(error).__name__}: {said[0][:300]}",
        fix=f"try again; if it stays, report it with the traceback that {environment.TRACEBACK}=1 shows",
    )
