"""Which process this is, in words that another one on the same machine can ask after."""

from __future__ import annotations

import os
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def identity(pid: int | None = None) -> str:
    """Boot, namespace of process ids, id and start of a process; empty where the system does not tell.

    Args:
        pid: The process, in this one's namespace; None for this one.
    """
    place = Path("/proc") / ("self" if pid is None else str(pid))
    try:
        boot, space = _BOOT.read_text().strip(), str(Path("/proc/self/ns/pid").readlink())
        fields = (place / "stat").read_text().rpartition(")")[2].split()  # a name may have spaces and brackets
    except OSError:
        return ""
    state, start = fields[0], fields[19]
    return "" if state in "ZX" else f"{boot} {space} {os.getpid() if pid is None else pid} {start}"


def is_gone(named: str) -> bool:
    """Whether a process is known to have ended; False where that cannot be told from here.

    Args:
        named: What `identity` said in it.
    """
    here, there = identity().split(), named.split()
    if len(here) != 4 or len(there) != 4 or here[:2] != there[:2] or not there[2].isdecimal():
        return False
    try:
        os.kill(int(there[2]), 0)
    except PermissionError:
        return False  # somebody else's process, which /proc may hide (hidepid)
    except (OSError, OverflowError):
        return True
    return identity(int(there[2])) != named
