"""A team's own alias names: one setting a model, changed by an operation, honoured wherever aliases are read."""

from __future__ import annotations

import itertools
import json

import pytest

from fds_mlflow import ManagedModel
from fds_mlflow.core.lifecycle.events import AliasNames, Ending, Kind
from fds_mlflow.errors import ConfigError, RefusedError
from fds_mlflow.registry import alias_names, tags, transfer
from fds_mlflow.registry.aliases import AliasReader
from fds_mlflow.registry.store import DeleteAlias, SetAlias, SetModelTag
from tests.support.registry_model import MODEL, Killed, World

OURS = AliasNames("prod", "candidate")


def _model(world: World) -> ManagedModel:
    return ManagedModel(MODEL, store=world.store, clock=world.clock, actor="ann", outcomes="sqlite://")


def _renamed(world: World) -> ManagedModel:
    model = _model(world)
    model.rename_aliases(champion="prod", canary="candidate", reason="as we call them")
    return model


@pytest.fixture
def world() -> World:
    """Champion 2, former champion 1."""
    world = World()
    for version in world.store.models[MODEL].versions.values():
        version.tags[tags.THRESHOLD] = "0.5"
    world.do(Kind.PROMOTE, 1)
    world.do(Kind.PROMOTE, 2)
    return world


def test_what_a_later_release_wrote_beside_the_names_survives(world: World) -> None:
    """A renaming keeps the fields of the tag that it does not know, and so does settling one whose process died."""

    def kept() -> dict[str, object]:
        return json.loads(world.store.models[MODEL].tags[alias_names.TAG])  # type: ignore[no-any-return]

    values = {"champion": "champion", "canary": "canary", "shadow": {"alias": "mirror"}}
    world.by_hand(SetModelTag(alias_names.TAG, json.dumps(values)))
    with pytest.raises(Killed):
        world.process(world.dying(DeleteAlias)).run(
            MODEL, world.request(Kind.RENAME, names=AliasNames("live", "next")), actor="zoe", reason="-"
        )
    world.process().settle(MODEL, actor="bob")
    assert kept() == {"champion": "live", "canary": "next", "shadow": {"alias": "mirror"}}
    model = _renamed(world)
    assert kept() == {"champion": "prod", "canary": "candidate", "shadow": {"alias": "mirror"}}
    assert model.doctor() == []
    lines = [json.loads(line) for line in model.export_history()]
    assert lines[-1]["renaming"]["after"]["shadow"] == {"alias": "mirror"}


def test_a_team_keeps_its_own_names(world: World) -> None:
    """After a renaming every operation moves the aliases that the team knows, and no other is left."""
    reader = AliasReader(world.store, MODEL)
    assert reader.read().routing.champion == 2
    model = _renamed(world)
    assert world.aliases == {"prod": 2}
    world.do(Kind.START, 3)
    assert world.aliases == {"prod": 2, "candidate": 3}
    rollout = reader.read().routing.rollout
    assert rollout is not None
    assert rollout.canary == 3
    world.do(Kind.COMPLETE, force=True)
    assert world.aliases == {"prod": 3}
    world.do(Kind.EMERGENCY)
    assert world.aliases == {"prod": 2}
    assert reader.read().routing.champion == 2
    assert model.aliases == OURS
    assert model.doctor() == []
    assert model.overview().champion == 2


def test_the_history_tells_a_renaming_and_says_it_again_elsewhere(world: World) -> None:
    """A renaming is an event with both names, which is exported and imported like any other."""
    model = _renamed(world)
    event = model.history()[0]
    assert (event.kind, event.reason, event.to_version) == (Kind.RENAME, "as we call them", None)
    assert event.renaming is not None
    assert (event.renaming.before, event.renaming.after) == (AliasNames(), OURS)
    assert transfer.parse(model.export_history())[-1] == event
    assert not model.rename_aliases(champion="prod").changed


@pytest.mark.parametrize("there", [2, None])
def test_an_alias_that_the_team_has_already_is_taken_as_it_stands(world: World, there: int | None) -> None:
    """An alias that points at the champion already, or that is not there yet, is the champion's from then on."""
    if there is not None:
        world.by_hand(SetAlias("prod", there))
    _renamed(world)
    assert world.aliases == {"prod": 2}


def test_a_model_without_a_lifecycle_keeps_the_alias_that_serves_it() -> None:
    """Who has served by `prod` so far goes on with the version it points at, and the history takes it over."""
    world = World()
    world.by_hand(SetAlias("prod", 5))
    model = _renamed(world)
    assert AliasReader(world.store, MODEL).read().routing.champion == 5

    world.do(Kind.PROMOTE, 6)
    assert world.aliases == {"prod": 6}
    assert [event.kind for event in reversed(model.history())] == [Kind.RENAME, Kind.ADOPT, Kind.PROMOTE]
    world.do(Kind.EMERGENCY)
    assert world.aliases == {"prod": 5}


