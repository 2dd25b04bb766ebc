"""What the verbs of the command line share: settings, options, and how they answer."""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from fds_mlflow.cli import completion
from fds_mlflow.core.text.checks import MOST_SEED
from fds_mlflow.display.redaction import remember_address
from fds_mlflow.runtime import streams

if TYPE_CHECKING:
    from fds_mlflow.model import ManagedModel
    from fds_mlflow.registry.dry_run import Preview
    from fds_mlflow.workflows.source import Source

F = TypeVar("F", bound=Callable[..., Any])


class Settings:
    """Options of the whole command line, and the model they lead to."""

    def __init__(self, tracking_uri: str | None, registry_uri: str | None, outcomes: str | None, actor: str | None):
        self.tracking_uri = tracking_uri
        self.registry_uri = registry_uri
        self.outcomes = outcomes
        self.actor = actor
        for address in (tracking_uri, registry_uri, outcomes):
            remember_address(address)
        self.trust = False
        self.dry_run = False

    def connect(self) -> None:
        """Make MLflow's own functions use the same URIs, without importing it for that."""
        if "mlflow" in sys.modules:
            import mlflow

            if self.tracking_uri:
                mlflow.set_tracking_uri(self.tracking_uri)
            if self.registry_uri:
                mlflow.set_registry_uri(self.registry_uri)
        else:
            given = {"MLFLOW_TRACKING_URI": self.tracking_uri, "MLFLOW_REGISTRY_URI": self.registry_uri}
            os.environ.update({name: uri for name, uri in given.items() if uri})

    def model(self, name: str) -> ManagedModel:
        """The model a verb is about."""
        from fds_mlflow.model import ManagedModel

        self.connect()
        return ManagedModel(
            name,
            tracking_uri=self.tracking_uri,
            registry_uri=self.registry_uri,
            outcomes=self.outcomes,
            actor=self.actor,
            trust=self.trust,
            dry_run=self.dry_run,
        )


def as_json_option(command: F) -> F:
    """`--json`: the answer, and any error, as one JSON value; the command gets it as `as_json`.

    With or without it, nothing else reaches standard output.
    """

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> bool:
        ctx.meta["fds.json"] = value
        return value

    @functools.wraps(command)
    def answering(*args: Any, **options: Any) -> Any:
        with streams.answers_only():
            return command(*args, **options)

    option = click.option("--json", "as_json", is_flag=True, callback=remember, help="Print JSON for machines.")
    return cast(F, option(answering))


def reason_option(*, required: bool) -> Callable[[F], F]:
    """`--reason`: why, for the history."""
    if required:  # a default, even None, would make click take it for given
        return click.option("--reason", required=True, help="Why; for the history.")
    return click.option("--reason", default="", help="Why; for the history.")


TRUSTED = "Let versions run code of their own (pickle, Python) when they are loaded."


def trust_option(command: F) -> F:
    """`--trust`: what the verb loads may run code of its own; the history keeps who gave such a version traffic."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        settings = ctx.find_object(Settings)
        if settings is not None:
            settings.trust = value

    return click.option("--trust", is_flag=True, expose_value=False, callback=remember, help=TRUSTED)(command)


def dry_run_option(command: F) -> F:
    """`--dry-run`: do it on a copy of the registry that nobody else sees, and show what would be written."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        settings = ctx.find_object(Settings)
        if settings is not None:
            settings.dry_run = value

    told = "Write nothing: show what would be written, and exit as the verb would."
    return click.option("--dry-run", is_flag=True, expose_value=False, callback=remember, help=told)(command)


def show_value(as_json: bool, value: Any, shown: Callable[[], Any]) -> None:
    """Print a value as JSON, or as what `shown` makes of it for people."""
    from fds_mlflow.cli.output import tables
    from fds_mlflow.cli.output.plain import plain

    if as_json:
        streams.say(plain(value))
    else:
        tables.console().print(shown())


def show_result(as_json: bool, result: Any) -> None:
    """Print what became of a request."""
    value = {"changed": result.changed, "message": result.message, "event": result.event}
    if result.comparison is not None:
        value["comparison"] = result.comparison
    if result.warnings:
        value["warnings"] = result.warnings
    show_done(as_json, result.preview, value, with_warnings(result.message, result.warnings))


