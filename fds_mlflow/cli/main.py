"""The command line: each verb parses, calls and prints; `cli_errors` maps errors to exit codes.

Exit codes: 0 done, 1 refused (the message names the fix), 2 wrong usage.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from fds_mlflow.cli.canary import canary
from fds_mlflow.cli.errors import Edge
from fds_mlflow.cli.notify import notify
from fds_mlflow.cli.options import (
    COUNT,
    AliasedOption,
    Settings,
    admission_of,
    admission_options,
    as_json_option,
    data_options,
    model_argument,
    reason_option,
    seed_option,
    show_result,
    show_value,
    version_argument,
)
from fds_mlflow.cli.outcomes import label, outcomes
from fds_mlflow.cli.plan import plan
from fds_mlflow.cli.rehearse import canary_rehearse
from fds_mlflow.cli.report import canary_report
from fds_mlflow.cli.serve import serve
from fds_mlflow.runtime import environment

if TYPE_CHECKING:
    from fds_mlflow.workflows.retrain import Source


@click.group(cls=Edge, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="MLflow tracking URI; MLflow's default if unset.")
@click.option("--registry-uri", envvar="MLFLOW_REGISTRY_URI", help="MLflow registry URI; the tracking URI if unset.")
@click.option("--outcomes", envvar=environment.OUTCOMES_URI, help="SQLAlchemy URL of the outcome store.")
@click.option("--actor", envvar=environment.ACTOR, help="Who acts, for the history; user@host if unset.")
@click.version_option(package_name="fds-mlflow")
@click.pass_context
def main(
    ctx: click.Context, tracking_uri: str | None, registry_uri: str | None, outcomes: str | None, actor: str | None
) -> None:
    """Progressive delivery for fraud models, on nothing but MLflow."""
    ctx.obj = Settings(tracking_uri, registry_uri, outcomes, actor)


# Verbs that live in a module of their own.
main.add_command(canary)
main.add_command(plan)
main.add_command(label)
main.add_command(outcomes)
canary.add_command(canary_report)
canary.add_command(canary_rehearse)
main.add_command(notify)
main.add_command(serve)


# --- stages -------------------------------------------------------------------------------------------------


@main.command()
@model_argument
@version_argument
@reason_option(required=False)
@as_json_option
@click.pass_obj
def stage(settings: Settings, model: str, version: int, reason: str, as_json: bool) -> None:
    """Put VERSION forward as a candidate (stage Staging)."""
    show_result(as_json, settings.model(model).stage(version, reason=reason))


@main.command()
@model_argument
@version_argument
@reason_option(required=False)
@admission_options
@as_json_option
@click.pass_obj
def promote(settings: Settings, /, model: str, version: int, reason: str, as_json: bool, **admission: Any) -> None:
    """Make VERSION the champion; the former champion goes to Archived.

    Where labelled rows are at hand, the two are compared offline first.
    """
    show_result(as_json, settings.model(model).promote(version, reason=reason, **admission_of(admission)))


@main.command()
@model_argument
@version_argument
@reason_option(required=False)
@as_json_option
@click.pass_obj
def retire(settings: Settings, model: str, version: int, reason: str, as_json: bool) -> None:
    """Take the candidate VERSION out of the running (stage Archived)."""
    show_result(as_json, settings.model(model).retire(version, reason=reason))


@main.command("list")
@as_json_option
@click.pass_obj
def list_models(settings: Settings, as_json: bool) -> None:
    """List the registered models with champion and canary."""
    from fds_mlflow.cli.output import tables
    from fds_mlflow.registry.mlflow_store import MlflowStore

    settings.connect()
    found = MlflowStore(settings.registry_uri, settings.tracking_uri).models()
    columns = ("model", "champion", "canary")
    rows = [(name, aliases.get("champion"), aliases.get("canary")) for name, aliases in found.items()]
    value = [dict(zip(columns, row, strict=True)) for row in rows]
    show_value(as_json, value, lambda: tables.table("Registered models", columns, rows, right=columns[1:]))


@main.command()
@model_argument
@as_json_option
@click.pass_obj
def show(settings: Settings, model: str, as_json: bool) -> None:
    """Show a model's versions with roles, stages and thresholds."""
    from fds_mlflow.cli.output import tables

    overview = settings.model(model).overview()
    show_value(as_json, overview, lambda: tables.overview(overview))


class _History(click.Group):
    """`history MODEL` is short for `history show MODEL`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["show", *args])


@main.group(cls=_History)
def history() -> None:
    """Show, export or import a model's history. `history MODEL` shows it."""


@history.command("show")
@model_argument
@as_json_option
@click.pass_obj
def history_show(settings: Settings, model: str, as_json: bool) -> None:
    """Show who did what to the model, when and why, the newest first; operations that hang are shown too."""
    from fds_mlflow.cli.output import tables

    managed = settings.model(model)
    events, pending = managed.history(), managed.pending()
    show_value(as_json, {"events": events, "pending": pending}, lambda: tables.events(events, pending))


