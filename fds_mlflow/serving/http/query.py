"""What stands behind the `?` of an address: what a request for a score wants to know beside it."""

from __future__ import annotations

from difflib import get_close_matches
from urllib.parse import parse_qsl

from fds_mlflow.scoring.reasons import MOST_ROWS, Most
from fds_mlflow.serving.http.request import RefusedError
from fds_mlflow.serving.worker.explaining import Wanted

_KNOWN = frozenset({"reasons", "features", "record"})


def wanted(query: bytes) -> Wanted | None:
    """What a query asks for; None where it asks for nothing. What it says to others is passed over.

    Args:
        query: As it was sent, without the `?`.

    Raises:
        RefusedError: It asks twice for one thing, for no number of reasons, or misspells what may be asked.
    """
    if not query:
        return None
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    except ValueError:
        raise RefusedError(400, "the query cannot be read", _FIX) from None
    given: dict[str, str] = {}
    for name, value in pairs:
        if name in given:
            raise RefusedError(400, f"the query says {name} twice", _FIX)
        if name in _KNOWN:
            given[name] = value
        elif get_close_matches(name.lower(), _KNOWN, n=1):  # whatever else there is may be a proxy's, as ever
            raise RefusedError(400, f"the query asks for {name[:50]!r}, which is not known", _FIX)
    features = given.get("features", "false")
    if features not in ("true", "false"):
        raise RefusedError(400, f"features is {features[:50]!r}", _FIX)
    most = _most(given["reasons"]) if "reasons" in given else None
    record = given.get("record")
    if record not in (None, "true", "false"):
        raise RefusedError(400, f"record is {record[:50]!r}", _FIX)
    asked = Wanted(most, features == "true", None if record is None else record == "true")
    return None if asked == Wanted() else asked


def require_few(asked: Wanted, rows: int) -> None:
    """Refuse to give the reasons of many rows at once.

    Raises:
        RefusedError: There are more than are explained at a time.
    """
    if asked.reasons is not None and rows > MOST_ROWS:
        raise RefusedError(
            400, f"reasons are asked for {rows:,} rows > {MOST_ROWS}", f"send at most {MOST_ROWS} rows at a time"
        )


def _most(given: str) -> Most:
    if given == "all":
        return "all"
    if not (given.isascii() and given.isdecimal() and len(given) < 10 and int(given) >= 1):
        raise RefusedError(400, f"reasons is {given[:50]!r}", _FIX)
    return int(given)


_FIX = "ask for reasons=3, another number or all, and for features=true, each once"
