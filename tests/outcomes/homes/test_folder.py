"""A folder of Parquet files: each appears whole, small ones are merged, and one that is damaged costs no other."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fds_mlflow.core.evidence.evidence import Evidence, Terms
from fds_mlflow.errors import ConfigError, RefusedError, UnavailableError
from fds_mlflow.outcomes.homes import files
from fds_mlflow.outcomes.homes.folder import ParquetOutcomes
from fds_mlflow.outcomes.records import Vector
from tests.support.places import ROOT
from tests.support.samples import DAY, NOON, case, outcome

TERMS = Terms(latency_bound=50.0, maturity=timedelta(days=10), hourly=True)


@pytest.fixture
def home(tmp_path: Path) -> ParquetOutcomes:
    """An empty folder."""
    return ParquetOutcomes(f"parquet:{tmp_path}/kept")


def count(home: ParquetOutcomes) -> Evidence:
    """What is counted."""
    return home.evidence("fraud", "R", TERMS, as_of=NOON + 30 * DAY)


def requests(home: ParquetOutcomes) -> int:
    """How many requests are counted."""
    return sum(tally.requests for tally in count(home).tallies)


def outcome_files(tmp_path: Path) -> list[Path]:
    """Files of outcomes."""
    return sorted((tmp_path / "kept" / "outcomes").glob("*.parquet"))


def rewritten(path: Path, version: int, *without: str) -> None:
    """A file as another release has written it: of a version, without some columns."""
    table = pq.read_table(path).drop_columns(list(without))
    pq.write_table(table.replace_schema_metadata({"fds.outcomes": str(version)}), path)


class TestFiles:
    def test_every_field_comes_back(self, home: ParquetOutcomes) -> None:
        """What was recorded is read back as it was, times to the microsecond, vectors and texts of any script."""
        whole: dict[str, Any] = {
            **{"key": "고객-7", "transaction_id": "TX9", "assigned": "canary", "served": "champion", "step": 2},
            **{"error": "canary: timeout", "flagged": True, "propensity": 0.25, "explored": True, "segment": "KR"},
            **{"degraded": True, "inputs_digest": "0123456789abcdef", "reasons": '[{"code":"R1"}]'},
            "vector": Vector({"amount": 2.0, "count": 3, "shop": "웹", "gap": None}, {"amount": 2.0}, "digest"),
        }
        records = [outcome(**whole), outcome(served="champion")]
        cases = [case(loss_amount=1.5, reported_at=NOON, fraud_type="card", propensity=0.5)]
        home.record(records)
        home.label(cases)
        found = [record for batch in home.batches() for _, record in batch]
        assert found == [*sorted(records, key=lambda one: one.request_id), *cases]

    def test_is_its_owners_alone(self, home: ParquetOutcomes, tmp_path: Path) -> None:
        """Nobody else can read what is kept, whatever the umask."""
        home.record([outcome()])
        (path,) = outcome_files(tmp_path)
        assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)

    def test_small_files_become_one(self, home: ParquetOutcomes, tmp_path: Path) -> None:
        """Files of a few outcomes are merged as they become many, and count the same before and after."""
        with mock.patch.object(files, "MANY", 10):
            for n in range(9):
                home.record([outcome(request_id=f"r{9 - n}", key=f"K{n % 4}", flagged=n % 2 == 0, step=n)])
            before = count(home)
            assert len(outcome_files(tmp_path)) == 9
            home.record([outcome(key="K10", rollout_id="S")])
        assert len(outcome_files(tmp_path)) == 1
        assert count(home) == before

    def test_what_a_merge_left_twice_counts_once(self, home: ParquetOutcomes, tmp_path: Path) -> None:
        """A process that is killed between a merge and the removal of its parts changes no count."""
        with mock.patch.object(files, "MANY", 5), mock.patch.object(Path, "unlink"):
            for n in range(5):
                home.record([outcome(key=f"K{n % 2}", flagged=n == 3)])
        assert len(outcome_files(tmp_path)) == 6
        assert requests(home) == 5

    def test_the_order_of_writing_outlives_a_merge(self, home: ParquetOutcomes) -> None:
        """What is drained comes in the order of writing, wherever a merge has put it."""
        with mock.patch.object(files, "MANY", 3):
            home.record([outcome(request_id=f"r{n}") for n in range(9_000)])
            for score in (0.25, 0.5, 0.75):
                home.record([outcome(request_id="again", score=score)])
        found = [record for batch in home.batches() for _, record in batch]
        assert [record.score for record in found[9_000:]] == [0.25, 0.5, 0.75]  # type: ignore[union-attr]

    def test_a_look_goes_on_where_files_were_merged(self, home: ParquetOutcomes) -> None:
        """A judge whose files are gone a moment later, by a process that does not see its lock, looks again."""
        home.record([outcome()])
        listed, late_by = files.listed, iter([1])

        def late(folder: Path, kind: str) -> list[Path]:
            found = listed(folder, kind)
            if next(late_by, 0):
                with mock.patch.object(files, "MANY", 2), mock.patch.object(files.fcntl, "flock"):
                    home.record([outcome(key="TX2")])
            return found

        with mock.patch.object(files, "listed", late):
            assert requests(home) == 2

    def test_what_is_half_written_is_nobodys(self, home: ParquetOutcomes, tmp_path: Path) -> None:
        """What a killed process has begun is not counted, and goes with the first merge an hour later."""
        home.record([outcome()])
        begun = tmp_path / "kept" / "outcomes" / ".01JGZ.new"
        begun.write_bytes(b"PAR1")
        os.utime(begun, (time.time() - 7_200,) * 2)
        assert requests(home) == 1
        with mock.patch.object(files, "MANY", 2):
            home.record([outcome(key="TX2")])
        assert not begun.exists()
        assert requests(home) == 2


class TestOtherFiles:
    @pytest.mark.parametrize("content", [b"", b"PAR1", b"a,b\n1,2\n", b"PAR1" + b"\0" * 500 + b"PAR1"])
    def test_a_damaged_file_is_named_and_the_others_count(
        self, home: ParquetOutcomes, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What is no Parquet file, or is one no more, is told once and left out."""
        home.record([outcome()])
        damaged = tmp_path / "kept" / "outcomes" / "01.parquet"
        damaged.write_bytes(content)
        assert [requests(home), requests(home)] == [1, 1]
        assert list(home.problems) == [damaged]
        assert caplog.text.count(str(damaged)) == 1

    def test_a_file_of_somebody_else_is_left_out(self, home: ParquetOutcomes, tmp_path: Path) -> None:
        """A Parquet file that this package did not write, or of other types, is no evidence."""
        home.record([outcome()])
        (mine,) = outcome_files(tmp_path)
        pq.write_table(pa.table({"amount": [1.0]}), mine.with_name("a.parquet"))
        table = pq.read_table(mine)
        at = table.schema.get_field_index("version")
        pq.write_table(table.set_column(at, "version", pa.array(["1"])), mine.with_name("b.parquet"))
        assert requests(home) == 1
        reasons = [home.problems[mine.with_name(name)] for name in ("a.parquet", "b.parquet")]
        assert reasons == ["it was not written by this package", "its column 'version' is string, not int32"]

    def test_an_earlier_release_lacks_columns(self, home: ParquetOutcomes, tmp_path: Path) -> None:
        """Columns that were added later are null in files from before, and all files count together."""
        home.record([outcome(reasons="[]", segment="KR")])
        (path,) = outcome_files(tmp_path)
        rewritten(path, 1, "reasons", "segment", "vector")
        home.record([outcome(key="TX2", segment="KR")])
        assert (requests(home), home.problems) == (2, {})
        (first, *_), *_ = [[record for _, record in batch] for batch in home.batches()]
        assert (first.segment, first.reasons) == (None, None)
        rewritten(path, 1, "key")
        assert (requests(home), home.problems) == (1, {path: "it lacks the column 'key'"})

    def test_a_later_release_is_refused(self, home: ParquetOutcomes, tmp_path: Path) -> None:
        """What this release does not know may change every count: nothing is counted without it."""
        home.record([outcome()])
        (path,) = outcome_files(tmp_path)
        rewritten(path, 2)
        with pytest.raises(RefusedError, match="version 2 of the columns"):
            count(home)


