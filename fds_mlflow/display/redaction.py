"""Secrets in texts: none is shown, stored or logged, whatever text quotes the address or the setting that holds it.

Two rules, since neither is enough. By form: in an address the password, a bare token, and every parameter that is not
known to be harmless; outside of one what follows `password=`, `token=` and the like, and what follows `Bearer`. By
value: what an address or a setting was seen to hold, since a driver may quote it without either.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator
from urllib.parse import quote, quote_plus, unquote, unquote_plus

_HIDDEN = "***"

_PORT = re.compile(r"\d{2,5}(?![^\s/,;.'\")\]])")
_ANOTHER = re.compile(r"\s\W{0,3}(?:[\w.+-]{1,30}://|models:/)")
_USER = re.compile(r"://(?!/)[^\s:/]*:")  # a path after `///` has no user
_EXAMPLE = re.compile(r"password@[\w.-]+(?:[/:]|$)")
"""`password` stands for one in our own examples, and hides nothing where somebody took it."""
_TOKEN = re.compile(r"\b(https?://)[^\s:/@]+@", re.IGNORECASE)

_SECRET = (
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|signature|credentials?|odbc_connect"
    r"|(?:api|access|account|private|shared)[-_]?key|sig|auth|authorization)"
)
_WORD = re.compile(r"[^\s'\"<>]+")
_PARAMETER = re.compile(r"(^|[&;?#])([^=&;?#]+)=([^&#]*)")
_NAMED = re.compile(
    rf"(?<![\w.-])([\w.-]*{_SECRET}=)(?!\*\*\*)('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s&'\",;)]+)", re.IGNORECASE
)
_HEADER = re.compile(r"\b(Basic|Bearer)\s+(?=\S*[\d+/=._~-])[\w+/=.~-]{6,}", re.IGNORECASE)

_HARMLESS = frozenset(
    {
        *("sslmode", "sslrootcert", "sslcert", "sslkey", "encrypt", "trustservercertificate", "trusted_connection"),
        *("mode", "uri", "cache", "immutable", "nolock", "check_same_thread", "isolation_level", "driver", "charset"),
        *("timeout", "connect_timeout", "application_name", "client_encoding", "target_session_attrs", "gssencmode"),
        *(
            "host",
            "port",
            "dbname",
            "user",
            "username",
            "name",
            "namespace",
            "model",
            "version",
            "alias",
            "workflowtype",
        ),
        *("run_id", "experiment_id", "model_id", "max_results", "x-amz-algorithm", "x-amz-date", "x-amz-expires"),
    }
)
"""Parameters of addresses that hold no secret."""

_PLAIN = re.compile(r"\d{1,9}|true|false|yes|no|on|off|none", re.IGNORECASE)

_SHORTEST = 6
_GUESSABLE = frozenset(
    {
        *("admin", "champion", "canary", "default", "fds-mlflow", "mlflow", "password", "postgres", "postgresql"),
        *("public", "registry", "secret", "server", "sqlite", "tracking"),
    }
)
"""Words that our own sentences are made of: who has one for a password hides nothing with it."""

_MOST = 200
_knowing = threading.Lock()
_known: OrderedDict[str, None] = OrderedDict()
_values: re.Pattern[str] | None = None


def redacted(text: str) -> str:
    """A text without its secrets: `***` stands for each."""
    shown = text
    if "://" in shown:
        shown = "\n".join("".join(map(_without_passwords, _addresses(line))) for line in shown.split("\n"))
        shown = _TOKEN.sub(rf"\1{_HIDDEN}@", shown)
        shown = _WORD.sub(_without_parameters, shown)
    if "=" in shown:
        shown = _NAMED.sub(rf"\1{_HIDDEN}", shown)
    shown = _HEADER.sub(rf"\1 {_HIDDEN}", shown)
    return _by_value(shown) if _known else shown


def _addresses(line: str) -> Iterator[str]:
    """A line in parts, each with one address: no password goes on into another one."""
    begun = 0
    for found in _ANOTHER.finditer(line):
        yield line[begun : found.start()]
        begun = found.start()
    yield line[begun:]


def _without_passwords(part: str) -> str:
    """A part of a line without the passwords of its addresses.

    A password goes up to the *last* @: in `://me:p@ss w@host` it is `p@ss w`, and whatever a parser makes of an address
    that is written wrongly, nothing before the host is shown; rather a word too few than half a password. Only what
    looks like a port ends with its word. Each question is answered by a look into a list: texts are of any length.
    """
    signs = [found.start() for found in re.finditer("@", part)]
    if not signs:
        return part
    ports = [found.start() for found in _PORT.finditer(part)]
    ends = [found.start() for found in re.finditer(r"\s", part)]
    shown, done = [], 0
    for user in _USER.finditer(part):
        start = user.end()
        if user.start() < done or _EXAMPLE.match(part, start):
            continue
        last = _last(signs, start, _next(ports, start, len(part)))
        if last is None:
            last = _last(signs, start, _next(ends, start, len(part)))
        if last is not None:
            shown += [part[done:start], _HIDDEN]
            done = last
    return "".join([*shown, part[done:]])


def _next(places: list[int], start: int, end: int) -> int:
    """The first place from a start on, or the end."""
    at = bisect_left(places, start)
    return places[at] if at < len(places) else end


def _last(places: list[int], start: int, end: int) -> int | None:
    """The last place between a start and an end."""
    at = bisect_left(places, end) - 1
    return places[at] if at >= 0 and places[at] >= start else None


def _without_parameters(found: re.Match[str]) -> str:
    """A word without what its address's parameters hold."""
    place, mark, query = found[0].partition("?")
    return f"{place}?{_PARAMETER.sub(_parameter, query)}" if mark and "://" in place else found[0]


