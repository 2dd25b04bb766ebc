"""What the pages show."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter
from urllib.parse import quote

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from fds_mlflow.core.lifecycle.decision import Decision
from fds_mlflow.core.lifecycle.events import Kind
from fds_mlflow.display.languages import LANGUAGES
from fds_mlflow.ui import comparison_page, render
from fds_mlflow.ui.actions import ACTIONS
from fds_mlflow.ui.catalogue import MESSAGES
from fds_mlflow.ui.permissions import Level
from tests.support.page import Browser, House, shown


def test_models_at_a_glance(browser: Browser, house: House):
    """The list says who serves, who is on trial with which share and verdict, and that all is well."""
    rollout = house.rollout()
    house.judged("fraud", rollout)
    said = browser.read("/fds")
    assert "fraud 1" in said
    assert "2 10 % INCONCLUSIVE error_rate is open well" in said


def test_a_model_tells_its_story(browser: Browser, house: House):
    """A model's page says what serves, since when, by whom and why; the rollout's step and verdict; and all events."""
    rollout = house.rollout()
    house.judged("fraud", rollout)
    said = browser.read("/fds/model?name=fraud")
    assert "Version 1 is the champion." in said
    assert "by ann. Reason: the first model" in said
    assert "Canary 2 gets 10 % of the traffic, champion 1 the rest." in said
    assert "10 % now 25 % ahead · gate: a person opens it 50 % ahead 100 % ahead" in said
    assert "weekly retrain" in said
    assert "Nothing: aliases, stages and history agree." in said


HOSTILE = "<script>alert(1)<script>"
HIDING = "\u202efraud\u200b"


def test_what_people_wrote_is_text(browser: Browser, house: House):
    """Names, reasons and tags with markup or hidden characters are shown as they are written, and act on nothing."""
    house.register(HOSTILE, 2)
    house.do(HOSTILE, Kind.PROMOTE, 1, reason='<img src=x onerror="alert(1)"> {{ 7 * 7 }} [x](javascript:alert(1))')
    house.client.set_model_version_tag(HOSTILE, "2", "fds.algorithm", f"{HOSTILE} {HIDING}")
    house.register(HIDING, 1)
    house.client.set_registered_model_alias(HIDING, "champion", "1")
    for path in ("/fds", f"/fds/model?name={quote(HOSTILE)}", f"/fds/compare?name={quote(HOSTILE)}&a=1&b=2"):
        answer = browser.get(path)
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
        assert "<img" not in answer.text
        assert "javascript:alert" not in answer.text.replace("[x](javascript:alert(1))", "")
        assert not set(answer.text) & set(HIDING[::6])
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert r"\u202efraud\u200b" in browser.read("/fds")
    assert "{{ 7 * 7 }}" in browser.read(f"/fds/model?name={quote(HOSTILE)}")


def test_every_page_in_korean(browser: Browser, house: House):
    """Pages speak the language that the address or the browser asks for, and links keep a language that was chosen."""
    rollout = house.rollout()
    assert "모델" in shown(browser.get("/fds", **{"Accept-Language": "ko,en;q=0.5"}).text)
    chosen = browser.get("/fds/model?name=fraud&lang=ko")
    assert '<html lang="ko">' in chosen.text
    assert "버전 1이(가) 챔피언입니다." in shown(chosen.text)
    assert f"name=fraud&amp;id={rollout.id}&amp;lang=ko" in chosen.text
    assert '<html lang="en">' in browser.get("/fds?lang=xx").text


def test_long_lists_come_in_parts(browser: Browser, house: House):
    """A part of the events and of the versions is shown, the newest first; the rest is a link away."""
    house.register("fraud", 45)
    for version in range(1, 31):
        house.do("fraud", Kind.STAGE, version)
    said = browser.read("/fds/model?name=fraud")
    assert "1 to 25 of 30" in said
    assert "1 to 20 of 45" in said
    said = browser.read("/fds/model?name=fraud&events=2&versions=99")
    assert "26 to 30 of 30" in said
    assert "41 to 45 of 45" in said


def test_a_rollout_with_its_evidence(browser: Browser, house: House):
    """The rollout's page has its steps, what each check asks and said, plots with a text each, and its events."""
    rollout = house.rollout()
    house.judged("fraud", rollout)
    answer = browser.get(f"/fds/rollout?name=fraud&id={rollout.id}")
    said = shown(answer.text)
    assert "INCONCLUSIVE" in said
    assert "12 of 4,000" in said
    assert "at most 2 times the champion's" in said
    assert answer.text.count("<svg") == 1 + 2 * 3
    assert "for FAIL: 0.19; for PASS: 0.38" in said
    assert 'href="/#/experiments/' in answer.text
    assert browser.get("/fds/rollout?name=fraud&id=none").status_code == 404


