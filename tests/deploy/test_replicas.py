"""Replicas behind the proxy of `deploy/`, with an MLflow server, a PostgreSQL and a Redis, one or all of them away."""

from __future__ import annotations

import itertools
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from fds_mlflow import ManagedModel, OutcomeStore, Plan
from fds_mlflow.core.routing.routing import bucket
from fds_mlflow.data.transactions import load
from fds_mlflow.features.table import compute
from fds_mlflow.registry import tags
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.serving.disk.version_cache import VersionCache
from fds_mlflow.serving.host.prepare import prepare
from fds_mlflow.simulator import simulate
from fds_mlflow.training.pipeline import train
from fds_mlflow.training.split import stratified
from tests.serving.test_raw import FIRST, SECOND, load_into
from tests.support.effort import graded
from tests.support.haproxy import haproxy, no_haproxy
from tests.support.places import pointing_at
from tests.support.redis_server import RedisServer, no_redis, running_redis
from tests.support.served import Crowd, Served, client_id, until
from tests.support.servers import Postgresql, Server, free_port, no_postgresql, postgresql, running

pytestmark = pytest.mark.slow
PROBES = ("/ping", "/ready", "/health")
SAYS = {"MLflow": "did not answer", "PostgreSQL": "outcomes wait on disk", "Redis": "the state does not answer"}
"""What `/health` says while each of them is away."""

URIS = ("tracking_uri", "registry_uri")

Start = Callable[..., Served]


@dataclass
class World:
    """What replicas share, and a model with two versions that take raw transactions.

    Attributes:
        model: Its first version is champion.
        mlflow: The registry.
        database: Where outcomes go.
        redis: Where the state is.
        row: A raw transaction, as JSON would have it.
        prepared: A cache folder that has both versions, and no table.
    """

    model: ManagedModel
    mlflow: Server
    database: Postgresql
    redis: RedisServer
    row: dict[str, Any]
    prepared: Path

    def take_away(self, *names: str) -> None:
        """End some of what replicas share, as a crash would."""
        for name in names:
            {"MLflow": self.mlflow.kill, "PostgreSQL": self.database.crash, "Redis": self._kill_redis}[name]()

    def _kill_redis(self) -> None:
        self.redis.send(signal.SIGKILL)

    def bring_back(self, *names: str) -> None:
        """Start it again, with what it had."""
        for name in names:
            {"MLflow": self.mlflow, "PostgreSQL": self.database, "Redis": self.redis}[name].start()  # type: ignore[attr-defined]

    def answers(self) -> Callable[[str], int]:
        """Which version answers a key, by what the registry says now."""
        look = self.model.session.look()
        champion, rollout = look.model.aliases[tags.CHAMPION], look.rollout
        return lambda key: rollout.canary if rollout and bucket(rollout.id, key) < rollout.weight else champion


