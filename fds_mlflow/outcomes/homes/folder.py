"""Outcomes in a folder of Parquet files: small to keep, for any tool to read, and counted as they lie."""

from __future__ import annotations

import contextlib
import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from operator import itemgetter, methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from fds_mlflow.core.evidence.evidence import Evidence, Terms
from fds_mlflow.display.characters import printable
from fds_mlflow.errors import ConfigError, UnavailableError
from fds_mlflow.outcomes.counting.question import Question
from fds_mlflow.outcomes.homes import rows
from fds_mlflow.outcomes.records import CaseRecord, OutcomeRecord, ShadowRecord, case_rows, shadow_rows
from fds_mlflow.outcomes.statements import check_zone
from fds_mlflow.outcomes.truths import Truth
from fds_mlflow.runtime import owned
from fds_mlflow.runtime.clock import SystemClock

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

T = TypeVar("T")

PREFIX = "parquet:"
EXAMPLE = "parquet:/var/lib/fds/outcomes"

BATCH = 5_000
"""Rows that are drained together."""

MEMORY = "2GB"
"""What DuckDB may take; beyond, it uses the disk."""

_TRIES = 5
_PATTERN = re.compile(r"[*?\[\]{}\ud800-\udfff]|^[A-Za-z][\w+.-]*:/")


def folder_of(address: str) -> Path:
    """The folder that an address names.

    Raises:
        ConfigError: It names none, an object store, or a folder whose name DuckDB would read as a pattern.
    """
    name = address.removeprefix(PREFIX).removeprefix("//")
    if not name or _PATTERN.search(name):
        raise ConfigError(
            f"{address!r} names no folder on a disk without * ? [ ] {{ }} in its name",
            fix=f"write it like {EXAMPLE}",
        )
    return Path(name).expanduser().absolute()  # DuckDB takes ~ for a home, and a process may go elsewhere


