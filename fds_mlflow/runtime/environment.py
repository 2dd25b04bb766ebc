"""Every variable of the environment that this package reads; `docs/` explains each where it matters."""

from __future__ import annotations

import os

from fds_mlflow.display.redaction import remember

ACTOR = "FDS_ACTOR"
OUTCOMES_URI = "FDS_OUTCOMES_URI"
WEBHOOK_URL = "FDS_WEBHOOK_URL"
WEBHOOK_SECRET = "FDS_WEBHOOK_SECRET"
HOOK = "FDS_HOOK"
HISTORY_KEY = "FDS_HISTORY_KEY"
CACHE = "FDS_CACHE"
SERVE_TOKEN = "FDS_SERVE_TOKEN"
SERVE_WEBHOOK_SECRET = "FDS_SERVE_WEBHOOK_SECRET"
LOG_LEVEL = "FDS_LOG_LEVEL"
TRACEBACK = "FDS_TRACEBACK"
RUN_CONTEXT = "FDS_RUN_CONTEXT"
"""JSON object of tags that a parent process hands to the runs of its children."""


_SECRETS = (
    *("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *(WEBHOOK_SECRET, SERVE_TOKEN, SERVE_WEBHOOK_SECRET, HISTORY_KEY),
)


def hide_secrets() -> None:
    """Have the secrets of the environment hidden in whatever is shown, of whomever it comes."""
    for name in _SECRETS:
        remember(*setting(name).split())


def setting(name: str) -> str:
    """A variable's value; empty where it is not set."""
    return os.environ.get(name, "")