@history.command("export")
@model_argument
@click.argument("output", type=click.File("w", encoding="utf-8"))
@click.pass_obj
def history_export(settings: Settings, model: str, output: IO[str]) -> None:
    """Write the model's history to OUTPUT (- for standard output) as JSON lines."""
    output.writelines(f"{line}\n" for line in settings.model(model).export_history())


@history.command("import")
@model_argument
@click.argument("source", type=click.File("r", encoding="utf-8"))
@as_json_option
@click.pass_obj
def history_import(settings: Settings, model: str, source: IO[str], as_json: bool) -> None:
    """Take over a history that was exported elsewhere: events, stages, aliases and an active rollout."""
    state = settings.model(model).import_history(source)
    value = {"events": state.sequence, "champion": state.champion, "canary": state.canary}
    show_value(as_json, value, lambda: f"{state.sequence} events taken over; champion is version {state.champion}")


@main.command()
@model_argument
@click.option("--fix", is_flag=True, help="Repair what can be repaired; what is left is shown.")
@as_json_option
@click.pass_obj
def doctor(settings: Settings, model: str, fix: bool, as_json: bool) -> None:
    """Find and explain what in the registry the history does not. Exit code 1 while anything is found."""
    from fds_mlflow.cli.output import tables

    findings = settings.model(model).doctor(fix=fix)
    show_value(as_json, findings, lambda: tables.findings(findings))
    if findings:
        raise SystemExit(1)


@main.command()
@model_argument
@as_json_option
@click.pass_obj
def settle(settings: Settings, model: str, as_json: bool) -> None:
    """Settle operations whose process died, and take out-of-band changes into the history."""
    settings.model(model).settle()
    show_value(as_json, {"settled": True}, lambda: "nothing is left in flight, and the history explains the aliases")


@main.command()
@model_argument
@click.argument("keys", nargs=-1, required=True)
@as_json_option
@click.pass_obj
def route(settings: Settings, model: str, keys: tuple[str, ...], as_json: bool) -> None:
    """Show which variant and version each routing KEY gets right now."""
    from fds_mlflow.cli.output import tables

    router = settings.model(model).router(record=False)
    routes = {key: router.route(key) for key in keys}
    columns = ("key", "bucket", "variant", "version")
    rows = [(key, r.bucket, r.variant.value, r.version) for key, r in routes.items()]
    show_value(as_json, routes, lambda: tables.table("Routes", columns, rows, right=("bucket", "version")))


# --- rollback -----------------------------------------------------------------------------------------------


@main.group()
def rollback() -> None:
    """Go back to a former champion. This moves the champion; `canary abort` only stops a canary."""


@rollback.command("emergency")
@model_argument
@reason_option(required=True)
@click.option("--no-validate", is_flag=True, help="Do not load the target first; it must exist and be READY.")
@as_json_option
@click.pass_obj
def rollback_emergency(settings: Settings, model: str, reason: str, no_validate: bool, as_json: bool) -> None:
    """Move the champion to the latest former champion now, past operations in flight."""

    def moved(version: int) -> None:
        click.echo(f"champion is version {version} from now on; recording it", err=True)

    managed = settings.model(model)
    result = managed.rollback.emergency(reason=reason, validate=not no_validate, on_moved=moved)
    show_result(as_json, result)


@rollback.command("to")
@model_argument
@version_argument
@reason_option(required=True)
@as_json_option
@click.pass_obj
def rollback_to(settings: Settings, model: str, version: int, reason: str, as_json: bool) -> None:
    """Move the champion to the given former champion VERSION."""
    show_result(as_json, settings.model(model).rollback.to(version, reason=reason))


@rollback.command("candidates")
@model_argument
@as_json_option
@click.pass_obj
def rollback_candidates(settings: Settings, model: str, as_json: bool) -> None:
    """List former champions, the latest to step down first, with metrics and dates."""
    from fds_mlflow.cli.output import tables

    found = settings.model(model).rollback.candidates()
    show_value(as_json, found, lambda: tables.candidates(found))


@rollback.command("validate")
@model_argument
@version_argument
@as_json_option
@click.pass_obj
def rollback_validate(settings: Settings, model: str, version: int, as_json: bool) -> None:
    """Check whether the model can be rolled back to VERSION, and warn where it is clearly worse."""
    from fds_mlflow.cli.output import tables
    from fds_mlflow.cli.output.plain import plain

    made = settings.model(model).rollback.validate(version)
    show_value(as_json, {"passed": made.passed, **plain(made)}, lambda: tables.validation(made))
    if not made.passed:
        raise SystemExit(1)


# --- data and training --------------------------------------------------------------------------------------


_split = click.option(
    "--split",
    type=click.Choice(["time", "stratified"]),
    default="time",
    show_default=True,
    help="Cut by time, or at random with the same share of fraud in each part.",
)
_target_fpr = click.option("--target-fpr", default=0.02, show_default=True, help="False positive rate aimed at.")


