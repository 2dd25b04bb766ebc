"""Evidence from Parquet files, counted by DuckDB in one go: what a store counts at its first look.

Nothing is kept between two looks. What a row says is decided once, in the table `marked`; the rest are sums of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import literal_column

from fds_mlflow.core.evidence.arms import evidence_of
from fds_mlflow.core.evidence.evidence import LABELLED, EventKind, Evidence, KnownAlerts
from fds_mlflow.outcomes.counting.bins import (
    Number,
    fine_latency_bin,
    fine_score_bin,
    latency_bin,
    loss_bin,
    score_bin,
)
from fds_mlflow.outcomes.counting.question import Question
from fds_mlflow.outcomes.counting.strata import Counters

if TYPE_CHECKING:
    import duckdb

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)

ID = "written::HUGEINT * 4294967296 + file_row_number"
"""The order of writing: of a batch, and of a row in its file."""

STATES = f"""
SELECT transaction_id, epoch_us(known_at) AS known, status, loss_amount, propensity FROM labels
QUALIFY row_number() OVER (PARTITION BY transaction_id, known_at ORDER BY {ID} DESC) = 1
"""
"""Of the states of a transaction at one moment, the last that was written."""

_WHOLE = f"""
CREATE TEMP TABLE whole AS
WITH mine AS (
    SELECT {ID} AS id, request_id, rollout_id, key, coalesce(transaction_id, key) AS transaction_id, step, weight,
        assigned, version, score, flagged, latency_ms, error IS NOT NULL AS failed, epoch_us(time) AS us,
        propensity, explored, coalesce(segment, '') AS segment, degraded
    FROM outcomes WHERE model = $model
), twice AS (
    SELECT hash(request_id) AS hashed FROM outcomes WHERE model = $model GROUP BY hashed HAVING count(*) > 1
), first AS (
    SELECT unnest(arg_min(mine, id)) FROM mine WHERE hash(request_id) IN (SELECT hashed FROM twice) GROUP BY request_id
), once AS (
    SELECT * FROM first UNION ALL SELECT * FROM mine WHERE hash(request_id) NOT IN (SELECT hashed FROM twice)
)
SELECT * FROM once WHERE rollout_id = $rollout AND NOT degraded
"""
"""The outcomes that count: of a request, the first that was written; of these, what is evidence about the rollout.

Most requests are there once, which their hashes tell in a fraction of the memory and time that their ids would take.
"""

_TOLD = f"""
CREATE TEMP TABLE told AS
WITH beside AS (
    SELECT request_id, version, flagged, error IS NOT NULL AS failed FROM shadows WHERE model = $model
    QUALIFY row_number() OVER (PARTITION BY request_id ORDER BY {ID}) = 1
), states AS ({STATES}), due AS (
    SELECT id, transaction_id, us + $maturity AS until FROM whole
    WHERE us <= $limit AND transaction_id IN (SELECT transaction_id FROM states)
), truths AS (
    SELECT id, status = 'confirmed' AS fraud, loss_amount, s.propensity AS declared FROM due
    ASOF JOIN states s ON due.transaction_id = s.transaction_id AND due.until >= s.known
    WHERE status <> 'suspected'
)
SELECT whole.*, fraud, loss_amount, declared, coalesce(us <= $limit, false) AS matured,
    coalesce(beside.version <> whole.version, false) AS paired,
    beside.flagged AS other_flagged, beside.failed AS other_failed
FROM whole LEFT JOIN truths USING (id) LEFT JOIN beside USING (request_id)
"""
"""What is known of each: its truth as it was known at the maturity age, and what the other version said."""

_FIRSTS = """
CREATE TEMP TABLE firsts AS
SELECT key, min(id) AS seen, min(id) FILTER (score IS NOT NULL) AS scored, min(id) FILTER (failed) AS error,
    min(id) FILTER (flagged) AS alert, min(id) FILTER (latency_ms > $bound) AS slow, min(id) FILTER (paired) AS pair,
    min(struct_pack(us := us, id := id)) FILTER (fraud AND NOT flagged) AS missed_fraud,
    min(struct_pack(us := us, id := id)) FILTER (NOT fraud AND flagged) AS false_positive
FROM told GROUP BY key
"""
"""Where what may happen to a key did so first: in the order of writing, and of time where a label tells."""

_KINDS = {kind: "struct_pack(us := us, id := id)" if kind in LABELLED else "id" for kind in EventKind}
"""What tells where an event of a kind is."""


def _in_duckdb(expression: Any) -> str:
    """SQL of the counters' bins; a number with a point would be read as a decimal, which is not that double."""
    return re.sub(r"\b\d+\.\d+\b(?!e)", r"\g<0>e0", str(expression))


