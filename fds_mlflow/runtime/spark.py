"""Spark, where it is wanted: the session that is there, or one on this machine. Imports PySpark late."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fds_mlflow import errors
from fds_mlflow.errors import ConfigError, FdsError, UnexpectedError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

    Batches = Iterator[pa.RecordBatch]


def session() -> SparkSession:
    """The active session; where there is none, that of ``spark-submit`` or of Spark's own settings, or a local one.

    Raises:
        ConfigError: PySpark is not installed, or Spark does not start, as where there is no Java.
    """
    require_pyspark()
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else whatever python3 is on the path
    quiet: dict[str, Any] = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    builder = SparkSession.builder.appName("fds-mlflow")
    try:
        with unwarned():
            return (builder if submitted else builder.config(map=quiet)).getOrCreate()
    except (PySparkException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"Spark does not start: {reason}",
            fix="install Java 17 (such as apt-get install openjdk-17-jre-headless), or set JAVA_HOME to it",
        ) from None


def require_pyspark() -> None:
    """Say before any work that PySpark is not installed.

    Raises:
        ConfigError: It is not.
    """
    if importlib.util.find_spec("pyspark") is None:
        raise ConfigError("PySpark is not installed", fix="pip install 'fds-mlflow[spark]', and install Java 17")


def quoted(name: str) -> str:
    """A column's name as Spark's expressions take it, whatever signs it holds."""
    return f"`{name.replace('`', '``')}`"


def mapped(frame: DataFrame, function: Callable[[Batches], Batches], schema: Any) -> DataFrame:
    """As `DataFrame.mapInArrow`, for columns of any names: PySpark's own takes `card.id` for a field of `card`.

    Args:
        frame: The rows.
        function: Of their batches, in the columns of the frame.
        schema: Of what it gives.
    """
    names, large = frame.columns, _large(frame)

    def named(batches: Batches) -> Batches:
        import pyarrow as pa

        given = (pa.RecordBatch.from_arrays(batch.columns, names=names) for batch in batches)
        return (_sized(made, large) for made in function(given))

    return frame.toDF(*(f"c{i}" for i in range(len(names)))).mapInArrow(named, schema)


def grouped(frame: DataFrame, by: str, function: Callable[[pa.Table], pa.Table], schema: Any) -> DataFrame:
    """As `DataFrame.groupBy(by).applyInArrow(function, schema)`."""
    large = _large(frame)
    return frame.groupBy(by).applyInArrow(lambda table: _sized(function(table), large), schema)


def _large(frame: DataFrame) -> bool:
    """Whether the session wants texts and bytes of its processes in Arrow's large types, and refuses others."""
    return frame.sparkSession.conf.get("spark.sql.execution.arrow.useLargeVarTypes", "false") == "true"


def _sized(rows: Any, large: bool) -> Any:
    """Arrow's rows, with texts and bytes in large types if so."""
    import pyarrow as pa

    if not large:
        return rows
    sizes = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}
    return rows.cast(pa.schema([one.with_type(sizes.get(one.type, one.type)) for one in rows.schema]))


@contextmanager
def unwarned() -> Iterator[None]:
    """Calls of PySpark that hand over Arrow's tables: that it warns of pandas 3 does not matter to them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas", category=FutureWarning)
        yield


_TOLD = re.compile(r"fds_mlflow\.errors\.(\w+): (.*?)\nFix: (.*?)(?: SQLSTATE: \w+)?$", re.DOTALL | re.MULTILINE)

_RAISED = re.compile(r"^([\w.]+(?:Error|Exception)\b.*)$", re.MULTILINE)
"""The last line of a trace of Python's."""


@contextmanager
def told() -> Iterator[None]:
    """An error of ours that a process of Spark's raised, as this process would have raised it.

    Raises:
        FdsError: The error; an `UnexpectedError` where it is none of ours.
    """
    from pyspark.errors import PySparkException

    try:
        with unwarned():
            yield
    except Exception as error:
        if not isinstance(error, PySparkException) and not type(error).__module__.startswith("py4j"):
            raise
        said = _TOLD.search(str(error))
        if said is None:
            why = (_RAISED.findall(str(error)) or [" ".join(str(error).split())])[-1][:500]
            raise UnexpectedError(f"Spark failed: {why}", fix="look at Spark's log for the whole of it") from error
        kind = getattr(errors, said[1], FdsError)
        raise kind(said[2], fix=said[3]) from error
