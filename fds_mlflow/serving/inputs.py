"""What a version was given: a digest of it for every outcome, and of some transactions the values themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import xxhash

from fds_mlflow.core.routing.routing import Split
from fds_mlflow.core.weight import FULL
from fds_mlflow.errors import ConfigError, FdsError
from fds_mlflow.outcomes.records import VECTOR_LENGTH, Vector
from fds_mlflow.scoring.requests.rows import Piece, Row

if TYPE_CHECKING:
    import pandas as pd

    from fds_mlflow.scoring.loaded import Loaded
    from fds_mlflow.scoring.scorer import Scorer


def sample(percent: float) -> Split | None:
    """Which transactions have their vectors kept: the same ones however often they are scored, and by which replica.

    Args:
        percent: Of all; 0 for none.

    Raises:
        ConfigError: It is not from 0 to 100.
    """
    if not 0 <= percent <= 100:
        raise ConfigError(f"{percent!r} percent of the vectors cannot be kept", fix="choose from 0 to 100")
    return Split("", percent / 100 * FULL, salt="vector:") if percent else None


def taken(loaded: Loaded, row: Row) -> list[Any] | None:
    """What a version scores of a row, in the order of its signature; None where that names no columns."""
    if not loaded.names:
        return None
    if isinstance(row, Piece):
        return [row.batch.column(name)[row.place] for name in loaded.names]
    if isinstance(row, dict):
        return [row.get(name) for name in loaded.names]
    try:
        return loaded.values(row)
    except FdsError:  # a code that is none: it is told as it came
        return list(row)


def row_taken(scorer: Scorer, row: Mapping[str, Any]) -> list[Any]:
    """What a version scores of one row by column, in the order of its signature, as a server has it."""
    values = []
    for name, kind in scorer.inputs.items():
        value = row.get(name)
        if name in scorer.codes:
            value = _code(value)
        elif kind in _REAL and isinstance(value, int | float):
            value = None if value != value else float(value)  # noqa: PLR0124 - NaN alone
        values.append(value)
    return values


def rows_taken(scorer: Scorer, frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """As `row_taken`, of each row of a frame."""
    return list(zip(*scorer.values(frame), strict=True))


_REAL = ("double", "float")


def _code(value: Any) -> Any:
    from fds_mlflow.data.codes import code  # with pyarrow, which routing does without

    try:
        return code(value)
    except FdsError:
        return value


def _plain(value: Any) -> Any:
    """What JSON has no word for: NumPy's numbers and arrays are as Python has them, what was left out is a gap."""
    if value is msgspec.UNSET:
        return None
    return value.tolist() if hasattr(value, "tolist") else str(value)


_encode = msgspec.json.Encoder(enc_hook=_plain).encode
_pack = msgspec.msgpack.Encoder(enc_hook=_plain).encode


def digest(values: Sequence[Any], raw: Mapping[str, Any] | None = None) -> str:
    """The digest of what a version was given: 16 hexadecimal digits.

    It is XXH3-64 of MessagePack: `[values, raw]`, where the values are in the order of the signature.

    Args:
        values: Of the version's columns, None for gaps.
        raw: The transaction that they were computed from, by column; None where they came computed.
    """
    try:
        content = _pack((values, raw))
    except (TypeError, ValueError, OverflowError, RecursionError):  # lone surrogates, numbers of more than 64 bits
        content = repr((tuple(values), raw)).encode("utf-8", "backslashreplace")
    return xxhash.xxh3_64_hexdigest(content)


class Origin(NamedTuple):
    """Where computed features come from.

    Attributes:
        columns: Of the transaction, which the version's schema reads.
        spec: Digest of the version's declaration.
    """

    columns: tuple[str, ...]
    spec: str


@lru_cache(maxsize=16)
def origin(folder: Path) -> Origin | None:
    """What a version declares of where its features come from; None where it declares nothing.

    Args:
        folder: Of the logged model.
    """
    from fds_mlflow.data.single import Single
    from fds_mlflow.features import declaration

    declared = declaration.read(folder)
    return None if declared is None else Origin(tuple(Single(declared.schema).columns), declared.digest)


def vector(
    names: Sequence[str], values: Sequence[Any], raw: Mapping[str, Any] | None = None, source: Origin | None = None
) -> Vector | None:
    """What is kept of a transaction; None where it holds more than plain values, or too much: an outcome comes first.

    Args:
        names: The version's columns.
        values: Of each.
        raw: The transaction that they were computed from; None where they came computed.
        source: Where computed features come from.
    """
    given = dict(zip(names, values, strict=True))
    try:
        features = _encode(given)
        if raw is None or source is None:
            return _spoolable(Vector(_decode(features))) if len(features) <= VECTOR_LENGTH else None
        came = _encode({name: raw.get(name) for name in source.columns})
        if max(len(features), len(came)) > VECTOR_LENGTH:
            return None
        return _spoolable(Vector(_decode(features), _decode(came), source.spec))
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
        return None


def _spoolable(made: Vector) -> Vector:
    _pack(made)  # an integer of more than 64 bits is plain, and the spool could not write it
    return made


def kept_vector(loaded: Loaded, values: Sequence[Any], raw: Mapping[str, Any] | None) -> Vector | None:
    """As `vector`, of a version in memory."""
    try:
        return vector(loaded.names, values, raw, None if raw is None else origin(loaded.folder))
    except FdsError:  # a declaration that cannot be read
        return None


_decode = msgspec.json.Decoder(dict[str, bool | int | float | str | None]).decode
