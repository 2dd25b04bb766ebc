"""Shelves with small versions on them: no MLflow, no training, scores that can be told by hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.core.routing.routing import RoutingTable
from fds_mlflow.scoring.compiled import Column, CompiledModel
from fds_mlflow.scoring.served import Served, Table
from fds_mlflow.serving.disk.version_cache import VersionCache, describe

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
INPUTS = {"amount": "double", "hour": "double", "channel": "string"}
ROLLOUT = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def stump(low: float, high: float, columns: int, *, at: float = 100.0) -> str:
    """One tree in LightGBM's format: `low` for an amount of at most `at`, else `high`."""
    names = " ".join(f"f{i}" for i in range(columns))
    infos = " ".join(["none"] * columns)
    return (
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\n"
        f"max_feature_idx={columns - 1}\nobjective=regression\nfeature_names={names}\nfeature_infos={infos}\n\n"
        f"Tree=0\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nsplit_gain=1\nthreshold={at}\ndecision_type=2\n"
        f"left_child=-1\nright_child=-2\nleaf_value={low} {high}\nleaf_weight=1 1\nleaf_count=1 1\n"
        "internal_value=0\ninternal_weight=0\ninternal_count=2\nis_linear=0\nshrinkage=1\n\n\nend of trees\n\n"
        "pandas_categorical:null\n"
    )


def put(
    cache: VersionCache,
    version: int,
    *,
    low: float = 0.1,
    high: float = 0.9,
    inputs: Mapping[str, str] = INPUTS,
    codes: Sequence[str] = ("shop", "web"),
    optional: Collection[str] = (),
) -> None:
    """Put a version in the version cache that scores by its first column."""
    columns = [
        Column(name, "ordinal", codes={value: code for code, value in enumerate(codes)}, other=-1)
        if kind == "string"
        else Column(name)
        for name, kind in inputs.items()
    ]
    with cache.preparing(version, f"identity{version}") as folder:
        CompiledModel(columns, range(len(columns)), stump(low, high, len(columns))).save(folder)
        describe(folder, inputs, compiled=True, optional=optional)


def table(*, weight: int | None = None, threshold: float = 0.5, problem: str | None = None, champion: int = 1) -> Table:
    """Champion 1; with a weight, in basis points, canary 2."""
    rollout = None if weight is None else Rollout(ROLLOUT, champion, 2, Plan(), weight, 0, NOW)
    versions = [Served(champion, f"identity{champion}", threshold)]
    if rollout is not None:
        versions.append(Served(2, "identity2", threshold))
    return Table(RoutingTable(champion, rollout), tuple(versions), NOW, problem)


def version_cache(folder: Path) -> VersionCache:
    """A version cache with version 1 (0.1 or 0.9) and version 2 (0.2 or 0.8)."""
    made = VersionCache(folder, "fraud", "memory:")
    put(made, 1)
    put(made, 2, low=0.2, high=0.8)
    return made
