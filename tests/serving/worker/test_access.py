"""Under which names a server may be asked, and from which pages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.errors import ConfigError
from fds_mlflow.serving.worker.access import Access

HERE = Access.bound("127.0.0.1", named="127.0.0.1", token=False)
NAMED = Access.bound(
    "10.0.0.5",
    named="0.0.0.0",
    token=True,
    hosts=("scoring.example.com", "*.fds.example.com", "[fd00::5]", "10.0.0.5:5001"),
    origins=("https://ops.example.com",),
)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("LOCALHOST:5001", True),
        ("localhost.:80", True),
        ("fds.localhost", True),
        ("127.0.0.1:5001", True),
        ("127.8.9.1", True),
        ("[::1]:5001", True),
        ("[::ffff:127.0.0.1]", True),
        ("", True),
        ("evil.example", False),
        ("evil.example:5001", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evillocalhost", False),
        ("localhost@evil.example", False),
        ("evil.example#localhost", False),
        ("192.168.1.5:5001", False),
        ("[::1", False),
        ("localhost:port", False),
        ("localhost:99999", False),
        (" ", False),
        ("0", False),
    ],
)
def test_on_loopback_only_its_own_names_are_taken(host: str, allowed: bool) -> None:
    """Bound to loopback a server answers under loopback's names: a page whose name leads there has another."""
    assert HERE.allows_host(host) is allowed


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("scoring.example.com", True),
        ("Scoring.Example.com:8443", True),
        ("a.fds.example.com", True),
        ("[fd00::5]:5001", True),
        ("10.0.0.5:5001", True),
        ("10.0.0.5:5002", False),
        ("127.0.0.1:5001", True),
        ("fds.example.com", False),
        ("example.com", False),
        ("[fd00::6]", False),
    ],
)
def test_names_that_are_allowed(host: str, allowed: bool) -> None:
    """Where names are listed they are taken with any port, or the one they have, and loopback's always are."""
    assert NAMED.allows_host(host) is allowed


@pytest.mark.parametrize(
    ("address", "token", "looked_at", "labels"),
    [
        ("127.0.0.1", False, True, True),
        ("127.0.0.1", True, False, True),
        ("::1", False, True, True),
        ("0.0.0.0", False, False, False),
        ("0.0.0.0", True, False, True),
        ("::", False, False, False),
        ("192.168.1.5", False, False, False),
    ],
)
def test_what_is_open_follows_where_it_listens(address: str, token: bool, looked_at: bool, labels: bool) -> None:
    """Without a token, loopback is guarded by Host, and elsewhere no labels are taken; a token opens both."""
    access = Access.bound(address, named=address, token=token)
    assert (not access.allows_host("evil.example"), access.labels) == (looked_at, labels)


@pytest.mark.parametrize(
    ("origin", "site", "host", "allowed"),
    [
        ("", "", "localhost:5001", True),
        ("http://localhost:5001", "", "localhost:5001", True),
        ("HTTP://LocalHost:5001", "", "localhost:5001", True),
        ("https://scoring.example.com", "", "scoring.example.com", True),
        ("https://scoring.example.com:443", "", "scoring.example.com", True),
        ("http://scoring.example.com", "", "scoring.example.com:80", True),
        ("http://[::1]:5001", "", "[::1]:5001", True),
        ("http://inner", "same-origin", "elsewhere", True),
        ("null", "same-origin", "localhost:5001", True),
        ("", "none", "localhost:5001", True),
        ("https://ops.example.com", "", "localhost:5001", True),
        ("https://ops.example.com", "cross-site", "localhost:5001", True),
        ("null", "", "localhost:5001", False),
        ("http://localhost:5002", "", "localhost:5001", False),
        ("http://localhost", "", "localhost:5001", False),
        ("http://127.0.0.1:5001", "", "localhost:5001", False),
        ("https://scoring.example.com", "", "scoring.example.com:80", False),
        ("http://evil.example", "", "localhost:5001", False),
        ("http://localhost:5001.evil.example", "", "localhost:5001", False),
        ("http://localhost:5001@evil.example", "", "localhost:5001", False),
        ("http://localhost:5001/", "", "localhost:5001", False),
        ("file://localhost:5001", "", "localhost:5001", False),
        ("http://localhost:5001", "cross-site", "localhost:5001", False),
        ("http://localhost:5002", "same-site", "localhost:5001", False),
        ("", "cross-site", "localhost:5001", False),
        ("", "anything", "localhost:5001", False),
        ("http://[::1", "", "[::1", False),
        ("http://", "", "", False),
    ],
)
def test_pages_of_others_may_not_write(origin: str, site: str, host: str, allowed: bool) -> None:
    """Only the server's own pages, those that are listed, and what is no browser may change something."""
    assert NAMED.allows_page(origin, site, host) is allowed


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_whatever_a_browser_says_there_is_an_answer(origin: str, site: str, host: str) -> None:
    """No header makes the check fail: it is a yes or a no, and a foreign site is never a yes."""
    assert HERE.allows_host(host) in (True, False)
    assert HERE.allows_page(origin, site, host) in (True, False)
    assert not HERE.allows_page(origin, "cross-site", host)


@pytest.mark.parametrize(
    "more",
    [
        {"hosts": ("https://scoring.example.com",)},
        {"hosts": ("",)},
        {"hosts": ("a@b",)},
        {"origins": ("scoring.example.com",)},
        {"origins": ("https://scoring.example.com/",)},
        {"origins": ("*",)},
        {"origins": ("null",)},
    ],
)
def test_a_slip_in_what_is_allowed_is_refused(more: dict[str, tuple[str, ...]]) -> None:
    """What could never be equal to a Host or an Origin is said at the start, and not passed over."""
    with pytest.raises(ConfigError):
        Access.bound("127.0.0.1", named="127.0.0.1", token=False, **more)
