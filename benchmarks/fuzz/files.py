"""Files of rows: labels, transactions, a model's history; text, packed text, Parquet, workbooks and databases."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sqlite3
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd

from benchmarks.fuzz import mutate
from benchmarks.fuzz.target import Target

GOLDEN = Path("tests/golden")
_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, 1),
    ".bz2": lambda data: bz2.compress(data, 1),
    ".xz": lambda data: lzma.compress(data, preset=0),
}
Given = tuple[str, bytes]
"""A file's ending, and its bytes."""


@cache
def _text(kind: str) -> tuple[str, ...]:
    if kind == "labels":
        golden = (GOLDEN / "files/labels.csv").read_text()
        return (golden, "transaction_id,status,known_at\nT1,genuine,2026-03-08T12:00:00Z\n")
    golden = (GOLDEN / f"files/{kind}.csv").read_text().splitlines()
    return ("\n".join(golden[:6]) + "\n", "\r\n".join(golden[:3]) + "\r\n")


@cache
def _binary(kind: str, ending: str) -> tuple[bytes, ...]:
    """Valid files of a kind that are no text."""
    if kind == "labels":
        return ((GOLDEN / "files/labels.parquet").read_bytes(),)
    frame = pd.read_csv(io.StringIO(_text(kind)[0]))
    made = io.BytesIO()
    if ending == ".xlsx":
        frame.to_excel(made, index=False)
    else:
        frame.to_parquet(made, index=False)
    return (made.getvalue(),)


def _generator(kind: str, endings: tuple[str, ...]) -> Callable[[Random], Given]:
    def generate(rng: Random) -> Given:
        ending = rng.choice(endings)
        if ending in (".parquet", ".xlsx"):
            return ending, mutate.binary(rng, _binary(kind, ending))
        data = mutate.text(rng, _text(kind)).encode(rng.choice(("utf-8",) * 6 + ("utf-16", "cp1252")), "replace")
        if rng.random() < 0.2:
            data = mutate.binary(rng, (data,))
        if rng.random() < 0.15:
            packing = rng.choice(list(_PACKERS))
            data = _PACKERS[packing](data)
            return ending + packing, mutate.binary(rng, (data,)) if rng.random() < 0.5 else data
        return ending, data

    return generate


def _written(folder: Path, given: Given) -> Path:
    path = folder / f"it{given[0]}"
    path.write_bytes(given[1])
    return path


def _labels(folder: Path) -> Callable[[Given], None]:
    from fds_mlflow.outcomes.label_file import import_labels
    from fds_mlflow.outcomes.store import OutcomeStore

    store = OutcomeStore("sqlite://")

    def take(given: Given) -> None:
        rows, changed = import_labels(store, _written(folder, given))
        assert 0 <= changed <= rows

    return take


def _reading(schema_file: str) -> Callable[[Path], Callable[[Given], None]]:
    """By a fixed schema."""

    def door(folder: Path) -> Callable[[Given], None]:
        from fds_mlflow.data.schema import Schema
        from fds_mlflow.data.transactions import load

        schema = Schema.load(GOLDEN / "files" / schema_file)

        def take(given: Given) -> None:
            assert len(load(_written(folder, given), schema)) > 0

        return take

    return door


def _inferred(folder: Path) -> Callable[[Given], str]:
    """By a schema that is inferred, written and read again."""
    from fds_mlflow.data.inference import infer
    from fds_mlflow.data.schema import Schema
    from fds_mlflow.data.transactions import load
    from fds_mlflow.runtime.yaml_file import parse_yaml

    def take(given: Given) -> str:
        path = _written(folder, given)
        found = infer(str(path), None, labelled=False)
        assert Schema.of(**parse_yaml(found.yaml(), "it", fix="none")) == found.schema
        load(path, found.schema)
        return found.yaml()

    return take


def _pairs(rng: Random) -> tuple[Any, str]:
    """A schema's values and a file's text, both changed."""
    from benchmarks.fuzz.declarations import _samples

    values = mutate.value(rng, _samples("schema")[1][0])
    return values, mutate.text(rng, _text("transactions")) if rng.random() < 0.5 else _text("transactions")[0]


