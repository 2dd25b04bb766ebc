"""One rollout, answered by a server's engine and by a router, one by one and all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fds_mlflow.core.lifecycle.events import Kind, Rollout
from fds_mlflow.core.routing.exploration import Exploration
from fds_mlflow.core.routing.routing import RoutingTable
from fds_mlflow.outcomes.records import OutcomeRecord
from fds_mlflow.registry import tags
from fds_mlflow.registry.store import SetVersionTag
from fds_mlflow.scoring.requests.formats import formats
from fds_mlflow.scoring.requests.names import RequestNames
from fds_mlflow.scoring.scorer import Scorer
from fds_mlflow.serving.router import Router
from fds_mlflow.serving.worker.engine import Engine
from tests.support.registry_model import MODEL, World
from tests.support.version_caches import INPUTS, table, version_cache

Told = tuple[float, bool, Any, str, int]
"""Score, flagged, explored, variant and version."""

Kept = tuple[str, str, str, float | None, bool, float | None, bool, str | None]
"""Key, assigned and served, score, flagged, propensity, explored and segment."""


@dataclass
class BothWays:
    """Champion 1 (0.1, or 0.9 above an amount of 100) and canary 2 (0.2 or 0.8), flagged from 0.5 on.

    Attributes:
        folder: Of the version cache.
        rollout: What is under way; None for nothing.
        explore: Which flagged requests are let pass.
    """

    folder: Path
    weight: int | None = 5_000
    explore: Exploration | None = None
    plan: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.world = World()
        self.world.do(Kind.PROMOTE, 1)
        self.rollout: Rollout | None = None
        made = table(weight=self.weight)
        if self.weight is not None:
            self.world.do(Kind.START, 2)
            tagged = self.world.store.models[MODEL].versions[2].tags
            rollout = tags.decode_rollout(tagged[tags.ROLLOUT])
            assert rollout is not None
            plan = replace_plan(rollout, self.plan)
            self.rollout = replace(rollout, weight=self.weight, plan=plan, plan_written="")
            self.world.store.write(MODEL, SetVersionTag(2, tags.ROLLOUT, tags.encode_rollout(self.rollout)))
            made = replace(made, routing=RoutingTable(1, self.rollout))
        cache = version_cache(self.folder)
        cache.write_table(made)
        self.engine = Engine(cache, explore=self.explore)
        assert self.engine.follow()
        self.kept: list[OutcomeRecord] = []

    def record(self, outcomes: Sequence[OutcomeRecord]) -> int:
        """Keep what a router records."""
        self.kept.extend(outcomes)
        return len(outcomes)

    def router(self, **more: Any) -> Router:
        """A router of the same model."""
        given = {"explore": self.explore, "recorder": self, "poll_seconds": 2.0, **more}
        return Router(MODEL, self.world.store, _scorer, clock=self.world.clock, **given)

    def by_engine(self, rows: Sequence[dict[str, Any]], *, together: bool) -> tuple[list[Told], list[Kept]]:
        """What a server tells and records."""
        import msgspec

        state = self.engine.state
        assert state is not None
        read = formats(state, limit=10_000)
        called = read.invocation(msgspec.json.encode({"dataframe_records": rows}))
        names = [RequestNames(f"R{n}", row["transaction_id"], row["transaction_id"]) for n, row in enumerate(rows)]
        if together:
            answers = self.engine.answers(state, called.rows, names)
        else:
            alone = [read.one(msgspec.json.encode(row))[0] for row in rows]
            answers = [self.engine.answer(state, row, name) for row, name in zip(alone, names, strict=True)]
        told = [(one.score, one.flagged, one.explored, one.variant, one.version) for one in answers]
        return told, [_kept(one) for one in self.engine.fetched()]

    def by_router(self, rows: Sequence[dict[str, Any]], *, together: bool) -> tuple[list[Told], list[Kept]]:
        """What a router tells and records."""
        self.kept.clear()
        router = self.router()
        if together:
            answer = router.predict(pd.DataFrame(rows))
            if "explored" not in answer:
                answer["explored"] = False
            told = list(
                answer[["score", "flagged", "explored", "variant", "version"]].itertuples(index=False, name=None)
            )
            order = {row["transaction_id"]: place for place, row in enumerate(rows)}
            self.kept.sort(key=lambda one: order[one.key])
        else:
            scored = [router.score(row) for row in rows]
            told = [(one.score, one.flagged, one.explored, one.variant.value, one.version) for one in scored]
        return told, [_kept(one) for one in self.kept]


def replace_plan(rollout: Rollout, more: dict[str, Any]) -> Any:
    """The plan of a rollout with other keys, as plain values."""
    return type(rollout.plan).from_dict({**rollout.plan.to_dict(), **more})


def _scorer(version: int) -> Scorer:
    low, high = (0.1, 0.9) if version == 1 else (0.2, 0.8)
    return Scorer(version, 0.5, dict(INPUTS), None, lambda rows: np.where(rows["amount"] > 100, high, low))


def _kept(one: Any) -> Kept:
    assigned, served = (str(getattr(side, "value", side)) for side in (one.assigned, one.served))
    return (one.key, assigned, served, one.score, one.flagged, one.propensity, one.explored, one.segment)
