"""How an answer is made: templates that escape all they are given, in the reader's language, under a strict policy."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache, partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from fds_mlflow.core.weight import to_percent
from fds_mlflow.display.characters import printable
from fds_mlflow.display.languages import LANGUAGES, text
from fds_mlflow.display.templates import environment
from fds_mlflow.errors import ConflictError, FdsError, NotFoundError, RefusedError, UnavailableError
from fds_mlflow.ui.catalogue import MESSAGES
from fds_mlflow.ui.permissions import access

if TYPE_CHECKING:
    from flask import Response
    from jinja2 import Environment

PREFIX = "/fds"
"""Where the pages are; below the server's own `--static-prefix`, where it has one."""

WRITE_PREFIX = "/ajax-api/fds"
"""Where what changes things is sent to."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # without a referrer a browser sends no origin, and MLflow refuses the request
    "Vary": "Accept-Language, Authorization, Cookie",
}

log = logging.getLogger(__name__)


class NotAllowedError(RefusedError):
    """Whoever asks may look, and may not do this."""


STATUS = ((NotFoundError, 404), (NotAllowedError, 403), (ConflictError, 409), (RefusedError, 409))
"""HTTP status by the kind of error; 503 for what cannot be reached, and 400 for the rest."""


def status_of(error: FdsError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, UnavailableError):
        return 503
    return next((status for kind, status in STATUS if isinstance(error, kind)), 400)


def language() -> str:
    """The reader's language: as the address says, else the best of those the browser asks for."""
    from flask import request

    asked = request.values.get("lang", "")
    best = asked if asked in LANGUAGES else request.accept_languages.best_match(LANGUAGES)
    return str(best or LANGUAGES[0])


def url(page: str = "", **arguments: object) -> str:
    """The address of a page of ours; a language that was chosen stays chosen."""
    from flask import request
    from mlflow.server.handlers import _add_static_prefix

    told = {name: str(value) for name, value in arguments.items() if value is not None}
    if request.values.get("lang", "") in LANGUAGES:
        told.setdefault("lang", request.values["lang"])
    path = f"{WRITE_PREFIX}/action" if page == "act" else f"{PREFIX}/{page}".rstrip("/")
    return f"{_add_static_prefix(path)}{f'?{urlencode(told)}' if told else ''}"


def mlflow_url(*places: object, **arguments: str) -> str:
    """The address of a page of MLflow's own, which has one document and names its places behind `#`."""
    from mlflow.server.handlers import _add_static_prefix

    there = "/".join(quote(str(place), safe="") for place in places)
    return f"{_add_static_prefix(f'/#/{there}')}{f'?{urlencode(arguments)}' if arguments else ''}"


def page(template: str, *, status: int = 200, **context: object) -> Response:
    """A page from a template."""
    from flask import Response, request

    tongue = language()
    context |= {
        "t": partial(text, MESSAGES, tongue),
        "lang": tongue,
        "languages": [(one, _here(lang=one)) for one in LANGUAGES],
        "user": access().user(),
        "arguments": request.values,
    }
    return Response(_environment().get_template(template).render(context), status, HEADERS, "text/html")


def redirect(address: str) -> Response:
    """Go on to a page after something was done: loading that one again does nothing twice."""
    from flask import Response

    return Response("", 303, {**HEADERS, "Location": address})


def static(name: str, kind: str) -> Callable[[], Response]:
    """A view that answers one of our files."""

    def view() -> Response:
        from flask import Response

        content = (Path(__file__).parent / "static" / name).read_bytes()
        return Response(content, 200, {"Cache-Control": "max-age=300", "X-Content-Type-Options": "nosniff"}, kind)

    return view


def answered(view: Callable[[], Response]) -> Callable[[], Response]:
    """A view whose errors become pages that name the fix."""

    @wraps(view)
    def safe() -> Response:
        try:
            return view()
        except FdsError as error:
            return page("error.html.j2", status=status_of(error), error=error)

    return safe


def _here(**arguments: str) -> str:
    """The address of this page with other arguments; where something was sent, of the list."""
    from flask import request

    told = {**request.args.to_dict(), **arguments}
    return (request.script_root + request.path if request.method == "GET" else url()) + f"?{urlencode(told)}"


def _shown(value: Any) -> Any:
    """What a template is about to escape, with each character that acts or hides written out."""
    if hasattr(value, "__html__") or not isinstance(value, str):
        return value
    return printable(value, keep="\n\t")


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    made = environment("fds_mlflow.ui", "templates", finalize=_shown, auto_reload=False)
    made.filters |= {"clock": _clock, "percent": to_percent}
    made.globals |= {"url": url, "mlflow": mlflow_url}
    return made
