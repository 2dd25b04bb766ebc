"""The HTTP application of one model: bare ASGI, because a framework would cost more than the score.

A plain request for a score comes from `serving.protocol` without ASGI.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar, cast

import msgspec
from msgspec.structs import replace

from fds_mlflow.core.text.checks import once
from fds_mlflow.errors import DataError
from fds_mlflow.outcomes.records import case_rows, identity, require_past
from fds_mlflow.runtime.clock import Stopwatch, SystemClock
from fds_mlflow.scoring.requests.formats import Formats
from fds_mlflow.scoring.requests.loose import LooseFormats
from fds_mlflow.scoring.requests.names import LONGEST_KEY, RequestNames
from fds_mlflow.scoring.requests.rows import Piece, Requests, Row
from fds_mlflow.scoring.state import ServingState
from fds_mlflow.serving.disk.spool import Label, case_of
from fds_mlflow.serving.http import openapi
from fds_mlflow.serving.http.endpoints import PROBES, Endpoints, has_failed, refusal
from fds_mlflow.serving.http.query import require_few, wanted
from fds_mlflow.serving.http.request import (
    Head,
    Receive,
    RefusedError,
    authorize,
    body,
    check_page,
    head,
    media_type,
    require_json,
    unknown_type,
)
from fds_mlflow.serving.http.waiting import Batch, Turns
from fds_mlflow.serving.worker.engine import Answer
from fds_mlflow.serving.worker.explaining import explaining
from fds_mlflow.serving.worker.settings import ServerSettings
from fds_mlflow.serving.worker.worker import Worker

log = logging.getLogger(__name__)

_INLINE = 16
"""Rows that are scored at once; more go to a thread, so that other requests need not wait for them."""

_UNREAD = 2**14
"""Bytes of rows that are read before they wait for a thread: a queue of rows takes more memory than one of bytes."""

_SHORT = 2**16
"""Bytes of a request that is read at once; a longer one is read in a thread, for the same reason."""

_THREADS = 8
"""Requests of models without a compiled scorer, and large ones, that are worked on at once."""

_Given = TypeVar("_Given")

_encode = msgspec.json.Encoder().encode
_labels = msgspec.json.Decoder(list[Label]).decode


class Asked(Protocol):
    """A connection that waits for an answer."""

    def answer(self, status: int, body: bytes) -> None:
        """Send it."""
        ...


class App(Endpoints):
    """The application of one model.

    Args:
        settings: How it behaves.
        batch: What is answered together; None for a batch of its own.

    Attributes:
        plain: Itself, by the target of a plain request for a score.
        crowded: Whether a request to a target would wait too long, by the target; with a query, by what is before it.
        probes: Targets that are answered however much there is to do.
    """

    def __init__(self, settings: ServerSettings, batch: Batch | None = None) -> None:
        self.batch = batch or Batch(settings.queue_seconds)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="answer")
        self._turns = Turns(_THREADS, settings.queue_seconds)
        self.worker = Worker(settings, ThreadPoolExecutor(2, thread_name_prefix="worker"))
        self.plain: Mapping[bytes, App] = {b"/score": self}
        self.crowded: Mapping[bytes, Callable[[], bool]] = {
            b"/score": self._score_is_crowded,
            **dict.fromkeys((b"/score?", b"/invocations", b"/invocations?"), self._turns.turns_away),
        }
        self.probes = frozenset(path.encode() for path in PROBES)
        # Neighbours in the store's index are written one after the other, so identities count up.
        self._identity = f"{secrets.token_hex(10)}{{:012x}}".format
        self._count = itertools.count().__next__
        posts = {"/score": self._score, "/invocations": self._invocations, "/labels": self._label}
        gets = {
            "/ping": self._ping,
            "/ready": self._ping,
            "/health": self._health,
            "/metrics": self.worker.exposition,
            "/openapi.json": self._openapi,
        }
        super().__init__(settings, self.worker.metrics, posts, gets)
        self.about = {"fds.model": settings.model}

    async def start(self) -> None:
        """Take over the table, and go on following it."""
        await self.worker.start()

    def stop(self) -> None:
        """Hand over what is left."""
        self.worker.stop()

    async def wake(self) -> None:
        """Have the registry read now."""
        await self.worker.wake()

    # --- scores --------------------------------------------------------------------------------------------

    async def _score(self, said: Head, receive: Receive) -> bytes:
        said.wanted = wanted(said.query)
        sent = await body(said, receive, self.settings)
        require_json(said)
        state, formats = self._serving()
        began = time.perf_counter()
        if state.inline and len(sent) <= _SHORT and said.wanted is None and self.worker.at_hand:
            return self._counted(began, self._one(state, formats, said, sent))
        return self._counted(began, await self._elsewhere(self._one, state, formats, said, sent))

    def _one(self, state: ServingState, formats: Formats | LooseFormats, said: Head, sent: bytes) -> Answer:
        remember = said.wanted is None or said.wanted.record is not False
        values, key, transaction = _read(partial(formats.one, remember=remember), sent)
        return self._answer(state, values, self._names(said, key, transaction, sent), said)

    async def _invocations(self, said: Head, receive: Receive) -> bytes:
        said.wanted = wanted(said.query)
        sent = await body(said, receive, self.settings)
        state, formats = self._serving()
        read = _reader(formats, said)
        if self.worker.at_hand and state.inline and len(sent) <= _UNREAD and read in (formats.invocation, formats.text):
            requests = _read(read, sent)
            few, of_rows = len(requests.rows) <= _INLINE and said.wanted is None, (state, requests, said, sent)
            timed = self._all(*of_rows) if few else await self._elsewhere(self._all, *of_rows)
        else:
            timed = await self._elsewhere(lambda: self._all(state, _read(read, sent), said, sent))
        answers = [answer for answer, _ in timed]
        for answer, milliseconds in timed:
            self.metrics.scored(answer.variant, answer.version, milliseconds / 1_000)
        return _encode({"predictions": [answer.score for answer in answers], "details": answers})

    def soon(self, asked: Asked, headers: Sequence[tuple[bytes, bytes]], sent: bytes) -> bool:
        """Answer a request for a score before the loop's next round; False where it has to come the usual way.

        Every request that has arrived by now is read first. Scored one right after the other they find the trees in
        the processor's cache: a seventh more requests a second over 16 connections.

        Args:
            asked: Is given the answer.
            headers: Of the request.
            sent: The whole body.
        """
        serving = self.worker.serving
        if serving is None or not serving[0].inline or len(sent) > min(_SHORT, self.settings.body_limit):
            return False
        state, formats = serving
        began = time.perf_counter()
        try:
            said = head(headers, self.settings)
            require_json(said)
            self.check(said)
            check_page(said, self.settings.access)
            if self._token is not None:
                authorize(said, self._token)
            read = partial(formats.one, remember=True) if self.worker.at_hand else formats.plain
            values, key, transaction = read(sent)
        except Exception:  # whatever it is, the usual way says it
            return False
        names = self._names(said, key, transaction, sent)
        self.batch.add(lambda: asked.answer(*self.answered(began, state, values, names, said)))
        return True

    def answered(
        self, began: float, state: ServingState, values: Row, names: RequestNames, said: Head
    ) -> tuple[int, bytes]:
        """The status and the answer of a request that has been read."""
        status, failed = 200, False
        try:
            answer = self._counted(began, self._answer(state, values, names, said))
        except Exception as error:
            refused = refusal(error, "/score")
            status, answer, failed = refused.status, refused.body, has_failed(error)
        self.metrics.responded("/score", status, failed=failed)
        return status, answer

    def _counted(self, began: float, answer: Answer) -> bytes:
        self.metrics.scored(answer.variant, answer.version, time.perf_counter() - began)
        return _encode(answer)

    def _answer(self, state: ServingState, values: Row, names: RequestNames, said: Head) -> Answer:
        asked = explaining(state, [values], said.wanted)
        answer = self.worker.engine.answer(state, values, names, variant=said.variant, explain=asked)
        answer.request_id = said.request_id or answer.request_id
        return answer

    def _all(self, state: ServingState, requests: Requests, said: Head, sent: bytes) -> list[tuple[Answer, float]]:
        """Each answer, and the milliseconds it took."""
        if said.wanted is not None:
            require_few(said.wanted, len(requests.rows))
        contents = [b""] * len(requests.rows) if said.request_id is None else _contents(requests.rows, sent)
        known = zip(requests.keys, requests.transactions, contents, strict=True)
        names = _apart([self._names(said, *one) for one in known])
        if len(names) == 1 or said.variant is not None:
            return [self._timed(state, row, name, said) for row, name in zip(requests.rows, names, strict=True)]
        asked = explaining(state, requests.rows, said.wanted)
        answers = self.worker.engine.timed(state, requests.rows, names, asked)
        if said.request_id is not None:
            for place, (answer, _) in enumerate(answers):
                answer.request_id = f"{said.request_id}-{place}"
        return answers

    def _timed(self, state: ServingState, values: Row, names: RequestNames, said: Head) -> tuple[Answer, float]:
        with Stopwatch() as took:
            answer = self._answer(state, values, names, said)
        return answer, took.milliseconds

    def _names(self, said: Head, key: str | None, transaction: str | None, content: bytes) -> RequestNames:
        """Identity of a request, its routing key, and what labels are joined on; made where they are absent.

        One `X-Request-ID` may come with many transactions: a mesh gives one to all that an inbound request causes. So
        the identity is that of the transaction under it, or of the content where the transaction has no id.
        """
        if said.request_id is None:
            request_id = self._identity(self._count())
        else:
            request_id = identity(said.request_id, content if transaction is None else transaction.encode())
        key = key or said.key or (said.request_id or request_id)[:LONGEST_KEY]
        return RequestNames(request_id, key, transaction or key)

    async def _elsewhere(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """What it gives, from a thread; refused where too many wait for one already, or it has waited too long."""
        if self._waiting >= self.settings.connections:
            raise RefusedError(
                503,
                f"{self._waiting:,} requests of {self.settings.model} are worked on already",
                "send it later, or allow --connections",
            )
        computes = self._inline and work != self.worker.keep
        return await self._turns.take(self._threads, partial(work, *arguments), computes=computes)

    @property
    def _inline(self) -> bool:
        """Whether what serves now only computes."""
        serving = self.worker.serving
        return serving is not None and serving[0].inline

    @property
    def _waiting(self) -> int:
        return self._turns.inside

    def _score_is_crowded(self) -> bool:
        return self.batch.full if self._inline else self._turns.turns_away()

    def _serving(self) -> tuple[ServingState, Formats | LooseFormats]:
        serving = self.worker.serving
        if serving is None:
            raise RefusedError(
                503, f"{self.settings.model} has no version to serve: {self.worker.reason}", "promote a version"
            )
        return serving

    # --- labels --------------------------------------------------------------------------------------------

    async def _label(self, said: Head, receive: Receive) -> bytes:
        """Take labels in; they are on disk when this answers, and in the store soon after."""
        if not self.settings.access.labels:
            raise RefusedError(
                403,
                "labels are not taken where other machines can connect and no token is asked for",
                "start the server with --token (FDS_SERVE_TOKEN), or on 127.0.0.1",
            )
        sent = await body(said, receive, self.settings)
        require_json(said)
        try:
            labels = _checked(sent) if len(sent) <= _SHORT else await self._elsewhere(_checked, sent)
        except (msgspec.DecodeError, ValueError) as error:
            raise RefusedError(400, f"the labels do not fit: {error}", "send a list as /openapi.json shows") from None
        except DataError as error:
            raise RefusedError(400, error.what, error.fix) from None
        try:
            taken = not labels or await self._elsewhere(self.worker.keep, labels)
            if taken and self.worker.featuring is not None:
                await self._elsewhere(self._remember, labels)
        except OSError as error:
            raise RefusedError(503, f"the labels could not be kept: {error.strerror}", "send them later") from None
        if not taken:
            raise RefusedError(503, "too much waits for the store already", "send them later")
        return _encode({"accepted": len(labels)})

    def _remember(self, labels: Sequence[Label]) -> None:
        """Take labels into the state, which a transaction that comes later looks at."""
        assert self.worker.featuring is not None
        for label in labels:
            self.worker.featuring.label(case_of(label))

    # --- questions ---------------------------------------------------------------------------------------

    def _ping(self) -> bytes:
        self._serving()
        return b"\n"

    def _health(self) -> bytes:
        self._serving()
        return _encode(self.worker.health())

    def _openapi(self) -> bytes:
        self._serving()
        return openapi.description(self.described())

    def described(self) -> openapi.Described:
        """What a request has, as far as that is known."""
        model, key, serving = self.settings.model, self.settings.key, self.worker.serving
        return (
            openapi.Described(model, key)
            if serving is None
            else openapi.Described(model, key, serving[0].kinds, serving[0].required)
        )


def _reader(formats: Formats | LooseFormats, said: Head) -> Callable[[bytes], Requests]:
    kind = media_type(said)
    if said.wanted is not None and said.wanted.record and isinstance(formats, Formats):
        if kind != b"application/json":
            raise RefusedError(400, "record is true of rows that are no JSON", "send JSON, or leave it out")
        return partial(formats.invocation, remember=True)
    if kind == b"application/json":
        return formats.invocation
    if kind == b"text/csv":
        return formats.text
    if kind == b"application/vnd.apache.parquet":
        return formats.parquet
    raise unknown_type(said, "Content-Type: application/json, text/csv or application/vnd.apache.parquet")


def _read(read: Callable[[bytes], _Given], sent: bytes) -> _Given:
    """What a request says.

    Raises:
        RefusedError: It does not fit.
    """
    try:
        return read(sent)
    except DataError as error:
        raise RefusedError(400, error.what, error.fix) from None


def _checked(sent: bytes) -> list[Label]:
    """Labels that the store will take, each under its transaction's text: the spool knows no number so long."""
    labels = _labels(sent)
    json.loads(sent, object_pairs_hook=once)
    cases, now = [case_of(label) for label in labels], SystemClock().now()
    case_rows(cases)
    for case in cases:
        require_past(case, now)
    return [replace(label, transaction_id=case.transaction_id) for label, case in zip(labels, cases, strict=True)]


def _contents(rows: Sequence[Row], sent: bytes) -> list[bytes]:
    """What tells each row from others: its values, or where those are MLflow's, the whole body and its place in it."""
    if not isinstance(rows[0], Piece):
        return [repr(tuple(cast("Sequence[Any]", row))).encode("utf-8", "replace") for row in rows]
    whole = hashlib.sha256(sent).digest()
    return [whole + b"%d" % place for place in range(len(rows))]


def _apart(names: list[RequestNames]) -> list[RequestNames]:
    """Rows of one call that say the same are requests of their own, and told apart by their place among them."""
    seen: Counter[str] = Counter()
    told = []
    for name in names:
        seen[name.request_id] += 1
        count = seen[name.request_id]
        told.append(name if count == 1 else replace(name, request_id=f"{name.request_id}.{count}"))
    return told
