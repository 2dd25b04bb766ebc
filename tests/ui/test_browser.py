"""The page in a real browser: by hand and by keyboard, on a phone, in the dark, and to who cannot see it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from fds_mlflow import ManagedModel
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.errors import AwaitsApprovalError
from tests.support.chromium import require_readable
from tests.support.page import House
from tests.support.servers import Server, basic_auth

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.slow, pytest.mark.browser]

ADMIN = ("admin", "a-password-of-sixteen")
SECOND = ("carl", "a-password-of-carl-s")


@pytest.fixture(scope="module")
def server(migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two people who sign in."""
    folder = tmp_path_factory.mktemp("browser")
    shutil.copyfile(migrated_database, folder / "mlflow.db")
    with basic_auth(f"sqlite:///{folder / 'mlflow.db'}", folder, page=True) as (server, _):
        made = {"username": SECOND[0], "password": SECOND[1]}
        with httpx.Client(base_url=server.url, auth=ADMIN) as admin:
            admin.post("/api/2.0/mlflow/users/create", json=made).raise_for_status()
            made = {"username": SECOND[0], "is_admin": True}  # type: ignore[dict-item]
            admin.patch("/api/2.0/mlflow/users/update-admin", json=made).raise_for_status()
        yield server


@pytest.fixture(scope="module")
def house(server: Server) -> House:
    """The server's registry, past the server."""
    return House(server.backend)


@pytest.fixture
def opened(chromium: Browser, server: Server) -> Iterator[Callable[..., Page]]:
    """Opens a page as somebody, in a browser of their own."""
    contexts: list[Any] = []

    def open_page(path: str, who: tuple[str, str] = ADMIN, **settings: Any) -> Page:
        credentials = {"username": who[0], "password": who[1]}
        context = chromium.new_context(base_url=server.url, http_credentials=credentials, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)  # a busy machine is no fault of the page
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        with suppress(Exception):
            context.close()


PAGES = ("/fds", "/fds/model?name={}", "/fds/rollout?name={}&id={id}", "/fds/compare?name={}&a=1&b=2")
MORE = ("/fds/rollback?name={}", "/fds/action?name={}&do=abort", "/fds/model?name=none")


def test_everybody_can_read_it(opened: Callable[..., Page], house: House):
    """No page has a serious finding of accessibility, or scrolls sideways: on a phone and a desk, by day and night."""
    rollout = house.rollout("read")
    house.judged("read", rollout)
    for width, scheme, language in ((360, "light", "en"), (1280, "dark", "ko")):
        page = opened("/fds", viewport={"width": width, "height": 800}, color_scheme=scheme)
        for path in (*PAGES, *MORE):
            mark = "&" if "?" in path else "?"
            page.goto(path.format("read", id=rollout.id) + f"{mark}lang={language}")
            require_readable(page)


def test_it_is_read_and_acted_on_without_javascript(opened: Callable[..., Page], house: House):
    """With scripts turned off all is there, and a form is sent."""
    house.rollout("plain")
    page = opened("/fds/model?name=plain", java_script_enabled=False)
    page.get_by_role("link", name="Pause the rollout").click()
    page.get_by_role("button", name="Pause the rollout").click()
    assert "Paused since" in page.content()


def test_by_keyboard(opened: Callable[..., Page], house: House):
    """The first key leads past the head of the page; each link and button is reached, and shows that it is."""
    house.rollout("keys")
    page = opened("/fds/action?name=keys&do=advance")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Advance the canary").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url("**/fds/model?*")
    assert "Canary 2 gets 25 %" in page.content()