class TestFaults:
    def test_a_full_disk_leaves_nothing_half_written(self, home: ParquetOutcomes, tmp_path: Path) -> None:
        """Where the disk takes no more the batch is refused as a whole, and can be written again."""
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with mock.patch.object(files.os, "fsync", side_effect=full), pytest.raises(UnavailableError, match="No space"):
            home.record([outcome()])
        assert list((tmp_path / "kept" / "outcomes").iterdir()) == []
        home.record([outcome()])
        assert requests(home) == 1

    def test_a_folder_that_cannot_be_made_is_refused(self, tmp_path: Path) -> None:
        """A file in the place of the folder, or above it, is said at once."""
        (tmp_path / "file").write_text("")
        with pytest.raises(UnavailableError, match="not available"):
            ParquetOutcomes(f"parquet:{tmp_path}/file/kept")

    @pytest.mark.parametrize("address", ["parquet:", "parquet:a*b", "parquet:/x[1]"])
    def test_an_address_must_name_a_folder(self, address: str) -> None:
        """What would be read as a pattern of files is no folder."""
        with pytest.raises(ConfigError, match="names no folder"):
            ParquetOutcomes(address)


class TestAsked:
    def test_how_many_were_explored(self, home: ParquetOutcomes) -> None:
        """What a bound by the day asks is told, each request once."""
        let_pass: dict[str, Any] = {"flagged": True, "propensity": 0.5, "explored": True}
        batch = [outcome(key=f"TX{n}", time=NOON + n * DAY, **let_pass) for n in range(3)]
        home.record([*batch, outcome(key="TX9")])
        home.record(batch)
        assert home.explored("fraud", NOON + DAY) == 2
        assert home.explored("fraud", NOON + timedelta(days=1, microseconds=1)) == 1
        assert home.explored("returns", NOON) == 0

    def test_truths_are_told_in_the_order_of_writing(self, home: ParquetOutcomes) -> None:
        """Whoever follows labels hears each truth, and goes on from where it was."""
        home.label([case(transaction_id="A"), case(transaction_id="B", status="suspected")])
        last, found = home.truths(0, 500)
        assert [(one.transaction_id, one.fraud, one.known_at) for one in found] == [("A", True, NOON + 7 * DAY)]
        assert home.truths(last, 500) == (last, [])
        home.label([case(transaction_id="B", status="genuine", known_at=NOON + 8 * DAY)])
        home.label([case(transaction_id="A", status="suspected", known_at=NOON + 8 * DAY)])
        later, found = home.truths(last, 500)
        assert [(one.transaction_id, one.fraud) for one in found] == [("B", False)]
        assert home.truths(later, 500) == (later, [])


