"""The ways in which companies run MLflow: where artifacts lie, what stands before the server, what it stands on."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.fault_proxy import FaultProxy
from tests.support.servers import Server, no_postgresql, postgresql, running

TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ."
BUCKET = "fds"


@dataclass
class Place:
    """An MLflow, as clients see it.

    Attributes:
        tracking: URI of tracking.
        registry: URI of the registry.
        settings: Environment variables that clients need.
        kept: How much lies where artifacts should be.
        refused: What a client without the settings is told; None where it needs none.
    """

    tracking: str
    registry: str
    settings: Mapping[str, str] = field(default_factory=dict)
    kept: Callable[[], int] = lambda: 1
    refused: str | None = None


def no_s3() -> str | None:
    """Why an S3-like store cannot be started here; None where it can."""
    return None if importlib.util.find_spec("moto") else "the Python package moto is not installed"


@contextmanager
def s3() -> Iterator[tuple[dict[str, str], Callable[[str], int]]]:
    """An S3-like store: what its clients need, and how many objects lie under a name in its bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    try:
        address = "http://{}:{}".format(*store.get_host_and_port())
        login = {"AWS_ACCESS_KEY_ID": "ann", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
        client: Any = boto3.client(
            "s3",
            endpoint_url=address,
            aws_access_key_id="ann",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        client.create_bucket(Bucket=BUCKET)

        def objects(name: str) -> int:
            return len(client.list_objects_v2(Bucket=BUCKET, Prefix=name).get("Contents", ()))

        yield {**login, "MLFLOW_S3_ENDPOINT_URL": address}, objects
    finally:
        store.stop()


@contextmanager
def proxied_s3(folder: Path, backend: str) -> Iterator[Place]:
    """The server keeps artifacts in S3 for its clients, who have no login for that."""
    with s3() as (login, objects):
        server = Server(backend, folder, settings=login, artifacts=f"s3://{BUCKET}/proxied")
        with running(server):
            yield Place(server.url, server.url, kept=lambda: objects("proxied"))


@contextmanager
def direct_s3(folder: Path, backend: str) -> Iterator[Place]:
    """Clients write to S3 themselves; the server has no login for that."""
    options = ("--no-serve-artifacts", "--default-artifact-root", f"s3://{BUCKET}/direct")
    with s3() as (login, objects), running(Server(backend, folder, options=options)) as server:
        yield Place(server.url, server.url, login, kept=lambda: objects("direct"))


@contextmanager
def prefixed_behind_a_token(folder: Path, backend: str) -> Iterator[Place]:
    """All addresses of the server begin with a path, and a proxy before it asks each request for a bearer token."""
    with running(Server(backend, folder, prefix="/mlflow")) as server:
        proxy = FaultProxy(server.port)
        proxy.token = TOKEN
        address = f"{proxy.url}/mlflow"
        try:
            yield Place(address, address, {"MLFLOW_TRACKING_TOKEN": TOKEN}, refused="401")
        finally:
            proxy.down()


@contextmanager
def apart(folder: Path, backend: str) -> Iterator[Place]:
    """One server tracks, another one is the registry, each with a database of its own.

    MLflow's registry takes proxied artifacts of its own tracking alone; so these lie where all can reach them.
    """
    options = ("--no-serve-artifacts", "--default-artifact-root", f"s3://{BUCKET}/apart")
    with ExitStack() as stack:
        login, objects = stack.enter_context(s3())
        servers = []
        for name, database in (("tracking", backend), ("registry", f"sqlite:///{folder / 'registry.db'}")):
            (folder / name).mkdir()
            servers.append(stack.enter_context(running(Server(database, folder / name, options=options))))
        yield Place(servers[0].url, servers[1].url, login, kept=lambda: objects("apart"))


@contextmanager
def on_postgresql(folder: Path, backend: str) -> Iterator[Place]:
    """Several workers of the server on one PostgreSQL."""
    with postgresql() as database, running(Server(database.url, folder, workers=3)) as server:
        yield Place(server.url, server.url)


def none() -> str | None:
    """Nothing is missing."""
    return None


PLACES: dict[str, tuple[Callable[[Path, str], AbstractContextManager[Place]], Callable[[], str | None]]] = {
    "proxied S3": (proxied_s3, no_s3),
    "direct S3": (direct_s3, no_s3),
    "a prefix and a token": (prefixed_behind_a_token, none),
    "apart": (apart, no_s3),
    "PostgreSQL": (on_postgresql, no_postgresql),
}
"""By name: how to start it in a folder, on a database of MLflow, and why that cannot be done here."""