def show_done(as_json: bool, preview: Preview | None, value: Any, message: str) -> None:
    """Print what was done; in a dry run, what would be written comes first."""
    if preview is None:
        show_value(as_json, value, lambda: message)
        return
    from fds_mlflow.cli.output.plain import plain
    from fds_mlflow.registry.dry_run import told

    show_value(as_json, {"dry_run": preview, **plain(value)}, lambda: "\n".join([*told(preview), f"then: {message}"]))


def with_warnings(message: str, warnings: Iterable[str]) -> str:
    """What is told to people, each warning on a line of its own."""
    return "\n".join([message, *(f"Warning: {warning}" for warning in warnings)])


_ALGORITHMS = ("lightgbm", "isolation_forest")


def _algorithms(_ctx: click.Context, _param: click.Parameter, given: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """Names of algorithms; a function of the caller's own may lie in the working directory."""
    for name in (given,) if isinstance(given, str) else given:
        if ":" in name and str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        if ":" not in name and name not in _ALGORITHMS:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(_ALGORITHMS)}, and no MODULE:FUNCTION")
    return given


def algorithm_option(*names: str, **more: Any) -> Callable[[F], F]:
    """`--algorithm`: one of ours, or a function of the caller's own."""
    metavar = f"[{'|'.join(_ALGORITHMS)}|MODULE:FUNCTION]"
    return click.option("--algorithm", *names, metavar=metavar, callback=_algorithms, **more)


