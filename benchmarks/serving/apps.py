"""Two bare ASGI applications with the settings of `fds serve`: what a server costs that does nothing, or only scores.

    python -m benchmarks.serving.apps echo PORT
    python -m benchmarks.serving.apps bare PORT BOOSTER

`echo` sends the body back: no ASGI application is faster on this server. `bare` decodes a transaction with msgspec,
asks LightGBM's `Booster.predict`, and sends the score: what anybody would write first, without routing, outcomes,
checks.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fds_mlflow.serving.host.server import HTTP

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Work = Callable[[bytes], bytes]

_TYPE = (b"content-type", b"application/json")


class App:
    """Answers every request with what a function makes of its body.

    Args:
        work: The function.
    """

    def __init__(self, work: Work) -> None:
        self._work = work

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request; GET answers nothing, for those who wait until it serves."""
        body = b""
        if scope["method"] == "POST":
            message = await receive()
            body = message["body"]
            while message.get("more_body"):
                message = await receive()
                body += message["body"]
            body = self._work(body)
        headers = [_TYPE, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def echo(body: bytes) -> bytes:
    """The same back."""
    return body


def bare(path: str) -> Work:
    """Scores a transaction with the Booster of a file."""
    import lightgbm
    import msgspec
    import numpy as np

    from benchmarks.serving.model import NAMES

    booster = lightgbm.Booster(model_file=path)
    row = msgspec.defstruct("Row", [(name, float | None) for name in NAMES], gc=False)
    decode = msgspec.json.Decoder(row).decode
    encode = msgspec.json.Encoder().encode
    values = msgspec.structs.astuple

    def work(body: bytes) -> bytes:
        features = np.array([values(decode(body))], dtype=np.float64)
        return encode({"score": float(booster.predict(features, num_threads=1)[0])})

    return work


def main() -> None:
    """Serve until told to stop."""
    import uvicorn
    import uvloop

    kind, port, *rest = sys.argv[1:]
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", int(port)))
    listening.listen(2_048)
    app = App(echo if kind == "echo" else bare(rest[0]))
    config = uvicorn.Config(app, lifespan="off", limit_concurrency=1_000, **HTTP)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(uvicorn.Server(config).serve(sockets=[listening]))


if __name__ == "__main__":
    main()