class ParquetOutcomes:
    """Outcomes, shadows and labels in Parquet files; any number of processes may write and count at once.

    What is recorded is on the disk, whole and for good, when the call returns. Whatever is written again counts once.

    Args:
        address: `parquet:` and the folder, which is made if it is not there.

    Attributes:
        url: The address.
        problems: Files that could not be counted at the last look, and why.

    Raises:
        ConfigError: The address names no folder, or DuckDB is not installed.
        UnavailableError: The folder cannot be made.
    """

    def __init__(self, address: str) -> None:
        try:
            import duckdb  # noqa: F401
        except ModuleNotFoundError:
            raise ConfigError(
                f"{address} needs the Python package 'duckdb', which is not installed",
                fix="pip install 'fds-mlflow[parquet]'",
            ) from None
        self._folder = folder_of(address)
        self.url = f"{PREFIX}{self._folder}"
        self.problems: dict[Path, str] = {}
        self._looked: dict[str, dict[tuple[Path, int, int], str | None]] = {}
        with self._translated():
            owned.folder(self._folder)

    def record(self, outcomes: Sequence[OutcomeRecord]) -> int:
        """Write a batch of outcomes, all or none; how many. Whether they are new shows when they are counted.

        Raises:
            DataError: A value is not valid; names the record and the fix.
            UnavailableError: The disk is full, or the folder cannot be written.
        """
        given = sorted(rows.of_outcomes(outcomes), key=itemgetter("model", "request_id"))  # the order of a store's rows
        return self._write("outcomes", given)

    def record_shadows(self, shadows: Sequence[ShadowRecord]) -> int:
        """Write a batch of shadows, as `record`."""
        return self._write("shadows", shadow_rows(shadows))

    def label(self, cases: Sequence[CaseRecord]) -> int:
        """Write a batch of labels, as `record`; of two states of one moment the later written holds."""
        return self._write("labels", case_rows(cases))

    def evidence(self, model: str, rollout_id: str, terms: Terms, *, as_of: datetime | None = None) -> Evidence:
        """What a judge reads: what a store would count that had all of this and was asked for the first time.

        Each look counts all of the model's outcomes. Nothing is kept, so nothing is frozen: a label that is written
        late, or corrects one of its own moment, changes what was counted.

        Args:
            model: The registered model.
            rollout_id: The rollout.
            terms: On which terms.
            as_of: The time now, for the age of labels; the machine's clock if None.

        Raises:
            DataError: `as_of` has no time zone, or the terms are no terms.
            RefusedError: A later release wrote some of the files.
            UnavailableError: The folder cannot be read.
        """
        from fds_mlflow.outcomes.homes import counted

        moment = SystemClock().now() if as_of is None else as_of
        question = Question(model=model, rollout_id=rollout_id, terms=terms, as_of=moment)
        return self._read(lambda connection: counted.evidence(connection, question))

    def truths(self, after: int, limit: int) -> tuple[int, list[Truth]]:
        """What is known of the transactions about which something was written after a moment; the last moment, too.

        Args:
            after: Nanoseconds since 1970; 0 for the beginning.
            limit: Rows to look at, at most; more where one batch has more.
        """
        from fds_mlflow.outcomes.homes.counted import EPOCH, STATES

        upto = (
            "SELECT max(written), count(*) FROM (SELECT written FROM labels WHERE written > $after "
            "ORDER BY written LIMIT $limit)"
        )
        new = "SELECT transaction_id FROM labels WHERE written > $after AND written <= $last"
        latest = (
            f"SELECT transaction_id, status = 'confirmed', known FROM ({STATES}) WHERE transaction_id IN ({new}) "
            "QUALIFY row_number() OVER (PARTITION BY transaction_id ORDER BY known DESC) = 1 AND status <> 'suspected'"
        )

        def told(connection: duckdb.DuckDBPyConnection) -> tuple[int, list[Truth]]:
            last, found = connection.execute(upto, {"after": after, "limit": limit}).fetchall()[0]
            if not found:
                return after, []
            states = connection.execute(latest, {"after": after, "last": last}).fetchall()
            return last, [
                Truth(transaction, fraud, datetime.fromtimestamp(0, UTC) + (known * (EPOCH.resolution)))
                for transaction, fraud, known in states
            ]

        return self._read(told)

    def explored(self, model: str, since: datetime) -> int:
        """How many outcomes of a model have been explored since a time, timezone-aware."""
        check_zone(since)
        query = (
            "SELECT count(DISTINCT request_id) FROM outcomes WHERE explored AND model = $model "
            "AND time >= $since::TIMESTAMPTZ"
        )
        given = {"model": model, "since": since.isoformat()}
        found: int = self._read(lambda connection: connection.execute(query, given).fetchall()[0][0])
        return found

    @property
    def unreadable(self) -> int:
        """Files that could not be read at the last look."""
        return len(self.problems)

    def batches(self, *, follow: bool = False) -> Iterator[list[tuple[str, rows.Record]]]:
        """All records, with their kinds: outcomes, then shadows and labels, those of a kind in the order of writing.

        Args:
            follow: Refused: files do not tell which of them are stored.
        """
        from fds_mlflow.outcomes.homes import files

        if follow:
            raise ConfigError(
                f"{self.url} is not followed", fix="drain it again without --follow: what is stored stays"
            )
        for kind in rows.KINDS:
            with tempfile.TemporaryDirectory(prefix="fds-outcomes-") as scratch:
                path = Path(scratch) / f"{kind}.parquet"
                copy = f"COPY (FROM {kind} ORDER BY written, file_row_number) TO {_quoted(path)}"
                self._read(methodcaller("execute", copy))
                for batch in files.rows_of(path, kind, BATCH):
                    yield [(kind, rows.record_of(kind, row)) for row in batch]

    def close(self) -> None:
        """Nothing is open between two calls."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, kind: str, given: Sequence[rows.Row]) -> int:
        from fds_mlflow.outcomes.homes import files

        with self._translated():
            files.write(self._folder, kind, given)
        return len(given)

    def _read(self, ask: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Ask the files that are there; again where they were merged by somebody who does not see our lock.

        Where that does not help, a file is damaged inside: each is looked through.
        """
        import duckdb

        from fds_mlflow.outcomes.homes import files

        for tried in range(1, _TRIES + 1):
            self.problems = {}
            with self._translated(), tempfile.TemporaryDirectory(prefix="fds-outcomes-") as scratch:
                try:
                    with (
                        files.unmerged(self._folder),
                        duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": scratch}) as connection,
                    ):
                        for kind in rows.KINDS:
                            self._view(connection, kind, Path(scratch), whole=tried > 2)
                        return ask(connection)
                except (duckdb.Error, FileNotFoundError) as error:
                    if tried == _TRIES:
                        raise OSError(str(error)) from error
        raise AssertionError

    def _view(self, connection: duckdb.DuckDBPyConnection, kind: str, scratch: Path, *, whole: bool) -> None:
        import pyarrow.parquet as pq

        from fds_mlflow.outcomes.homes import files

        columns = scratch / f"{kind}.parquet"  # with all columns, whichever release wrote the others
        pq.write_table(files.SCHEMAS[kind].empty_table(), columns)
        names = ", ".join(map(_quoted, (columns, *self._files(kind, whole=whole))))
        connection.execute(
            f"CREATE TEMP VIEW {kind} AS SELECT * FROM "
            f"read_parquet([{names}], union_by_name = true, file_row_number = true, hive_partitioning = false)"
        )

    def _files(self, kind: str, *, whole: bool) -> list[Path]:
        """The files that can be counted, looked through where `whole`; the others are told in the log, once each.

        Raises:
            FileNotFoundError: One has been merged meanwhile.
        """
        from fds_mlflow.outcomes.homes import files

        before, looked = self._looked.get(kind, {}), {}
        for path in files.listed(self._folder, kind):
            stat = path.stat()
            place = (path, stat.st_mtime_ns, stat.st_size)
            known = place in before and not (whole and before[place] is None)
            looked[place] = problem = before[place] if known else files.problem(path, kind, whole=whole)
            if problem is not None:
                self.problems[path] = problem
                if not known:
                    log.error("%s is not counted: %s", printable(str(path)), problem)
        self._looked[kind] = looked
        return [path for (path, *_), problem in looked.items() if problem is None]

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UnavailableError(
                f"the outcomes in {self._folder} are not available: {error}",
                fix="check that the folder can be read and written and that its disk has space left, then do the same "
                "again: what was written already counts once",
            ) from error


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