def _by_schemas(folder: Path) -> Callable[[tuple[Any, str]], None]:
    from fds_mlflow.data.schema import Schema, validated
    from fds_mlflow.data.transactions import load

    def take(given: tuple[Any, str]) -> None:
        values, text = given
        schema = validated(Schema, values if isinstance(values, dict) else {}, where="the schema")
        path = folder / "it.csv"
        path.write_text(text, encoding="utf-8", errors="replace", newline="")
        load(path, schema)

    return take


def _rows(rng: Random) -> list[tuple[Any, ...]]:
    """Rows of a table, of whatever SQLite takes."""
    found = pd.read_csv(io.StringIO(_text("known")[0])).astype(object).values.tolist()
    return [tuple(mutate.leaf(rng) if rng.random() < 0.1 else cell for cell in row) for row in found]


def _tables(folder: Path) -> Callable[[list[tuple[Any, ...]]], None]:
    from fds_mlflow.data.schema import Schema
    from fds_mlflow.data.transactions import load

    schema = Schema.load(GOLDEN / "files/known.yaml")
    names = list(pd.read_csv(io.StringIO(_text("known")[0])).columns)
    kinds = ["DATETIME" if name in ("WHEN", "KNOWN") else "" for name in names]
    columns = ", ".join(f'"{name}" {kind}' for name, kind in zip(names, kinds, strict=True))
    path = folder / "it.db"
    with sqlite3.connect(path) as made:
        made.execute(f"CREATE TABLE t ({columns})")

    def take(rows: list[tuple[Any, ...]]) -> None:
        with sqlite3.connect(path) as connection:
            connection.execute("DELETE FROM t")
            connection.executemany(f"INSERT INTO t VALUES ({', '.join('?' * len(names))})", map(_storable, rows))
        connection.close()
        load(f"sqlite:///{path}", schema, table="t")

    return take


def _storable(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        None
        if isinstance(cell, list | dict) or (isinstance(cell, int) and abs(cell) >= 2**63)
        else cell.encode("utf-8", "surrogatepass")
        if isinstance(cell, str) and not cell.isprintable()
        else cell
        for cell in row
    )


@cache
def _histories() -> tuple[str, ...]:
    return tuple(path.read_text() for path in sorted((GOLDEN / "history").glob("*.jsonl")))


def _history(rng: Random) -> str:
    import json

    if rng.random() < 0.4:
        return mutate.text(rng, _histories())
    lines = rng.choice(_histories()).splitlines()
    place = rng.randrange(len(lines))
    lines[place] = mutate.dumped(rng, mutate.value(rng, json.loads(lines[place])))
    return "\n".join(lines)


def _imports(_: Path) -> Callable[[str], None]:
    from fds_mlflow.registry import transfer
    from fds_mlflow.runtime import text_file

    def take(text: str) -> None:
        events = transfer.parse(text_file.lines(io.StringIO(text), "it"))
        assert [json_line for json_line in transfer.dump(events) if "\n" in json_line] == []

    return take


_CSV = (".csv", ".csv", ".csv", ".txt", ".tsv")
_ALL = (*_CSV, ".parquet", ".xlsx")
TARGETS = (
    Target("labels", 90_000, _generator("labels", (*_CSV, ".parquet")), _labels, quick=100),
    Target("transactions", 14_000, _generator("transactions", _ALL), _reading("schema.yaml"), quick=40),
    Target("times", 10_000, _generator("known", _ALL), _reading("known.yaml"), quick=40),
    Target("inference", 4_000, _generator("transactions", (".csv", ".csv", ".parquet")), _inferred, quick=8),
    Target("schemas and files", 15_000, _pairs, _by_schemas, quick=60),
    Target("tables", 6_000, _rows, _tables, quick=10),
    Target("histories", 90_000, _history, _imports, quick=150),
)
