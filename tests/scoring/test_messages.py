"""What travels between a process and the model it does not trust: values as they were, and never code."""

from __future__ import annotations

import fcntl
import os
import pickle
import resource
import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.scoring.messages import decoded, encoded, receive, send
from tests.support.effort import at_most

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@at_most(80)
@given(value=PLAIN)
def test_plain_values_arrive_as_they_were(value: Any) -> None:
    """Numbers, texts, lists and mappings."""
    assert decoded(encoded(value)) == value


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "bool"])
def test_arrays_and_frames_arrive_as_they_were(dtype: str) -> None:
    """Arrays keep their type and shape, frames their columns, types, gaps and index, series become arrays."""
    array = np.arange(6).reshape(3, 2).astype(dtype)
    (there,) = decoded(encoded([array]))
    assert (there.dtype, there.tolist()) == (array.dtype, array.tolist())
    frame = pd.DataFrame({"a": array[:, 0], "b": ["x", None, "z"], 3: [0.5, np.nan, 2.0]}, index=[5, 6, 7])
    pd.testing.assert_frame_equal(decoded(encoded(frame)), frame)
    assert decoded(encoded({"scores": frame["a"]}))["scores"].tolist() == array[:, 0].tolist()
    assert decoded(encoded(np.array(["x", None], dtype=object))) == ["x", None]
    assert decoded(encoded(np.float32(0.5))) == 0.5


def test_an_object_is_not_handed_over() -> None:
    """What is no plain value is refused where it is sent, and a pickle in an array's place where it arrives."""
    with pytest.raises(TypeError, match="Thread"):
        encoded(threading.Thread())
    import msgspec

    for data in (pickle.dumps(np.arange(3)), b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'shape': (1,)}"):
        with pytest.raises(ValueError):  # noqa: PT011 - NumPy's own words
            decoded(msgspec.msgpack.encode(msgspec.msgpack.Ext(1, data)))


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x00\x00\x00\x00\x00\x00\x00\x05ab", b"\xff" * 8])
def test_a_broken_message_is_an_error_and_no_wait(data: bytes) -> None:
    """A process that ends in the middle, or says nonsense, is told from one that answers."""
    reads, writes = os.pipe()
    os.write(writes, data)
    os.close(writes)
    with pytest.raises((EOFError, ValueError)):
        receive(reads, 10)
    os.close(reads)


def test_messages_come_one_after_the_other() -> None:
    """However large, each arrives whole; and who says nothing is waited for only so long."""
    reads, writes = os.pipe()
    values = [list(range(100_000)), "x", {"a": None}]
    sending = threading.Thread(target=lambda: [send(writes, value) for value in values])
    sending.start()
    assert [receive(reads, 30) for _ in values] == values
    sending.join()
    with pytest.raises(TimeoutError):
        receive(reads, 0.0)
    os.close(reads)
    os.close(writes)


def test_a_process_with_a_thousand_files_open_is_answered() -> None:
    """A server with many connections talks to its models as one with few does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("no process may have so many files open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    pipe = os.pipe()
    reads = fcntl.fcntl(pipe[0], fcntl.F_DUPFD_CLOEXEC, 1500)
    try:
        send(pipe[1], "x")
        assert receive(reads, 10) == "x"
        with pytest.raises(TimeoutError):
            receive(reads, 0.0)
    finally:
        for descriptor in (*pipe, reads):
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