_WRITER = """
import sys
from fds_mlflow.outcomes.homes import files
from fds_mlflow.outcomes.homes.folder import ParquetOutcomes
from tests.support.samples import outcome

files.MANY = 6
home = ParquetOutcomes("parquet:" + sys.argv[1])
for n in range(int(sys.argv[3])):
    home.record([outcome(request_id=f"{sys.argv[2]}-{n}", key=f"K{n % 5}")])
    print(n, flush=True)
"""


def writer(tmp_path: Path, name: str, batches: int) -> subprocess.Popen[str]:
    """A process that writes outcomes, merges often, and tells each one that is written for good."""
    command = [sys.executable, "-c", _WRITER, str(tmp_path / "kept"), name, str(batches)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_who_write_and_merge_lose_nothing(home: ParquetOutcomes, tmp_path: Path) -> None:
    """Processes that write and merge in one folder at once, while a third one counts, lose and repeat nothing."""
    both = [writer(tmp_path, name, 60) for name in ("a", "b")]
    seen = [0]
    while any(one.poll() is None for one in both):
        seen.append(requests(home))
    for one in both:
        one.communicate()
    assert [one.returncode for one in both] == [0, 0]
    assert seen == sorted(seen)
    assert requests(home) == 120


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.parametrize("after", range(1, 60, 12))
def test_a_killed_writer_loses_nothing_it_told(home: ParquetOutcomes, tmp_path: Path, after: int) -> None:
    """Whenever a writer is killed, what it said was written counts, once."""
    victim = writer(tmp_path, "a", 1_000)
    assert victim.stdout is not None
    told = [victim.stdout.readline() for _ in range(after)]
    victim.kill()
    told += victim.communicate()[0].splitlines()
    ids = {record.request_id for batch in home.batches() for kind, record in batch if kind == "outcomes"}  # type: ignore[union-attr]
    assert {f"a-{int(line)}" for line in told if line.strip()} <= ids
    assert requests(home) == len(ids)
