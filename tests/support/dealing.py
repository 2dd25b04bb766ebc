"""A computation that is dealt to processes, in this one."""

from __future__ import annotations

from collections import defaultdict

import pandas as pd
import pyarrow as pa

from fds_mlflow.data.schema import Schema
from fds_mlflow.features.engines.dealt import Plan, planned
from fds_mlflow.features.engines.reading import Noticed
from fds_mlflow.features.fit import kinds_of
from fds_mlflow.features.spec import FeatureSpec


def plan_of(
    stretches: list[pa.Table],
    noticed: Noticed,
    schema: Schema,
    spec: FeatureSpec,
    *,
    size: int,
    most: int,
    every_row: bool = False,
) -> Plan:
    """The plan of rows in input order."""
    how = {"ordered": True, "given": False, "every_row": every_row}
    plan = planned(spec, kinds_of(schema), noticed.counts, size=size, most=most, **how)
    return plan.cut([times for rows in stretches for times in plan.sampled(rows, 1)], 1, most)


def dealt_by(plan: Plan, stretches: list[pa.Table]) -> pd.DataFrame:
    """What `compute` gives: stretches are dealt, shares computed, and features put beside the rows."""
    shares: dict[int, list[tuple[int, pa.Table]]] = defaultdict(list)
    for number, rows in enumerate(stretches):
        for share, part in plan.deal(rows):
            shares[share].append((number, part))
    found: dict[int, list[tuple[int, pa.Table]]] = defaultdict(list)
    for share, given in shares.items():
        for number, features in plan.compute(share, list(reversed(given))):  # they come in any order
            found[number].append((share, features))
    return pa.concat_tables([plan.joined(rows, found[i]) for i, rows in enumerate(stretches)]).to_pandas()
