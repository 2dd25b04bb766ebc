"""Where transactions come from: files, databases, the simulator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fds_mlflow.data import readers
from fds_mlflow.data.schema import Schema
from fds_mlflow.data.transactions import Transactions, load
from fds_mlflow.errors import ConfigError
from fds_mlflow.runtime import databases
from fds_mlflow.runtime.text_file import CSV_SUFFIXES, PARQUET_SUFFIXES, absent
from fds_mlflow.simulator import simulate

if TYPE_CHECKING:
    import pandas as pd

SHIPPED = ("simulator", "sample", "handbook", "ulb")


_SHIPPED = "simulator, sample, handbook or ulb"


@dataclass(frozen=True)
class Source:
    """Where transactions come from.

    Attributes:
        data: CSV or Parquet file, SQLAlchemy URL, or `simulator:ROWS`.
        schema: Schema file or shipped name; None to recognise a shipped one, or a file beside the data.
        table: Table, where `data` is a URL.
        query: Query, where `data` is a URL.
    """

    data: str
    schema: str | None = None
    table: str | None = None
    query: str | None = None

    def read(self, *, seed: int = 42) -> Transactions:
        """Read the transactions.

        Raises:
            DataError: The data does not fit the schema.
            ConfigError: The schema cannot be found or recognised.
        """
        kind, _, rows = self.data.partition(":")
        if kind == "simulator":
            made = load(simulate.transactions(_rows(rows, self.data), seed=seed), "simulator")
            return replace(made, source=f"{self.data}, seed {seed}")
        return load(self.data, self.schema or recognise(self.data), table=self.table, query=self.query)


def _rows(text: str, given: str) -> int:
    try:
        return int(text.replace("_", ""))
    except ValueError:
        raise ConfigError(f"{given!r} does not say how many rows", fix="write simulator:50000") from None


def recognise(data: str) -> str:
    """The schema of a file without one: `NAME.schema.yaml` beside it, or the one shipped schema that fits.

    Raises:
        ConfigError: None or several fit, or the data are in a database.
        DataError: There is no such file, or it cannot be read.
    """
    if readers.is_url(data):
        databases.parse(data, named="the address of the data")
        raise ConfigError(f"no schema was given for {data}", fix=f"pass one (--schema): a YAML file, or {_SHIPPED}")
    path = Path(data)
    beside = path.with_name(path.name.split(".")[0] + ".schema.yaml")
    if absent(beside) is None:
        return str(beside)
    columns = set(readers.column_names(path))
    fitting = [name for name in SHIPPED if set(Schema.load(name).columns()) <= columns]
    if len(fitting) == 1:
        return fitting[0]
    describe = f"describe the columns in a YAML file and pass it as the schema (--schema), or put it at {beside}"
    raise ConfigError(
        f"no schema was given for {data}, and {len(fitting)} of the shipped ones fit its columns"
        f" ({', '.join(sorted(columns))})",
        fix=f"choose one: --schema {' or --schema '.join(fitting)}" if fitting else describe,
    )


def write_simulation(output: Path, *, rows: int, days: float, fraud_rate: float, seed: int) -> pd.DataFrame:
    """Write simulated transactions to a .parquet (.pq), .csv or .csv.gz file.

    Raises:
        ConfigError: The file's ending is neither.
    """
    name = output.name.lower()
    if not name.endswith((*CSV_SUFFIXES, *PARQUET_SUFFIXES)):
        raise ConfigError(f"{output} ends in neither .parquet nor .csv", fix="choose one of the two")
    frame = simulate.transactions(rows, days=days, fraud_rate=fraud_rate, seed=seed)
    output.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(CSV_SUFFIXES):
        frame.to_csv(output, index=False)
    else:
        frame.to_parquet(output, index=False)
    return frame
