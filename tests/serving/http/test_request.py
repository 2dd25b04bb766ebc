"""A request's body, however it arrives."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fds_mlflow.serving.http.request import Head, RefusedError, body
from fds_mlflow.serving.worker.settings import ServerSettings
from tests.support.loop import later

SETTINGS = ServerSettings("fraud", "sqlite://", Path(), body_limit=10)
IMPATIENT = replace(SETTINGS, body_seconds=0.01)
END: dict[str, Any] = {"type": "http.disconnect"}

Receive = Callable[[], Coroutine[Any, Any, dict[str, Any]]]


def part(data: bytes, *, more: bool = False) -> dict[str, Any]:
    """A message with a part of a body."""
    return {"type": "http.request", "body": data, "more_body": more}


def arriving(*messages: dict[str, Any], late: bool) -> Receive:
    """Messages that are there at once, or each only after others had their turn; after the last one nothing comes."""
    coming = iter(messages)

    async def receive() -> dict[str, Any]:
        if late:
            for _ in range(3):
                await asyncio.sleep(0)
        message = next(coming, None)
        if message is None:
            await asyncio.Event().wait()
        assert message is not None
        return message

    return receive


@pytest.mark.parametrize("late", [False, True])
async def test_a_body_is_put_together_from_its_parts(late: bool) -> None:
    """A body is the same whether it is there at once or comes later, whole or in parts."""
    assert await body(Head(), arriving(part(b"abc"), late=late), SETTINGS) == b"abc"
    parts = (part(b"ab", more=True), part(b"", more=True), part(b"cd", more=True), part(b"e"))
    assert await body(Head(), arriving(*parts, late=late), SETTINGS) == b"abcde"


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ((), 408),
        ((part(b"a", more=True),), 408),
        ((END,), 400),
        ((part(b"a", more=True), END), 400),
        ((part(b"x" * 11),), 413),
        ((part(b"x" * 6, more=True), part(b"x" * 5)), 413),
    ],
)
async def test_a_body_that_is_late_broken_off_or_too_long_is_refused(
    messages: tuple[dict[str, Any], ...], status: int, late: bool
) -> None:
    """Whoever stops sending, hangs up or sends too much is told so, and holds nothing up for long."""
    settings = IMPATIENT if status == 408 else SETTINGS
    with pytest.raises(RefusedError) as refused:
        await body(Head(), arriving(*messages, late=late), settings)
    assert refused.value.status == status


async def test_a_body_is_not_late_that_arrived_while_the_server_had_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the socket when the time is over was sent in time: no client pays for the server's own wait."""
    client, mine = socket.socketpair()
    with client, mine:
        mine.setblocking(False)

        async def receive() -> dict[str, Any]:
            return part(await asyncio.get_running_loop().sock_recv(mine, 10))

        waiting = asyncio.create_task(body(Head(), receive, SETTINGS))
        for _ in range(5):
            await asyncio.sleep(0)
        client.send(b"abc")
        later(monkeypatch, 10 * SETTINGS.body_seconds)
        assert await waiting == b"abc"


async def test_whoever_waits_for_a_body_can_be_cancelled() -> None:
    """A server that shuts down ends requests that wait for their bodies, and what receives them is closed."""
    closed = asyncio.Event()

    async def receive() -> dict[str, Any]:
        try:
            await asyncio.Event().wait()
        finally:
            closed.set()
        return part(b"")

    waiting = asyncio.create_task(body(Head(), receive, SETTINGS))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert closed.is_set()