def _code(own: str, other: str) -> str:
    """2 where it happened to the champion alone, 1 to the canary alone, 3 to both, 0 to neither."""
    return f"if(assigned = 'champion', 2 * ({own})::INT + ({other})::INT, ({own})::INT + 2 * ({other})::INT)"


def _marked(question: Question) -> str:
    """What each row says, by the names of the places where it is counted."""
    terms = question.terms
    score: Number = literal_column("score")
    latency: Number = literal_column("latency_ms")
    says = {
        "step": "step",
        "weight": "weight",
        "assigned": "assigned",
        "hour": "us // 3600000000" if terms.hourly else "0",
        "segment": "segment" if terms.segments else "''",
        "us": "us",
        "score": "score",
        "flagged": "flagged",
        "explored": "explored",
        "propensity": "propensity",
        "matured": "matured",
        "fraud": "fraud",
        "loss": "loss_amount",
        "declared": "declared",
        "chance": "CASE WHEN explored THEN propensity WHEN propensity IS NULL THEN declared END",
        "is_first": "id = seen",
        "is_scored": "coalesce(id = scored, false)",
        "is_pair": "coalesce(id = pair, false)",
        "latency_bin": _in_duckdb(latency_bin(latency)),
        "score_bin": _in_duckdb(score_bin(score)),
        "loss_bin": f"if(loss_amount IS NULL, NULL, {_in_duckdb(loss_bin(literal_column('loss_amount')))})",
        "error_pair": _code("failed", "other_failed"),
        "alert_pair": _code("flagged", "other_flagged"),
        "missed_pair": _code("fraud AND NOT flagged", "fraud AND NOT other_flagged"),
        "false_pair": _code("NOT fraud AND flagged", "NOT fraud AND other_flagged"),
    }
    if terms.quantiles:
        says["fine_latency_bin"] = _in_duckdb(fine_latency_bin(latency))
        says["fine_score_bin"] = _in_duckdb(fine_score_bin(score))
    for kind, at in _KINDS.items():
        says[f"is_{kind}"] = f"coalesce({at} = {kind}, false)"
        says[f"spent_{kind}"] = f"coalesce({kind} < {at}, false)"
    columns = ", ".join(f"{expression} AS {name}" for name, expression in says.items())
    return f"CREATE TEMP TABLE marked AS SELECT {columns} FROM told JOIN firsts USING (key)"


def evidence(connection: duckdb.DuckDBPyConnection, question: Question) -> Evidence:
    """What a judge knows, from the views `outcomes`, `shadows` and `labels` of files.

    Args:
        connection: Of which nobody else has tables.
        question: What is asked.
    """
    terms = question.terms
    maturity = None if terms.maturity is None else terms.maturity // _MICRO
    limit = None if maturity is None else (question.as_of - EPOCH) // _MICRO - maturity
    connection.execute(_WHOLE, {"model": question.model, "rollout": question.rollout_id})
    connection.execute(_TOLD, {"model": question.model, "maturity": maturity, "limit": limit})
    connection.execute(_FIRSTS, {"bound": terms.latency_bound})
    connection.execute(_marked(question))
    counting = _Counting(connection, question)
    counting.requests()
    counting.events()
    counting.labels()
    counting.pairs()
    cells = counting.cells
    return evidence_of(terms, question.as_of.astimezone(UTC), cells.tallies(), cells.pairs(), cells.known_pairs())


