"""Scores batches of rows as a router would, without a registry: the process of another machine can do it.

It is made where the registry is and pickled to where the rows are. Versions are read from a version cache, once in each
process. What it answers of a row does not hang on the rows that come with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fds_mlflow.core.keys import Spelling, spelled
from fds_mlflow.core.routing.routing import RoutingTable, Variant
from fds_mlflow.data.column import plain
from fds_mlflow.errors import DataError, FdsError, RefusedError
from fds_mlflow.outcomes.records import ERROR_LENGTH, OutcomeRecord, identity
from fds_mlflow.outcomes.sink import OutcomeSink, stored
from fds_mlflow.runtime.clock import Stopwatch, SystemClock
from fds_mlflow.scoring import arrow
from fds_mlflow.scoring.loaded import Loaded
from fds_mlflow.scoring.served import Served
from fds_mlflow.serving.disk.version_cache import VersionCache
from fds_mlflow.serving.inputs import digest

ANSWER = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("model", "request_id", "key", "transaction_id")),
        *(pa.field(name, pa.string(), nullable=False) for name in ("assigned", "served")),
        pa.field("version", pa.int32(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("flagged", pa.bool_(), nullable=False),
        pa.field("threshold", pa.float64(), nullable=False),
        pa.field("rollout_id", pa.string()),
        *(pa.field(name, pa.int32(), nullable=False) for name in ("step", "weight")),
        pa.field("latency_ms", pa.float64(), nullable=False),
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        *(pa.field(name, pa.string()) for name in ("error", "segment", "inputs_digest")),
    ]
)
"""The columns of an answer, as the table of outcomes calls them; `threshold` is beside them."""

KINDS = "text, a whole number, a decimal, a float or a boolean"
"""What a routing key may be."""

_SECONDS = 3_600.0
"""How long a model without a compiled scorer may take for a batch."""


@dataclass(frozen=True)
class BatchRouter:
    """Scores batches of rows, each row by the version that its key is routed to.

    Attributes:
        model: Registered model.
        table: Which version answers which key.
        versions: Those of the table.
        key: Name of the routing key's column.
        transaction: Name of the column of the transaction's id; None where the key is what labels are joined on.
        place: Finds the folder of a version's cache, in whichever process it is asked.
        text: The rows come from a file of text.
        key_text: The key and the transaction's id do, and stand beside features that were computed.
    """

    model: str
    table: RoutingTable
    versions: tuple[Served, ...]
    key: str
    transaction: str | None
    place: Callable[[Served], Path]
    text: bool = False
    key_text: bool = False

    def __call__(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Score rows, at least one.

        A canary that raises or breaks the scorer contract costs no row its answer: the champion answers just those that
        the canary cannot, and the outcome says so.

        Args:
            rows: The columns of each version of the table, the routing key, and the transaction's id.

        Returns:
            A row each, in the same order, with the columns of `ANSWER`.

        Raises:
            DataError: A column is missing, a key or a transaction's id is none, or the champion cannot score a row.
        """
        text = self.text or self.key_text
        keys = keys_of(rows, self.key, self.table.spelling, text=text)
        transactions = keys if self.transaction is None else keys_of(rows, self.transaction, text=text)
        answer = _Answer.empty(rows.num_rows)
        to_canary = self.table.to_canary(keys)
        answer.canary[:] = to_canary
        rest = np.flatnonzero(~to_canary)
        if self.table.rollout is not None and to_canary.any():
            failed = self._fill(answer, rows, np.flatnonzero(to_canary), self.table.rollout.canary, False)
            rest = np.sort(np.concatenate([rest, failed]))
        self._fill(answer, rows, rest, self.table.champion, True)
        return self._told(rows, keys, transactions, answer)

    def loaded(self, version: int) -> Loaded:
        """A version, read once in this process."""
        served = next(one for one in self.versions if one.version == version)
        return _loaded(self.place(served), self.model, served)

    def each(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """As a call, for some batches, of which some may be empty."""
        return (self(batch) for batch in batches if batch.num_rows)

    def _fill(
        self, answer: _Answer, rows: pa.RecordBatch, places: npt.NDArray[np.intp], version: int, last: bool
    ) -> npt.NDArray[np.intp]:
        """Put the scores of a version into an answer.

        Args:
            answer: Of all rows.
            rows: All of them.
            places: Of those that it scores.
            version: The version.
            last: Nobody scores what it cannot.

        Returns:
            The places of the rows that it cannot score.
        """
        if not len(places):
            return places
        loaded, took, failed = self.loaded(version), Stopwatch(), []
        own = rows if len(places) == rows.num_rows else rows.take(pa.array(places))
        for part, found in _each(loaded, own, places, took, text=self.text):
            if isinstance(found, FdsError):
                if last:
                    raise found
                answer.errors.update(dict.fromkeys(part.tolist(), found.what[:ERROR_LENGTH]))
                failed.append(part)
                continue
            answer.scores[part], answer.versions[part], answer.thresholds[part] = found, version, loaded.threshold
        answer.milliseconds[places] += took.milliseconds / len(places)
        if loaded.names and not loaded.loose:
            self._digest(answer, loaded, own, places, failed)
        return np.concatenate(failed) if failed else np.empty(0, np.intp)

    def _digest(
        self,
        answer: _Answer,
        loaded: Loaded,
        own: pa.RecordBatch,
        places: npt.NDArray[np.intp],
        failed: Sequence[npt.NDArray[np.intp]],
    ) -> None:
        """Put the digests of what a version was given into an answer."""
        without = {place for part in failed for place in part.tolist()}
        if without:
            kept = np.array([place not in without for place in places.tolist()])
            own, places = own.filter(pa.array(kept)), places[kept]
        given = arrow.columns(loaded, own, text=self.text)
        values = zip(*(arrow.listed(one, own.num_rows) for one in given.values()), strict=True)
        for place, row in zip(places.tolist(), values, strict=True):
            answer.digests[place] = digest(row)

    def _told(
        self, rows: pa.RecordBatch, keys: Sequence[str], transactions: Sequence[str], answer: _Answer
    ) -> pa.RecordBatch:
        """An answer as rows of `ANSWER`."""
        rollout, size = self.table.rollout, rows.num_rows
        # The request is the same however often the transaction is scored in this trial: it is counted once.
        trial = f"batch:{rollout.id}" if rollout is not None else f"batch:{self.table.champion}"
        by = None if rollout is None else rollout.plan.segments
        values = None if by is None else _values(rows, by.column)
        named = np.array([Variant.CHAMPION.value, Variant.CANARY.value], dtype=object)
        canary = -1 if rollout is None else rollout.canary
        columns: Mapping[str, Any] = {
            "model": [self.model] * size,
            "request_id": [identity(trial, one.encode()) for one in transactions],
            "key": keys,
            "transaction_id": transactions,
            "assigned": named[answer.canary.astype(int)],
            "served": named[(answer.versions == canary).astype(int)],
            "version": answer.versions,
            "score": answer.scores,
            "flagged": answer.scores >= answer.thresholds,
            "threshold": answer.thresholds,
            "rollout_id": [None if rollout is None else rollout.id] * size,
            "step": np.full(size, rollout.step if rollout is not None else 0),
            "weight": np.full(size, rollout.weight if rollout is not None else 0),
            "latency_ms": answer.milliseconds,
            "time": [SystemClock().now()] * size,
            "error": [answer.errors.get(place) for place in range(size)],
            "segment": [None] * size if by is None or values is None else [by.of(value) for value in values],
            "inputs_digest": answer.digests,
        }
        arrays = [pa.array(columns[field.name], field.type) for field in ANSWER]
        return pa.RecordBatch.from_arrays(arrays, schema=ANSWER)


@dataclass(frozen=True)
class _Answer:
    """What is known of each row so far."""

    canary: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]
    versions: npt.NDArray[np.int64]
    thresholds: npt.NDArray[np.float64]
    milliseconds: npt.NDArray[np.float64]
    errors: dict[int, str]
    digests: list[str | None]

    @classmethod
    def empty(cls, size: int) -> _Answer:
        """Of rows of which nothing is known."""
        numbers, whole = np.zeros((3, size)), np.zeros(size, np.int64)
        return cls(np.zeros(size, np.bool_), numbers[0], whole, numbers[1], numbers[2], {}, [None] * size)


