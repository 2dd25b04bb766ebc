"""Routes, scores and records Spark's DataFrames: the same keys to the same variants, the same rows to the same scores.

Routing is an expression of Spark's own. Scoring ships the versions with the job, and each Python process of Spark reads
them once. Spark is imported when it is asked for.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fds_mlflow.core.keys import Spelling, spelled
from fds_mlflow.core.routing.routing import SEED, RoutingTable, Variant
from fds_mlflow.core.weight import FULL
from fds_mlflow.data.codes import code
from fds_mlflow.errors import ConfigError, DataError, RefusedError
from fds_mlflow.features.declaration import Declared
from fds_mlflow.model import ManagedModel
from fds_mlflow.outcomes.database import address, in_memory, parse
from fds_mlflow.runtime.spark import mapped, quoted, told
from fds_mlflow.serving.batch import ANSWER, COUNTED, BatchRouter, Recording, Shipped, require_column, require_key
from fds_mlflow.workflows.batch.batch import hidden_by, readable, transaction_of
from fds_mlflow.workflows.batch.versions import TRANSACTION, Choice, Versions, to_compute

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

assert SEED == 42  # Spark's own, which is no argument of its xxhash64


def routed(model: ManagedModel, frame: DataFrame, key: str = TRANSACTION) -> DataFrame:
    """Rows with where each goes, as a router would route it: by an expression of Spark's, without Python.

    Args:
        model: The model, whose split of just now it is.
        frame: Rows with the routing key among them.
        key: Name of its column.

    Returns:
        The rows with the columns `bucket` (int, null while no rollout is active), `variant` (champion or canary) and
        `version` (int). Asked for its rows, it raises where a row has no key, or one that is no UTF-8.

    Raises:
        DataError: There is no such column, or it is of a kind that no one spelling stands for; or there is one by a
            name that is made.
        UnavailableError: There is no champion, or the registry is away.
    """
    return routed_by(Versions(model, Choice()).table(), frame, key)


def routed_by(table: RoutingTable, frame: DataFrame, key: str = TRANSACTION) -> DataFrame:
    """As `routed`, by a routing table."""
    from pyspark.sql import functions as f

    text = _key(frame, key, table.spelling)
    there = {"bucket", "variant", "version"}.intersection(map(str.lower, frame.columns))
    if there:
        raise DataError(
            f"the rows have columns that routing makes: {', '.join(sorted(there))}", fix="rename or drop them before"
        )
    if table.rollout is None:
        champion = f.when(text.isNotNull(), f.lit(table.champion))  # so that it looks at the key
        nobody = f.lit(None).cast("int")
        return frame.withColumns({"bucket": nobody, "variant": f.lit(Variant.CHAMPION.value), "version": champion})
    # Signed, as all of Spark's: as unsigned it is 2^64 more where it is below 0.
    signed = f.xxhash64(f.concat(f.lit(f"{table.rollout.id}:"), text))
    more = f.when(signed < 0, 2**64 % FULL).otherwise(0)
    frame = frame.withColumn("bucket", f.pmod(f.pmod(signed, f.lit(FULL)) + more, f.lit(FULL)).cast("int"))
    to_canary = frame["bucket"] < table.rollout.weight
    return frame.withColumns(
        {
            "variant": f.when(to_canary, Variant.CANARY.value).otherwise(Variant.CHAMPION.value),
            "version": f.when(to_canary, table.rollout.canary).otherwise(table.champion),
        }
    )


def _key(frame: DataFrame, name: str, spelling: Spelling) -> Column:
    """The routing key of each row as a router writes it; raises in Spark where there is none, or it is no text."""
    from pyspark.sql import functions as f
    from pyspark.sql import types as t

    if name not in frame.columns:
        raise DataError(
            f"the rows have no column {name!r} to route by",
            fix=f"name the one that they have (there are: {', '.join(frame.columns)})",
        )
    kind, column = frame.schema[name].dataType, frame[quoted(name)]
    whole = isinstance(kind, t.IntegralType)
    if isinstance(kind, t.StringType) or whole or (isinstance(kind, t.BooleanType) and spelling is Spelling.CANONICAL):
        text = column.cast("string")  # a collation of its own would change the hash
    else:
        known = isinstance(kind, t.BooleanType | t.DecimalType | t.DoubleType | t.FloatType)
        require_key(name, kind.simpleString(), known)
        text = _spelled(spelling, single=isinstance(kind, t.FloatType))(column)
    return (
        f.when(text.isNull(), f.raise_error(_lack(f"the routing key {name!r} is missing", "give every row a key")))
        .when(~f.is_valid_utf8(text), f.raise_error(_lack(f"a key of {name!r} is no text", "write its texts in UTF-8")))
        .otherwise(text)
    )


def _lack(what: str, fix: str) -> str:
    """An error as text that `told` finds again."""
    return f"{DataError.__module__}.{DataError.__name__}: {DataError(what, fix=fix)}"


def _spelled(spelling: Spelling, *, single: bool) -> Callable[[Column], Column]:
    """Spells numbers, which Spark would write in another way than routers do."""
    from pyspark.sql import functions as f

    def written(value: Any) -> str | None:
        if single and value is not None:
            import numpy as np

            value = np.float32(value)  # which says how many digits there are
        return spelled(value, spelling)

    found: Callable[[Column], Column] = f.udf(written, "string")
    return found


class Scorer:
    """Scores DataFrames by the versions of a model; each is prepared and shipped once.

    Args:
        model: The model.
        choice: Which version scores a row; None for the split of the moment at which a frame is given.
        key: Name of the routing key's column.
        transaction: Name of the column of the transaction's id; None for `transaction_id` where there is one, else for
            the key.

    Attributes:
        versions: What is chosen among.
    """

    def __init__(
        self,
        model: ManagedModel,
        choice: Choice | None = None,
        *,
        key: str = TRANSACTION,
        transaction: str | None = None,
    ) -> None:
        self.versions = Versions(model, choice or Choice())
        self._key, self._transaction = key, transaction
        self._shipped: dict[str, str] = {}

    def __call__(
        self,
        frame: DataFrame,
        *,
        text: bool = False,
        record: bool = False,
        whole: bool = True,
        order: str | None = None,
    ) -> DataFrame:
        """The scores of rows.

        Args:
            frame: Rows with the features of the versions, or raw transactions with all columns of the schemas that they
                declare; may be a stream, whose versions and split then stay as they are now.
            text: All its columns are text, as a file of text has them.
            record: Its outcomes are to be recorded.
            whole: It has the past of its rows, from which features can be computed.
            order: As for `compute_spark`; a column that no version is given.

        Returns:
            A row each with the columns of `fds_mlflow.serving.batch.ANSWER`. Asked for its rows, it raises where a row
            has no key, or the champion cannot score it.

        Raises:
            DataError: A column is missing.
            RefusedError, NotFoundError, UnavailableError: As for `Versions.router`.
        """
        whole = whole and not frame.isStreaming
        router, declared = self.chosen(frame.columns, text=text, record=record, whole=whole)
        if declared:
            hidden = hidden_by(declared, frame.columns)
            frame = _featured(frame, declared, hidden, order)
            transaction = None if router.transaction is None else hidden.get(router.transaction, router.transaction)
            key = hidden.get(router.key, router.key)
            router = replace(router, key=key, transaction=transaction, text=False, key_text=text)
        frame = frame if order is None else frame.drop(order)
        for served in router.versions:
            self._ship(frame.sparkSession, served.identity)
        return mapped(frame, replace(router, place=Shipped(self._shipped)).each, spark_schema(ANSWER))

    def chosen(
        self, columns: list[str], source: str = "the frame", *, text: bool, record: bool, whole: bool
    ) -> tuple[BatchRouter, list[Declared]]:
        """Who scores rows of such columns, and what is to be computed of them first; asks nothing of Spark.

        Args:
            columns: The columns.
            source: What messages call the rows.
            text: As for a call.
            record: As for a call.
            whole: As for a call.

        Raises:
            DataError, RefusedError, NotFoundError, UnavailableError: As for a call.
        """
        router = self.versions.router(self._key, transaction_of(columns, self._transaction, record), text=text)
        for name in filter(None, (router.key, router.transaction)):
            require_column(name, columns)
        declared = to_compute(router, columns, source)
        _require_computable(declared, whole=whole)
        return router, declared

    def into(self, output: str | Path, outcomes: str) -> Callable[[DataFrame, int], None]:
        """What `writeStream.foreachBatch` takes: each batch is scored by the split of its moment, and recorded.

        A batch that Spark gives again, as it does after a failure, is written once more in its own folder, and its
        outcomes are counted once.

        Args:
            output: Folder for the answers, in it one of Parquet a batch; of one checkpoint, since another one counts
                batches from 0 as well, and is refused.
            outcomes: URL of the outcome store.
        """
        folder, known = address_of(str(output)), set[str]()

        def write(frame: DataFrame, number: int) -> None:
            query = frame.sparkSession.sparkContext.getLocalProperty("sql.streaming.queryId")
            if query is not None and query not in known:
                _require_own(frame.sparkSession, folder, query)
                known.add(query)
            place = f"{folder}/batch={number}"
            self(frame, record=True, whole=False).write.mode("overwrite").parquet(place)
            record_answers(frame.sparkSession.read.parquet(place), outcomes)

        return write

    def _ship(self, spark: SparkSession, identity: str) -> None:
        """Have Spark copy a version to wherever it works, unpacked under a name of its own."""
        if identity not in self._shipped:
            name = f"{identity}-{uuid.uuid4().hex}"
            folder = tempfile.mkdtemp(prefix="fds-shipped-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)  # an executor that comes later asks for it
            archive = shutil.make_archive(f"{folder}/{name}", "zip", self.versions.root / identity)
            spark.addArtifacts(f"{archive}#{name}", archive=True)
            self._shipped[identity] = name


def _require_own(spark: SparkSession, folder: str, query: str) -> None:
    """Mark a folder of answers with the stream that writes there first; a checkpoint gives a stream its id.

    Raises:
        RefusedError: It is another one's.
    """
    mark, found = f"{folder}/_query", None
    for mode in ("ignore", "overwrite"):  # the second where somebody was stopped before the mark was complete
        if found is None:
            spark.createDataFrame([(query,)], "query string").coalesce(1).write.mode(mode).text(mark)
            found = spark.read.text(mark).first()
    if found is None or found[0] != query:
        raise RefusedError(
            f"{folder} holds the answers of a stream of another checkpoint, which this one would write over",
            fix="go on from that checkpoint, or give a new folder",
        )


def _require_computable(declared: Sequence[Declared], *, whole: bool) -> None:
    """Refuse raw transactions whose features Spark cannot compute as they would be served.

    Raises:
        RefusedError: Transactions have no id of their own, or their past is not there.
    """
    for one in declared:
        if one.schema.transaction_id is None or not whole:
            why = "the transactions have no id" if whole else "a stream has no past"
            raise RefusedError(
                f"the features of raw transactions are not computed here: {why}",
                fix="give rows with the features, or score a file with --engine local",
            )


def _featured(
    frame: DataFrame, declared: Sequence[Declared], hidden: Mapping[str, str], order: str | None
) -> DataFrame:
    """Raw rows with their features beside them; a raw column is hidden where a feature has its name.

    Asked for its rows, it raises where one has no features: an empty one, which no computation looks at.
    """
    from pyspark.sql import functions as f

    from fds_mlflow.features.engines.spark import compute_spark

    found = frame.withColumnsRenamed(dict(hidden))
    for place, one in enumerate(declared):
        by, there = f"id of the transaction {place}", f"id of the features {place}"
        made = compute_spark(frame, readable(one, frame.columns), one.spec, order=order, every_row=True)
        names = [name for name in one.spec.names if name not in found.columns]
        made = made.select(f.col("transaction_id").alias(there), *(f.col(quoted(name)) for name in names))
        named = str(one.schema.transaction_id)
        spelled_id = f.udf(code, "string")(f.col(quoted(hidden.get(named, named))))
        found = found.withColumn(by, spelled_id).join(made, f.col(by) == f.col(there), "left")
        lack = _lack("rows are empty, or their ids of a type that is none", "remove them; write ids as text")
        # A column that is looked at: what nobody looks at, Spark leaves out.
        found = found.withColumn(by, f.when(f.col(there).isNull(), f.raise_error(lack)).otherwise(f.col(by)))
    return found


def scored(
    model: ManagedModel,
    frame: DataFrame,
    choice: Choice | None = None,
    *,
    key: str = TRANSACTION,
    transaction: str | None = None,
) -> DataFrame:
    """The scores of a frame's rows; as `Scorer`, for one frame."""
    return Scorer(model, choice, key=key, transaction=transaction)(frame)


