"""From which pages and under which names a server lets itself be asked: what keeps a web page out of it.

A browser lets any page send requests to any address it reaches, a loopback one too. It cannot read the answers, but a
label has been written by then. It tells on such pages, by Origin and Sec-Fetch-Site; and a page whose own name has
been made to lead here (DNS rebinding) is told by Host.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self
from urllib.parse import SplitResult, urlsplit

from fds_mlflow.errors import ConfigError

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Access:
    """Who may ask a server, beside the token.

    Attributes:
        hosts: Names that a request's Host may have, beside those of loopback; `*` in them stands for anything. None
            where Host is not looked at.
        origins: Origins of other pages that may send, as browsers write them.
        labels: Whether labels are taken.
    """

    hosts: tuple[str, ...] | None = None
    origins: frozenset[str] = frozenset()
    labels: bool = True

    @classmethod
    def bound(
        cls, address: str, *, named: str, token: bool, hosts: Sequence[str] = (), origins: Sequence[str] = ()
    ) -> Self:
        """What is let in where a server listens.

        Args:
            address: Where it listens.
            named: How that was given.
            token: Whether requests must show one, which no page knows.
            hosts: Names that are allowed in any case.
            origins: Pages that may send.

        Raises:
            ConfigError: One of them is no host, or no origin.
        """
        for one in hosts:
            if not one or "/" in one or "@" in one:
                raise ConfigError(f"{one!r} is no host", fix="name hosts without scheme and path: scoring.example.com")
        for one in origins:
            if not _same(one, one.partition("://")[2]):
                raise ConfigError(f"{one!r} is no origin", fix="write https://HOST, with :PORT where it has one")
        loopback = is_loopback(address)
        looked_at = bool(hosts) or (loopback and not token)
        names = tuple(map(_pattern, (*hosts, named))) if looked_at else None
        return cls(names, frozenset(one.lower() for one in origins), labels=loopback or token)

    def allows_host(self, host: str) -> bool:
        """Whether a request may name this host; one that names none is from no browser.

        Args:
            host: Of the header Host, with its port.
        """
        if self.hosts is None or not host:
            return True
        asked = _parts(f"//{host}")
        if asked is None or asked.hostname is None:
            return False
        name = asked.hostname.removesuffix(".")
        if is_loopback(name):
            return True
        return any(fnmatchcase(one, pattern) for one in (name, host.lower()) for pattern in self.hosts)

    def allows_page(self, origin: str, site: str, host: str) -> bool:
        """Whether a request that changes something may come from where a browser says; from elsewhere it may.

        Args:
            origin: Of the header Origin; empty where there is none.
            site: Of the header Sec-Fetch-Site, which no page can set; empty where there is none.
            host: Of the header Host, with its port.
        """
        if origin.lower() in self.origins:
            return True
        if site:
            return site.lower() in ("same-origin", "none")
        return not origin or _same(origin, host)


def is_loopback(name: str) -> bool:
    """Whether a name or an address leads to this machine, whoever resolves it."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _pattern(host: str) -> str:
    """What a host's name is compared with; brackets are those of an address."""
    return (host if "]:" in host else host.strip("[]")).lower().replace("[", "[[]")


def _same(origin: str, host: str) -> bool:
    """Whether an origin is the host itself, as far as that can be told: TLS may end before us."""
    page = _parts(origin)
    if page is None or page.scheme not in _PORTS or page.path or page.query or page.fragment or "@" in origin:
        return False
    asked = _parts(f"//{host}")
    port = _PORTS[page.scheme]
    return (
        asked is not None
        and bool(asked.hostname)
        and (page.hostname, page.port or port) == (asked.hostname, asked.port or port)
    )


def _parts(address: str) -> SplitResult | None:
    """An address taken apart; None where it is none."""
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 - raises where it is no number
    except ValueError:
        return None
    return parts
