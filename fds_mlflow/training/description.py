"""What a version says of itself: its tags, the list of its features, its description."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from fds_mlflow.data.transactions import period
from fds_mlflow.display.characters import markdown
from fds_mlflow.display.document import Table, table
from fds_mlflow.errors import DataError
from fds_mlflow.training.card.card import figure_row, limits
from fds_mlflow.training.fitted import declared_by

if TYPE_CHECKING:
    from fds_mlflow.features.table import FeatureTable
    from fds_mlflow.training.card.facts import Facts
    from fds_mlflow.training.fitted import FittedScorer
    from fds_mlflow.training.split import Split


_MOST = 4_900
"""Characters of a description, of which MLflow's table holds 5,000: known limits that find no room are in the card."""


def facts_of(split: Split, algorithm: str) -> dict[str, str]:
    """Tags of run and version: the algorithm, and what was learned from.

    Raises:
        DataError: The parts have different features.
    """
    table = split.train
    if any(part.features != table.features or part.categorical != table.categorical for part in split.parts.values()):
        raise DataError("the parts of the split have different features", fix="cut all parts from one table")
    facts = {
        "fds.algorithm": algorithm,
        "fds.digest": table.digest,
        "fds.source": table.source[:500],
        "fds.schema": hashlib.sha256(feature_list(table).encode()).hexdigest()[:16],
        **declared_by(table),
    }
    if table.period is None:
        return facts
    first, last = table.period
    return {**facts, "fds.period": f"{first:%Y-%m-%dT%H:%M:%S}/{last:%Y-%m-%dT%H:%M:%S}"}


def feature_list(table: FeatureTable) -> str:
    """The features, in order, and how they are computed: what a scoring service has to deliver."""
    return json.dumps(
        {
            "features": list(table.features),
            "categorical": list(table.categorical),
            "spec": table.spec.model_dump(mode="json"),
        },
        indent=2,
    )


def when(part: FeatureTable, before: str) -> str:
    """First and last day of a part, after what stands before them; nothing where there is no time."""
    span = period(part.frame["time"])
    return "" if span is None else f"{before}{span[0]:%Y-%m-%d} to {span[1]:%Y-%m-%d}"


def named(scorer: FittedScorer) -> str:
    """The algorithm, and its trees where it has any."""
    return f"{scorer.algorithm}, {scorer.trees} trees" if scorer.trees else scorer.algorithm


def describe(scorer: FittedScorer, metrics: Mapping[str, float], split: Split, known: Facts) -> str:
    """What a version is, for people who look at the registry: a sentence, its figures, and its known limits."""
    figures = [
        f"{label} {metrics[key]:.3f}"
        for key, label in (("average_precision", "average precision"), ("roc_auc", "ROC AUC"), ("recall", "recall"))
        if key in metrics
    ]
    measured = f" On test: {', '.join(figures)}." if figures else ""
    sentence = (
        f"{named(scorer)}, trained on {len(split.train.frame):,} transactions{when(split.train, ' from ')}"
        f" ({markdown(split.train.source)}).{measured} Flags from {metrics['threshold']:.4g}."
    )
    told = [sentence, *(f"**Warning:** {markdown(warning)}." for warning in known.warnings)]
    if any(one.low is not None for one in known.figures):
        told.append("\n".join(table(Table(("on test", "value", "95 % interval"), [*map(figure_row, known.figures)]))))
    text, begin = "\n\n".join(told), "\n\n"
    for limit in limits(msgspec.structs.replace(known, warnings=[])):
        line = f"{begin}- {markdown(limit)}"
        if len(text) + len(line) <= _MOST:
            text, begin = text + line, "\n"
    return text[:_MOST]
