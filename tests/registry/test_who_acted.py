"""Who is named in a history: whom the registry let in, and what was written past our doors is told from the rest."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from fds_mlflow.cli.history import history
from fds_mlflow.cli.options import Settings
from fds_mlflow.core.lifecycle.events import Event, Kind
from fds_mlflow.errors import ConfigError
from fds_mlflow.model import ManagedModel
from fds_mlflow.registry import tags
from fds_mlflow.registry.seals import is_verified
from fds_mlflow.registry.store import DeleteModelTag, SetAlias, SetModelTag, Write
from fds_mlflow.runtime import environment
from tests.support.registry_model import MODEL, Killed, World

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def world() -> World:
    """Champion 2, former champion 1, in a registry that says who is signed in."""
    made = World()
    made.do(Kind.PROMOTE, 1)
    made.do(Kind.PROMOTE, 2)
    return made


@pytest.mark.parametrize(
    ("claimed", "recorded"),
    [
        ("eve", "eve"),
        ("ann", "eve for ann"),
        ("evelyn", "eve for evelyn"),
        ("eve for ann", "eve for ann"),
        ("autopilot of ann", "autopilot of eve for ann"),
        ("a" * 200, "eve for " + "a" * 189 + "…"),
    ],
)
@pytest.mark.parametrize("kind", [Kind.PROMOTE, Kind.EMERGENCY, Kind.STAGE])
def test_nobody_is_named_but_whom_the_registry_let_in(world: World, kind: Kind, claimed: str, recorded: str) -> None:
    """Whatever name is claimed, the event begins with that of the signed-in user."""
    world.store.user = "eve"
    world.do(kind, None if kind is Kind.EMERGENCY else 3, actor=claimed)
    event = world.history.events[-1]
    assert (event.actor, event.signed_in) == (recorded, True)


def test_a_registry_that_does_not_say_leaves_a_claim(world: World) -> None:
    """Credentials alone prove nothing: where the registry does not say who is signed in, the name is claimed."""
    world.store.user = "eve"
    world.store.signed_in = lambda: None  # type: ignore[method-assign]
    world.do(Kind.PROMOTE, 3, actor="eve")
    assert not world.history.events[-1].signed_in


def test_an_emergency_asks_who_it_is_once_its_alias_has_moved(world: World) -> None:
    """No answer of the registry about users comes before the move."""
    happened: list[str] = []
    store = world.watched()
    store.user = "eve"
    ask = store.signed_in

    def asked() -> str | None:
        happened.append("asked")
        return ask()

    def written(_number: int, write: Write | None) -> None:
        happened.extend(["moved"] if isinstance(write, SetAlias) else [])

    store.signed_in, store.on_call = asked, written  # type: ignore[method-assign]
    world.do(Kind.EMERGENCY, by=world.process(store))
    assert list(dict.fromkeys(happened)) == ["moved", "asked"]
    assert world.history.events[-1].signed_in


def test_what_is_settled_for_somebody_else_is_what_a_tag_claimed(world: World) -> None:
    """An operation that died is recorded in the name it gave, and not as that of a signed-in user."""
    world.store.user = "eve"
    with pytest.raises(Killed):
        world.do(Kind.PROMOTE, 3, actor="eve", by=world.process(world.dying(SetModelTag)))
    store = world.watched()
    store.user = "eve"
    store.kill_at_write = 3
    with pytest.raises(Killed):
        world.do(Kind.PROMOTE, 3, actor="eve", by=world.process(store))
    world.do(Kind.STAGE, 4, actor="eve")
    dead, mine = world.history.events[-2:]
    assert (dead.to_version, dead.signed_in) == (3, False)
    assert mine.signed_in


def _shown(world: World) -> list[dict[str, object]]:
    """The history as `fds history --json` shows it."""

    class Here(Settings):
        def model(self, name: str) -> ManagedModel:
            return ManagedModel(name, store=world.store, clock=world.clock, outcomes="sqlite://")

    done = CliRunner().invoke(history, [MODEL, "--json"], obj=Here(None, None, None, None), catch_exceptions=False)
    found: list[dict[str, object]] = json.loads(done.output)["events"]
    return found


def test_what_was_written_past_our_doors_is_unverified(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the team's key, an event that somebody forged, edited, moved or copied from another model shows."""
    assert {event["verified"] for event in _shown(world)} == {None}
    monkeypatch.setenv(environment.HISTORY_KEY, KEY)
    world.do(Kind.PROMOTE, 3)
    world.do(Kind.EMERGENCY)
    assert [event["verified"] for event in _shown(world)] == [True, True, False, False]
    real = world.history.events[-1]

    def forged(event: Event) -> bool | None:
        return is_verified(event, MODEL)

    assert forged(real)
    changes = ({"actor": "bob"}, {"reason": "x"}, {"to_version": 1}, {"sequence": 9}, {"signed_in": True}, {"seal": ""})
    assert not any(forged(replace(real, **change)) for change in changes)  # type: ignore[arg-type]
    assert not is_verified(real, "another")
    monkeypatch.setenv(environment.HISTORY_KEY, KEY[::-1])
    assert not forged(real)