@main.command()
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--rows", type=COUNT, default=100_000, show_default=True, help="Transactions to simulate.")
@click.option("--days", default=90.0, show_default=True, help="Length of the period.")
@click.option("--fraud-rate", default=0.01, show_default=True, help="Share of frauds.")
@seed_option
@as_json_option
def simulate(output: Path, rows: int, days: float, fraud_rate: float, seed: int, as_json: bool) -> None:
    """Write simulated transactions to OUTPUT (.parquet or .csv)."""
    from fds_mlflow.workflows.retrain import write_simulation

    frame = write_simulation(output, rows=rows, days=days, fraud_rate=fraud_rate, seed=seed)
    value = {"output": str(output), "rows": len(frame), "frauds": int(frame["is_fraud"].sum())}
    show_value(as_json, value, lambda: f"{value['rows']:,} transactions, {value['frauds']:,} frauds -> {output}")


@main.command()
@model_argument
@click.option(
    "--algorithm",
    type=click.Choice(["lightgbm", "isolation_forest"]),
    default="lightgbm",
    show_default=True,
    help="With labels to learn from, or by what stands apart.",
)
@data_options()
@_split
@_target_fpr
@seed_option
@click.option("--param", "params", multiple=True, help="Parameter of the algorithm: name=value. Repeatable.")
@as_json_option
@click.pass_obj
def train(
    settings: Settings,
    model: str,
    algorithm: str,
    source: Source,
    split: str,
    target_fpr: float,
    seed: int,
    params: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train a version of MODEL in an MLflow run and register it."""
    from fds_mlflow.cli.output import tables
    from fds_mlflow.workflows import retrain

    given = _parameters(params)
    settings.model(model)  # opens the registry: an address that cannot work is said before the data are read
    parts = retrain.prepare(source, split=split, seed=seed)
    trained = retrain.train(parts, model, algorithm=algorithm, params=given, target_fpr=target_fpr, seed=seed)
    rows = sorted(trained.metrics.items())
    title = f"Version {trained.version} of {model}: {algorithm}, run {trained.run_id}"
    show_value(as_json, trained, lambda: tables.table(title, ("metric", "value"), rows, right=("value",)))


def _parameters(given: tuple[str, ...]) -> dict[str, Any]:
    """`name=value` pairs; values read as JSON where they are JSON, else as text."""
    made: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{pair!r} is not name=value", param_hint="--param")
        try:
            made[name] = json.loads(value)
        except json.JSONDecodeError:
            made[name] = value
    return made


@main.command()
@model_argument
@click.argument("baseline", type=click.IntRange(min=1))
@click.argument("candidate", type=click.IntRange(min=1))
@data_options()
@_split
@click.option(
    "--n-boot",
    cls=AliasedOption,
    old="--rounds",
    type=COUNT,
    default=500,
    show_default=True,
    help="Bootstrap samples of the intervals.",
)
@seed_option
@as_json_option
@click.pass_obj
def compare(
    settings: Settings,
    model: str,
    baseline: int,
    candidate: int,
    source: Source,
    split: str,
    n_boot: int,
    seed: int,
    as_json: bool,
) -> None:
    """Score both versions on the same rows (the test part of the data) and compare them."""
    from fds_mlflow.cli.output import tables
    from fds_mlflow.workflows import retrain

    managed = settings.model(model)
    parts = retrain.prepare(source, split=split, seed=seed)
    made = managed.compare(baseline, candidate, data=parts.test, n_boot=n_boot, seed=seed)
    show_value(as_json, made, lambda: tables.comparison(made, f"version {baseline}", f"version {candidate}"))


@main.command()
@model_argument
@data_options()
@_split
@_target_fpr
@seed_option
@as_json_option
@click.pass_obj
def retrain(
    settings: Settings,
    model: str,
    source: Source,
    split: str,
    target_fpr: float,
    seed: int,
    as_json: bool,
) -> None:
    """Train both algorithms, compare them with the champion on the same rows, and stage the best."""
    from fds_mlflow.cli.output import tables
    from fds_mlflow.workflows import retrain

    managed = settings.model(model)
    made = retrain.retrain(managed, source, split=split, target_fpr=target_fpr, seed=seed)
    columns = ("version", "algorithm", "average precision", "recall", "FPR")
    rows = [
        (
            t.version,
            name,
            t.metrics.get("average_precision"),
            t.metrics.get("recall"),
            t.metrics.get("false_positive_rate"),
        )
        for name, t in made.trained.items()
    ]
    show_value(as_json, made, lambda: tables.table(made.message, columns, rows, right=columns[2:]))


@main.command()
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="demo-output",
    show_default=True,
    help="Folder for everything it makes; an earlier demo's is replaced.",
)
@click.option("--data", default=None, help="Your own CSV or Parquet file instead of simulated transactions.")
@click.option("--schema", default=None, help="Its schema: a YAML file, or simulator, sample, handbook or ulb.")
@click.option("--rows", type=COUNT, default=60_000, show_default=True, help="Transactions to simulate.")
@seed_option
def demo(output: Path, data: str | None, schema: str | None, rows: int, seed: int) -> None:
    """Tell the whole story: train, compare, promote, a good and a harmful canary, a rollback."""
    from fds_mlflow.cli.demo import run

    run(output, data=data, schema=schema, rows=rows, seed=seed)
