"""A router that follows the aliases: which version scores a request, and its scores for a frame."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from fds_mlflow.core.keys import spelled
from fds_mlflow.core.routing.exploration import Exploration
from fds_mlflow.core.routing.routing import Route, RoutingTable, Variant
from fds_mlflow.data.moments import micros_of
from fds_mlflow.errors import ConfigError, FdsError, UnavailableError
from fds_mlflow.outcomes.records import identity, new_request
from fds_mlflow.outcomes.sink import OutcomeSink, stored
from fds_mlflow.registry import tags
from fds_mlflow.registry.aliases import AliasReader
from fds_mlflow.registry.store import RegistryStore, VersionView
from fds_mlflow.runtime.clock import Clock, Stopwatch
from fds_mlflow.serving.allowance import Allowance
from fds_mlflow.serving.buffer import Buffer
from fds_mlflow.serving.fallback import answered
from fds_mlflow.serving.frame_keys import as_bytes, identities, key_of, keys_of, names_of, value_of, values_of
from fds_mlflow.serving.frames import Frames
from fds_mlflow.serving.inputs import sample
from fds_mlflow.serving.routed import (
    FIRST,
    Beside,
    Given,
    Part,
    Scored,
    check_reasons,
    explained,
    featured_of,
    noted,
    outcomes,
    row_of,
    served_by,
    together,
)

if TYPE_CHECKING:
    import pandas as pd

    from fds_mlflow.scoring.reasons import Most
    from fds_mlflow.scoring.requests.names import RequestNames
    from fds_mlflow.scoring.scorer import Scorer
    from fds_mlflow.serving.featured import Featured
    from fds_mlflow.serving.raw import Raw

log = logging.getLogger(__name__)

TRANSACTION = "transaction_id"


class Router:
    """Follows the champion and canary aliases of a model and routes by consistent hash.

    Every replica routes the same key the same way. While the registry cannot be read, or has no champion, the last
    good table stays in force and `degraded` says why.

    Args:
        model: Registered model.
        store: The registry.
        load: Loads a version.
        clock: Time.
        poll_seconds: How old the table may get before the aliases are read again.
        recorder: Where outcomes go; None to record none.
        explore: Which of the flagged transactions are let pass; None for none.
        count: How many the outcome store has that were explored since a time; needed where a day has a bound.
        raw: Computes the features of raw transactions; None where all are computed already.
        vector_sample: Percentage of the transactions whose features are kept with their outcomes.

    Raises:
        ConfigError: What is explored is recorded nowhere, or bounded by the day and not counted; a percentage is none.

    Attributes:
        degraded: What is wrong just now, though requests are answered; None when all is well.
        unrecorded: Outcomes that could not be written since the router was made.
    """

    def __init__(
        self,
        model: str,
        store: RegistryStore,
        load: Callable[[int], Scorer],
        *,
        clock: Clock,
        poll_seconds: float = 2.0,
        recorder: OutcomeSink | None = None,
        explore: Exploration | None = None,
        count: Callable[[datetime], int] | None = None,
        raw: Raw | None = None,
        vector_sample: float = 0.0,
    ) -> None:
        self.model = model
        self.degraded: str | None = None
        self.unrecorded = 0
        self._aliases = AliasReader(store, model)
        self._load = load
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._recorder = recorder
        self._explore = explore
        self._raw = raw
        self._sample = sample(vector_sample)
        self._allowance: Allowance | None = None
        if explore is not None and (recorder is None or (explore.per_day is not None and count is None)):
            raise ConfigError(
                f"what is explored of {model!r} would be counted nowhere", fix="pass recorder= and count="
            )
        if explore is not None and explore.per_day is not None and count is not None:
            self._allowance = Allowance(explore, count, clock, poll_seconds)
        self._table: RoutingTable | None = None
        self._fix = ""
        self._read_at = float("-inf")
        self._scorers: dict[int, tuple[str | None, Scorer]] = {}
        self._identities: dict[int, str] = {}
        self._lock = threading.Lock()  # around the scorers
        self._reading = threading.Lock()  # held by the one thread that reads the aliases

    @property
    def table(self) -> RoutingTable:
        """The routing table, read again when it is older than the poll interval.

        One thread reads it; the others go on with the last one meanwhile.

        Raises:
            UnavailableError: There has never been a good table.
        """
        stale = self._clock.monotonic() - self._read_at >= self._poll_seconds
        if stale and self._reading.acquire(blocking=self._table is None):
            try:
                if self._clock.monotonic() - self._read_at >= self._poll_seconds:
                    self._refresh()
            finally:
                self._reading.release()
        if self._table is None:
            raise UnavailableError(f"model {self.model!r} cannot be served: {self.degraded}", fix=self._fix)
        return self._table

    def refresh(self) -> RoutingTable:
        """Read the aliases now, however young the table is."""
        self._read_at = float("-inf")
        return self.table

    def _refresh(self) -> None:
        try:
            found = self._aliases.read()
            table = found.routing
            with self._lock:
                kept = {view.version: self._kept(view) for view in (found.champion, found.canary) if view is not None}
                identities = {view.version: view.identity for view in (found.champion, found.canary) if view}
            if self._scorers and kept[table.champion] is None:  # what does not load never replaces what scores
                kept[table.champion] = (identities[table.champion], self._load(table.champion))
            with self._lock:
                self._identities = identities
                self._scorers = {version: scorer for version, scorer in kept.items() if scorer is not None}
            self._table, self.degraded = table, None
        except FdsError as error:
            self.degraded, self._fix = error.what, error.fix
            log.warning("the routing table of %s stays as it was: %s", self.model, error.what)
        finally:
            if self._allowance is not None:
                self._allowance.renew()
                self.degraded = self.degraded or self._allowance.problem
            self._read_at = self._clock.monotonic()

    def _kept(self, view: VersionView) -> tuple[str | None, Scorer] | None:
        """The scorer in memory, if it is that of the version that has this number now, at its threshold of today."""
        identity, scorer = self._scorers.get(view.version, (None, None))
        if scorer is None or identity not in (None, view.identity):
            return None
        if tags.THRESHOLD in view.tags:
            from fds_mlflow.scoring.scorer import threshold_of

            scorer = replace(scorer, threshold=threshold_of(self.model, view))
        return view.identity, scorer

    def close(self) -> None:
        """Store the outcomes that wait, where they are buffered, and let go of the state."""
        if isinstance(self._recorder, Buffer):
            self._recorder.close()
        if self._raw is not None:
            self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def route(self, key: str) -> Route:
        """Which version scores the request with this routing key."""
        return self.table.route(key)

    def predict(
        self,
        frame: pd.DataFrame,
        key: str = "transaction_id",
        *,
        request_id: str | None = None,
        reasons: Most | None = None,
        remember: bool = True,
    ) -> pd.DataFrame:
        """Score rows, each by the version its key is routed to, and record the outcomes.

        A canary that raises or breaks the scorer contract costs nobody an answer: the champion answers its rows,
        and the outcome says so.

        Args:
            frame: Feature rows, or raw transactions in order, shape (n, columns), with the routing key among them.
            key: Name of the routing key's column; text without missing values.
            request_id: Name of a column that identifies each request, so that a retry is recorded once; None for a
                request each. Labels are joined by the column `transaction_id` where there is one, else by the key.
            reasons: Tell why each row has its score: so many reasons at most, of those that speak for fraud, or `all`.
            remember: Take raw transactions into the state, once however often they are sent.

        Returns:
            Frame with the index of `frame` and the columns `score` (float64 in [0, 1]), `flagged` (bool), `variant`
            (who answered: champion or canary) and `version` (int64); of raw transactions also `degraded`, as in
            `Scored`; where something is explored, `explored` (bool): let pass and not flagged, although the score
            reaches the threshold. Where reasons are asked for, `reasons` (each a list of `Reason`, the strongest first;
            None where there are none), `base` (float64, what they add up from) and `reasons_refused` (why, else None).

        Raises:
            ConfigError: So many reasons cannot be asked for.
            DataError: The key column is missing or has gaps, or the champion cannot score the rows.
            UnavailableError: There has never been a champion to read.
        """
        from fds_mlflow.scoring.requests.names import RequestNames

        check_reasons(reasons)
        table = self.table
        keys = keys_of(frame, key, table.spelling)
        named = names_of(frame, TRANSACTION) if TRANSACTION in frame.columns else None
        requests = None if request_id is None else keys_of(frame, request_id)
        to_canary, frames = table.to_canary(keys), Frames.of(self._raw, frame, table, record=remember)
        parts = []
        if not to_canary.all() or frame.empty:
            parts.append(self._part(frames, np.flatnonzero(~to_canary), table, None))
        if table.rollout is not None and to_canary.any():
            parts.append(self._part(frames, np.flatnonzero(to_canary), table, table.rollout.canary))
        beside = Beside.of(table, self._explore, keys, partial(values_of, frame), parts, stopped=self._stopped)
        answer = frames.told(together(frame.index, parts))
        answer = answer if self._explore is None else beside.told(answer)
        if reasons is not None:
            answer = explained(answer, frames, parts, self._scorer, reasons)
        if self._recorder is not None and len(frame):
            ids = [new_request() for _ in keys] if requests is None else identities(frame, requests, named)
            labelled_by = keys if named is None else [name or key for name, key in zip(named, keys, strict=True)]
            names = list(map(RequestNames, ids, keys, labelled_by))
            given = Given.of_frame(frames, parts, self._scorer, labelled_by, self._sample)
            given.explain(None if reasons is None else answer["reasons"])
            self._record(table, names, parts, beside, given)
        return answer

    def score(
        self,
        transaction: Mapping[str, Any],
        key: str = TRANSACTION,
        *,
        request_id: str | None = None,
        reasons: Most | None = None,
        remember: bool = True,
    ) -> Scored:
        """Score one transaction and record the outcome, as `predict` does, at a small part of its cost for one row.

        Args:
            transaction: Features by column, with the routing key among them. Where there is a state also a raw one: all
                columns of the schema that the champion declares.
            key: Name of the routing key's column.
            request_id: Identifies the request, so that a retry is recorded once; None for a request of its own.
            reasons: As for `predict`.
            remember: Take a raw transaction into the state, once however often it is sent.

        Raises:
            ConfigError: So many reasons cannot be asked for.
            DataError: The key is missing, or the champion cannot score the transaction.
            RefusedError: The transaction is raw, and the champion declares no features.
            UnavailableError: There has never been a champion to read.
        """
        from fds_mlflow.scoring.requests.names import RequestNames

        check_reasons(reasons)
        table = self.table
        named = key_of(transaction, key, table.spelling)
        route = table.route(named)
        took, raw = Stopwatch(), self._raw
        featured = None if raw is None else featured_of(raw, transaction, table, route.version, record=remember)
        (scorer, score), by_canary, failed = answered(
            route.variant is Variant.CANARY,
            partial(self._row, route.version, took),
            partial(self._row, table.champion, took),
            featured or transaction,
        )
        served, error = served_by(by_canary), noted(failed, 1)
        one, flags = np.array([score]), np.array([score >= scorer.threshold])
        part = Part(FIRST, route.variant, served, scorer.version, one, flags, took.milliseconds, error)
        column = partial(value_of, transaction)
        beside = Beside.of(table, self._explore, [named], column, [part], stopped=self._stopped)
        explored = bool(beside.explored[0])
        why = None if featured is None else featured.lacks(scorer.version)
        answer = Scored(score, bool(flags[0]) and not explored, served, scorer.version, explored, degraded=why)
        row = row_of(featured or transaction, scorer)
        if reasons is not None:
            answer = answer.explained(row, scorer, reasons)
        if self._recorder is not None:
            known = spelled(transaction.get(TRANSACTION))
            content = repr(sorted(transaction.items(), key=str)) if known is None else known
            identified = new_request() if request_id is None else identity(str(request_id), as_bytes(content))
            names = RequestNames(identified, named, known or named)
            came = None if raw is None or featured is None else (transaction, raw.origin(scorer.version))
            given = Given.of_row(scorer, row, came, names, self._sample, degraded=bool(featured and featured.degraded))
            given.explain(None if answer.explanation is None else [answer.explanation.reasons])
            self._record(table, [names], [part], beside, given)
        return answer

    def label(self, transaction: str, *, fraud: bool, known: datetime) -> bool:
        """Take a label, or its correction, into the state that features are computed from.

        Args:
            transaction: Its id.
            fraud: What it says.
            known: When it became known, timezone-aware.

        Returns:
            Whether the transaction is remembered there; False of a router without a state.

        Raises:
            DataError: `known` has no time zone.
        """
        moment = micros_of(known)
        return self._raw is not None and self._raw.label(transaction, fraud=fraud, known=moment)

    @property
    def _stopped(self) -> bool:
        """Whether nothing may be explored just now."""
        return self._allowance is not None and not self._allowance.allows(self._clock.now())

    def _row(self, version: int, took: Stopwatch, asked: Featured | Mapping[str, Any]) -> tuple[Scorer, float]:
        scorer = self._scorer(version)
        row = row_of(asked, scorer)
        with took:
            return scorer, scorer.row(row)

    def _record(
        self, table: RoutingTable, names: Sequence[RequestNames], parts: Sequence[Part], beside: Beside, given: Given
    ) -> None:
        """Write outcomes; a store that is down costs nobody an answer, and what it missed is counted."""
        assert self._recorder is not None
        found = outcomes(self.model, table, names, parts, beside, given=given, now=self._clock.now())
        try:
            refused = stored(self._recorder.record, found)
            if refused:
                self.unrecorded += refused
                self.degraded = f"{refused:,} of {len(found):,} outcomes were not recorded: no store takes their keys"
        except FdsError as error:
            self.unrecorded += len(found)
            self.degraded = error.what
            log.exception("%s outcomes of %s were not recorded", len(found), self.model)

    def _part(self, frames: Frames, rows: npt.NDArray[np.intp], table: RoutingTable, canary: int | None) -> Part:
        """The rows that are assigned to the canary, or to the champion where `canary` is None, scored together."""
        took = Stopwatch()
        (version, scores, flagged), by_canary, failed = answered(
            canary is not None,
            partial(self._score, frames, table.champion if canary is None else canary, took),
            partial(self._score, frames, table.champion, took),
            rows,
        )
        assigned, error = served_by(canary is not None), noted(failed, len(rows))
        return Part(rows, assigned, served_by(by_canary), version, scores, flagged, took.milliseconds, error)

    def _score(
        self, frames: Frames, version: int, took: Stopwatch, rows: npt.NDArray[np.intp]
    ) -> tuple[int, npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """The version, the scores, and which of them are flagged; loading the version is no part of the time."""
        scorer, taken = self._scorer(version), frames.taken(version)
        with took:
            scores = scorer.score(taken.iloc[rows])
        return version, scores, scores >= scorer.threshold

    def _scorer(self, version: int) -> Scorer:
        with self._lock:
            _, known = self._scorers.get(version, (None, None))
            identity = self._identities.get(version)
        if known is None:
            known = self._load(version)
            with self._lock:
                self._scorers[version] = (identity, known)
        return known