@pytest.fixture(scope="module")
def _world(migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    for reason in (no_postgresql(), no_redis()):
        if reason is not None:
            pytest.skip(reason)
    folder = tmp_path_factory.mktemp("world")
    shutil.copyfile(migrated_database, folder / "mlflow.db")
    with ExitStack() as stack:
        mlflow = stack.enter_context(running(Server(f"sqlite:///{folder / 'mlflow.db'}", folder)))
        database, redis = stack.enter_context(postgresql()), stack.enter_context(running_redis())
        made = simulate.transactions(2_000, seed=4, fraud_rate=0.1)
        transactions = load(made, "simulator")
        outcomes, uris = stack.enter_context(OutcomeStore("sqlite://")), dict.fromkeys(URIS, mlflow.url)
        model = ManagedModel("fraud", outcomes=outcomes, actor="tester", **uris)
        cache, registry = VersionCache(folder / "prepared", "fraud", mlflow.url), MlflowStore(**uris)
        with pointing_at(mlflow.url):
            for version, spec in enumerate((FIRST, SECOND), 1):
                train(stratified(compute(transactions, spec)), params={"n_estimators": 5}, model_name="fraud")
                with cache.preparing(version, registry.version("fraud", version).identity) as place:
                    prepare(registry, "fraud", version, place, trust=True, **uris)
            model.promote(1)
        load_into(redis.url("fraud"), transactions.frame.iloc[:-1])
        row = made.drop(columns=["is_fraud", "label_known_at"]).iloc[-1].to_dict()
        row |= {"time": f"{row['time']:%Y-%m-%dT%H:%M:%S.%fZ}"}
        row = {name: None if pd.isna(value) else value for name, value in row.items()}
        yield World(model, mlflow, database, redis, row, folder / "prepared")


@pytest.fixture
def world(_world: World) -> Iterator[World]:
    """What replicas share, with the first version as champion and no rollout."""
    if _world.model.session.look().rollout is not None:
        _world.model.canary.abort(reason="the next test")
    with pointing_at(_world.mlflow.url):
        yield _world


@pytest.fixture
def outcomes(world: World, request: pytest.FixtureRequest) -> str:
    """The URL of an empty outcome store."""
    return world.database.schema(f"test_{abs(hash(request.node.name))}")


@pytest.fixture
def start(world: World, outcomes: str, tmp_path: Path) -> Iterator[Start]:
    """Starts replicas, each with a cache of its own that has the versions; they are killed at the end."""
    with ExitStack() as stack:

        def started(name: str, *options: str, cache: Path | None = None) -> Served:
            folder = tmp_path / name
            given = ("--state", world.redis.url("fraud"), *options)
            cache = cache or Path(shutil.copytree(world.prepared, folder / "cache"))
            one = Served(folder, world.mlflow.url, cache, *given, outcomes=outcomes, model="fraud")
            stack.callback(one.kill)
            return one

        yield started


def copied(replica: Served, name: str) -> Path:
    """The cache of a replica, for another one to start from: as if that had been restarted."""
    target = replica.folder / name
    shutil.copytree(replica.cache, target, ignore=shutil.ignore_patterns("*.new", "metrics", "spool"))
    return target


def says(replica: Served, problem: str | None) -> None:
    """Wait until it is degraded for that reason; or all is well."""

    def said() -> bool:
        health = replica.health()
        return health["status"] == "ok" if problem is None else problem in (health["problem"] or "")

    until(said, problem or "that all is well")


def refuses(replica: Served, row: dict[str, Any]) -> None:
    """It has nothing to serve: a transaction is to be sent again later, and no proxy is to lead here."""
    said = replica.score(**row)
    assert (said.status_code, said.headers["Retry-After"]) == (503, "1")
    assert {path: replica.client.get(path).status_code for path in PROBES} == dict.fromkeys(PROBES, 503)


@pytest.mark.parametrize("names", graded(["MLflow and PostgreSQL and Redis", *SAYS], quick=0, tested=1))
def test_a_replica_starts_while_what_it_shares_is_away(
    world: World, start: Start, outcomes: str, tmp_path: Path, names: str
) -> None:
    """With its cache it serves, degraded; without one it answers 503 where MLflow is away; then all is well again."""
    away = names.split(" and ")
    before = start("before").ready()
    says(before, None)
    scored = before.score(**world.row).json()
    assert "degraded" not in scored
    kept = copied(before, "copy")
    world.take_away(*away)
    try:
        replica = start("replica", cache=kept)
        fresh = start("fresh", cache=tmp_path / "empty" if "MLflow" in away else None)
        said = replica.ready().score(**{**world.row, "transaction_id": "later"}).json()
        assert (said["version"], said.get("degraded", False)) == (scored["version"], "Redis" in away)
        says(replica, SAYS[away[0]])
        if "MLflow" in away:
            refuses(fresh.start(), world.row)
        else:
            says(fresh.ready(), SAYS[away[0]])
    finally:
        world.bring_back(*away)
    for one in (replica, fresh):
        until(lambda one=one: one.client.get("/ready").status_code == 200, "a version", 300)  # type: ignore[misc]
        says(one, None)
    with OutcomeStore(outcomes) as store:
        until(lambda: "later" in {one.transaction_id for one in store.recent("fraud")}, "what waited")


def test_a_rolling_restart_fails_no_request(world: World, start: Start, outcomes: str, tmp_path: Path) -> None:
    """While replicas are restarted each request is answered, by the variant of its key, and is one outcome."""
    if no_haproxy():
        pytest.skip(str(no_haproxy()))
    world.model.canary.start(2, plan=Plan([25, 100]), allow_new_columns=True)
    version, ports = world.answers(), [free_port() for _ in range(3)]

    def started(number: int, cache: Path | None = None) -> Served:
        # The last --port counts.
        one = start(f"replica{number}", "--port", str(ports[number]), "--leave-seconds", "6", cache=cache).ready()
        until(lambda: one.health()["canary"] == 2, "the rollout")
        return one

    replicas = [started(number) for number in range(2)]
    with haproxy(tmp_path, ports) as url:
        crowd = Crowd(url, world.row)
        with crowd.sending(2):
            for number, replica in enumerate(replicas):
                crowd.more(100)
                assert replica.stop() == 0
                replicas[number] = started(number, replica.cache)
                crowd.more(200)
    assert Counter(one.status for one in crowd.sent) == {200: len(crowd.sent)}
    assert {one.key for one in crowd.sent if one.answer["version"] != version(one.key)} == set()
    for replica in replicas:
        replica.process.terminate()
    for replica in replicas:
        assert replica.stop() == 0  # told twice: nobody asks it any more
    with OutcomeStore(outcomes) as store:
        stored = Counter(client_id(one.request_id) for one in store.recent("fraud", limit=100_000))
    assert stored == Counter(f"R{one.key}" for one in crowd.sent)


@pytest.mark.campaign
def test_a_key_has_one_variant_everywhere(world: World, start: Start, tmp_path: Path) -> None:
    """Through the proxy and past it: while a weight grows only keys that it takes over change, once everywhere."""
    if no_haproxy():
        pytest.skip(str(no_haproxy()))
    world.model.canary.start(2, plan=Plan([20, 50, 100]), allow_new_columns=True)
    ports = [free_port() for _ in range(3)]
    replicas = [start(f"replica{number}", "--port", str(port)) for number, port in enumerate(ports)]
    for replica in replicas:
        until(lambda replica=replica: replica.ready().health()["canary"] == 2, "the rollout")  # type: ignore[misc]
    keys, during = [f"K{number}" for number in range(200)], list[tuple[str, int]]()

    def asked(client: httpx.Client, key: str) -> int:
        sent = client.post("/score?record=false", json={**world.row, "transaction_id": key})
        assert sent.status_code == 200, sent.text
        return int(sent.json()["version"])

    def everywhere(client: httpx.Client) -> list[dict[str, int]]:
        return [{key: asked(each, key) for key in keys} for each in (client, *(one.client for one in replicas))]

    with haproxy(tmp_path, ports) as url, httpx.Client(base_url=url, timeout=30) as client:
        before = {key: world.answers()(key) for key in keys}
        assert everywhere(client) == [before] * 4
        with ThreadPoolExecutor(1) as threads, httpx.Client(base_url=url, timeout=30) as other:
            advanced = threads.submit(world.model.canary.advance)
            for key in itertools.cycle(keys):
                during.append((key, asked(other, key)))
                if advanced.done() and all(one.health()["weight_percent"] == 50 for one in replicas):
                    break
            advanced.result()
        after = {key: world.answers()(key) for key in keys}
        assert everywhere(client) == [after] * 4
    assert {(before[key], after[key]) for key in keys} == {(1, 1), (1, 2), (2, 2)}
    assert [(key, version) for key, version in during if version not in (before[key], after[key])] == []
