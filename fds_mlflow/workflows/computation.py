"""Features from file to file, on this machine or on Spark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import ConfigError
from fds_mlflow.features.declaration import Declared
from fds_mlflow.features.engines.file import FeatureFile, compute_file
from fds_mlflow.features.engines.spark import compute_spark_file
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.workflows.source import Source, recognise


def declared(
    spec: str | None, schema: str | None, data: str, version: Declared | None
) -> tuple[FeatureSpec, Schema | str]:
    """Which features, and by which schema the transactions are read.

    Args:
        spec: A specification; None for that of the version.
        schema: A schema; None to recognise it, or else for that of the version.
        data: The transactions.
        version: What a version declares.

    Raises:
        ConfigError: The version declares nothing; there is no such specification; or no schema is recognised.
    """
    if spec is not None:
        return FeatureSpec.load(spec), schema or recognise(data)
    if version is None:
        raise ConfigError(
            "the version declares no features", fix="give a specification, such as what `fds features template` prints"
        )
    return version.spec, Source(data, schema).read_by(version.schema).schema or recognise(data)


def compute(
    data: str,
    schema: Schema | str,
    spec: FeatureSpec,
    output: Path,
    *,
    engine: str,
    memory_limit: str = "1GB",
    progress: Callable[[float], None] | None = None,
) -> FeatureFile:
    """Compute features into a Parquet file, or on Spark into a folder; see `compute_file` and `compute_spark_file`."""
    if engine == "spark":
        return compute_spark_file(data, schema, spec, output)
    return compute_file(data, schema, spec, output, memory_limit=memory_limit, progress=progress)
