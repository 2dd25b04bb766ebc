"""A profile of transactions for people, on 80 columns, and for machines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from fds_mlflow.cli.output import plain as values
from fds_mlflow.cli.output.tables import table
from fds_mlflow.core.text.numbers import UNKNOWN, percent

if TYPE_CHECKING:
    from fds_mlflow.data.inference import InferredSchema
    from fds_mlflow.workflows.profile import Profile, Span

_BAR = 20
_FORMATS = {"hour": "%Y-%m-%d %H:00", "month": "%Y-%m", "year": "%Y"}


def plain(found: Profile) -> dict[str, Any]:
    """The profile as plain values."""
    made: dict[str, Any] = {
        name: values.plain(getattr(found, name)) for name in found.__dataclass_fields__ if name != "schema"
    }
    made["fraud_rate"] = found.rate
    made["roles"] = {role: list(columns) for role, columns in found.schema.roles().items()}
    return made


def shown(found: Profile, by: str, inferred: InferredSchema | None) -> Group:
    """The profile, section by section."""
    parts: list[RenderableType] = [Text(line) for line in _head(found, by)]
    if inferred is not None:
        parts += [Text(f"could not be known: {sentence}", style="yellow") for sentence in inferred.unknown]
    if found.spans:
        parts += ["", _over_time(found.span or "", found.spans, labelled=found.schema.label is not None)]
    parts += [Text(line) for line in _gaps(found)]
    if found.entities:
        parts += ["", _entities(found)]
    if found.missing:
        parts += ["", *_missing(found.missing)]
    parts += ["", *(Text(line) for line in _features(found))]
    parts += [Text(f"not possible: {sentence}", style="yellow") for sentence in found.impossible]
    parts += [Text(f"warning: {sentence}", style="yellow") for sentence in found.warnings]
    return Group(*parts)


def _head(found: Profile, by: str) -> Iterable[str]:
    yield f"{found.source}: {found.rows:,} rows, read by {by}"
    if found.period is not None:
        first, last = found.period
        days = (last - first).total_seconds() / 86_400
        yield f"period: {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC ({days:,.1f} days)"
    if found.schema.label is not None and found.rate is not None:
        rest = found.rows - found.labelled
        without = f"; {rest:,} rows have no label" if rest else ""
        yield f"frauds: {found.frauds:,} of {found.labelled:,} ({percent(found.rate)}){without}"
    yield from found.notes
    if found.repeated_ids is not None:
        yield "ids: some occur more than once" if found.repeated_ids else "ids: each occurs once"
    but = " but the id" if found.schema.transaction_id is not None else ""
    yield f"duplicates: {found.repeated_rows:,} rows equal another one in every column that is read{but}"


def _over_time(span: str, spans: Sequence[Span], *, labelled: bool) -> RenderableType:
    form = _FORMATS.get(span, "%Y-%m-%d")
    most = max((item.rate or 0.0 for item in spans), default=0.0) if labelled else max(item.rows for item in spans)
    rows = []
    for item in spans:
        rate = None if item.rate is None else percent(item.rate)
        size = (item.rate or 0.0) if labelled else item.rows
        line = "#" * round(_BAR * size / most) if most else ""
        rows.append((f"{item.start:{form}}", f"{item.rows:,}", *((f"{item.frauds:,}", rate) if labelled else ()), line))
    columns = (f"{span} (UTC)", "rows", *(("frauds", "rate") if labelled else ()), "")
    return table("Fraud over time" if labelled else "Rows over time", columns, rows, right=("rows", "frauds", "rate"))


def _gaps(found: Profile) -> Iterable[str]:
    if found.period is None:
        return
    if not found.gaps:
        yield "gaps: no time without transactions stands out"
        return
    yield f"gaps: {found.number_of_gaps:,} times without transactions; the longest:"
    for gap in found.gaps:
        hours = (gap.end - gap.start).total_seconds() / 3_600
        yield f"  {gap.start:%Y-%m-%d %H:00} to {gap.end:%Y-%m-%d %H:00} ({hours / 24:,.1f} days)"


def _entities(found: Profile) -> RenderableType:
    rows = [
        (
            item.role,
            item.column,
            f"{item.distinct:,}",
            f"{item.mean:,.1f}",
            f"{item.median:,.0f}",
            f"{item.repeated:.0%}",
            f"{item.missing:.1%}",
        )
        for item in found.entities
    ]
    columns = ("entity", "column", "values", "rows each", "median", "repeated", "missing")
    return table("Entities", columns, rows, right=columns[2:])


def _missing(shares: dict[str, float]) -> Iterable[RenderableType]:
    worst = sorted(shares.items(), key=lambda item: -item[1])
    rows = [(name, f"{share:.1%}") for name, share in worst[:15]]
    yield table("Missing values", ("column", "share"), rows, right=("share",))
    if len(worst) > 15:
        yield Text(f"{len(worst) - 15:,} more columns have gaps, fewer each")


def _features(found: Profile) -> Iterable[str]:
    count = sum(map(len, found.features.values()))
    yield f"features that fds train will make: {count:,}"
    for kind, names in found.features.items():
        listed = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        yield f"  {kind} ({len(names):,}): {listed}"
    if not found.features:
        yield f"  {UNKNOWN}"
