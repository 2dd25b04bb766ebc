"""What two processes say to each other about a model, where one does not trust the other: nothing in it is code."""

from __future__ import annotations

import io
import os
import selectors
import struct
import time
from typing import Any

import msgspec
import numpy as np

_LENGTH = struct.Struct(">Q")
_ARRAY, _FRAME = 1, 2
LONGEST = 4 << 30
"""Bytes that one message may have."""


def encoded(value: Any) -> bytes:
    """A value as bytes: plain values, lists, mappings, NumPy arrays, data frames and series.

    Raises:
        TypeError: It is, or holds, something else.
    """
    return msgspec.msgpack.encode(value, enc_hook=_plain)


def decoded(data: bytes) -> Any:
    """The value of bytes that `encoded` made.

    Raises:
        ValueError: They are none.
    """
    return msgspec.msgpack.decode(data, ext_hook=_thing)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufc":
            return value.tolist()
        kept = io.BytesIO()
        np.save(kept, value, allow_pickle=False)
        return msgspec.msgpack.Ext(_ARRAY, kept.getvalue())
    import pandas as pd

    if isinstance(value, pd.Series):
        return _plain(value.to_numpy())
    if isinstance(value, pd.DataFrame):
        import pyarrow as pa

        # Names as they are: Arrow would make texts of all.
        table = pa.Table.from_pandas(value.set_axis([str(place) for place in range(len(value.columns))], axis=1))
        kept = io.BytesIO()
        with pa.ipc.new_stream(kept, table.schema) as stream:
            stream.write_table(table)
        return msgspec.msgpack.Ext(_FRAME, encoded([list(value.columns), kept.getvalue()]))
    raise TypeError(f"a {type(value).__name__} cannot be handed over")


def _thing(kind: int, data: memoryview) -> Any:
    if kind == _ARRAY:
        return np.load(io.BytesIO(data), allow_pickle=False)
    if kind == _FRAME:
        import pyarrow as pa

        names, table = decoded(bytes(data))
        return pa.ipc.open_stream(pa.py_buffer(table)).read_all().to_pandas().set_axis(names, axis=1)
    raise ValueError(f"{kind} is no kind of value")


def send(descriptor: int, value: Any) -> None:
    """Write one message.

    Raises:
        TypeError: The value cannot be handed over.
        OSError: The other side is gone.
    """
    data = encoded(value)
    rest = memoryview(_LENGTH.pack(len(data)) + data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def receive(descriptor: int, seconds: float | None = None) -> Any:
    """Read one message.

    Args:
        descriptor: Of a pipe.
        seconds: How long it may take; None for as long as it takes.

    Raises:
        EOFError: The other side is gone.
        TimeoutError: It took too long.
        ValueError: What came is no message.
    """
    until = None if seconds is None else time.monotonic() + seconds
    (length,) = _LENGTH.unpack(_read(descriptor, _LENGTH.size, until))
    if length > LONGEST:
        raise ValueError(f"a message of {length:,} bytes")
    return decoded(_read(descriptor, length, until))


def _read(descriptor: int, length: int, until: float | None) -> bytes:
    data = bytearray()
    # Unlike `select`, it knows descriptors above 1,023, which a server with many connections has.
    with selectors.DefaultSelector() as waiting:
        waiting.register(descriptor, selectors.EVENT_READ)
        while len(data) < length:
            if until is not None and not waiting.select(max(0.0, until - time.monotonic())):
                raise TimeoutError
            part = os.read(descriptor, min(length - len(data), 1 << 20))
            if not part:
                raise EOFError
            data += part
    return bytes(data)
