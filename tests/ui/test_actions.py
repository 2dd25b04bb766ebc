"""What is done from the page, and what is refused."""

from __future__ import annotations

import pytest

from fds_mlflow import ManagedModel
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.errors import AwaitsApprovalError
from fds_mlflow.scoring import scorer
from fds_mlflow.ui.permissions import Level
from tests.support.page import Browser, House, fields, shown


@pytest.fixture(autouse=True)
def _nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No page and no action loads a model."""

    def load(*_args: object, **_named: object) -> None:
        raise AssertionError("a model was loaded in the server's process")

    monkeypatch.setattr(scorer, "load", load)


def test_the_canary_is_advanced_after_a_dry_run(browser: Browser, house: House):
    """The dry run shows from and to and changes nothing; its form does just that, and the page says that it is done."""
    house.rollout()
    before = house.store.read("fraud")
    said = browser.read("/fds/action?name=fraud&do=advance")
    assert "Traffic of version 2 10 % 25 %" in said
    assert house.store.read("fraud") == before
    answer = browser.send("/fds/action?name=fraud&do=advance", actor="berta")
    assert answer.status_code == 303
    assert "Done: event 3, advance." in browser.read(answer.headers["Location"])
    event = house.transactions.look("fraud").history.events[-1]
    assert (event.kind, event.actor, event.rollout and event.rollout.weight) == (Kind.ADVANCE, "berta", 2_500)


def test_a_reader_sees_and_does_nothing(browser: Browser, house: House):
    """With the permission READ no action is offered, its page says what it takes, and a forged form is refused."""
    house.rollout()
    browser.people.name, browser.people.default = "reader", Level.READ
    assert "Nothing to do here" in browser.read("/fds/model?name=fraud")
    said = browser.get("/fds/action?name=fraud&do=abort")
    assert "it needs the permission MANAGE" in shown(said.text)
    assert "<form" not in said.text
    browser.people.default = Level.MANAGE
    page = "/fds/action?name=fraud&do=abort"
    form = browser.get(page)
    browser.people.default = Level.EDIT
    answer = browser.client.post("/ajax-api/fds/action", data={**fields(form.text), "reason": "why not"})
    assert answer.status_code == 403
    assert house.alias("fraud", "canary") == 2


@pytest.mark.parametrize("do", ["advance", "pause", "abort", "emergency", "rollback&version=1"])
def test_each_action_needs_what_it_was_shown_for(browser: Browser, house: House, do: str):
    """What was shown and is not so any more is not done: the model is looked at anew; but what stops is done."""
    house.register("fraud", 3)
    for version in (1, 3):
        house.do("fraud", Kind.PROMOTE, version)
    house.do("fraud", Kind.START, 2)
    page = f"/fds/action?name=fraud&do={do}"
    before = browser.get(page)
    assert "would" in before.text
    form = fields(before.text)
    house.do("fraud", Kind.ADVANCE)
    there = house.store.read("fraud").aliases
    answer = browser.client.post("/ajax-api/fds/action", data={**form, "actor": "berta", "reason": "why not"})
    if do != "advance":
        assert answer.status_code == 303
        assert house.transactions.look("fraud").history.events[-1].kind.value == do.partition("&")[0]
        return
    assert answer.status_code == 409
    assert "has changed since the dry run was shown" in shown(answer.text)
    assert house.store.read("fraud").aliases == there


def test_an_emergency_is_done_though_a_hand_has_moved_the_champion(browser: Browser, house: House):
    """What a hand did, and nobody recorded, is part of what is shown, and holds nothing up: it goes back at once."""
    house.register("fraud", 3)
    for version in (1, 2):
        house.do("fraud", Kind.PROMOTE, version)
    house.client.set_registered_model_alias("fraud", "champion", 3)
    page = "/fds/action?name=fraud&do=emergency"
    assert "Champion 3 2" in browser.read(page)
    before = house.store.read("fraud")
    assert browser.send(page, actor="berta", reason="it blocks everybody").status_code == 303
    assert before.aliases["champion"] == 3
    assert house.alias("fraud") == 2


def test_an_approval_says_all_that_is_approved(browser: Browser, house: House):
    """Who is asked to approve reads the version, force, the plan and the new policy, not only the verb."""
    house.register("fraud", 3)
    house.do("fraud", Kind.PROMOTE, 1)
    asking = ManagedModel("fraud", tracking_uri=house.uri, registry_uri=house.uri, actor="ann")
    asking.approvals.require(["start", "promote"])
    for ask in (lambda: asking.approvals.require([]), lambda: house.do("fraud", Kind.START, 2)):
        with pytest.raises(AwaitsApprovalError) as waits:
            ask()
        request = waits.value.request
        said = browser.read(f"/fds/action?name=fraud&do=approve&request={request}")
        lifted = "Approvals would be needed for: none" in said
        wanted = ("policy",) if lifted else ("start 2", '"steps"', '"gates"')
        assert [word for word in wanted if word not in said] == []
        assert [word for word in wanted if word not in browser.read("/fds/model?name=fraud")] == []


def test_pause_and_resume(browser: Browser, house: House):
    """A paused rollout says so and offers to be resumed."""
    house.rollout()
    browser.people.name = "berta"
    assert browser.send("/fds/action?name=fraud&do=pause").status_code == 303
    said = browser.read("/fds/model?name=fraud")
    assert "Paused since" in said
    assert "Resume the rollout" in said
    assert browser.send("/fds/action?name=fraud&do=resume").status_code == 303
    assert "Paused since" not in browser.read("/fds/model?name=fraud")


def test_abort(browser: Browser, house: House):
    """The canary's alias goes, in the name of who is signed in, with their reason."""
    house.rollout()
    browser.people.name = "berta"
    assert "Rollout of version 2 active ended" in browser.read("/fds/action?name=fraud&do=abort")
    assert browser.send("/fds/action?name=fraud&do=abort", reason="too many alerts").status_code == 303
    assert house.alias("fraud", "canary") is None
    event = house.transactions.look("fraud").history.events[-1]
    assert (event.kind, event.actor, event.signed_in, event.reason) == (Kind.ABORT, "berta", True, "too many alerts")


