"""The HTTP application of one worker: each model under `/models/NAME/`, and what is asked of the whole server.

Where there is one model the addresses without its name are its own, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from fds_mlflow.errors import ConfigError
from fds_mlflow.runtime import tracing
from fds_mlflow.serving.http import openapi
from fds_mlflow.serving.http.app import App
from fds_mlflow.serving.http.endpoints import PROBES, Endpoints
from fds_mlflow.serving.http.request import Receive, RefusedError, Send
from fds_mlflow.serving.http.waiting import Batch
from fds_mlflow.serving.worker.metrics import Metrics, Series, added_up, exposition
from fds_mlflow.serving.worker.settings import ServerSettings

log = logging.getLogger(__name__)

START_SECONDS = 10.0
"""How long a worker that can answer for one model waits for the others to be loaded."""

_encode = msgspec.json.Encoder().encode


def address(model: str) -> str:
    """Where a model begins."""
    return f"/models/{quote(model, safe='')}"


class Models(Endpoints):
    """An ASGI application of several models, each with its own.

    Args:
        settings: Of each model.

    Attributes:
        apps: The application of each model, by its name.
        plain: Which application takes a plain request for a score, by the request's target.
        crowded: Whether a request to a target would wait too long, by the target.
        probes: Targets that are answered however much there is to do.
        batch: What is answered together.

    Raises:
        ConfigError: A model is there twice, or they do not agree on who may ask.
    """

    def __init__(self, settings: Sequence[ServerSettings]) -> None:
        together(settings)
        self.batch = Batch(max(one.queue_seconds for one in settings))
        self.apps = {one.model: App(one, self.batch) for one in settings}
        self._only = next(iter(self.apps.values())) if len(settings) == 1 else None
        self.plain = {f"{address(name)}/score".encode(): app for name, app in self.apps.items()}
        self.crowded = {
            address(name).encode() + path: crowded
            for name, app in self.apps.items()
            for path, crowded in app.crowded.items()
        }
        if self._only is not None:
            self.plain |= self._only.plain
            self.crowded |= self._only.crowded
        self.probes = frozenset(
            f"{start}{path}".encode() for start in ("", *map(address, self.apps)) for path in PROBES
        )
        self._folder = settings[0].version_cache().shared_counts
        self._starting: list[asyncio.Task[None]] = []
        gets = {
            "/ping": self._ping,
            "/ready": self._ready,
            "/health": self._health,
            "/metrics": self._exposition,
            "/openapi.json": self._openapi,
        }
        super().__init__(settings[0], Metrics() if self._only is None else self._only.metrics, {}, gets)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one connection."""
        app = self._only if scope["type"] == "http" else None
        if scope["type"] == "http" and scope["raw_path"].startswith(b"/models"):
            # As it was sent: decoded, a sign of a name may be a slash.
            _, first, name, rest = [*scope["raw_path"].decode(errors="replace").split("/", 3), "", ""][:4]
            if first == "models":
                app = self.apps.get(unquote(name))
                scope = scope if app is None else {**scope, "path": f"/{unquote(rest)}"}
        await (super().__call__ if app is None else app)(scope, receive, send)

    async def start(self) -> None:
        """Start all; one that takes long to be loaded holds the others up for a moment only."""
        self._starting = [asyncio.create_task(app.start()) for app in self.apps.values()]
        await asyncio.wait(self._starting, timeout=START_SECONDS if self._only is None else None)

    def stop(self) -> None:
        """Hand over what is left of each."""
        for name, app in self.apps.items():
            try:
                app.stop()
            except Exception:  # the others have outcomes, too
                log.exception("outcomes of %s could not be handed over", name)
        self.flush()
        tracing.finish()

    async def wake(self) -> None:
        """Have the registry read now."""
        told = await asyncio.gather(*(app.wake() for app in self.apps.values()), return_exceptions=True)
        for name, error in zip(self.apps, told, strict=True):
            if error is not None:
                log.error("%s was not woken", name, exc_info=error)

    def leave(self) -> None:
        """Say from now on that the server leaves, also where one model is asked about."""
        super().leave()
        for app in self.apps.values():
            app.leave()

    def flush(self) -> None:
        """Write the counts that belong to no model where the other workers find them."""
        if self._only is None:
            try:
                self.metrics.flush(self._folder)
            except OSError as error:
                log.warning("counts could not be written: %s", error)

    # --- questions -----------------------------------------------------------------------------------------

    def _absent(self) -> list[str]:
        """Which models have no version to serve, and why."""
        return [
            f"{name} has no version to serve: {app.worker.reason}"
            for name, app in self.apps.items()
            if app.worker.serving is None
        ]

    def _ping(self) -> bytes:
        absent = self._absent()
        if len(absent) == len(self.apps):
            raise RefusedError(503, "; ".join(absent), "promote a version")
        return b"\n"

    def _ready(self) -> bytes:
        absent = self._absent()
        if absent:
            raise RefusedError(503, "; ".join(absent), "promote a version")
        return b"\n"

    def _health(self) -> bytes:
        self._ping()
        told = {name: app.worker.health() for name, app in self.apps.items()}
        problems = [f"{name}: {one['problem']}" for name, one in told.items() if one["problem"] is not None]
        fine = all(one["status"] == "ok" for one in told.values())
        said = {"status": "ok" if fine else "degraded", "problem": "; ".join(problems) or None, "models": told}
        return _encode(said)

    def _exposition(self) -> bytes:
        self.flush()
        own = Series("", added_up(self._folder))
        return exposition([*(app.worker.series() for app in self.apps.values()), own])

    def _openapi(self) -> bytes:
        return openapi.descriptions({address(name): app.described() for name, app in self.apps.items()})

    def _unknown(self, method: str, path: str, *, known: bool) -> RefusedError:
        served = ", ".join(f"{address(name)}/" for name in self.apps)
        if path == "/models" or path.startswith("/models/"):
            return RefusedError(404, f"there is no model at {path}", f"ask for one that is served here: {served}")
        if any(app.answers(path) for app in self.apps.values()) and not known:
            what = f"there are several models here, and {path} is asked of one of them"
            return RefusedError(404, what, f"begin with its address: {served}")
        return super()._unknown(method, path, known=known)


def together(settings: Sequence[ServerSettings]) -> None:
    """Let models be served by one server only where that is clear.

    Raises:
        ConfigError: There is none, one is there twice, or they do not agree on who may ask.
    """
    names = [one.model for one in settings]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise ConfigError(
            f"{', '.join(map(repr, twice))} is to be served twice" if twice else "there is no model to serve",
            fix="name each model once",
        )
    if len({(one.token, one.webhook_secret) for one in settings}) > 1:
        raise ConfigError(
            "the models of one server have different tokens or webhook secrets", fix="give all the same one"
        )
