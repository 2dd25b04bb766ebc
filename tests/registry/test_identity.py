"""Whose name the history records: whom the registry let in, and nobody else; what cannot be proven is unverified."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fds_mlflow import ManagedModel
from fds_mlflow.core.lifecycle.events import Event, Kind
from fds_mlflow.registry.store import SetAlias
from fds_mlflow.registry.tags import event_tag
from fds_mlflow.registry.transaction import Transactions
from tests.support.registry_model import MODEL, Killed, World


def process(world: World, identified: Callable[[], str | None] | None, store: object = None) -> Transactions:
    """A process whose credentials name somebody, and a registry that knows them as somebody."""
    made = world.process(store)  # type: ignore[arg-type]
    made.signed_in, made.identified = True, identified
    return made


def promoted(world: World, identified: Callable[[], str | None] | None, actor: str = "ann") -> Event:
    """The event of a promotion."""
    done = process(world, identified).run(MODEL, world.request(Kind.PROMOTE, 1), actor=actor, reason="go")
    assert done.event is not None
    assert world.process().look(MODEL).history.events[-1] == done.event
    return done.event


@pytest.mark.parametrize(
    ("known_as", "actor", "recorded", "verified"),
    [
        ("ann", "ann", "ann", True),
        ("ann", "ann for the weekly job", "ann for the weekly job", True),
        ("bob", "ann", "bob for ann", True),
        ("bob", "ann for bob", "bob for ann for bob", True),
        ("ann", "annabel", "ann for annabel", True),
        (None, "ann", "ann", False),
    ],
)
def test_who_was_let_in_is_recorded(known_as: str | None, actor: str, recorded: str, verified: bool) -> None:
    """Whatever name the credentials or the caller give, it is the server's that stands first, or none is proven."""
    event = promoted(World(), lambda: known_as, actor)
    assert (event.actor, event.signed_in) == (recorded, verified)


def test_a_long_claim_leaves_a_name_that_fits() -> None:
    """A name that grows by who was let in stays within what an actor may have."""
    event = promoted(World(), lambda: "bob", "ä" * 100)
    assert event.actor.startswith("bob for ä")
    assert len(event.actor.encode()) <= 200


@pytest.mark.parametrize("past", [False, True])
def test_an_emergency_moves_before_anybody_is_asked(past: bool) -> None:
    """The champion's alias has moved when the server is asked who is there, also past an operation that lives."""
    world = World()
    for version in (1, 2):
        world.process().run(MODEL, world.request(Kind.PROMOTE, version), actor="ann", reason="go")
    if past:
        with pytest.raises(Killed):
            world.process(world.dying(SetAlias)).run(MODEL, world.request(Kind.PROMOTE, 3), actor="ann", reason="go")
    seen: list[int | None] = []

    def asked() -> str:
        seen.append(world.process().look(MODEL).champion_alias)
        return "bob"

    done = process(world, asked).run(MODEL, world.request(Kind.EMERGENCY), actor="ann", reason="alarm", take_over=True)
    assert done.event is not None
    assert set(seen) == {1}
    assert done.event.actor == "bob for ann"


def test_what_another_process_began_is_unverified() -> None:
    """Who settles a dead operation cannot vouch for its name, whatever its record says of being signed in."""
    world = World()
    store = world.dying(SetAlias)
    with pytest.raises(Killed):
        process(world, lambda: "ceo", store).run(MODEL, world.request(Kind.PROMOTE, 1), actor="ceo", reason="go")
    process(world, lambda: "bob").settle(MODEL, actor="bob")
    settled = world.process().look(MODEL).history.events[-1]
    assert (settled.actor, settled.signed_in) == ("ceo", False)


def test_every_write_of_an_operation_says_the_same_name() -> None:
    """A rollout's tag names who ended it as the history does."""
    world = World()
    operate = process(world, lambda: "bob")
    operate.run(MODEL, world.request(Kind.PROMOTE, 1), actor="ann", reason="go")
    operate.run(MODEL, world.request(Kind.START, 2), actor="ann", reason="go")
    operate.run(MODEL, world.request(Kind.ABORT), actor="ann", reason="stop")
    last = world.process().look(MODEL).history.events[-1]
    assert "bob for ann" in world.store.version(MODEL, 2).tags["fds.rollout"]
    assert "bob for ann" in event_tag(last)[1]


@pytest.mark.parametrize(("actor", "expected"), [(None, "ann"), ("", "ann"), ("ann", "ann"), ("job", "ann for job")])
def test_who_names_nobody_else_is_the_user_alone(actor: str | None, expected: str) -> None:
    """Where a user is signed in and nobody else is named, the actor is the user, and for nobody."""
    world = World()
    world.store.user = "ann"
    assert ManagedModel(MODEL, store=world.store, clock=world.clock, actor=actor).session.actor == expected
