"""The steps of a computation whose rows are on many machines: the same kernel, a share of the entities at a time.

1. `read`: each reader canonicalises its rows by the same code as in memory, a stretch at a time, and notes what only
   all of them together can tell: what did not fit, the digest, how many rows each bucket of entities has.
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

from fds_mlflow.data.canonical import Canonical
from fds_mlflow.data.transactions import Digest, column_hash
from fds_mlflow.features import meaning
from fds_mlflow.features.engines.arrival import computing
from fds_mlflow.features.engines.staging import past, plain_features, row_times
from fds_mlflow.features.expressions import extended
from fds_mlflow.features.meaning import Ints
from fds_mlflow.features.spec import FeatureSpec, genuine_labels

BUCKETS = 4096
_ORDER, _PLACE = "order", "place"
_NEVER = -meaning.NEVER - 1


class Noticed:
    """What readers noticed of their rows; what several noticed adds up.

    Args:
        canonical: What the reader canonicalises with.
        roles: The entity roles whose past is looked at.

    Attributes:
        digest: Of the rows.
        genuine: How many are genuine, and of how many of those it becomes known.
        times: First and last time, NaT where there is none.
        counts: Role -> how many rows each bucket of its entities has, shape (BUCKETS,).
    """

    def __init__(self, canonical: Canonical, roles: Iterable[str]) -> None:
        self.canonical = canonical
        self.digest = Digest()
        self.genuine = (0, 0)
        self.times: pd.Series[Any] = pd.Series([], dtype="datetime64[us]")
        self.counts = {role: np.zeros(BUCKETS, dtype=np.int64) for role in roles}

    def note(self, frame: pd.DataFrame, hashes: npt.NDArray[np.uint64]) -> None:
        """Note a stretch, of whose ids the hashes are known."""
        self.digest.update(frame, {"transaction_id": hashes})
        self._add(genuine_labels(frame), frame["time"].agg(["min", "max"]))

    def add(self, other: Noticed) -> None:
        """Add what another reader noticed of later rows."""
        self.canonical.add(other.canonical)
        self.digest.add(other.digest)
        self._add(other.genuine, other.times)
        for role, counts in other.counts.items():
            self.counts[role] += counts

    def _add(self, genuine: tuple[int, int], times: pd.Series[Any]) -> None:
        self.genuine = (self.genuine[0] + genuine[0], self.genuine[1] + genuine[1])
        self.times = pd.concat([self.times, times]).agg(["min", "max"])

    @property
    def rows(self) -> int:
        """How many rows were read, empty ones apart."""
        return self.canonical.rows


@dataclass(frozen=True)
class Stretch:
    """Some canonical rows.

    Attributes:
        number: How many rows the reader had read before.
        rows: A column of each canonical one, then the bucket of each role's entity, and the order where it is given.
        ids: Hashes of the ids.
    """

    number: int
    rows: pa.Table
    ids: npt.NDArray[np.uint64]


def read(tables: Iterable[pa.Table], noticed: Noticed, size: int, *, order: str | None = None) -> Iterator[Stretch]:
    """Canonicalise a reader's rows.

    Args:
        tables: Rows in the columns of the schema, and the one that gives the order.
        noticed: What is noticed goes there. Once something does not fit, nothing is yielded any more.
        size: Rows of a stretch; the last one has fewer.
        order: The column that gives the order, where one does.
    """
    for table in _sized(tables, size):
        begin = noticed.canonical.begin
        frame = noticed.canonical.frame(table)
        if frame is None or noticed.canonical.problems:
            continue
        hashes = column_hash(frame["transaction_id"])
        noticed.note(frame, hashes)
        columns = {f"c{i}": _array(frame[name]) for i, name in enumerate(frame.columns)}
        for i, (role, counts) in enumerate(noticed.counts.items()):
            bucket = (column_hash(frame[role]) % np.uint64(BUCKETS)).astype(np.uint16)
            there = frame[role].notna().to_numpy()
            counts += np.bincount(bucket[there], minlength=BUCKETS)
            columns[f"b{i}"] = pa.array(bucket, mask=~there)
        if order is not None:
            columns[_ORDER] = table[order].combine_chunks().take(pa.array(noticed.canonical.kept)).cast(pa.int64())
        yield Stretch(begin, pa.table(columns), hashes)


def _array(column: pd.Series[Any]) -> pa.Array | pa.ChunkedArray:
    found = pa.array(column, from_pandas=True)
    return found.cast(pa.string()) if pa.types.is_large_string(found.type) else found


def _sized(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """The same rows in tables of one size, but for the last."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        if rows >= size:
            whole = pa.concat_tables(waiting)
            for first in range(0, rows - size + 1, size):
                yield whole.slice(first, size)
            rest = whole.slice(rows - rows % size)
            waiting, rows = [rest], rest.num_rows
    if rows:
        yield pa.concat_tables(waiting)


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
        return max((meaning.micros(window) for item in self.spec.windows for window in item.windows), default=0)


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
    """

    spec: FeatureSpec
    kinds: Mapping[str, str]
    roles: Mapping[str, Role]
    ordered: bool
    given: bool

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
        order = [] if self.ordered else [self._columns["transaction_id"], *([_ORDER] if self.given else [])]
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
                yield _numbered(number, one, 0), np.sort(time)[every // 2 :: every]

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
                time = np.sort(np.concatenate(times[_numbered(i, share, 0)]))
                edges[share] = _edges(np.unique(time[:: max(1, most // 2 // every)]), role.longest // 2)
            roles[name] = replace(role, edges=edges)
        return replace(self, roles=roles)

    def _sliced(self, role: Role, edges: Ints, rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
        """Give each slice its rows and those that they look back to."""
        looked_at = self._looked_at(role.spec)
        frame = _frame(rows, looked_at)
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
            keys = [
                (name, "ascending") for name in (*([_ORDER] if self.given else []), self._columns["transaction_id"])
            ]
            order = pc.sort_indices(rows, keys)
            rows, stretch = rows.take(order), stretch[order.to_numpy()]
        place = rows.column(_PLACE).to_numpy()
        given = past(_frame(rows, self._looked_at(role.spec)), role.spec)
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
            The columns of `FeatureTable.frame`, of the rows with a label where there are labels.
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
        frame = _frame(rows, self._columns)
        values = extended({**values, **plain_features(frame, self.spec)}, self.spec.nodes)
        keys = [name for name, kind in self.kinds.items() if kind in ("key", "entity", "label")]
        made = pa.table(
            {
                name: pa.array(values[name], from_pandas=True)
                if name in self.spec.names
                else rows.column(self._columns[name])
                for name in dict.fromkeys([*keys, *self.spec.names])
            }
        )
        return made.filter(pc.is_valid(made.column("label"))) if "label" in keys else made


def planned(
    spec: FeatureSpec, kinds: Mapping[str, str], counts: Mapping[str, Ints], *, size: int, most: int, **order: bool
) -> Plan:
    """Deal rows into shares; those of more than `most` rows are to be cut, and are one slice so far.

    Args:
        spec: The features.
        kinds: As in `Plan`.
        counts: As in `Noticed`.
        size: Rows of a share, about.
        most: Rows that are computed at once, unless a window reaches back to more.
        order: `ordered` and `given` of the plan.
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
    return Plan(spec, kinds, roles, **order)


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


def _frame(rows: pa.Table, columns: Mapping[str, str]) -> pd.DataFrame:
    """Columns of a table under their canonical names."""
    found: pd.DataFrame = rows.select(list(columns.values())).rename_columns(list(columns)).to_pandas()
    return found