def test_an_abort_needs_a_reason(browser: Browser, house: House):
    """Without one nothing is done, and the page says what helps."""
    house.rollout()
    browser.people.name = "berta"
    answer = browser.send("/fds/action?name=fraud&do=abort")
    assert answer.status_code == 409
    assert "an abort needs a reason" in shown(answer.text)
    assert house.alias("fraud", "canary") == 2


def test_emergency(browser: Browser, house: House):
    """The champion goes back to the latest former one that was not rolled back from."""
    house.register("fraud", 2)
    for version in (1, 2):
        house.do("fraud", Kind.PROMOTE, version)
    browser.people.name = "berta"
    assert "Champion 2 1" in browser.read("/fds/action?name=fraud&do=emergency")
    assert browser.send("/fds/action?name=fraud&do=emergency", reason="it blocks everybody").status_code == 303
    assert house.alias("fraud") == 1


def test_a_rollback_asks_what_can_be_asked_without_loading(browser: Browser, house: House):
    """A former champion whose files somebody has looked at is taken; its digest goes on to hold in the new event."""
    house.register("fraud", 2)
    for version in (1, 2):
        house.do("fraud", Kind.PROMOTE, version)
    said = browser.read("/fds/action?name=fraud&do=rollback&version=1")
    assert "not tried here: no model is loaded in this server" in said
    browser.people.name = "berta"
    assert browser.send("/fds/action?name=fraud&do=rollback&version=1", reason="better").status_code == 303
    assert house.alias("fraud") == 1


