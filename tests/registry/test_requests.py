"""How often each operation asks the registry: on the twin, on the wire, and where a user signs in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.interleavings.scenarios import request_of
from benchmarks.requests import STORIES, Counted, Story, counted
from fds_mlflow import ManagedModel
from fds_mlflow.cli.main import main
from fds_mlflow.core.lifecycle.events import Ending, Event, Kind
from fds_mlflow.errors import FdsError, RefusedError
from fds_mlflow.registry import grammar, records, tags, writes
from fds_mlflow.registry.connection import connect
from fds_mlflow.registry.store import SetModelTag, Write
from tests.support.fault_proxy import FaultProxy
from tests.support.registry_model import MODEL, World
from tests.support.registry_world import register
from tests.support.servers import Server, basic_auth

pytestmark = pytest.mark.usefixtures("without_spark")

MOVED = {"emergency": 4, "emergency in a rollout": 6, "emergency past a completion": 8}
"""Requests after which an emergency's alias has moved: without a canary alias, with one, and where that goes first."""

WHOLE = dict.fromkeys(STORIES, 12) | {
    "complete": 14,
    # They end a rollout as a completion does: the canary's alias deleted, its tag written, two stages.
    "rollback in a rollout": 14,
    "emergency in a rollout": 13,
}
PAST = "emergency past a completion"
"""It waits until the other operation is dead, and looks now and then meanwhile."""


def _decided(event: Event) -> type[Write]:
    return type(writes.point(event) or SetModelTag("", ""))


def on_twin(story: Story) -> Counted:
    """As `counted`, in memory."""
    world = World()
    for kind, version in story.before:
        world.process().run(MODEL, request_of(kind, version), actor="ann", reason="set up")
    store = world.watched()
    asked: list[type | None] = []
    store.on_call = lambda _number, write: asked.append(None if write is None else type(write))
    done = world.process(store).run(
        MODEL,
        request_of(story.kind, story.version),
        actor="bob",
        reason="counted",
        take_over=story.kind is Kind.EMERGENCY,
    )
    assert done.event is not None
    # An intent is a tag of the model too, and comes first.
    decisive = [n for n, kind in enumerate(asked, 1) if kind is _decided(done.event)]
    own_event = writes.point(done.event) is None
    return Counted(decisive[1 if own_event else 0], len(asked), 0.0)


@pytest.mark.tested(len(STORIES))
@pytest.mark.parametrize("name", [name for name in STORIES if name != PAST])
def test_an_operation_asks_no_more_than_its_bound(name: str) -> None:
    """With nothing to settle or to pack, an operation makes at most 12 calls, and what ends a rollout 14."""
    found = on_twin(STORIES[name])
    assert found.all <= WHOLE[name]
    assert found.before_move <= MOVED.get(name, 8)


@pytest.fixture(scope="module")
def wire(mlflow_server: Server) -> Iterator[FaultProxy]:
    """A proxy that counts, before a real server."""
    proxy = FaultProxy(mlflow_server.port)
    yield proxy
    proxy.down()


@pytest.mark.slow
@pytest.mark.tested(3)
@pytest.mark.parametrize("name", ["emergency in a rollout", "complete", "start", *sorted(set(STORIES) - {PAST})])
def test_each_call_is_one_request_on_the_wire(name: str, wire: FaultProxy, mlflow_server: Server) -> None:
    """A real server is sent as many requests as the port has calls, and no other."""
    found, twin = counted(STORIES[name], wire, mlflow_server.url), on_twin(STORIES[name])
    assert (found.before_move, found.all) == (twin.before_move, twin.all)


@pytest.mark.slow
def test_an_emergency_past_a_live_completion_moves_within_eight_requests(
    wire: FaultProxy, mlflow_server: Server
) -> None:
    """Where the canary's alias would wake the old canary, it is deleted first, and all within eight requests."""
    assert counted(STORIES[PAST], wire, mlflow_server.url, lifetime=6.0).before_move <= MOVED[PAST]


# --- where users sign in ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, str]]]:
    """A server with basic-auth, and how its administrator signs in."""
    folder = tmp_path_factory.mktemp("auth")
    with basic_auth(f"sqlite:///{folder / 'mlflow.db'}", folder) as served:
        yield served


