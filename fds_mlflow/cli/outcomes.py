"""The verbs about stored outcomes and labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fds_mlflow.cli.options import Settings, as_json_option, model_argument, show_value

if TYPE_CHECKING:
    from fds_mlflow.outcomes.store import OutcomeStore


@click.group()
def outcomes() -> None:
    """Look after the store of outcomes."""


@outcomes.command()
@as_json_option
@click.pass_obj
def stats(settings: Settings, as_json: bool) -> None:
    """Show how much is stored about each model."""
    from fds_mlflow.cli.output import tables

    with _store(settings) as store:
        found = store.stats()
    columns = ("model", "outcomes", "shadows", "vectors", "rollouts", "counted", "oldest", "newest")
    rows = [tuple(getattr(entry, name) for name in columns) for entry in found]
    show_value(as_json, found, lambda: tables.table(f"Outcomes in {store.url}", columns, rows, right=columns[1:6]))


@outcomes.command()
@click.argument("transaction")
@click.option("--model", help="Of one model.  [default: of all]")
@as_json_option
@click.pass_obj
def show(settings: Settings, transaction: str, model: str | None, as_json: bool) -> None:
    """Show how TRANSACTION was scored, and what is known about it.

    The threshold is the one that the version has today. Two outcomes with one inputs digest were scored on the same
    values. Reasons are there where the request asked for them (`/score?reasons=3`).
    """
    from fds_mlflow.cli.output import outcome_views
    from fds_mlflow.errors import NotFoundError

    with _store(settings) as store:
        found = store.of_transaction(transaction, model=model)
        case = store.cases([transaction]).get(transaction)
    if not found and case is None:
        of = "" if model is None else f" of {model!r}"
        raise NotFoundError(
            f"nothing{of} is stored about the transaction {transaction!r}",
            fix="look at its id; outcomes that are not recorded (--no-record) or are pruned are gone",
        )
    thresholds = {(one.model, one.version): _threshold(settings, one.model, one.version) for one in found}
    told = [outcome_views.told(one, thresholds[one.model, one.version]) for one in found]
    value = {"transaction_id": transaction, "outcomes": told, "label": case}
    show_value(as_json, value, lambda: outcome_views.transaction(transaction, told, case))


def _threshold(settings: Settings, model: str, version: int) -> float | None:
    """The threshold of a version today; None where nobody can say."""
    from fds_mlflow.errors import FdsError
    from fds_mlflow.scoring.scorer import threshold_of

    try:
        return threshold_of(model, settings.model(model).session.store.version(model, version))
    except FdsError:
        return None


@outcomes.command()
@model_argument
@click.option("--older-than", required=True, help="Age beyond which outcomes go, such as 90d or 12h.")
@click.option("--uncounted", is_flag=True, help="Also rollouts that nobody ever asked for evidence about.")
@click.option("--dry-run", is_flag=True, help="Only count what would be deleted, labels not included.")
@as_json_option
@click.pass_obj
def prune(settings: Settings, model: str, older_than: str, uncounted: bool, dry_run: bool, as_json: bool) -> None:
    """Delete MODEL's old outcomes, with their shadows and labels; no verdict changes.

    A rollout's outcomes go together, once all of them are older and their labels are mature and counted. What was
    counted stays for ever.
    """
    from fds_mlflow.core.text.duration import to_duration
    from fds_mlflow.runtime.clock import SystemClock

    before = SystemClock().now() - to_duration("--older-than", older_than)
    with _store(settings, as_it_is=dry_run) as store:
        rows = store.prune(model, older_than=before, uncounted=uncounted, dry_run=dry_run)
    value = {"deleted": rows, "before": before} | ({"dry_run": True} if dry_run else {})
    done = "would be deleted" if dry_run else "deleted"
    show_value(as_json, value, lambda: f"{rows:,} rows from before {before:%Y-%m-%d %H:%M} UTC {done}")


@outcomes.command()
@click.argument("by")
@click.argument("values", metavar="VALUE...", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Only count what would be removed.")
@as_json_option
@click.pass_obj
def forget(settings: Settings, by: str, values: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Remove all that is stored of a person, and tell how much that was.

    BY is key for the routing key, transaction, or a column of the raw transactions that --vector-sample recorded, such
    as customer_id; each VALUE is what the person has there. With the transactions go their outcomes of every model,
    their shadows, vectors and labels, in one transaction. What was counted stays: no person is in it.
    """
    from dataclasses import asdict

    with _store(settings, as_it_is=dry_run) as store:
        found = store.forget(by, values, dry_run=dry_run)
    told = {name: value for name, value in asdict(found).items() if name != "rollouts"}
    parts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in told.items())
    value = {"dry_run": dry_run, **told, "rollouts": [{"model": one, "rollout": id_} for one, id_ in found.rollouts]}
    show_value(as_json, value, lambda: f"{parts} {'would be' if dry_run else 'are'} removed; counts stay as they are")


@outcomes.command()
@click.argument("home")
@click.option("--follow", is_flag=True, help="Wait for more at the end of a topic, until interrupted.")
@as_json_option
@click.pass_obj
def drain(settings: Settings, home: str, follow: bool, as_json: bool) -> None:
    """Move what HOME holds into the outcome store: kafka://HOST:9092/TOPIC, or parquet:FOLDER.

    Of a topic, what is stored is marked so, in the name of the group fds-outcomes or ?group.id=; files stay as they
    are. Whatever comes again, after a crash or by two at once, is stored once. What no store takes is told in the log.
    """
    from dataclasses import asdict

    from fds_mlflow.outcomes.homes.drain import drain as drained
    from fds_mlflow.outcomes.homes.opening import source as opened

    with _store(settings) as store, opened(home) as reader:
        done = drained(reader.batches(follow=follow), store)
        value = {**asdict(done), "unreadable": reader.unreadable}
    show_value(as_json, value, lambda: ", ".join(f"{count:,} {name}" for name, count in value.items()))


@click.group()
def label() -> None:
    """Tell what turned out to be fraud."""


@label.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@as_json_option
@click.pass_obj
def label_import(settings: Settings, file: Path, as_json: bool) -> None:
    """Store the labels of FILE, CSV with a header or Parquet.

    Columns: transaction_id, status (suspected, confirmed, false_positive or genuine) and known_at (a time with a
    zone); fraud_type, loss_amount, occurred_at, reported_at and resolved_at where they are known. A file can be
    loaded twice: nothing is stored twice.
    """
    from fds_mlflow.outcomes.homes.opening import opened
    from fds_mlflow.outcomes.label_file import import_labels

    with opened(_address(settings)) as home:
        rows, changed = import_labels(home, file)
    show_value(as_json, {"rows": rows, "changed": changed}, lambda: f"{rows:,} labels read, {changed:,} new or changed")


def _store(settings: Settings, *, as_it_is: bool = False) -> OutcomeStore:
    from fds_mlflow.outcomes.homes.opening import database

    return database(_address(settings), as_it_is=as_it_is)


def _address(settings: Settings) -> str:
    from fds_mlflow.outcomes.database import address

    return address(settings.outcomes)