def _named(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is None:  # where no model means all of them
        return None
    if not value.strip():
        raise click.BadParameter("it is empty")
    try:
        value.encode()
    except UnicodeEncodeError:  # bytes of the shell's that are no text
        raise click.BadParameter(f"{value!a} is not UTF-8, as every model's name is") from None
    return value


def _each_named(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str | None, ...]:
    return tuple(_named(ctx, param, value) for value in values)


class _Finite(click.ParamType):  # type: ignore[type-arg] # click's newer releases alone have a parameter
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; NaN lies within any bounds, since no comparison holds for it."""
        made = super().convert(value, param, ctx)
        if not math.isfinite(made):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return made


class Number(_Finite, click.types.FloatParamType):
    """A finite number."""


class NumberRange(_Finite, click.FloatRange):
    """A finite number within bounds."""


COUNT = click.IntRange(min=1, max=10**9)
VERSION = click.IntRange(min=1, max=2**31 - 1)
"""A version's number; no registry's column holds a larger one."""

_MODEL: dict[str, Any] = {"callback": _named, "shell_complete": completion.models}
model_argument = click.argument("model", **_MODEL)
optional_model_argument = click.argument("model", required=False, **_MODEL)
models_argument = click.argument(
    "model", metavar="MODEL...", nargs=-1, required=True, is_eager=True, **(_MODEL | {"callback": _each_named})
)
seed_option = click.option(
    "--seed", type=click.IntRange(0, MOST_SEED), default=42, show_default=True, help="Seed of everything random."
)


def number_argument(name: str) -> Callable[[F], F]:
    """An argument that is a version of the model before it."""
    return click.argument(name, type=VERSION, shell_complete=completion.versions)


version_argument = number_argument("version")


def data_options(
    default: str = "simulator:50000",
    what: str = "File or folder of files, SQLAlchemy URL, simulator:ROWS, or outcomes:MODEL (as it was served).",
) -> Callable[[F], F]:
    """Options that say where transactions come from; the command gets them as one `source`, None without --data."""

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def with_source(
            *args: Any, data: str, schema: str | None, table: str | None, query: str | None, **options: Any
        ) -> Any:
            from fds_mlflow.cli.output.progress import bar
            from fds_mlflow.workflows.source import Source

            # An empty text is how `mlflow run` says "not given".
            if not data and default:
                raise click.UsageError("--data is empty, and there is nothing to do without data")
            if not data and (schema or table or query):
                raise click.UsageError("--schema, --table and --query describe --data, which is missing")
            with bar("Reading") as progress:
                source = Source(data, schema or None, table or None, query or None, progress) if data else None
                if source is not None and source.served:
                    settings = click.get_current_context().find_object(Settings)
                    source = replace(source, model=None if settings is None else settings.model(source.served))
                return command(*args, source=source, **options)

        made = with_source
        for option in (
            click.option("--query", default=None, help="Query to read, where --data is a database URL."),
            click.option("--table", default=None, help="Table to read, where --data is a database URL."),
            click.option("--schema", default=None, help="Schema: a YAML file, or simulator, sample, handbook or ulb."),
            click.option("--data", default=default, show_default=bool(default), help=what),
        ):
            made = option(made)
        return cast(F, made)

    return decorate


def features_option(default: str) -> Callable[[F], F]:
    """`--features`: which features; the command gets None where they are not given."""

    def given(_ctx: click.Context, _param: click.Parameter, value: str) -> str | None:
        return value or None  # an empty text is how `mlflow run` says "not given"

    told = f"Features: a YAML file, or handbook, or default for those the data allow; by default {default}."
    return click.option("--features", default="", callback=given, help=told)


def split_options(command: F) -> F:
    """Options that say how the data are cut: `split`, `gap` and `test_from`, None where not given."""

    @functools.wraps(command)
    def with_gap(*args: Any, split: str, gap: str, test_from: str, **options: Any) -> Any:
        from fds_mlflow.core.text.duration import to_duration

        # An empty text is how `mlflow run` says "not given".
        return command(
            *args,
            split=split or None,
            gap=to_duration("--gap", gap) if gap else None,
            test_from=_moment(test_from) if test_from else None,
            **options,
        )

    made = with_gap
    for option in (
        click.option(
            "--test-from",
            default="",
            help="When the test part begins, such as 2026-03-01 (UTC); by default at a fifth of the rows.",
        ),
        click.option(
            "--gap",
            default="",
            help="Time left out before validation and test, such as 7d; the label delay by default.",
        ),
        click.option(
            "--split",
            type=click.Choice(["time", "stratified", ""]),
            metavar="[time|stratified]",
            default="",
            help="Cut by time (by default, where there is one), or at random with the same share of fraud in each.",
        ),
    ):
        made = option(made)
    return cast(F, made)


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no time: write 2026-03-01 or 2026-03-01T12:00", param_hint="--test-from"
        ) from None


def _count(ctx: click.Context, param: click.Parameter, given: str) -> int | None:
    return int(COUNT(given, param, ctx)) if given else None  # an empty text is how `mlflow run` says "not given"


def effort_options(command: F) -> F:
    """Options that say how much is spent on a training; `seeds` and `search`, None where not given."""

    @functools.wraps(command)
    def with_search(*args: Any, search: str, search_storage: str, **options: Any) -> Any:
        if not search:
            if search_storage:
                raise click.UsageError("--search-storage keeps what --search tries, which is missing")
            return command(*args, search=None, **options)
        from fds_mlflow.cli.output.progress import bar
        from fds_mlflow.core.text.duration import to_duration
        from fds_mlflow.training.search import Search

        remember_address(search_storage)
        with bar("Searching") as progress:
            how = Search(to_duration("--search", search), search_storage or None, progress=progress)
            return command(*args, search=how, **options)

    made = with_search
    for option in (
        click.option(
            "--search-storage",
            default="",
            help="SQLite file or database URL that keeps what is tried, so that a search that was stopped goes on.",
        ),
        click.option(
            "--search", default="", help="Look for better parameters for so long, such as 10m; not by default."
        ),
        click.option(
            "--seeds",
            default="",
            callback=_count,
            help="Average LightGBM models of so many seeds; by default 3 where validation has few frauds (under 200).",
        ),
    ):
        made = option(made)
    return cast(F, made)


def admission_options(command: F) -> F:
    """Options of the verbs that give a version traffic; the command passes them on by `admission_of`."""
    for option in (
        click.option("--force", is_flag=True, help="Go on though VERSION is clearly worse offline; needs --reason."),
        data_options("", "Labelled data whose test part to compare on, instead of the version's own test set."),
        click.option(
            "--allow-new-columns", is_flag=True, help="The version may need columns that the champion does not."
        ),
    ):
        command = option(command)
    return command


def admission_of(model: ManagedModel, version: int, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `promote` and `canary.start` that the options of `admission_options` stand for."""
    source: Source | None = given.pop("source")
    if source is None:
        return given
    from fds_mlflow.workflows.preparation import prepare_for

    champion = model.overview().champion
    versions = [version] if champion is None else [version, champion]
    return {**given, "data": prepare_for(model, versions, source).test}
