"""Scores requests: one immutable state at a time, the champion's answer whatever the canary does, and an outcome each.

No registry, no database, no network: what it needs is in the version cache, and what it leaves is a list of outcomes.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from fds_mlflow.core.routing.exploration import Exploration
from fds_mlflow.core.routing.routing import Split
from fds_mlflow.errors import FdsError, UnavailableError
from fds_mlflow.scoring.loaded import Loaded
from fds_mlflow.scoring.reasons import Reason, Value, written
from fds_mlflow.scoring.requests.names import RequestNames
from fds_mlflow.scoring.requests.rows import FeaturedRow, Row, UnfitError
from fds_mlflow.scoring.served import Served, Table
from fds_mlflow.scoring.state import ServingState
from fds_mlflow.serving.disk.spool import SpooledOutcome, SpooledShadow
from fds_mlflow.serving.disk.version_cache import VersionCache
from fds_mlflow.serving.inputs import digest, kept_vector, taken
from fds_mlflow.serving.worker.asking import CANARY, CHAMPION, Result, all_scored, refuse, scored


class Answer(msgspec.Struct, gc=False):
    """What a request is told.

    Attributes:
        request_id: As the client gave it, else its identity.
        key: The routing key.
        score: In [0, 1], higher = more likely fraud.
        flagged: Whether the score reaches the version's threshold, and it is not explored.
        risk: The score on a scale from 0 to 100 on which 50 is the version's own threshold.
        band: What the risk asks for: `approve`, `step_up` or `block`; `approve` of what is explored.
        variant: Who answered.
        version: The version that answered.
        explored: Whether it is let pass although the score reaches the threshold, so that its truth shows; not said
            where nothing is explored.
        degraded: Whether its features are not what they would be; said only where it is so.
        degraded_reason: Why: the state was `down`, `slow` or `behind`, or `cold`: it lacks a window.
        reasons: What adds the most to the score, the strongest first; None where the version gives none. Said only
            where a request asks for them, as all that follows.
        base: The raw score before any feature is looked at.
        reasons_refused: Why there are no reasons, and what to do.
        features: What the version scored, by column; None where that cannot be told.
        features_refused: Why it cannot.
    """

    request_id: str
    key: str
    score: float
    flagged: bool
    risk: float
    band: str
    variant: str
    version: int
    explored: bool | msgspec.UnsetType = msgspec.UNSET
    degraded: bool | msgspec.UnsetType = msgspec.UNSET
    degraded_reason: str | msgspec.UnsetType = msgspec.UNSET
    reasons: list[Reason] | msgspec.UnsetType | None = msgspec.UNSET
    base: float | msgspec.UnsetType = msgspec.UNSET
    reasons_refused: str | msgspec.UnsetType = msgspec.UNSET
    features: dict[str, Value] | msgspec.UnsetType | None = msgspec.UNSET
    features_refused: str | msgspec.UnsetType = msgspec.UNSET


Explain = Callable[[Sequence[Answer]], None]
"""Adds to answers what else was asked for."""


def _explained(explain: Explain, answers: Sequence[Answer], kept: Sequence[SpooledOutcome]) -> None:
    """Explain answers, and keep their reasons with their outcomes."""
    explain(answers)
    outcomes = {outcome.request_id: outcome for outcome in kept}
    for answer in answers:
        outcome = outcomes.get(answer.request_id)
        if outcome is not None and isinstance(answer.reasons, list):
            outcome.reasons = written(answer.reasons)


@dataclass(frozen=True)
class Bands:
    """From which risk on more than approval is asked for.

    Attributes:
        step_up: Ask the customer for a second factor from here on.
        block: Block from here on.
    """

    step_up: float = 50.0
    block: float = 80.0

    def __call__(self, risk: float) -> str:
        """The band of a risk."""
        if risk >= self.block:
            return "block"
        return "step_up" if risk >= self.step_up else "approve"


def risk_of(score: float, threshold: float) -> float:
    """The score on a scale from 0 to 100, straight on both sides of the threshold, which is 50.

    Thresholds differ between versions, and so do scores: a fixed scale makes bands outlive a release.
    """
    if score >= threshold:
        return 100.0 if threshold >= 1.0 else 50.0 + 50.0 * (score - threshold) / (1.0 - threshold)
    return 50.0 * score / threshold


@dataclass
class Engine:
    """Answers requests by the state in force, and keeps their outcomes until they are fetched.

    Args:
        cache: Where table and versions are.
        bands: From which risk on more than approval is asked for.
        key: Column of the routing key.
        transaction: Column that labels are joined on.
        canary_timeout: Seconds a canary without a compiled scorer may take.
        champion_timeout: The same for a champion.
        shadow: Share of the champion's requests that the canary scores as well, in [0, 1]; at least that of the plan.
        explore: Which of the flagged requests are let pass; None for none.
        explore_until: Until when, seconds since 1970; for ever where a day has no bound.
        sample: Which transactions have their vectors kept; None for none.
        state: What answers; None before the first table.
        outcomes: Of requests answered, until they are fetched; threads add and fetch at once.
        shadowed: Requests that the canary is still to score: identity, values, and the state that answered.
        seen: Which table in the version cache the state was made of.
    """

    cache: VersionCache
    bands: Bands = field(default_factory=Bands)
    key: str = "transaction_id"
    transaction: str = "transaction_id"
    canary_timeout: float = 0.25
    champion_timeout: float = 5.0
    shadow: float = 0.0
    explore: Exploration | None = None
    explore_until: float = math.inf
    sample: Split | None = None
    state: ServingState | None = None
    outcomes: deque[SpooledOutcome] = field(default_factory=deque)
    shadowed: deque[tuple[str, Row, ServingState]] = field(default_factory=lambda: deque(maxlen=10_000))
    seen: int = 0

    def follow(self) -> bool:
        """Take over the table in the version cache if it has changed; whether it had.

        A version that does not load never replaces one that serves: then the state stays as it was.

        Raises:
            FdsError: The champion does not load.
        """
        changed = self.cache.changed
        if changed == self.seen:
            return False
        table = self.cache.table()
        if table is None:
            return False
        self.state = self._made(table)
        self.seen = changed
        return True

    def _made(self, table: Table) -> ServingState:
        if self.state is not None and self.state.serves(table):
            return self.state.read_again(table)
        rollout = table.routing.rollout
        champion = self._loaded(table.served(table.routing.champion), self.champion_timeout)
        canary = None
        if rollout is not None:
            try:
                canary = self._loaded(table.served(rollout.canary), self.canary_timeout)
            except FdsError:
                canary = None  # the champion answers for it, and each outcome says so
        return ServingState(table, champion, canary, self.key, self.transaction, self.shadow, self.explore)

    def _loaded(self, served: Served, seconds: float) -> Loaded:
        for there in (self.state.champion, self.state.canary) if self.state else ():
            if there is not None and there.identity == served.identity:
                return there.given(
                    served.threshold, seconds
                )  # a canary that became champion may take a champion's time
        prepared = self.cache.prepared(served.version, served.identity)
        if prepared is None:
            raise UnavailableError(f"version {served.version} is not ready on this machine", fix="wait a moment")
        return Loaded.load(prepared, served.threshold, seconds, served.files)

    # --- one request --------------------------------------------------------------------------------------

    def answer(
        self,
        state: ServingState,
        values: Row,
        names: RequestNames,
        *,
        variant: str | None = None,
        explain: Explain | None = None,
    ) -> Answer:
        """Score one request and keep its outcome.

        Args:
            state: The state in force.
            values: One per column of `state.names`.
            names: Of the request.
            variant: Which one is to answer whatever the key says, for tests; such a request leaves no outcome.
            explain: Adds to the answer what else was asked for; its reasons go into the outcome.

        Raises:
            RequestError: The champion cannot score it, and the request may be why; it leaves no outcome.
            FdsError: The champion cannot score it.
        """
        assigned = CANARY if state.to_canary(names.key) else CHAMPION
        result = scored(state, values, assigned, variant or assigned)
        refuse([result])
        kept: list[SpooledOutcome] = []
        try:
            answer = self._told(state, values, names, result, kept if variant is None else None)
            if explain is not None:
                _explained(explain, [answer], kept)
        finally:  # only once all is said of it may it be fetched
            self.outcomes.extend(kept)
        return answer

    def answers(self, state: ServingState, rows: Sequence[Row], names: Sequence[RequestNames]) -> list[Answer]:
        """As `timed`, without the times."""
        return [answer for answer, _ in self.timed(state, rows, names)]

    def timed(
        self,
        state: ServingState,
        rows: Sequence[Row],
        names: Sequence[RequestNames],
        explain: Explain | None = None,
    ) -> list[tuple[Answer, float]]:
        """Score many requests at once; as `answer`, all or none.

        Args:
            state: The state in force.
            rows: Values, one per column of `state.names` each.
            names: Of each row.
            explain: As for `answer`.

        Returns:
            Each answer, and the milliseconds that were waited for the versions that were asked for it.

        Raises:
            RequestError: The champion cannot score them, and the request may be why; none leaves an outcome.
            FdsError: The champion cannot score them.
        """
        results = all_scored(state, rows, [name.key for name in names])
        refuse(results)
        answers: list[tuple[Answer, float]] = []
        failed: FdsError | None = None
        kept: list[SpooledOutcome] = []
        try:
            for values, name, result in zip(rows, names, results, strict=True):
                try:
                    answers.append((self._told(state, values, name, result, kept), result[4]))
                except FdsError as error:  # the outcomes of the others are kept all the same
                    failed = failed or error
            if failed is not None:
                raise failed
            if explain is not None:
                _explained(explain, [answer for answer, _ in answers], kept)
        finally:
            self.outcomes.extend(kept)
        return answers

    def _told(
        self,
        state: ServingState,
        values: Row,
        names: RequestNames,
        result: Result,
        kept: list[SpooledOutcome] | None,
    ) -> Answer:
        """What a request is told. Its outcome is kept, and the request itself where the canary is to score it as well.

        Args:
            state: The state in force.
            values: Of the request.
            names: Of the request.
            result: Who answered, and how.
            kept: Takes its outcome; None where it leaves none.

        Raises:
            DataError: There is no score.
        """
        _, loaded, score, error, _ = result
        explored = False
        if kept is not None and not isinstance(error, UnfitError):
            kept.append(self._outcome(state, values, names, result))
            explored = kept[-1].explored
        if score is None:
            raise error or AssertionError("no score and no error")
        risk, by_canary = risk_of(score, loaded.threshold), loaded is state.canary
        why = None
        if isinstance(values, FeaturedRow):
            why = values.lack.canary if by_canary else values.lack.champion
        return Answer(
            names.request_id,
            names.key,
            score,
            score >= loaded.threshold and not explored,
            round(risk, 2),
            "approve" if explored else self.bands(risk),
            CANARY if by_canary else CHAMPION,
            loaded.version,
            msgspec.UNSET if state.explore is None else explored,
            msgspec.UNSET if why is None else True,
            msgspec.UNSET if why is None else why,
        )

    def _outcome(self, state: ServingState, values: Row, names: RequestNames, result: Result) -> SpooledOutcome:
        """A request's outcome; the request is kept where the canary is to score it too."""
        assigned, loaded, score, error, milliseconds = result
        flagged, now = score is not None and score >= loaded.threshold, time.time()
        propensity, explored = None, False
        if state.explore is not None:  # where no outcome tells of it, nothing is let pass
            propensity = state.propensity(values) if now < self.explore_until else 0.0
            explored = flagged and state.explore.explores(names.key, propensity)
        barred = isinstance(values, FeaturedRow) and values.lack.barred is not None
        if state.shadow and assigned == CHAMPION and not barred and state.to_shadow(names.key):
            self.shadowed.append((names.request_id, values, state))
        own = state.for_canary(values) if loaded is state.canary else state.for_champion(values)
        given = taken(loaded, own)
        raw, degraded, vector = None, False, None
        if isinstance(values, FeaturedRow):
            raw, degraded = values.raw, values.lack.degraded is not None
        if self.sample is not None and given is not None and score is not None and not loaded.loose:
            vector = kept_vector(loaded, given, raw) if self.sample.takes(names.transaction_id) else None
        return SpooledOutcome(
            names.request_id,
            names.key,
            names.transaction_id,
            state.rollout_id,
            state.step,
            state.weight,
            assigned,
            CANARY if loaded is state.canary else CHAMPION,
            loaded.version,
            score,
            flagged,
            milliseconds,
            None if error is None else error.what,
            now,
            propensity,
            explored,
            None if state.segments is None else state.segment(values),
            degraded,
            None if given is None else digest(given, raw),
            None,
            vector,
        )

    def fetched(self) -> list[SpooledOutcome]:
        """The outcomes so far, each given once; what another thread adds meanwhile is for the next time."""
        return [self.outcomes.popleft() for _ in range(len(self.outcomes))]

    def shadows(self, most: int = 500, seconds: float = 0.1) -> list[SpooledShadow]:
        """Let the canary score requests that the champion has answered; off the path of any request.

        A pair belongs to the rollout under which the champion answered, so a canary that has left is not asked.

        Args:
            most: So many at most.
            seconds: Begin no other after so long; what is left is for the next time.
        """
        found: list[SpooledShadow] = []
        until = time.monotonic() + seconds
        while self.shadowed and len(found) < most and time.monotonic() < until:
            request_id, values, state = self.shadowed.popleft()
            canary = state.canary
            if canary is None:
                continue
            began, score, error = time.perf_counter(), None, None
            try:
                score = canary.row(state.for_canary(values))
            except UnfitError:
                continue
            except FdsError as failed:
                error = failed.what
            milliseconds = 1_000.0 * (time.perf_counter() - began)
            flagged = score is not None and score >= canary.threshold
            found.append(SpooledShadow(request_id, canary.version, score, flagged, milliseconds, error, time.time()))
        return found
