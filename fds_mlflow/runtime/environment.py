"""Every variable of the environment that this package reads; `docs/` explains each where it matters."""

from __future__ import annotations

import os

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


def setting(name: str) -> str:
    """A variable's value; empty where it is not set."""
    return os.environ.get(name, "")