def _by_value(text: str) -> str:
    """A text without the values that are known to be secrets."""
    global _values  # noqa: PLW0603
    values = _values
    if values is None:  # they have changed; a pattern of so many takes milliseconds to make
        with _knowing:
            longest = sorted(_known, key=len, reverse=True)
            _values = values = re.compile("|".join(map(re.escape, longest)))
    return values.sub(_HIDDEN, text)


def _parameter(found: re.Match[str]) -> str:
    mark, name, value = found.groups()
    return found[0] if not _is_secret(name, value) else f"{mark}{name}={_HIDDEN}"


def _is_secret(name: str, value: str) -> bool:
    if re.search(rf"{_SECRET}$", name, re.IGNORECASE):
        return True
    return name.lower() not in _HARMLESS and _PLAIN.fullmatch(value) is None


def remember(*secrets: str | None) -> None:
    """Hide values wherever they turn up from now on; short ones, and words of our own sentences, are left.

    The latest are known, some 50 of them in all their spellings.
    """
    global _values  # noqa: PLW0603
    taken = [each for each in secrets if each and len(each) >= _SHORTEST and each.lower() not in _GUESSABLE]
    if _known.keys() >= set(taken):
        return
    with _knowing:
        for secret in taken:
            quoted = (write(secret, safe="", errors="surrogatepass") for write in (quote, quote_plus))
            for form in {secret, unquote(secret), unquote_plus(secret), *quoted}:
                if len(form) >= _SHORTEST:
                    _known[form] = None
                    _known.move_to_end(form)
        while len(_known) > _MOST:
            _known.popitem(last=False)
        _values = None


def remember_address(address: str | None) -> None:
    """Hide what an address holds: its password, its bare token, and the values of its parameters that are secrets."""
    scheme, mark, rest = (address or "").partition("://")
    if not mark:
        return
    place, _, query = rest.partition("?")
    login, at, visible = place.rpartition("@")
    user, colon, password = login.partition(":")
    found = [password if colon else user if at and scheme.lower().startswith("http") else None]
    found += [value for _, name, value in _PARAMETER.findall(query) if _is_secret(name, unquote_plus(value))]
    shown = {*re.split(r"[/:?#]", visible), unquote(user) if colon else ""}
    remember(*(secret for secret in found if secret and unquote(secret) not in shown))