def _each(
    loaded: Loaded, rows: pa.RecordBatch, places: npt.NDArray[np.intp], took: Stopwatch, *, text: bool
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.float64] | FdsError]]:
    """The scores of rows; rows that are refused are halved until those that are stand alone, each with its error."""
    try:
        with took:
            found: npt.NDArray[np.float64] | FdsError = arrow.scores(loaded, rows, text=text)
    except FdsError as error:
        if len(places) > 1:
            middle = len(places) // 2
            yield from _each(loaded, rows.slice(0, middle), places[:middle], took, text=text)
            yield from _each(loaded, rows.slice(middle), places[middle:], took, text=text)
            return
        found = error
    yield places, found


@lru_cache(maxsize=8)
def _loaded(root: Path, model: str, served: Served) -> Loaded:
    prepared = VersionCache(root, model, "").prepared(served.version, served.identity)
    if prepared is None:
        raise RefusedError(
            f"version {served.version} of {model!r} is not in {root}", fix="make the batch anew: its folder is gone"
        )
    return Loaded.load(prepared, served.threshold, _SECONDS, served.files)


@dataclass(frozen=True)
class Here:
    """Where versions are on the machine that prepared them.

    Attributes:
        root: The folder.
        owner: Whoever would take it away with itself; stays as long as this does, in this process.
    """

    root: Path
    owner: object = field(default=None, repr=False, compare=False)

    def __call__(self, served: Served) -> Path:
        """The folder of a version's cache."""
        return self.root / served.identity

    def __reduce__(self) -> tuple[type[Here], tuple[Path]]:
        return Here, (self.root,)