@pytest.mark.parametrize("action", ["abort", "emergency"])
def test_what_stops_is_two_clicks_and_a_reason(opened: Callable[..., Page], house: House, action: str):
    """From the model's page: the action, the reason, the button; then the page says that it is done."""
    model = f"stop-{action}"
    house.register(model, 3)
    for version in (1, 3):
        house.do(model, Kind.PROMOTE, version)
    house.do(model, Kind.START, 2)
    page = opened(f"/fds/model?name={model}")
    name = {"abort": "Abort the canary", "emergency": "Emergency rollback"}[action]
    page.get_by_role("link", name=name).click()
    page.get_by_label("Reason, for the history").fill("<b>it blocks everybody</b>")
    page.get_by_role("button", name=name).click()
    assert page.get_by_role("status").inner_text().startswith("Done: event")
    assert page.get_by_text("<b>it blocks everybody</b>").first.is_visible()
    event = house.transactions.look(model).history.events[-1]
    assert (event.actor, event.signed_in) == ("admin", True)


def test_a_pause_is_taken_back(opened: Callable[..., Page], house: House):
    """A rollout is paused, and goes on: each from the model's page."""
    house.rollout("pause")
    page = opened("/fds/model?name=pause")
    for name in ("Pause the rollout", "Resume the rollout"):
        page.get_by_role("link", name=name).click()
        page.get_by_label("Reason, for the history").fill("the bank holiday")
        page.get_by_role("button", name=name).click()
        assert page.get_by_role("status").inner_text().startswith("Done: event")
    kinds = [event.kind for event in house.transactions.look("pause").history.events]
    assert kinds[-2:] == [Kind.PAUSE, Kind.RESUME]


def test_back_to_a_version_of_ones_choice(opened: Callable[..., Page], house: House):
    """From the model's page to its former champions, and back to one of them that is not the latest."""
    house.register("back", 3)
    for version in (1, 2, 3):
        house.do("back", Kind.PROMOTE, version)
    page = opened("/fds/model?name=back")
    page.get_by_role("link", name="Roll back to a version").click()
    page.get_by_role("row", name="Version 1").get_by_role("link", name="1").last.click()
    page.get_by_label("Reason, for the history").fill("version 2 was as bad")
    page.get_by_role("button", name="Roll back to a version").click()
    assert "Version 1 is the champion" in page.content()
    assert house.alias("back") == 1


def test_a_request_is_rejected(opened: Callable[..., Page], house: House):
    """A second person says no, and why; the request waits no more."""
    house.register("no", 2)
    house.do("no", Kind.PROMOTE, 1)
    asking = ManagedModel("no", tracking_uri=house.uri, registry_uri=house.uri, actor="owner")
    asking.approvals.require(["promote"])
    with pytest.raises(AwaitsApprovalError):
        house.do("no", Kind.PROMOTE, 2)
    page = opened("/fds/model?name=no")
    page.get_by_role("link", name="Reject the request").click()
    page.get_by_label("Reason, for the history").fill("not on a Friday")
    page.get_by_role("button", name="Reject the request").click()
    assert "not on a Friday" in page.content()
    assert page.get_by_role("link", name="Approve the request").count() == 0
    assert house.alias("no") == 1


def test_two_people_approve(opened: Callable[..., Page], house: House):
    """One asks to open a gate and cannot approve it; another one approves; the first one's next try goes ahead."""
    house.rollout("gate")
    ManagedModel("gate", tracking_uri=house.uri, registry_uri=house.uri, actor="owner").approvals.require(["gate"])
    house.do("gate", Kind.ADVANCE)

    def advance(page: Page) -> None:
        page.goto("/fds/model?name=gate")
        page.get_by_role("link", name="Advance the canary").click()
        page.get_by_label("Reason, for the history").fill("a week without a FAIL")
        page.get_by_role("button", name="Advance the canary").click()

    first = opened("/fds/model?name=gate")
    advance(first)
    assert "waits for a second person" in first.get_by_role("status").inner_text()
    first.get_by_role("link", name="Approve the request").click()
    assert "admin may not approve the request of admin" in first.content()
    second = opened("/fds/model?name=gate", SECOND)
    second.get_by_role("link", name="Approve the request").click()
    second.get_by_role("button", name="Approve the request").click()
    assert second.get_by_text("approved by carl").is_visible()
    advance(first)
    assert "Canary 2 gets 50 %" in first.content()
