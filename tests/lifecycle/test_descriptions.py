"""MLflow's own pages tell who serves and what happened, beside what people wrote there."""

from __future__ import annotations

import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow import ManagedModel, Plan
from fds_mlflow.errors import UnavailableError
from fds_mlflow.lifecycle.descriptions import BEGIN, END, MOST, merged
from fds_mlflow.registry.memory import MemoryStore
from fds_mlflow.registry.store import Describe, SetVersionTag, Write
from fds_mlflow.registry.tags import ROLLOUT_RUN, THRESHOLD, VERDICT
from tests.conftest import FakeClock

MODEL = "fraud"


class Registry(MemoryStore):
    """A registry that may refuse descriptions."""

    refuses = False

    def write(self, model: str, write: Write) -> None:
        """See the port."""
        if self.refuses and isinstance(write, Describe):
            raise UnavailableError("the registry does not answer", fix="try again")
        super().write(model, write)


@pytest.fixture
def store() -> Registry:
    """A registry with three versions of one model."""
    made = Registry()
    made.add(MODEL, versions=3)
    for number in (1, 2, 3):
        made.write(MODEL, SetVersionTag(number, THRESHOLD, "0.5"))
    return made


@pytest.fixture
def fraud(store: Registry, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> ManagedModel:
    """The model; what its versions are is not asked here."""
    made = ManagedModel(MODEL, store=store, clock=fake_clock, actor="anna")
    monkeypatch.setattr(made.session, "validated", lambda *_, **__: lambda _view, target: target)
    monkeypatch.setattr("fds_mlflow.lifecycle.admission.Admission.__call__", lambda _self, _view, target: target)
    return made


def shown(store: Registry, version: int | None = None) -> str:
    """A description without what MLflow's pages do not show."""
    found = store.read(MODEL).description if version is None else store.version(MODEL, version).description
    return re.sub(r"<!--.*?-->", "", found, flags=re.DOTALL).strip()


def test_a_model_tells_who_serves_since_when_and_why(fraud: ManagedModel, store: Registry) -> None:
    """The model's description names champion and canary with their traffic, who decided and why, with links."""
    fraud.promote(1, reason="the first one")
    fraud.canary.start(2, plan=Plan(steps=[10, 100]), reason="weekly")
    text = shown(store)
    assert "| **champion** | [1](#/models/fraud/versions/1?workflowType=machine_learning) | 90 % |" in text
    assert "| promote by anna: the first one |" in text
    assert "| **canary** | [2](#/models/fraud/versions/2?workflowType=machine_learning) | 10 % |" in text
    assert "**10 %**, step 1 of 2." in text


def test_it_is_current_after_every_operation(fraud: ManagedModel, store: Registry) -> None:
    """What is told is what is so: a canary that was aborted takes no traffic, and the end says who and why."""
    fraud.promote(1, reason="the first one")
    fraud.canary.start(2, plan=Plan(steps=[10, 100]), reason="weekly")
    fraud.canary.abort(reason="customers complain")
    assert "**canary**" not in shown(store)
    assert "**aborted by hand** (anna, " in shown(store)
    assert "customers complain" in shown(store)
    assert shown(store, 2).startswith("**Serves nothing.**")
    fraud.promote(3, reason="better")
    assert shown(store, 3).startswith("**Champion**")
    assert shown(store, 1).startswith("**Former champion**.")
    fraud.rollback.to(1, reason="alarm")
    assert shown(store, 1).startswith("**Champion**")
    assert shown(store, 3).startswith("**Former champion**, rolled back from.")


def test_what_a_person_wrote_stays(fraud: ManagedModel, store: Registry) -> None:
    """Text above and below our block is left as it is by whatever happens, and the block stands there once."""
    store.write(MODEL, Describe("# Ours\n\nAsk Anna."))
    fraud.promote(1, reason="the first one")
    store.write(MODEL, Describe(store.read(MODEL).description + "\n\nBelow."))
    fraud.promote(2, reason="the second one")
    text = store.read(MODEL).description
    assert text.startswith("# Ours\n\nAsk Anna.\n\n" + BEGIN)
    assert text.endswith(END + "\n\nBelow.")
    assert text.count(BEGIN) == text.count(END) == 1


def test_a_hostile_reason_is_text(fraud: ManagedModel, store: Registry) -> None:
    """A reason can neither end our block, nor a table's cell, nor bring HTML, an image or a link of its own."""
    for reason in (END, BEGIN, "| x |", "<img src=x onerror=alert(1)>", "![](https://evil.example/x.png)", "\\" * 160):
        fraud.promote(1 if fraud.overview().champion != 1 else 2, reason=reason)
    text = store.read(MODEL).description
    assert merged(text, ["x"]) == f"{BEGIN}\n\nx\n\n{END}"
    rows = [line for line in shown(store).splitlines() if line.startswith("| 2")]
    ends = re.compile(r"(?<!\\)(?:\\\\)*\|")
    assert {len(ends.findall(row)) for row in rows} == {6}
    assert not re.search(r"(?<!\\)<img|(?<!\\)\[\]", text)


def test_a_long_reason_is_cut_where_one_sees_it(fraud: ManagedModel, store: Registry) -> None:
    """A reason that a table has no room for ends in an ellipsis, in scripts without spaces as well."""
    fraud.promote(1, reason="理由" * 120)
    assert f"| {('理由' * 80)[:159]}… |" in shown(store)


def test_a_rollouts_record_is_linked(fraud: ManagedModel, store: Registry) -> None:
    """Where a rollout has a tracking run, model and versions lead to it, and tell what the judge said last."""
    fraud.promote(1, reason="the first one")
    fraud.canary.start(2, plan=Plan(steps=[10, 50, 100]), reason="weekly")
    rollout = fraud.overview().rollout
    assert rollout is not None
    store.write(MODEL, SetVersionTag(2, ROLLOUT_RUN, f"{rollout.id} 7/abc"))
    store.write(MODEL, SetVersionTag(2, VERDICT, "INCONCLUSIVE: 3 of 400 | 2 of 4,000"))
    fraud.session.describe(2)
    link = "[Verdicts and record](#/experiments/7/runs/abc?workflowType=machine_learning)"
    told = rf"INCONCLUSIVE: 3 of 400 \| 2 of 4,000 {link}."
    assert told in shown(store)
    assert told in shown(store, 2)


def test_a_registry_that_refuses_descriptions_stops_nothing(
    fraud: ManagedModel, store: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """An operation is done whatever becomes of the descriptions; that they are old is said."""
    store.refuses = True
    with caplog.at_level(logging.WARNING):
        fraud.promote(1, reason="the first one")
    assert fraud.overview().champion == 1
    assert "are not up to date" in caplog.text


def test_a_team_may_keep_its_descriptions_to_itself(
    fraud: ManagedModel, store: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With FDS_DESCRIPTIONS=off nothing is written into descriptions."""
    monkeypatch.setenv("FDS_DESCRIPTIONS", "off")
    fraud.promote(1, reason="the first one")
    assert (store.read(MODEL).description, store.version(MODEL, 1).description) == ("", "")


_TEXT = st.text(st.sampled_from("a \n|<-"), max_size=40)


@given(
    before=_TEXT, after=_TEXT, lines=st.lists(_TEXT.map(lambda text: text.replace("\n", " ")), min_size=1, max_size=5)
)
def test_a_block_is_replaced_and_the_rest_kept(before: str, after: str, lines: list[str]) -> None:
    """Writing again writes the same; another block takes the place of the first; the rest stays."""
    first = merged(before, lines)
    assert first is not None
    assert merged(first, lines) == first
    whole = merged(first + "\n\n" + after, ["other"])
    assert whole is not None
    kept = [part.strip("\n") for part in (*whole.split(BEGIN)[:1], *whole.split(END)[1:])]
    assert kept == [before.strip("\n"), after.strip("\n")]


@given(size=st.integers(0, MOST + 100), lines=st.lists(st.just("x" * 400), min_size=1, max_size=20))
def test_a_description_never_outgrows_its_column(size: int, lines: list[str]) -> None:
    """The block gives up its last lines for what people wrote, and is left out where it finds no room at all."""
    found = merged("y" * size, lines)
    assert found is None or (len(found) <= MOST and found.startswith("y" * size))