def test_a_key_that_could_be_guessed_is_refused_before_anything_is_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but an emergency is refused with the fix; an emergency moves, and its event has no seal."""
    monkeypatch.setenv(environment.HISTORY_KEY, "short")
    before = dict(world.store.models[MODEL].tags)
    with pytest.raises(ConfigError, match="could be guessed"):
        world.do(Kind.PROMOTE, 3)
    assert world.store.models[MODEL].tags == before
    world.do(Kind.EMERGENCY)
    assert world.history.events[-1].seal == ""
    with pytest.raises(ConfigError, match="could be guessed"):
        is_verified(world.history.events[-1], MODEL)


def test_a_seal_survives_packing_and_export(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of a long history are verified like new ones, and so are those that an export has moved elsewhere."""
    monkeypatch.setenv(environment.HISTORY_KEY, KEY)
    world.do(Kind.START, 3)
    for _ in range(40):
        world.do(Kind.ADVANCE, weight=2_500)
        world.do(Kind.ADVANCE, weight=1_000)
    assert world.history.packs
    assert all(is_verified(event, MODEL) for event in world.history.events[2:])
    there = World()
    model = ManagedModel(MODEL, store=there.store, clock=there.clock, outcomes="sqlite://")
    model.import_history(ManagedModel(MODEL, store=world.store, outcomes="sqlite://").export_history())
    assert all(is_verified(event, MODEL) for event in there.history.events[2:])
    there.by_hand(DeleteModelTag(tags.event_tag(there.history.events[-1])[0]))


def test_every_write_of_an_operation_says_the_same_name() -> None:
    """A rollout's tag names who ended it as the history does."""
    world = World()
    world.store.user = "bob"
    operate = world.process()
    operate.run(MODEL, world.request(Kind.PROMOTE, 1), actor="ann", reason="go")
    operate.run(MODEL, world.request(Kind.START, 2), actor="ann", reason="go")
    operate.run(MODEL, world.request(Kind.ABORT), actor="ann", reason="stop")
    last = world.process().look(MODEL).history.events[-1]
    assert "bob for ann" in world.store.version(MODEL, 2).tags["fds.rollout"]
    assert "bob for ann" in tags.event_tag(last)[1]


@pytest.mark.parametrize(("actor", "expected"), [(None, "ann"), ("", "ann"), ("ann", "ann"), ("job", "ann for job")])
def test_who_names_nobody_else_is_the_user_alone(actor: str | None, expected: str) -> None:
    """Where a user is signed in and nobody else is named, the actor is the user, and for nobody."""
    world = World()
    world.store.user = "ann"
    assert ManagedModel(MODEL, store=world.store, clock=world.clock, actor=actor).session.actor == expected