@pytest.mark.parametrize("lacks", ["threshold", "looks"])
def test_a_rollback_is_refused_to_what_may_not_serve(browser: Browser, house: House, lacks: str):
    """Without a threshold, or where nobody has ever looked at its files, the version is refused with the fix."""
    house.register("fraud", 2)
    if lacks == "looks":
        house.client.set_registered_model_alias("fraud", "champion", "1")
        house.transactions.settle("fraud", actor="ann")
    else:
        house.do("fraud", Kind.PROMOTE, 1)
        house.client.delete_model_version_tag("fraud", "1", "fds.threshold")
    house.do("fraud", Kind.PROMOTE, 2)
    answer = browser.get("/fds/action?name=fraud&do=rollback&version=1")
    assert "It would be refused." in shown(answer.text)
    assert "<form" not in answer.text


def test_two_people_open_a_gate(browser: Browser, house: House):
    """Past a gate the first person's advance is a request, which they cannot approve; a second one can."""
    house.rollout()
    ManagedModel("fraud", tracking_uri=house.uri, registry_uri=house.uri, actor="ann").approvals.require(["gate"])
    house.do("fraud", Kind.ADVANCE)
    browser.people.name = "berta"
    advance = "/fds/action?name=fraud&do=advance"
    assert "A second person has to approve it." in browser.read(advance)
    answer = browser.send(advance, reason="looks good")
    assert "waits for a second person" in browser.read(answer.headers["Location"])
    request = next(iter(house.transactions.look("fraud").state.requests))
    approve = f"/fds/action?name=fraud&do=approve&request={request}"
    assert "berta may not approve the request of berta" in browser.read(approve)
    browser.people.name = "carl"
    told = browser.read(approve)
    assert "advance 2, 50 % asked by berta" in " ".join(told.split())
    assert browser.send(approve).status_code == 303
    assert "approved by carl" in browser.read("/fds/model?name=fraud")
    browser.people.name = "berta"
    answer = browser.send(advance, reason="looks good")
    assert answer.status_code == 303
    rollout = house.transactions.look("fraud").rollout
    assert rollout is not None
    assert rollout.weight == 5_000


def test_a_request_is_rejected(browser: Browser, house: House):
    """A rejected request is gone, with the reason in the history."""
    house.rollout()
    ManagedModel("fraud", tracking_uri=house.uri, registry_uri=house.uri, actor="ann").approvals.require(["gate"])
    house.do("fraud", Kind.ADVANCE)
    browser.people.name = "berta"
    browser.send("/fds/action?name=fraud&do=advance", reason="looks good")
    request = next(iter(house.transactions.look("fraud").state.requests))
    browser.people.name = "carl"
    reject = f"/fds/action?name=fraud&do=reject&request={request}"
    assert browser.send(reject, reason="not on a Friday").status_code == 303
    assert not house.transactions.look("fraud").state.requests
    assert "not on a Friday" in browser.read("/fds/model?name=fraud")


@pytest.mark.parametrize(
    ("headers", "status"), [({"Sec-Fetch-Site": "cross-site"}, 403), ({"Content-Type": "text/plain"}, 409)]
)
def test_what_another_site_sends_is_refused(browser: Browser, house: House, headers: dict[str, str], status: int):
    """Whatever a browser says comes from another page, and what is no form of ours, does nothing."""
    house.rollout()
    form = {"name": "fraud", "do": "advance", "actor": "mallory", "state": "x"}
    answer = browser.client.post("/ajax-api/fds/action", data=form if status == 403 else "x", headers=headers)
    assert answer.status_code == status
    assert browser.client.get("/ajax-api/fds/action", query_string=form).status_code == 405


def test_who_acts_is_named(browser: Browser, house: House):
    """Where nobody signs in, the form asks for a name: without one nothing is done."""
    house.rollout()
    answer = browser.send("/fds/action?name=fraud&do=advance")
    assert answer.status_code == 400
    assert "give your name" in shown(answer.text)