@dataclass(frozen=True)
class Shipped:
    """Where Spark has put the versions that were shipped with a job: each of its processes finds them by name.

    Attributes:
        names: Of each version's folder, by the version's identity.
    """

    names: Mapping[str, str]

    def __call__(self, served: Served) -> Path:
        """The folder of a version's cache."""
        from pyspark import SparkFiles

        return Path(SparkFiles.getRootDirectory()) / self.names[served.identity]


def keys_of(
    rows: pa.RecordBatch, name: str, spelling: Spelling = Spelling.CANONICAL, *, text: bool = False
) -> list[str]:
    """The routing key of each row, written as a router writes it.

    Args:
        rows: The rows.
        name: Of the column.
        spelling: How keys are written.
        text: The rows come from a file of text, whose fields say so where there is no value.

    Raises:
        DataError: The column is missing, of another kind than `KINDS`, or has gaps; or holds what is no text.
    """
    require_column(name, rows.schema.names)
    data = plain(pa.chunked_array([rows.column(name)]))
    data = arrow.filled(data) if text else data
    kind = data.type
    missing = int(pc.sum(pc.is_null(data, nan_is_null=True)).as_py())
    if missing:
        raise DataError(
            f"the column {name!r} is missing in {missing:,} of {len(data):,} rows",
            fix="give every row a key; without one the variant would be arbitrary",
        )
    try:
        if pa.types.is_string(kind):
            return list(data.to_pylist())
        if pa.types.is_integer(kind) or (pa.types.is_boolean(kind) and spelling is Spelling.CANONICAL):
            return list(pc.cast(data, pa.string()).to_pylist())
    except UnicodeDecodeError:
        raise DataError(f"the column {name!r} holds what is no text", fix="write its texts in UTF-8") from None
    require_key(name, str(kind), pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_boolean(kind))
    values = data.to_numpy() if kind in (pa.float32(), pa.float16()) else data.to_pylist()
    return [str(spelled(value, spelling)) for value in values]


def require_column(name: str, columns: Sequence[str]) -> None:
    """Refuse rows that have no column of keys, or of ids.

    Raises:
        DataError: It is not among their columns.
    """
    if name not in columns:
        raise DataError(
            f"the rows have no column {name!r} to route or join by",
            fix=f"name the one that they have (there are: {', '.join(columns)})",
        )


def require_key(name: str, kind: str, known: bool) -> None:
    """Refuse a key of a kind that no one spelling stands for.

    Raises:
        DataError: It is of another kind than `KINDS`.
    """
    if not known:
        raise DataError(
            f"the column {name!r} is of the type {kind}, and a key is {KINDS}", fix="write it as text, one way for ever"
        )


def _values(rows: pa.RecordBatch, name: str) -> list[Any]:
    return list(rows.column(name).to_pylist()) if name in rows.schema.names else [None] * rows.num_rows


@dataclass(frozen=True)
class Recording:
    """Puts answers into an outcome store, from whichever process has them.

    Attributes:
        url: Of the store.
    """

    url: str

    def each(self, answers: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Record the rows of answers, with the columns of `ANSWER`.

        Returns:
            For each batch one row: how many outcomes were `new`, and how many the store `refused`, as the log says.

        Raises:
            UnavailableError: The store is away. What is recorded by then is; recording it again is harmless.
        """
        from fds_mlflow.outcomes.store import OutcomeStore

        with OutcomeStore(self.url) as store:
            for answer in answers:
                if answer.num_rows:
                    yield pa.RecordBatch.from_pylist([recorded(store, answer)], COUNTED)


COUNTED = pa.schema([("new", pa.int64()), ("refused", pa.int64())])


def recorded(store: OutcomeSink, answer: pa.RecordBatch) -> dict[str, int]:
    """Record the rows of an answer; what comes of them, as `Recording.each` says it of one batch."""
    new = 0

    def take(outcomes: Sequence[OutcomeRecord]) -> None:
        nonlocal new
        new += store.record(outcomes)

    refused = stored(take, records(answer))
    return {"new": new, "refused": refused}


def records(answer: pa.RecordBatch) -> list[OutcomeRecord]:
    """The outcomes that an answer, with the columns of `ANSWER`, is."""
    outcomes = answer.select([name for name in answer.schema.names if name != "threshold"])
    return [OutcomeRecord(**row) for row in outcomes.to_pylist()]
