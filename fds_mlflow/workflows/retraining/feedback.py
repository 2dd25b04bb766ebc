"""From transactions and what came back about them to labelled features: the first half of a retraining."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from fds_mlflow.core.text.duration import from_duration, to_duration
from fds_mlflow.data.transactions import Transactions
from fds_mlflow.display.redaction import redacted
from fds_mlflow.errors import ConfigError, DataError, NotFoundError
from fds_mlflow.features.declaration import Declared
from fds_mlflow.features.table import FeatureTable
from fds_mlflow.model import ManagedModel
from fds_mlflow.outcomes.feedback import Reports
from fds_mlflow.workflows.account import Origins, of_data
from fds_mlflow.workflows.preparation import DEFAULT, Features, featurised, served, specification, widened
from fds_mlflow.workflows.retraining.labelling import Labelling, Unreported, labelled
from fds_mlflow.workflows.source import Source

if TYPE_CHECKING:
    from fds_mlflow.outcomes.store import OutcomeStore

OF_THE_MODEL = "outcomes"
"""What names the model's own store of outcomes as where labels come from."""


@dataclass(frozen=True)
class Feedback:
    """Labels that come from a store of outcomes, joined to the transactions by their ids.

    Attributes:
        store: The store, or its address; `outcomes` for the model's own.
        maturity: Age of a transaction from which its label counts, and its silence may; None for the age that the
            schema gives (`labels_mature`), and where it gives none, none: then a transaction that nobody reported has
            no label.
        unreported: How a transaction older than that is taken which nobody reported.
    """

    store: OutcomeStore | str = OF_THE_MODEL
    maturity: timedelta | None = None
    unreported: Unreported = Unreported.GENUINE

    @property
    def facts(self) -> tuple[str, ...]:
        """What was asked for, as text without passwords."""
        store = self.store if isinstance(self.store, str) else self.store.url
        return redacted(store), "" if self.maturity is None else from_duration(self.maturity), self.unreported.value

    @contextmanager
    def opened(self, model: ManagedModel) -> Iterator[OutcomeStore]:
        """The store.

        Raises:
            ConfigError: The address is a topic's, a folder's, or none.
            UnavailableError: It cannot be reached.
        """
        from fds_mlflow.outcomes.homes.opening import database

        if not isinstance(self.store, str):
            yield self.store
        elif self.store == OF_THE_MODEL:
            yield model.outcomes
        else:
            with contextlib.closing(database(self.store)) as store:
                yield store


class Stages:
    """How long each stage of a job takes.

    Args:
        monotonic: A clock, in seconds.
        told: Is told each stage as it begins.

    Attributes:
        seconds: By stage, in the order in which they began.
    """

    def __init__(self, monotonic: Callable[[], float], told: Callable[[str], None] | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._told = told
        self._monotonic = monotonic

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count what the block takes for a stage, whether it ends well or not."""
        if self._told is not None:
            self._told(stage)
        began = self._monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + self._monotonic() - began


@dataclass(frozen=True)
class Beginning:
    """What a retraining begins with.

    Attributes:
        model: The model.
        source: Where the transactions come from.
        features: As for `retrain`.
        feedback: Labels from elsewhere; None for those of the data alone.
        dated: The moment was asked for: labels of the data that became known later are left out as well.
    """

    model: ManagedModel
    source: Source
    features: Features | None
    feedback: Feedback | None
    dated: bool

    def prepared(self, now: datetime, *, seed: int, watch: Stages) -> tuple[FeatureTable, Origins | None]:
        """The features, and where their labels come from; None where there are no labels.

        What the champion takes are columns too, so that it can be compared.

        Args:
            now: As of when labels are known.
            seed: Of the simulator.
            watch: Is told how long reading, labelling and computing take.

        Raises:
            ConfigError: The features cannot be computed from these data, or labels cannot be joined to them.
            DataError: The data do not fit the schema, or no label counts.
        """
        if self.source.served is not None:
            with watch("read"):
                return self._served(now)
        spec = specification(self.features)  # before the data are read
        declared, champion = _declared(self.model)
        by = self.source if declared is None else self.source.read_by(declared.schema)
        with watch("read"):
            transactions = by.read(seed=seed, labelled=self.feedback is None)
        origins = None
        if self.feedback is not None or self.dated:
            with watch("label"):
                transactions, origins = _joined(self.model, transactions, self.feedback, now)
        with watch("features"):
            asked = declared is None or self.features is not None
            table = featurised(transactions, spec) if asked else None
            if declared is not None:
                named = by.schema is declared.schema
                table = _with_champions(table, transactions, declared, champion, named=named)
        if table is None:
            raise AssertionError("features are those that are asked for, the champion's, or the default ones")
        if origins is not None:
            return replace(table, notes=(*table.notes, *origins.account.sentences)), origins
        return table, of_data(table.frame) if "label" in table.frame else None

    def _served(self, now: datetime) -> tuple[FeatureTable, Origins]:
        """The rows of what was served."""
        asked = self.feedback or Feedback()
        if asked.store != OF_THE_MODEL:
            raise ConfigError(
                f"{self.source.data} has its labels from the model's own outcomes",
                fix="leave --labels out, or give the transactions as a file or a database",
            )
        silence = asked.unreported is Unreported.GENUINE
        return served(self.source, self.features, now, asked.maturity, silence=silence)


def _declared(model: ManagedModel) -> tuple[Declared | None, int | None]:
    """What the champion declares, and which version it is."""
    try:
        champion = model.overview().champion
    except NotFoundError:  # this is its first training
        return None, None
    return (None if champion is None else model.declared(champion)), champion


def _joined(
    model: ManagedModel, transactions: Transactions, feedback: Feedback | None, now: datetime
) -> tuple[Transactions, Origins]:
    """The transactions with the labels that are known by now."""
    mature = transactions.schema.labels_mature
    age = None if mature is None else to_duration("labels_mature", mature)
    if feedback is None:
        return labelled(transactions, Reports([], [], [], []), {}, Labelling(now, age))
    with feedback.opened(model) as store:
        reports, flagged = store.reports(as_of=now), store.flagged(model.name)
        if not reports.transaction_ids and not store.recent(model.name, limit=1):
            raise DataError(
                f"the outcome store {store.url} knows no label, and no outcome of {model.name!r}",
                fix="check its address (--labels URL, --outcomes), or import labels: fds label import",
            )
    how = Labelling(now, age if feedback.maturity is None else feedback.maturity, feedback.unreported)
    return labelled(transactions, reports, flagged, how)


def _with_champions(
    table: FeatureTable | None, transactions: Transactions, declared: Declared, champion: int | None, *, named: bool
) -> FeatureTable:
    """The features with those that the champion takes, or the latter alone."""
    try:
        theirs = featurised(transactions, declared.spec)
    except ConfigError as error:
        if table is not None:
            note = f"champion {champion} cannot be compared on these rows: {error.what}"
            return replace(table, notes=(*table.notes, note))
        raise ConfigError(
            f"the features that champion {champion} declares cannot be computed: {error.what}",
            fix=f"{error.fix}; or train on others: --features FILE, or --features {DEFAULT} for those the data allow",
        ) from None
    if table is not None:
        return widened(table, theirs)
    what = "the schema and the features" if named else "the features"
    return replace(theirs, notes=(*theirs.notes, f"{what} are those that champion {champion} declares"))
