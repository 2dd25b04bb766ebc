"""Every variable of the environment that this package reads; `docs/` explains each where it matters."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re

from fds_mlflow.display.redaction import remember

ACTOR = "FDS_ACTOR"
CONTEXT = "FDS_CONTEXT"
CONFIG = "FDS_CONFIG"
"""Where the file of contexts is."""
OUTCOMES_URI = "FDS_OUTCOMES_URI"
WEBHOOK_URL = "FDS_WEBHOOK_URL"
WEBHOOK_SECRET = "FDS_WEBHOOK_SECRET"
HOOK = "FDS_HOOK"
NOTIFY = "FDS_NOTIFY"
PAGE = "FDS_PAGE"
HISTORY_KEY = "FDS_HISTORY_KEY"
CACHE = "FDS_CACHE"
STATE = "FDS_STATE"
SERVE_TOKEN = "FDS_SERVE_TOKEN"
SERVE_WEBHOOK_SECRET = "FDS_SERVE_WEBHOOK_SECRET"
LOG_LEVEL = "FDS_LOG_LEVEL"
DEPLOYMENTS = "FDS_DEPLOYMENTS"
"""`read` or `write`: what MLflow's deployments may do here."""
TRACEBACK = "FDS_TRACEBACK"
DESCRIPTIONS = "FDS_DESCRIPTIONS"
"""`off` where nothing may be written into descriptions of models and versions."""
RUN_CONTEXT = "FDS_RUN_CONTEXT"
"""JSON object of tags that a parent process hands to the runs of its children."""
MODEL_ENVIRONMENT = "FDS_MODEL_ENVIRONMENT"
"""Names of variables, parted by commas, that a process sees which runs the code of a model."""

BASE_APP = "FDS_BASE_APP"
"""The app of MLflow's server with which the page is composed, such as `basic-auth`."""
PAGE_ACCESS = "FDS_PAGE_ACCESS"
"""`module:function` that tells the page who asks and what they may do, for an app that it does not know."""

_FOR_MODELS = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TEMP|TMP|TERM|SYSTEMROOT|XDG_\w+|VIRTUAL_ENV|CONDA_PREFIX"
    r"|PYTHON\w+|LD_LIBRARY_PATH|DYLD_\w+|\w+_NUM_THREADS|KMP_\w+|CUDA_\w+|NVIDIA_\w+|COVERAGE_\w+"
    r"|MLFLOW_ALLOW_PICKLE_DESERIALIZATION|MLFLOW_ALLOW_FILE_STORE|FDS_LOG_LEVEL"
)
"""Names that say how a machine is set up, and hold no secret by what they are."""


_SECRETS = (
    *("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *(WEBHOOK_SECRET, SERVE_TOKEN, SERVE_WEBHOOK_SECRET, HISTORY_KEY, NOTIFY, PAGE),
)


def hide_secrets() -> None:
    """Have the secrets of the environment hidden in whatever is shown, of whomever it comes."""
    for name in _SECRETS:
        remember(*setting(name).split())


def setting(name: str) -> str:
    """A variable's value; empty where it is not set."""
    return os.environ.get(name, "")


def for_models() -> dict[str, str]:
    """The environment of a process that runs the code of a model: how the machine is set up, and what is let through.

    Everything else may be a secret, whatever it is called: addresses, tokens, keys of clouds and databases.
    """
    return {name: value for name, value in os.environ.items() if _is_for_models(name)}


def for_fetching() -> dict[str, str]:
    """The environment of a process that fetches a model: what reaches MLflow and clouds, and no secret of ours."""
    own = {LOG_LEVEL, MODEL_ENVIRONMENT}
    return {name: value for name, value in os.environ.items() if not name.startswith("FDS_") or name in own}


def forget_secrets() -> None:
    """Leave in this process's environment only what one may see that runs the code of a model.

    Python takes a variable away from its own view alone: in what the system shows of the process (`/proc/self/environ`)
    it would stay, so it is overwritten there first.
    """
    for name in [name for name in os.environ if not _is_for_models(name)]:
        with contextlib.suppress(OSError, AttributeError, ValueError):
            place = ctypes.CDLL(None).getenv
            place.argtypes, place.restype = [ctypes.c_char_p], ctypes.c_void_p
            there = place(os.fsencode(name))
            if there:
                ctypes.memset(there, ord("x"), len(os.fsencode(os.environ[name])))
        del os.environ[name]


def _is_for_models(name: str) -> bool:
    let_through = {name.strip() for name in setting(MODEL_ENVIRONMENT).split(",")}
    return _FOR_MODELS.fullmatch(name) is not None or name in let_through
