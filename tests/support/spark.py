"""A Spark of our own on this machine: one JVM of two cores, for all tests of a process."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[2]

OPTIONS: dict[str, Any] = {
    "spark.driver.memory": "1g",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "4",
    # Not that of the machine, nor UTC: what shifts with it is seen.
    "spark.sql.session.timeZone": "America/New_York",
}


def no_spark() -> str | None:
    """Why none can be started here; None where it can."""
    if importlib.util.find_spec("pyspark") is None:
        return "the Python package pyspark is not installed"
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        return "Java is not installed (apt-get install openjdk-17-jre-headless)"
    return None


@contextmanager
def running_spark(cores: int = 2, **options: Any) -> Iterator[SparkSession]:
    """A session on this machine, gone afterwards with its JVM and its files.

    Args:
        cores: So many tasks at once.
        options: Beside `OPTIONS`, with `__` for dots.
    """
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    folder = tempfile.mkdtemp(prefix="fds-spark-")
    # Its workers are processes of their own: of this Python, importing this checkout.
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    own = {
        **OPTIONS,
        "spark.local.dir": folder,
        "spark.sql.warehouse.dir": f"{folder}/warehouse",
        **{name.replace("__", "."): value for name, value in options.items()},
    }
    builder = SparkSession.builder.master(f"local[{cores}]").appName("fds-mlflow tests")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYTHONPATH", path)
        session = builder.config(map=own).getOrCreate()
        session.sparkContext.setLogLevel("OFF")  # what fails is raised, too
        try:
            yield session
        finally:
            session.stop()
            gateway = SparkContext._gateway
            if gateway is not None:  # the JVM outlives its session, and the next one would have its options
                gateway.shutdown()
                gateway.proc.stdin.close()
                gateway.proc.wait()
                SparkContext._gateway = SparkContext._jvm = None
    shutil.rmtree(folder, ignore_errors=True)
