"""The scoring protocol, byte by byte: requests as clients send them, changed, cut and sent one after another."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random

import pandas as pd

from benchmarks.fuzz import mutate
from benchmarks.fuzz.target import Target

_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_BODIES = (
    {"amount": 250.0, "hour": 3, "channel": "web", "transaction_id": "TX1"},
    {"dataframe_split": {"columns": ["amount", "hour", "channel"], "data": [[250.0, 3, "web"], [20, None, "shop"]]}},
    {"inputs": {"amount": [1, 2], "hour": [3, 4], "channel": ["web", None]}},
    {"instances": [{"amount": 1, "hour": 2, "channel": "web"}], "params": {}},
    [{"transaction_id": "TX1", "status": "confirmed", "known_at": "2026-03-09T12:00:00+00:00", "loss_amount": 80}],
)
_CSV = "amount,hour,channel,transaction_id\n250,,web,TX1\n20,1.5,shop,TX2\n"
_PATHS = (
    *(
        "/score",
        "/invocations",
        "/labels",
        "/ping",
        "/health",
        "/ready",
        "/version",
        "/metrics",
        "/openapi.json",
        "/docs",
    ),
    *(
        "/registry-webhook",
        "/models/fraud/score",
        "/models/fraud/invocations",
        "/",
        "*",
        "/score?x=1",
        "//score",
        "/%2e%2e/",
    ),
)
_HEADERS = (
    *("X-Request-ID", "X-Routing-Key", "X-FDS-Variant", "Authorization", "Content-Type", "Content-Encoding", "Expect"),
    *("Transfer-Encoding", "Connection", "Origin", "Host", "Accept", "Content-Length", "Upgrade", "Cookie", "Range"),
)


@cache
def _parquet() -> bytes:
    made = io.BytesIO()
    pd.read_csv(io.StringIO(_CSV)).to_parquet(made, index=False)
    return made.getvalue()


def _generate(rng: Random) -> list[bytes]:
    """Pieces of a stream of one to three requests."""
    stream = b"".join(_request(rng) for _ in range(rng.choice((1, 1, 1, 2, 3))))
    if rng.random() < 0.3:
        stream = mutate.binary(rng, (stream,))
    cuts = sorted({0, len(stream), *(rng.randrange(len(stream) + 1) for _ in range(rng.choice((0, 0, 1, 3))))})
    return [stream[start:end] for start, end in pairwise(cuts)]


def _request(rng: Random) -> bytes:
    kind, body = b"application/json", b""
    chance = rng.random()
    if chance < 0.75:
        body = mutate.dumped(rng, mutate.value(rng, rng.choice(_BODIES))).encode("utf-8", "surrogatepass")
    elif chance < 0.85:
        kind, body = b"text/csv", mutate.text(rng, (_CSV,)).encode("utf-8", "surrogatepass")
    elif chance < 0.9:
        kind, body = b"application/vnd.apache.parquet", mutate.binary(rng, (_parquet(),))
    if rng.random() < 0.15:
        body = mutate.binary(rng, (body,))
    method = rng.choice((b"POST",) * 8 + (b"GET", b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE", b"PATCH"))
    path = rng.choice(_PATHS) if rng.random() < 0.6 else "/score"
    lines = [b"%s %s HTTP/1.%d" % (method, path.encode(), rng.random() > 0.05), b"Host: fds", b"Content-Type: " + kind]
    for _ in range(rng.choice((0, 0, 0, 1, 2, 4))):
        value = rng.choice(mutate.TOKENS).replace("\r", "").replace("\n", "").encode("utf-8", "surrogatepass")[:300]
        lines.append(rng.choice(_HEADERS).encode() + b": " + value)
    if rng.random() < 0.1:
        lines.append(b"Transfer-Encoding: chunked")
        chunks = [body[start : start + 99] for start in range(0, len(body), 99)] + [b""]
        return b"\r\n".join([*lines, b"", b""]) + b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in chunks)
    lines.append(b"Content-Length: %d" % (len(body) if rng.random() > 0.03 else rng.randrange(10**6)))
    return b"\r\n".join([*lines, b"", b""]) + body


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def _door(folder: Path) -> Callable[[list[bytes]], str]:
    from fds_mlflow.serving.http.protocol import ScoreProtocol
    from tests.serving.http.test_protocol import Connection, application

    logging.disable(logging.CRITICAL)
    served = application(folder)

    async def sent(pieces: list[bytes]) -> bytes:
        connection = Connection(ScoreProtocol, served)
        for piece in pieces:
            if not connection.wire.closed:
                await connection.send(piece, wait=True)
        await connection.settle()
        connection.protocol.connection_lost(None)
        return connection.wire.sent

    def take(pieces: list[bytes]) -> str:
        answer = _loop().run_until_complete(sent(pieces))
        served.worker.engine.fetched()
        statuses = [int(status) for status in _ANSWER.findall(answer)]
        assert all(status < 500 for status in statuses if status != 503), answer[-400:]
        for said in re.findall(rb"\r\n\r\n(\{.*?\})(?=HTTP/1|$)", answer, re.DOTALL):
            json.loads(said)
        head = answer.split(b"\r\n\r\n")[0].decode("latin-1")
        return head.replace("\r\n", "\n")

    return take


TARGETS = (Target("scoring", 40_000, _generate, _door, quick=100),)