class _Counting:
    """Adds up what `marked` says."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, question: Question) -> None:
        self.cells = Counters()
        self._connection = connection
        self._terms = question.terms

    def requests(self) -> None:
        """Requests, keys, scores and latencies."""
        numbers = ("count(*) FILTER (is_first)", "count(*) FILTER (is_scored)", "sum(score) FILTER (is_scored)")
        for *cell, requests, keys, scored, score, earliest, latest in self._by_cell(
            sums=(*numbers, "min(us), max(us)")
        ):
            self.cells.seen(cell, EPOCH + earliest * _MICRO, EPOCH + latest * _MICRO)
            self.cells.add(cell, "requests", requests)
            self.cells.add(cell, "keys", keys)
            self.cells.add(cell, "score_sum", scored, at=0)
            self.cells.add(cell, "score_sum", score or 0.0, at=1)
        for *cell, at, requests in self._by_cell("latency_bin"):
            self.cells.add(cell, "latencies", requests, at=at)
        for *cell, at, requests in self._by_cell("score_bin", where="is_scored"):
            self.cells.add(cell, "scores", requests, at=at)
        if self._terms.quantiles:
            for *cell, at, requests in self._by_cell("fine_latency_bin", where="is_first"):
                self.cells.add(cell, f"latency_firsts@{at}", requests)
            for *cell, at, requests in self._by_cell("fine_score_bin", where="is_scored"):
                self.cells.add(cell, f"score_firsts@{at}", requests)

    def events(self) -> None:
        """First events of keys, requests of keys that have had theirs, and money where it was lost."""
        for kind in EventKind:
            for *cell, keys in self._by_cell(where=f"is_{kind}"):
                self.cells.add(cell, kind.value, keys)
            if self._terms.hourly:
                late = " AND matured" if kind in LABELLED else ""
                for *cell, requests in self._by_cell(where=f"spent_{kind}{late}"):
                    self.cells.add_spent(cell, kind, requests)
        missed = f"is_{EventKind.MISSED_FRAUD}"
        for *cell, at, keys, money in self._by_cell("loss_bin", where=f"{missed} AND loss IS NOT NULL", money="loss"):
            self.cells.add(cell, "losses", keys, at=at)
            self.cells.add(cell, "losses_summed", keys)
            self.cells.add(cell, "loss_sums", money, at=at)
        if self._terms.hourly:
            for *cell, declared, keys in self._by_cell("declared", where=f"{missed} AND declared IS NOT NULL"):
                self.cells.add(cell, f"{EventKind.MISSED_FRAUD}@{declared!r}", keys)

    def labels(self) -> None:
        """What has matured, and what its labels say."""
        hourly, alert = self._terms.hourly, f"is_{EventKind.ALERT}"
        drawn = ("is_first", alert, "propensity", "explored")
        for *cell, first, is_alert, chance, explored, keys in self._by_cell(*drawn, where="matured"):
            self.cells.add(cell, "matured_requests", keys * hourly)
            self.cells.add(cell, "matured", keys * first)
            self.cells.add(cell, "matured_alerts", keys * is_alert)
            if chance is not None and hourly:
                self.cells.add_known_alerts(cell, chance, KnownAlerts(keys * is_alert, keys * is_alert * explored))
        told = ("is_first", alert, "flagged", "fraud", "loss IS NOT NULL", "chance", "propensity IS NULL")
        for *cell, first, is_alert, flagged, fraud, priced, chance, undrawn, keys, money in self._by_cell(
            *told, where="fraud IS NOT NULL", money="loss"
        ):
            alerts = keys * is_alert
            self.cells.add(cell, "labelled", keys * first)
            self.cells.add(cell, "passed_genuine", keys * (first and not flagged and not fraud and hourly))
            self.cells.add(cell, "reviewed_alerts", alerts)
            self.cells.add(cell, "false_alerts", alerts * (not fraud))
            if chance is not None and hourly:
                new = alerts * undrawn
                self.cells.add_known_alerts(cell, chance, KnownAlerts(new, new, alerts, alerts * (not fraud)))
            for at, value in enumerate((keys, keys * priced, money or 0.0)):
                self.cells.add(cell, "caught_money", value * is_alert * fraud, at=at)

    def pairs(self) -> None:
        """What happened to the first request of a key that both versions scored."""
        for *cell, errors, alerts, keys in self._by_cell("error_pair", "alert_pair", where="is_pair"):
            self.cells.add_pair(cell, EventKind.ERROR, errors, keys)
            self.cells.add_pair(cell, EventKind.ALERT, alerts, keys)
        # What was not flagged shows its truth by itself, unless nobody would have let it pass had it been.
        shown = "CASE WHEN flagged THEN chance WHEN coalesce(propensity, 1) > 0 THEN 1.0::DOUBLE END"
        where = "is_pair AND fraud IS NOT NULL"
        for *cell, missed, false, at, keys in self._by_cell("missed_pair", "false_pair", shown, where=where):
            for kind, to in ((EventKind.MISSED_FRAUD, missed), (EventKind.FALSE_POSITIVE, false)):
                self.cells.add_pair(cell, kind, to, keys)
                if at is not None and self._terms.hourly:
                    self.cells.add_pair(cell, kind, to, keys, chance=at)

    def _by_cell(
        self, *also: str, where: str = "true", money: str | None = None, sums: Sequence[str] = ()
    ) -> list[tuple[Any, ...]]:
        """A cell, then what `also` says, how many rows, the sum of `money` where it is given, and other sums."""
        summed = ["count(*)", *([f"sum({money})"] if money else []), *sums]
        by = ", ".join(["step", "weight", "assigned", "hour", "segment", *also])
        query = f"SELECT {by}, {', '.join(summed)} FROM marked WHERE {where} GROUP BY ALL"
        return self._connection.execute(query).fetchall()
