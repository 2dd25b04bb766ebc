"""What a server's processes start with: the socket they share, and one thread in each library."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

from fds_mlflow.errors import ConfigError

_LIBRARIES = ("OMP", "OPENBLAS", "MKL")
"""Whose pools of threads an environment variable of that name rules."""


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Let a process that is started run one thread in each library, unless the environment says otherwise.

    Requests are scored side by side already; pools of threads within each would fight for the cores. Libraries read
    this when they are loaded, and NumPy is before the first line of a worker runs.
    """
    added = [name for name in (f"{library}_NUM_THREADS" for library in _LIBRARIES) if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens, and that processes inherit.

    Args:
        host: Address to listen on.
        port: Port; 0 for a free one.

    Raises:
        ConfigError: The address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2_048)
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"{host}:{port} cannot be listened on: {error.strerror}",
            fix="choose another --port or --host",
        ) from error
    listening.set_inheritable(True)
    return listening
