"""What makes a training run reproducible: its data's digest, the code's commit, lock file and version.

Standard library only: MLflow loads the adapter that reads this module during ``import mlflow``.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib import metadata
from pathlib import Path

from fds_mlflow.runtime import environment

#: Looked for at the root of the code, in this order; the first one there pins the environment.
LOCK_FILES = ("requirements.lock", "uv.lock", "poetry.lock", "pdm.lock", "conda-lock.yml")

_GIT_SECONDS = 2.0

_facts: ContextVar[Mapping[str, str] | None] = ContextVar("fds_run_facts", default=None)


@contextmanager
def run_facts(facts: Mapping[str, str]) -> Iterator[None]:
    """Mark every MLflow run started inside the block as one of this project's.

    Args:
        facts: Tags of the data behind the run, such as ``{"fds.digest": "9c1d…", "fds.schema": "4be2…"}``.
    """
    token = _facts.set(dict(facts))
    try:
        yield
    finally:
        _facts.reset(token)


def current_facts() -> dict[str, str] | None:
    """Tags given by :func:`run_facts` or by the environment; None outside this project's runs."""
    facts = _facts.get()
    if facts is not None:
        return dict(facts)
    text = environment.setting(environment.RUN_CONTEXT)
    if not text:
        return None
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(loaded, dict):
        return None
    return {str(key): str(value) for key, value in loaded.items()}


def code_tags(directory: Path | None = None) -> dict[str, str]:
    """Describe the code that runs.

    The tags are ``fds.git_commit``, ``fds.git_dirty``, ``fds.lock`` and ``fds.package_version``.
    What cannot be found out (no git, no repository, no lock file) is left out; nothing is printed.

    Args:
        directory: Where to look for the repository and its lock file; the working directory by default.
    """
    tags: dict[str, str] = {}
    start = (directory or Path.cwd()).resolve()
    root = start
    # One call for the root and the commit, one for the state: about 10 ms together.
    located = _git(start, "rev-parse", "--show-toplevel", "HEAD")
    if located is not None and len(located.splitlines()) == 2:
        top, commit = located.splitlines()
        root = Path(top)
        tags["fds.git_commit"] = commit
        status = _git(root, "status", "--porcelain", "--untracked-files=no")
        if status is not None:
            tags["fds.git_dirty"] = "true" if status.strip() else "false"
    lock = next((root / name for name in LOCK_FILES if (root / name).is_file()), None)
    if lock is not None:
        tags["fds.lock"] = f"{lock.name} sha256:{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    # Not found: a source tree that was never installed, whose commit says more than a version would.
    with suppress(metadata.PackageNotFoundError):
        tags["fds.package_version"] = metadata.version("fds-mlflow")
    return tags


def _git(directory: Path, *arguments: str) -> str | None:
    """Standard output of one git command, or None where git, the repository or the patience ends."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
            # Reading the state must not take the index lock from a git command that the user runs meanwhile.
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
