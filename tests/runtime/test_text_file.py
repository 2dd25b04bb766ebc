"""Files as people have them: encodings, compression and endings, for labels, data, plans and schemas alike."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fds_mlflow.data.readers import column_names
from fds_mlflow.data.transactions import load
from fds_mlflow.errors import FdsError
from fds_mlflow.outcomes.label_file import import_labels
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.rollouts.plan.file import load_plan
from fds_mlflow.runtime.text_file import opened
from fds_mlflow.simulator.simulate import transactions
from fds_mlflow.workflows.source import recognise

TEXT = "transaction_id,status,known_at,fraud_type\nTXé,confirmed,2026-03-08T12:00:00Z,card\n"
DATA = "id,t,eur,cust\n1,2026-03-08T12:00:00Z,2.5,Zoë\n"
ROLES = {"transaction_id": "id", "time": "t", "amount": "eur", "entities": {"customer": "cust"}}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["x.csv", "x.CSV", "x.csv.gz", "x.CSV.GZ"])
@pytest.mark.parametrize("compressed", [False, True])
def test_what_can_be_told_is_read(tmp_path: Path, encoding: str, name: str, compressed: bool) -> None:
    """Labels and data in any encoding that tells itself, compressed or not, are the same whatever their name says."""
    pack: Callable[[bytes], bytes] = gzip.compress if compressed else bytes
    file = tmp_path / name
    file.write_bytes(pack(TEXT.encode(encoding)))
    with OutcomeStore("sqlite://") as store:
        assert import_labels(store, file) == (1, 1)
        assert set(store.cases(["TXé"])) == {"TXé"}
    file.write_bytes(pack(DATA.encode(encoding)))
    assert load(file, **ROLES).frame["customer"].tolist() == ["Zoë"]
    assert column_names(file) == ["id", "t", "eur", "cust"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x.parquet", "x.pq", "x.PARQUET", "x.Pq", "x.csv"])
def test_parquet_is_read_by_any_name(tmp_path: Path, name: str) -> None:
    """Parquet is known by its ending in any case, and by how it begins."""
    file = tmp_path / name
    pd.DataFrame({"transaction_id": ["T"], "status": ["genuine"], "known_at": ["2026-03-08T12:00:00Z"]}).to_parquet(
        file
    )
    with OutcomeStore("sqlite://") as store:
        assert import_labels(store, file) == (1, 1)
    assert column_names(file) == ["transaction_id", "status", "known_at"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text("abc,é\n", max_size=40), st.text("xyß", min_size=0, max_size=5), st.booleans())
def test_the_place_of_a_foreign_byte_is_named(tmp_path: Path, before: str, same: str, compressed: bool) -> None:
    """A file in another encoding is refused with line and column of the first byte that is not UTF-8."""
    file = tmp_path / "x.csv"
    content = f"a{before}{same}".encode() + b"\xe9\n"
    file.write_bytes(gzip.compress(content) if compressed else content)
    line, column = f"a{before}{same}".count("\n") + 1, len(f"a{before}{same}".rsplit("\n", 1)[-1]) + 1
    with pytest.raises(FdsError) as refused, opened(file) as text:
        text.read()
    assert f"line {line}, column {column} has the byte 0xe9" in refused.value.what
    assert "iconv" in refused.value.fix


REFUSED: dict[str, tuple[bytes, str]] = {
    "latin.csv": (TEXT.encode("latin-1"), "not UTF-8: line 2, column 3"),
    "latin.csv.gz": (gzip.compress(TEXT.encode("latin-1")), "not UTF-8: line 2, column 3"),
    "cut.csv": (TEXT.encode("utf-16")[:-1], "damaged"),
    "cut.csv.gz": (gzip.compress(TEXT.encode())[:-12], "damaged"),
    "wrong.csv.gz": (gzip.compress(TEXT.encode())[:-8] + b"12345678", "damaged"),
    "book.xlsx": (b"PK\x03\x04 and so on", "Excel"),
    "x.csv.bz2": (b"BZh91AY", "damaged"),
    "bad.parquet": (b"PAR1 and so on", "no Parquet file"),
    "empty.parquet": (b"", "no Parquet file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str) -> None:
    """Another encoding, a damaged or foreign file is named as what it is, nothing of it is stored, with the fix."""
    content, what = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    with OutcomeStore("sqlite://") as store:
        with pytest.raises(FdsError, match=what) as refused:
            import_labels(store, tmp_path / name)
        assert refused.value.fix
        assert store.cases(["TXé"]) == {}


@pytest.mark.parametrize("name", ["none.csv", "folder", "x.csv/y", "n" * 300, "/proc/self/mem"])
def test_a_path_that_is_no_file(tmp_path: Path, name: str) -> None:
    """A file that is not there, a folder, a path through a file or one that cannot be read is an error of ours."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "x.csv").write_text(TEXT)
    for read in (lambda path: import_labels(OutcomeStore("sqlite://"), path), load_plan, lambda p: load(p, **ROLES)):
        with pytest.raises(FdsError) as refused:
            read(tmp_path / name)
        assert name[:50] in refused.value.what


def test_plans_in_other_encodings(tmp_path: Path) -> None:
    """A plan that an editor saved as UTF-16 is read; one in Latin-1 is refused with the line."""
    file = tmp_path / "plan.yaml"
    file.write_bytes("steps: [10, 100]  # für alle\n".encode("utf-16"))
    assert load_plan(file).steps == (10.0, 100.0)
    file.write_bytes("steps: [10, 100]  # für alle\n".encode("latin-1"))
    with pytest.raises(FdsError, match="line 1, column 22"):
        load_plan(file)


def test_a_schema_is_recognised_whatever_the_file(tmp_path: Path) -> None:
    """The shipped schema that fits is found in any readable form, and a file that is not there is said so."""
    frame = transactions(100, seed=1)
    (tmp_path / "x.CSV").write_bytes(frame.to_csv(index=False).encode("utf-16"))
    frame.to_parquet(tmp_path / "x.pq")
    assert {recognise(str(tmp_path / name)) for name in ("x.CSV", "x.pq")} == {"simulator"}
    with pytest.raises(FdsError, match="there is no file"):
        recognise(str(tmp_path / "none.csv"))
    with pytest.raises(FdsError) as refused:
        recognise("postgresql://ann:hunter2@host/db")
    assert "hunter2" not in str(refused.value)
    assert "--schema" in refused.value.fix