def test_an_alias_that_serves_otherwise_is_not_taken(world: World) -> None:
    """Where the new name points at another version than the champion, both are named and nothing is changed."""
    world.by_hand(SetAlias("prod", 5))
    with pytest.raises(RefusedError, match="'prod' points at version 5, and version 2 is the champion"):
        _renamed(world)
    assert world.aliases == {"champion": 2, "prod": 5}
    assert alias_names.TAG not in world.store.read(MODEL).tags


def test_names_are_not_changed_in_a_rollout(world: World) -> None:
    """While a rollout is active the names stay, and the error says how to end it."""
    world.do(Kind.START, 3)
    with pytest.raises(RefusedError, match="rollout of version 3 is active"):
        _renamed(world)


@pytest.mark.parametrize("name", ["", "a b", "latest", "v3", "V3", "x" * 256, "a\n", "prod/eu", "canary"])
def test_what_mlflow_takes_for_no_alias_is_refused(world: World, name: str) -> None:
    """A name that MLflow would refuse, or that is the other alias's, is refused before anything is written."""
    if not name:
        assert not _model(world).rename_aliases(champion=name).changed
        return
    with pytest.raises(ConfigError):
        _model(world).rename_aliases(champion=name)
    assert world.aliases == {"champion": 2}


def test_names_can_be_swapped_and_given_back(world: World) -> None:
    """The two names may change places, and the usual ones come back."""
    model = _model(world)
    model.rename_aliases(champion="canary", canary="champion")
    assert world.aliases == {"canary": 2}
    assert AliasReader(world.store, MODEL).read().routing.champion == 2
    model.rename_aliases(champion="champion", canary="canary")
    assert world.aliases == {"champion": 2}
    world.assert_settled()


@pytest.mark.parametrize("write", [1, 2, 3, 4, 5, 6])
def test_a_renaming_that_dies_is_finished_or_undone(world: World, write: int) -> None:
    """Killed before any of its writes: who serves stays the same, and the next operation settles it."""
    reader, fresh = AliasReader(world.store, MODEL), AliasReader(world.store, MODEL)
    reader.read()
    store = world.watched()
    store.kill_at_write = write
    request = world.request(Kind.RENAME, names=OURS)
    with pytest.raises(Killed):
        world.process(store).run(MODEL, request, actor="zoe", reason="-")
    assert {reader.read().routing.champion, fresh.read().routing.champion} == {2}
    world.process().settle(MODEL, actor="bob")
    names = alias_names.decode(world.store.read(MODEL).tags)
    assert world.aliases == {names.champion: 2}
    if write > 1:
        done = world.history.events[-1]
        assert (done.kind, done.outcome) == (Kind.RENAME, Ending.DONE if names == OURS else Ending.ABANDONED)
    assert reader.read().routing.champion == 2


def test_an_emergency_past_a_renaming_moves_all_who_route(world: World) -> None:
    """Where a renaming hangs with both aliases there, those who know the old name follow the emergency as well."""
    old = AliasReader(world.store, MODEL)
    old.read()
    process = world.process(world.dying(DeleteAlias))
    with pytest.raises(Killed):
        process.run(MODEL, world.request(Kind.RENAME, names=OURS), actor="zoe", reason="-")
    assert world.aliases == {"champion": 2, "prod": 2}
    seen: list[int] = []
    world.process().run(
        MODEL,
        world.request(Kind.EMERGENCY),
        actor="eve",
        reason="alarm",
        take_over=True,
        on_moved=lambda _version: seen.append(old.read().routing.champion),
    )
    assert seen == [1]
    assert world.aliases == {"prod": 1}
    assert [event.kind for event in world.history.events[-2:]] == [Kind.RENAME, Kind.EMERGENCY]


@pytest.mark.parametrize(
    "value", ["", "{}", "[]", '{"champion": "a b", "canary": "x"}', '{"champion": 1, "canary": "x"}']
)
def test_names_edited_into_nonsense_stop_all_but_an_emergency(world: World, value: str) -> None:
    """Who serves is not guessed: a router keeps its table, an operation is refused, and both name the tag; an emergency
    goes by the names that the history has.
    """
    model, router = _model(world), _model(world).router(record=False)
    model.rename_aliases(champion="prod", canary="candidate")
    assert router.refresh().champion == 2
    world.by_hand(SetModelTag(alias_names.TAG, value))
    with pytest.raises(ConfigError, match=r"fds\.aliases") as error:
        model.promote(3)
    assert "set it by hand" in error.value.fix
    (danger,) = model.doctor()
    assert "fds.aliases" in danger.what
    assert "the history says prod and candidate" in danger.fix
    with pytest.raises(ConfigError, match=r"fds\.aliases"):
        AliasReader(world.store, MODEL).read()
    assert router.refresh().champion == 2
    assert model.rollback.emergency(reason="x", validate=False).event.to_version == 1
    assert router.refresh().champion == 1
    assert world.store.models[MODEL].aliases["prod"] == 1


def test_events_with_names_are_read_as_they_were_written() -> None:
    """Any names that MLflow takes go through an event's tag unchanged."""
    for champion, canary in itertools.permutations(("prod", "Ärger", "x-1", "_", "9"), 2):
        names = alias_names.checked(AliasNames(champion, canary))
        assert alias_names.decode({alias_names.TAG: alias_names.encode(names)}) == names
