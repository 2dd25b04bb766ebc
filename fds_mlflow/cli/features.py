"""The verbs of features: of specifications, and of the state that they are computed from as transactions arrive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fds_mlflow.cli.options import VERSION, Settings, as_json_option, data_options, model_argument, show_value
from fds_mlflow.cli.output import lines
from fds_mlflow.errors import ConfigError, RefusedError
from fds_mlflow.runtime import environment, streams

if TYPE_CHECKING:
    from fds_mlflow.workflows.source import Source

_schema_option = click.option(
    "--schema", default=None, help="Schema: a YAML file, or simulator, sample, handbook or ulb."
)


@click.group()
def features() -> None:
    """Features: a specification to begin with, whether one fits, what it means; and the state that serving needs."""


@features.command()
@_schema_option
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), default=None, help="A new file to write to."
)
@as_json_option
def template(schema: str | None, output: Path | None, as_json: bool) -> None:
    """Print a schema's default features (by default the simulator's) as YAML in which every key is explained."""
    from fds_mlflow.data.schema import Schema
    from fds_mlflow.features.defaults import default_features
    from fds_mlflow.features.template import template

    found = Schema.load(schema or "simulator")
    if output is not None:
        try:
            with output.open("x", encoding="utf-8") as file:
                file.write(template(found))
        except FileExistsError:
            raise RefusedError(f"{output} is there already", fix="name another file, or remove it") from None
        lines.say(f"written to {output}")
    elif as_json:
        streams.say(default_features(found)[0].model_dump(mode="json", exclude_defaults=True))
    else:
        streams.say_text(template(found))


@features.command()
@click.argument("spec")
@_schema_option
@click.option("--data", default=None, help="File or folder of files: look also at what its rows hold.")
@as_json_option
@click.pass_context
def check(ctx: click.Context, spec: str, schema: str | None, data: str | None, as_json: bool) -> None:
    """Whether SPEC (a YAML file, or handbook) is valid, what it reads, and whether a schema and data have that.

    The exit code is 1 where something is missing.
    """
    from fds_mlflow.cli.output import feature_views
    from fds_mlflow.cli.output.progress import bar
    from fds_mlflow.data.schema import Schema
    from fds_mlflow.features.fit import misfits
    from fds_mlflow.features.spec import FeatureSpec
    from fds_mlflow.workflows.source import Source

    found, problems, where = FeatureSpec.load(spec), None, None
    if data is not None:
        with bar("Reading") as progress:
            transactions = Source(data, schema, progress=progress).read()
        problems, where = misfits(found, transactions.schema, transactions), transactions.source
    elif schema is not None:
        problems, where = misfits(found, Schema.load(schema)), f"the schema {schema}"
    value = feature_views.checked(found, problems)
    show_value(as_json, value, lambda: feature_views.check(spec, value, where))
    if problems:
        ctx.exit(1)


@features.command()
@click.argument("spec")
@click.argument("feature", required=False)
@as_json_option
def explain(spec: str, feature: str | None, as_json: bool) -> None:
    """Say of each feature of SPEC (a YAML file, or handbook), or of FEATURE, what it is."""
    from difflib import get_close_matches

    from fds_mlflow.cli.output import feature_views
    from fds_mlflow.features.spec import FeatureSpec

    found = FeatureSpec.load(spec)
    if feature is not None and feature not in found.computed:
        near = get_close_matches(feature, found.computed, n=1)
        raise ConfigError(
            f"{spec} has no feature {feature!r}",
            fix=f"did you mean {near[0]!r}?" if near else f"leave it out: `fds features explain {spec}` lists them",
        )
    value = feature_views.explained(found, feature)
    show_value(as_json, value, lambda: feature_views.explanation(spec, value))


@features.command("compute")
@click.argument("spec", required=False)
@click.option("--model", default=None, help="Take the features and the schema that a version of it declares.")
@click.option("--version", type=VERSION, default=None, help="That version.")
@click.option("--input", "data", required=True, help="File or folder of files with transactions.")
@_schema_option
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    help="Where to write: a Parquet file, or on Spark a folder of them. It appears when it is complete.",
)
@click.option(
    "--engine", type=click.Choice(["local", "spark"]), default="local", show_default=True, help="Who computes."
)
@click.option("--memory-limit", default="1GB", show_default=True, help="Memory for the windows of the local engine.")
@as_json_option
@click.pass_obj
def compute_features(
    settings: Settings,
    spec: str | None,
    model: str | None,
    version: int | None,
    data: str,
    schema: str | None,
    output: Path,
    engine: str,
    memory_limit: str,
    as_json: bool,
) -> None:
    """Compute features from file to file: those of SPEC (a YAML file, or handbook), or of a version.

    On Spark, that is the session of `spark-submit` or a local one, whose executors all see the files; the numbers are
    the same.
    """
    from fds_mlflow.cli.output import feature_views
    from fds_mlflow.cli.output.progress import bar
    from fds_mlflow.workflows import computation

    if (spec is None) == (model is None) or (model is None) != (version is None):
        raise click.UsageError("give either SPEC, or --model and --version")
    declared = None if model is None or version is None else settings.model(model).declared(version)
    wanted, by = computation.declared(spec, schema, data, declared)
    with bar("Reading") as progress:
        done = computation.compute(
            data, by, wanted, output, engine=engine, memory_limit=memory_limit, progress=progress
        )
    value = feature_views.computed(done)
    show_value(as_json, value, lambda: feature_views.computation(value))


_state_option = click.option(
    "--state",
    "address",
    envvar=environment.STATE,
    required=True,
    help="Folder or URL of the state that features are computed from as transactions arrive.",
)


@features.command()
@click.argument("specs", metavar="[SPEC]...", nargs=-1)
@click.option("--model", default=None, help="Take the features that its champion and canary declare.")
@data_options("", "The history.")
@_state_option
@click.option("--accept-cold", is_flag=True, help="Nothing came before it: windows that reach back further are whole.")
@as_json_option
def load(
    specs: tuple[str, ...], model: str | None, source: Source | None, address: str, accept_cold: bool, as_json: bool
) -> None:
    """Fill a state from history, for the features of each SPEC (a YAML file, or handbook), or of a model.

    An empty state takes all of it, one in use what it lacks, while its servers go on. Killed, it goes on when it is
    started again. Without --data nothing is loaded, and --accept-cold says that the state knows all there was.
    """
    from fds_mlflow.cli.output import feature_views
    from fds_mlflow.cli.output.progress import bar
    from fds_mlflow.features.spec import FeatureSpec
    from fds_mlflow.workflows import feature_state

    if (model is None) == (not specs):
        raise click.UsageError("give either SPEC or --model")
    if source is None and not accept_cold:
        raise click.UsageError("give the history: --data FILE, or say with --accept-cold that there is none")
    found = [FeatureSpec.load(spec) for spec in specs] if model is None else feature_state.declared(model)
    with bar("Loading") as progress:
        done = feature_state.load(address, found, source, complete=accept_cold, progress=progress)
    value = feature_views.loaded(done)
    show_value(as_json, value, lambda: feature_views.load(value))


@features.command()
@click.argument("spec")
@data_options("", "The history: a file or folder of files, SQLAlchemy URL, or simulator:ROWS.")
@as_json_option
@click.pass_context
def verify(ctx: click.Context, spec: str, source: Source | None, as_json: bool) -> None:
    """Replay a history, transaction by transaction, and compare what each gets with the batch.

    SPEC is a YAML file, or handbook. The exit code is 1 where anything differs.
    """
    from fds_mlflow.cli.output import feature_views
    from fds_mlflow.cli.output.progress import bar
    from fds_mlflow.features.spec import FeatureSpec
    from fds_mlflow.workflows import feature_state

    if source is None:
        raise click.UsageError("give the history: --data FILE")
    wanted, transactions = FeatureSpec.load(spec), source.read()
    with bar("Replaying") as progress:
        found = feature_state.verify(wanted, transactions, progress)
    value = feature_views.verified(found)
    show_value(as_json, value, lambda: feature_views.verification(value))
    if found.mismatched:
        ctx.exit(1)


@features.command()
@model_argument
@click.option("--version", type=VERSION, default=None, help="One version.  [default: all]")
@click.option("--since", default=None, help="Scored within such an age, such as 7d.  [default: ever]")
@data_options("", "The history that holds the transactions and their past, to compare with the batch.")
@as_json_option
@click.pass_context
def skew(
    ctx: click.Context, model: str, version: int | None, since: str | None, source: Source | None, as_json: bool
) -> None:
    """Compare the features that MODEL was served with the batch's, and with those of its training.

    Looks at what `fds serve --vector-sample` recorded. With --data every feature is compared with what the batch
    computes for the same transactions: the exit code is 1 where any differs. Drift is from 0 to 1: the
    Kolmogorov-Smirnov statistic of numbers, the Jensen-Shannon distance of categories.
    """
    from fds_mlflow.cli.output import skew_views
    from fds_mlflow.core.text.duration import to_duration
    from fds_mlflow.runtime.clock import SystemClock
    from fds_mlflow.workflows import skew as workflow

    settings: Settings = ctx.obj
    begin = None if since is None else SystemClock().now() - to_duration("--since", since)
    found = workflow.skew(settings.model(model), version=version, since=begin, source=source)
    show_value(as_json, [skew_views.plain(one) for one in found], lambda: skew_views.shown(found))
    if any(one.differs for one in found):
        ctx.exit(1)


@features.command()
@click.argument("role")
@click.argument("value")
@_state_option
@as_json_option
def show(role: str, value: str, address: str, as_json: bool) -> None:
    """What a state keeps of an entity: ROLE is one of the schema's entities, VALUE its code."""
    from fds_mlflow.cli.output import feature_views
    from fds_mlflow.workflows import feature_state

    said = feature_views.shown(feature_state.show(address, role, value))
    show_value(as_json, said, lambda: feature_views.entity(role, value, said))


@features.command()
@click.argument("role")
@click.argument("value")
@_state_option
@click.option("--dry-run", is_flag=True, help="Only count what would be removed.")
@as_json_option
def forget(role: str, value: str, address: str, dry_run: bool, as_json: bool) -> None:
    """Remove all that a state keeps of an entity, and tell how much that was."""
    from fds_mlflow.workflows import feature_state

    gone = feature_state.forget(address, role, value, dry_run=dry_run)
    told = {"removed": gone} | ({"dry_run": True} if dry_run else {})
    done = "would be removed" if dry_run else "removed"
    show_value(as_json, told, lambda: f"{gone:,} records and labels of the {role} {value} {done}")