def record_answers(answers: DataFrame, outcomes: str | None = None) -> tuple[int, int]:
    """Record answers as outcomes, from wherever Spark has them; once, however often it is asked.

    Args:
        answers: Rows with the columns of `fds_mlflow.serving.batch.ANSWER`.
        outcomes: URL of the outcome store, as the workers reach it; None for `FDS_OUTCOMES_URI`, else a SQLite file in
            the working directory.

    Returns:
        How many were new, and how many the store refused, as the workers' log says.

    Raises:
        ConfigError: The store is in the memory of this process.
        UnavailableError: The store is away. What is recorded by then is; recording it again is harmless.
    """
    from pyspark.sql import functions as f

    url = reachable(address(outcomes))
    with told():
        counted = mapped(answers, Recording(url).each, spark_schema(COUNTED))
        found = counted.agg(f.sum("new"), f.sum("refused")).first()
    new, refused = (0, 0) if found is None else (found[0] or 0, found[1] or 0)
    return new, refused


def address_of(path: str) -> str:
    """A path as Spark takes it: one without a scheme is on this machine, and not where Spark began.

    Nothing is escaped in it: Spark would take the %20 of a space for itself.
    """
    return path if "://" in path else f"file://{Path(path).absolute()}"


def reachable(outcomes: str) -> str:
    """The URL of an outcome store as processes of Spark's open it, which work in folders of their own."""
    url = parse(outcomes)
    if in_memory(url):
        raise ConfigError(
            "the outcome store is in the memory of this process, which Spark's processes do not share",
            fix="name a file or a server: --outcomes sqlite:///fds-outcomes.db",
        )
    if url.get_backend_name() == "sqlite":
        url = url.set(database=str(Path(str(url.database)).absolute()))
    return url.render_as_string(hide_password=False)


def spark_schema(schema: pa.Schema) -> Any:
    """The same columns as Spark has them."""
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(schema)
