"""What the reasons of a version are called, logged with it: whoever serves it needs no schema for that."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from fds_mlflow.data.reason_codes import coded, fitting_none
from fds_mlflow.features.explanation import sentences
from fds_mlflow.runtime.yaml_file import CoreDumper
from fds_mlflow.scoring.reasons import FILE

if TYPE_CHECKING:
    from fds_mlflow.features.table import FeatureTable


def log(model_id: str, table: FeatureTable) -> None:
    """Add the codes and texts to a logged model, before anybody registers it: the schema's, else what a feature is.

    Args:
        model_id: Of the logged model.
        table: What it learned from.

    Raises:
        Exception: Whatever MLflow and the artifact store raise.
    """
    import mlflow

    own = {*table.spec.numeric, *table.spec.categorical}  # a column says by its name what it is
    said: dict[str, dict[str, str]] = {
        name: {"text": text}
        for name, text in sentences(table.spec).items()
        if name in table.features and name not in own
    }
    for name, code in ({} if table.schema is None else coded(table.schema.reasons, table.features)).items():
        said[name] = {**said.get(name, {}), **code.model_dump(exclude_none=True)}
    with tempfile.TemporaryDirectory(prefix="fds-reasons-") as folder:
        text = yaml.dump(said, Dumper=CoreDumper, sort_keys=False, allow_unicode=True, width=120)
        (Path(folder) / FILE).write_text(text, encoding="utf-8")
        mlflow.MlflowClient().log_model_artifacts(model_id, folder)


def unused(table: FeatureTable) -> tuple[str, ...]:
    """That codes of the schema are meant for no feature, where that is so."""
    left = [] if table.schema is None else fitting_none(table.schema.reasons, table.features)
    return (f"reasons of the schema fit no feature: {', '.join(left)}",) if left else ()