def test_a_rollout_without_a_run(browser: Browser, house: House):
    """Where no autopilot has looked, the page says so and shows what the history knows."""
    rollout = house.rollout()
    said = browser.read(f"/fds/rollout?name=fraud&id={rollout.id}")
    assert "No tracking run" in said
    assert "not judged yet" in said


def test_two_versions_beside_each_other(browser: Browser, house: House):
    """What was logged at training stands beside each other with the difference; no model is loaded."""
    house.register("fraud", 0)
    for value in (0.5, 0.625):
        run = house.client.create_run("0")
        house.client.log_metric(run.info.run_id, "recall", value)
        house.client.create_model_version("fraud", "s3://nowhere/model", run.info.run_id, await_creation_for=None)
    assert "recall 0.5 0.625 +0.125" in browser.read("/fds/compare?name=fraud&a=1&b=2")
    assert browser.get("/fds/compare?name=fraud&a=1&b=9").status_code == 404
    assert browser.get("/fds/compare?name=fraud&a=1&b=x").status_code == 400


def test_rollback_candidates(browser: Browser, house: House):
    """Former champions are listed, the latest first, and the one an emergency takes is marked."""
    house.register("fraud", 3)
    for version in (1, 2, 3):
        house.do("fraud", Kind.PROMOTE, version)
    said = browser.read("/fds/rollback?name=fraud")
    assert said.index("Version 2 the emergency's choice") < said.index("Version 1")
    assert "Version 3" not in said


def test_what_is_not_well_is_said(browser: Browser, house: House):
    """An alias that a hand has moved shows in the list and, with what helps, on the model's page."""
    house.register("fraud", 3)
    house.do("fraud", Kind.PROMOTE, 1)
    house.client.set_registered_model_alias("fraud", "champion", "3")
    assert "changed outside" in browser.read("/fds")
    assert "changed outside: champion is 3 where the history says 1" in browser.read("/fds/model?name=fraud")


def test_tracking_may_be_away(browser: Browser, house: House, monkeypatch: pytest.MonkeyPatch):
    """Where tracking does not answer, the pages show what the registry knows, and no verdict."""
    rollout = house.rollout()
    house.judged("fraud", rollout)

    def away(*_given: object, **_named: object) -> None:
        raise MlflowException("away")

    monkeypatch.setattr(MlflowClient, "search_experiments", away)
    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", away)
    for path in ("/fds", "/fds/model?name=fraud", f"/fds/rollout?name=fraud&id={rollout.id}"):
        said = browser.read(path)
        assert "10 %" in said
        assert "not judged yet" in said


def test_only_what_one_may_see_is_there(browser: Browser, house: House):
    """A model that somebody may not read is not listed, and its pages say that there is none."""
    house.rollout("fraud")
    house.rollout("secret")
    browser.people.levels["secret"] = Level.NONE
    assert "secret" not in browser.read("/fds")
    for page in ("model", "rollback", "compare", "rollout", "action"):
        answer = browser.get(f"/fds/{page}?name=secret&do=advance&a=1&b=2&id=x")
        assert answer.status_code == 404
        assert "there is no model 'secret' that you may see" in shown(answer.text)


def test_the_catalogue_is_whole():
    """Every message has a text in each language, with the same values in it."""
    for key, texts in MESSAGES.items():
        assert len(texts) == len(LANGUAGES), key
        assert all(texts), key
        values = [{field for _, field, _, _ in Formatter().parse(text) if field} for text in texts]
        assert values[0] == values[1], key


def test_every_message_is_used_and_known():
    """Templates and code name only messages that there are, and none that nothing names."""
    folder = Path(render.__file__).parent
    written = "".join(
        path.read_text(encoding="utf-8") for path in (*folder.glob("templates/*"), *folder.glob("*_page.py"))
    )
    named = set(re.findall(r'(?<![\w.])t\("([a-z_.]+)"[,)]', written))
    assert named <= MESSAGES.keys()
    built = (
        "kind.",
        "decision.",
        "ending.",
        "health.",
        "role.",
        "severity.",
        "step.",
        "action.",
        "change.",
        "value.",
        "curve.",
    )
    others = {key for key in MESSAGES.keys() - named if not key.startswith(built)}
    assert {key for key in others if f'"{key}"' not in written} <= set(comparison_page.TAGS) | {"description"}
    assert {f"kind.{kind.value}" for kind in Kind} <= MESSAGES.keys()
    assert {f"decision.{one.name}" for one in Decision} <= MESSAGES.keys()
    assert {f"action.{name}" for name in ACTIONS} <= MESSAGES.keys()