@pytest.fixture
def signed_in(with_users: tuple[Server, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server with basic-auth; its administrator is signed in."""
    server, login = with_users
    for name, value in login.items():
        monkeypatch.setenv(name, value)
    return server


def _model(server: Server, name: str, **more: Any) -> ManagedModel:
    return ManagedModel(name, tracking_uri=server.url, registry_uri=server.url, outcomes="sqlite://", **more)


@pytest.mark.campaign
def test_operations_succeed_where_each_request_hashes_a_password(signed_in: Server) -> None:
    """On a server with basic-auth every operation ends, recorded in the name of the user who was signed in."""
    register(signed_in.url, "fraud")
    model = _model(signed_in, "fraud", actor="ann")
    run = model.session.run
    for kind, version in ((Kind.PROMOTE, 1), (Kind.PROMOTE, 2), (Kind.START, 3), (Kind.ADVANCE, None)):
        run(request_of(kind, version), "go on")
    moved: list[int] = []
    run(request_of(Kind.EMERGENCY), "alarm", take_over=True, on_moved=moved.append)
    assert moved == [1]
    events = model.history()
    assert [event.kind for event in events] == [Kind.EMERGENCY, Kind.ADVANCE, Kind.START, Kind.PROMOTE, Kind.PROMOTE]
    assert {(e.actor, e.signed_in, e.outcome) for e in events} == {("admin for ann", True, Ending.DONE)}
    assert any("auth_cache_ttl_seconds" in finding.fix for finding in model.doctor())


@pytest.mark.campaign
def test_who_lacks_a_permission_is_told_which(signed_in: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may only read learns that EDIT is missing, nothing was changed, and no intent stays behind."""
    from mlflow.server.auth.client import AuthServiceClient

    register(signed_in.url, "returns")
    AuthServiceClient(signed_in.url).create_user("reader", "a-password-of-sixteen")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "reader")
    with pytest.raises(RefusedError, match="permission denied: reader") as error:
        _model(signed_in, "returns").session.run(request_of(Kind.PROMOTE, 1), "try")
    assert "EDIT" in error.value.fix
    assert dict(connect(signed_in.url, signed_in.url).read("returns").tags) == {}


VERBS = (
    *("stage doors 2", "promote doors 2", "retire doors 3", "canary start doors 2"),
    *("rollback emergency doors --reason x --no-validate", "rollback to doors 1 --reason x"),
    *("aliases doors --champion mine", "doctor doors --fix", "settle doors"),
    *("canary abort doors --reason x", "canary advance doors", "canary complete doors"),
)

DOORS: dict[str, Callable[[ManagedModel], object]] = {
    "promote": lambda model: model.session.run(request_of(Kind.PROMOTE, 3), "try", actor="admin"),
    "stage": lambda model: model.stage(3, reason="try"),
    "retire": lambda model: model.retire(1, reason="try"),
    "start": lambda model: model.session.run(request_of(Kind.START, 3), "try"),
    "emergency": lambda model: model.session.run(request_of(Kind.EMERGENCY), "try", take_over=True),
    "rollback": lambda model: model.session.run(request_of(Kind.ROLLBACK, 1), "try"),
    "import": lambda model: model.import_history(model.export_history()),
    "doctor": lambda model: model.doctor(fix=True),
    "settle": lambda model: model.settle(),
}


@pytest.mark.campaign
def test_who_may_only_read_moves_nothing_through_any_door(
    signed_in: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each verb refuses a user without the right, and aliases, stages and tags stay as they were."""
    from mlflow.server.auth.client import AuthServiceClient

    register(signed_in.url, "doors")
    owner = _model(signed_in, "doors")
    for version in (1, 2):
        owner.session.run(request_of(Kind.PROMOTE, version), "go")
    AuthServiceClient(signed_in.url).create_user("looker", "a-password-of-sixteen")
    before = owner.session.store.read("doors"), owner.session.versions()
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "looker")
    for name, door in DOORS.items():
        with suppress(FdsError):  # some have nothing to write
            door(_model(signed_in, "doors", actor="admin"))
            assert name in ("retire", "import", "doctor", "settle")
    for verb in VERBS:
        addresses = ["--tracking-uri", signed_in.url, "--registry-uri", signed_in.url, "--actor", "admin"]
        done = CliRunner().invoke(main, [*addresses, *verb.split()], env={"FDS_OUTCOMES_URI": "sqlite://"})
        assert done.exit_code in (0, 1), (verb, done.output)
    assert (owner.session.store.read("doors"), owner.session.versions()) == before
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login admin password a-password-of-sixteen\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ceo")
    event = _model(signed_in, "doors").session.run(request_of(Kind.PROMOTE, 3), "go").event
    assert event is not None
    assert (event.actor, event.signed_in) == ("admin", True)


@pytest.mark.campaign
def test_a_wrong_password_says_which_variables_to_set(signed_in: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot sign in is told so at once, and how to."""
    register(signed_in.url, "chargeback")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a-wrong-one-of-sixteen")
    with pytest.raises(RefusedError, match="UNAUTHENTICATED") as error:
        _model(signed_in, "chargeback").history()
    assert "MLFLOW_TRACKING_USERNAME" in error.value.fix


def test_the_life_of_an_intent_follows_the_latency_and_stands_in_it() -> None:
    """A registry that takes a second for each call gives an operation far longer than one that answers at once."""
    world = World()
    world.store.latency = 1.0
    store = world.watched()
    lives: list[float | None] = []

    def look(_number: int, _write: Write | None) -> None:
        lives.extend(intent.lifetime for intent in world.history.intents)

    store.on_call = look
    store.latency = 1.0
    world.do(Kind.PROMOTE, 1, by=world.process(store))
    assert set(lives) == {48.0}


@pytest.mark.parametrize("said", [0, -1, float("nan"), True, "soon", [1]])
def test_an_intent_with_a_nonsense_lifetime_is_named_as_damaged(said: object) -> None:
    """Whoever edits an intent's lifetime into nonsense cannot hold the model: the value is shown as damaged."""
    world = World()
    world.do(Kind.PROMOTE, 1)
    event = world.history.events[-1]
    values = {
        "actor": "eve",
        "time": "2026-01-01T00:00:00+00:00",
        "lifetime": said,
        "event": records.event_values(event),
    }
    values["found"] = {"champion": 1, "canary": None, "last": [1, "x"], "rollout": ""}
    world.by_hand(SetModelTag(tags.intent_name("0" * 26), grammar.dump(values)))
    assert world.history.intents == ()
    assert world.history.damaged == (tags.intent_name("0" * 26),)


def test_an_intent_cannot_hold_a_model_for_ever() -> None:
    """However long an intent says that it lives, it is dead after ten minutes."""
    values = {
        "actor": "eve",
        "time": "2026-01-01T00:00:00+00:00",
        "lifetime": 1e12,
        "found": {"champion": 1, "canary": None, "last": [1, "x"], "rollout": ""},
    }
    intent = tags.decode_intent("0" * 26, values, {})
    assert intent.lifetime == tags.MAX_LIFETIME
