"""The steps of a computation whose rows are on many machines: the same kernel, a share of the entities at a time.

1. `fds_mlflow.features.engines.reading`: each reader canonicalises its rows by the same code as in memory, a stretch at
   a time, and notes what only all of them can tell: what did not fit, how many rows each bucket of entities has.
2. `Plan.deal`: a stretch's rows are dealt, role by role, into shares by the hash of their entity. A share of too many
   rows, such as those of one card with a tenth of all, is cut by time: each slice also gets the rows and labels that
   its windows reach back to, and each entity's last row before.
3. `Plan.compute`: the kernel over a share or a slice.
4. `Plan.joined`: a stretch's features beside its rows.

Whoever moves the tables from step to step looks only at whom they are for. Nothing here knows who that is.

Of equal times the input order decides. Rows of files have numbers; those of a source without an order are ordered by a
column of whole numbers that the caller names, and by their ids, in the order of their Unicode characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fds_mlflow.features import meaning
from fds_mlflow.features.engines.arrival import computing
from fds_mlflow.features.engines.reading import BUCKETS, ORDER, as_array
from fds_mlflow.features.engines.staging import framed, past, plain_features, row_times
from fds_mlflow.features.expressions import extended
from fds_mlflow.features.meaning import Ints
from fds_mlflow.features.spec import FeatureSpec

_PLACE = "place"
_NEVER = -meaning.NEVER - 1


@dataclass(frozen=True)
class Role:
    """How the rows of a role are dealt.

    Attributes:
        spec: Its features.
        share: The share of each bucket, shape (BUCKETS,).
        edges: Share -> where its slices begin, ascending from the beginning of time; those that are not cut are not
            in it.
    """

    spec: FeatureSpec
    share: npt.NDArray[np.int64]
    edges: Mapping[int, Ints]

    @property
    def longest(self) -> int:
        """The longest window, in microseconds; 0 without one."""
        return meaning.longest(self.spec)


@dataclass(frozen=True)
class Plan:
    """How a computation is dealt.

    Attributes:
        spec: The features.
        kinds: Each canonical column and what it is, in order.
        roles: How each role's rows are dealt.
        ordered: Whether stretches and their rows are in input order; otherwise ids decide ties, after the order that is
            given.
        given: Whether an order is given.
        every_row: Whether rows without a label are among the result, too.
    """

    spec: FeatureSpec
    kinds: Mapping[str, str]
    roles: Mapping[str, Role]
    ordered: bool
    given: bool
    every_row: bool

    @cached_property
    def _columns(self) -> dict[str, str]:
        return {name: f"c{i}" for i, name in enumerate(self.kinds)}

    def _looked_at(self, spec: FeatureSpec) -> dict[str, str]:
        """The columns that the kernel looks at."""
        names = ["time", *meaning.roles(spec), *meaning.counted(spec), *meaning.aggregated(spec)]
        beside = ("arrived_at", "label", "label_known_at") if spec.uses_labels else ("arrived_at",)
        names += [name for name in beside if name in self.kinds]
        return {name: self._columns[name] for name in names}

    def deal(self, rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
        """Deal a stretch.

        Args:
            rows: As `Stretch.rows`.

        Yields:
            A number for each share or slice that gets some, and what it gets.
        """
        order = [] if self.ordered else [self._columns["transaction_id"], *([ORDER] if self.given else [])]
        placed = rows.append_column(_PLACE, pa.array(np.arange(rows.num_rows, dtype=np.int32)))
        for number, role in enumerate(self.roles.values()):
            wanted = list(dict.fromkeys([_PLACE, *order, *self._looked_at(role.spec).values()]))
            there, share = _shares(number, role, rows)
            if not len(there):
                continue
            dealt = np.argsort(share, kind="stable")
            taken = placed.select(wanted).take(pa.array(there[dealt]))
            found, firsts = np.unique(share[dealt], return_index=True)
            for one, first, end in zip(found.tolist(), firsts, [*firsts[1:], len(dealt)], strict=True):
                part = taken.slice(first, end - first)
                if one not in role.edges:
                    yield _numbered(number, one, 0), part
                    continue
                for piece, cut in self._sliced(role, role.edges[one], part):
                    yield _numbered(number, one, piece), cut

    def sampled(self, rows: pa.Table, every: int) -> Iterator[tuple[int, Ints]]:
        """Every so many of a stretch's times in each share that is to be cut, ascending, after the share's number."""
        for number, role in enumerate(self.roles.values()):
            there, share = _shares(number, role, rows) if role.edges else (np.empty(0), np.empty(0))
            for one in role.edges:
                time = (
                    rows.column(self._columns["time"]).take(pa.array(there[share == one])).cast(pa.int64()).to_numpy()
                )
                begin = np.random.default_rng(abs(int(time.sum()))).integers(every)  # a share may have few rows in each
                yield _numbered(number, one, 0), np.sort(time)[begin::every]

    def cut(self, sampled: Iterable[tuple[int, Ints]], every: int, most: int) -> Plan:
        """Cut the shares that are to be cut, into slices of some `most` rows, what they look back to included.

        Where a window is so long that this cannot be, a slice is half as long as it.
        """
        times: dict[int, list[Ints]] = {}
        for number, found in sampled:
            times.setdefault(number, []).append(found)
        roles = {}
        for i, (name, role) in enumerate(self.roles.items()):
            edges = {}
            for share in role.edges:
                time = np.sort(np.concatenate([*times.get(_numbered(i, share, 0), []), np.empty(0, np.int64)]))
                edges[share] = _edges(np.unique(time[:: max(1, most // 2 // every)]), role.longest // 2)
            roles[name] = replace(role, edges=edges)
        return replace(self, roles=roles)

    def _sliced(self, role: Role, edges: Ints, rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
        """Give each slice its rows and those that they look back to."""
        looked_at = self._looked_at(role.spec)
        frame = framed(rows, looked_at)
        time, latest = row_times(frame, role.spec)
        entity = pd.factorize(frame[meaning.roles(role.spec)[0]])[0]
        order = np.argsort(time, kind="stable")
        # Which row before was the last to arrive is known only to who has all of them.
        ever = bool(role.spec.gaps) and "arrived_at" in looked_at
        for number, (first, end) in enumerate(zip(edges.tolist(), [*edges[1:].tolist(), meaning.NEVER], strict=True)):
            since = _NEVER if ever or first - role.longest < _NEVER else first - role.longest
            kept = (time < end) & (latest > since)
            if role.spec.gaps and not ever:
                before = order[: np.searchsorted(time[order], since, side="right")][::-1]
                kept[before[np.unique(entity[before], return_index=True)[1]]] = True
            if kept.any():
                yield number, rows.filter(pa.array(kept))

    def compute(self, number: int, dealt: list[tuple[int, pa.Table]]) -> Iterator[tuple[int, pa.Table]]:
        """Compute the features of a share or a slice.

        Args:
            number: Its number.
            dealt: What it got of each stretch, after the stretch's number.

        Yields:
            The number of a stretch, and the features of its rows.
        """
        which, share, piece = _read_number(number)
        role = list(self.roles.values())[which]
        dealt = sorted(dealt, key=lambda pair: pair[0])
        rows = pa.concat_tables([table for _, table in dealt])
        stretch = np.repeat(np.arange(len(dealt)), [table.num_rows for _, table in dealt])
        if not self.ordered:
            keys = [(name, "ascending") for name in (*([ORDER] if self.given else []), self._columns["transaction_id"])]
            order = pc.sort_indices(rows, keys)
            rows, stretch = rows.take(order), stretch[order.to_numpy()]
        place = rows.column(_PLACE).to_numpy()
        given = past(framed(rows, self._looked_at(role.spec)), role.spec)
        del rows
        asked = None
        if share in role.edges:
            edges = [*role.edges[share].tolist(), meaning.NEVER]
            asked = np.flatnonzero((given.time >= edges[piece]) & (given.time < edges[piece + 1]))
            stretch, place = stretch[asked], place[asked]
        name = meaning.roles(role.spec)[0]
        found = {key: one if asked is None else one[asked] for key, one in computing(given, role.spec).features(name)}
        del given
        order = np.argsort(stretch, kind="stable")
        columns = [place[order], *(found[key][order] for key in meaning.over_nothing(role.spec))]
        made = pa.table([pa.array(one) for one in columns], [str(i) for i in range(len(columns))])
        ends = np.searchsorted(stretch[order], np.arange(len(dealt) + 1))
        for (key, _), first, end in zip(dealt, ends, ends[1:], strict=False):
            if end > first:
                yield key, made.slice(first, end - first)

    def joined(self, rows: pa.Table, features: Iterable[tuple[int, pa.Table]]) -> pa.Table:
        """Put the features of a stretch beside its rows.

        Args:
            rows: As `Stretch.rows`.
            features: The number of a share or slice, and what it found for the stretch.

        Returns:
            The columns of `FeatureTable.frame`, of the rows with a label where there are labels, or of every row.
        """
        values: dict[str, Any] = {
            name: np.full(rows.num_rows, value) for name, value in meaning.over_nothing(self.spec).items()
        }
        roles = list(self.roles.values())
        for number, found in features:
            place, *columns = (one.to_numpy() for one in found.columns)
            names = meaning.over_nothing(roles[_read_number(number)[0]].spec)
            for name, column in zip(names, columns, strict=True):
                values[name][place] = column
        frame = framed(rows, self._columns)
        values = extended({**values, **plain_features(frame, self.spec)}, self.spec.nodes)
        keys = [name for name, kind in self.kinds.items() if kind in ("key", "entity", "label")]
        made = pa.table(
            {
                name: as_array(values[name]) if name in self.spec.names else rows.column(self._columns[name])
                for name in dict.fromkeys([*keys, *self.spec.names])
            }
        )
        return made if self.every_row or "label" not in keys else made.filter(pc.is_valid(made.column("label")))


def planned(
    spec: FeatureSpec, kinds: Mapping[str, str], counts: Mapping[str, Ints], *, size: int, most: int, **how: bool
) -> Plan:
    """Deal rows into shares; those of more than `most` rows are to be cut, and are one slice so far.

    Args:
        spec: The features.
        kinds: As in `Plan`.
        counts: As in `Noticed`.
        size: Rows of a share, about.
        most: Rows that are computed at once, unless a window reaches back to more.
        how: `ordered`, `given` and `every_row` of the plan.
    """
    roles = {}
    for name, rows in counts.items():
        share = np.empty(BUCKETS, dtype=np.int64)
        edges, now, filled, free = {}, 0, 0, 1
        for bucket, count in enumerate(rows.tolist()):
            if count > most:
                share[bucket], edges[free] = free, np.array([_NEVER])
                free += 1
                continue
            if filled and filled + count > size:
                now, filled, free = free, 0, free + 1
            share[bucket] = now
            filled += count
        roles[name] = Role(meaning.of_role(spec, name), share, edges)
    return Plan(spec, kinds, roles, **how)


def _edges(times: Ints, least: int) -> Ints:
    """Where slices begin: at some of these times that are at least so far apart."""
    found = [_NEVER]
    for time in times.tolist()[1:]:
        if found[-1] == _NEVER or time - found[-1] >= least:
            found.append(time)
    return np.array(found)


def _shares(number: int, role: Role, rows: pa.Table) -> tuple[Ints, Ints]:
    """The rows with the entity, and the share of each."""
    bucket = rows.column(f"b{number}").combine_chunks()
    there = np.flatnonzero(np.asarray(bucket.is_valid()))
    return there, role.share[bucket.fill_null(0).to_numpy()[there]]


def _numbered(role: int, share: int, piece: int) -> int:
    return (role << 44) | (share << 24) | piece


def _read_number(number: int) -> tuple[int, int, int]:
    return number >> 44, (number >> 24) & 0xFFFFF, number & 0xFFFFFF
