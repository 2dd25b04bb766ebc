"""What people and machines read of a feature specification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from fds_mlflow.cli.output.tables import table
from fds_mlflow.core.text.duration import from_duration
from fds_mlflow.core.text.numbers import UNKNOWN
from fds_mlflow.features.explanation import columns, longest, sentences
from fds_mlflow.features.expressions import names_in
from fds_mlflow.features.spec import FeatureSpec

if TYPE_CHECKING:
    from fds_mlflow.features.engines.file import FeatureFile
    from fds_mlflow.features.state.verification import Verified
    from fds_mlflow.workflows.feature_state import Loaded, Shown

_KINDS = ("numeric", "flags", "windows", "gaps", "expressions", "categorical")


def checked(spec: FeatureSpec, problems: Sequence[str] | None) -> dict[str, Any]:
    """What a check found; `fits` is None where there was nothing to hold it against."""
    span = longest(spec)
    return {
        "features": len(spec.names),
        "hidden": len(spec.hidden),
        "kinds": {kind: _count(spec, kind) for kind in _KINDS if _count(spec, kind)},
        "longest_window": None if span is None else from_duration(span),
        "reads": columns(spec),
        "fits": None if problems is None else not problems,
        "problems": list(problems or ()),
    }


def check(name: str, value: dict[str, Any], where: str | None) -> RenderableType:
    """The same for people."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in value["kinds"].items())
    hidden = f" ({value['hidden']:,} of what is computed is hidden)" if value["hidden"] else ""
    parts: list[RenderableType] = [
        Text(f"{name} is valid: {value['features']:,} features{hidden}"),
        Text(f"computed: {kinds or 'nothing'}"),
        Text(f"longest window: {value['longest_window'] or 'none'}"),
        table("What it reads", ("column", "as"), value["reads"].items()),
    ]
    if where is not None and value["fits"]:
        parts.append(Text(f"{where} has all of it", style="green"))
    parts += [Text(f"{where}: {problem}", style="red") for problem in value["problems"]]
    return Group(*parts)


def explained(spec: FeatureSpec, feature: str | None) -> list[dict[str, Any]]:
    """Every feature with its sentence, or one, and what it is computed from."""
    said = sentences(spec)
    chosen = list(said) if feature is None else _parts(spec, feature)
    return [{"name": name, "is": said[name], "hidden": name in spec.hidden} for name in chosen]


def explanation(name: str, value: Sequence[dict[str, Any]]) -> RenderableType:
    """The same for people."""
    rows = [(item["name"] + (" (hidden)" if item["hidden"] else ""), item["is"]) for item in value]
    return Group(
        table(f"{name}: what each feature is", ("feature", "is"), rows),
        Text("A window of a transaction whose entity is unknown is empty.", style="dim"),
    )


def loaded(done: Loaded) -> dict[str, Any]:
    """What was loaded, what the state then holds, and from when on all windows are whole."""
    size = done.size
    return {
        "transactions": done.transactions,
        "entities": size.entities,
        "bytes": size.bytes,
        "whole_from": done.whole_from,
    }


def load(value: Mapping[str, Any]) -> RenderableType:
    """The same for people."""
    return Text(
        f"{value['transactions']:,} transactions loaded: the state keeps {value['entities']:,} entities in "
        f"{value['bytes'] / 2**20:,.1f} MiB"
        + (f"; all windows are whole from {_when(value['whole_from'])} on" if value["whole_from"] else "")
    )


def computed(done: FeatureFile) -> dict[str, Any]:
    """What was written, and from what."""
    return {
        "output": str(done.path),
        "rows": done.rows,
        "features": done.features,
        "categorical": done.categorical,
        "source": done.source,
        "digest": done.digest,
        "period": done.period,
        "notes": list(done.notes),
    }


def computation(value: Mapping[str, Any]) -> RenderableType:
    """The same for people."""
    said = f"{value['rows']:,} rows of {len(value['features'])} features written to {value['output']}"
    return Text("\n".join([said, *value["notes"]]))


def verified(found: Verified) -> dict[str, Any]:
    """What a replay found."""
    return {
        "rows": found.rows,
        "mismatched_rows": found.mismatched,
        "features": list(found.features),
        "max_rel_diff": found.max_rel_diff,
    }


def verification(value: Mapping[str, Any]) -> RenderableType:
    """The same for people."""
    if not value["mismatched_rows"]:
        said = f"{value['rows']:,} transactions replayed: every feature is what the batch computes"
        return Text(f"{said} (largest relative difference {value['max_rel_diff']:.1e})", style="green")
    return Text(
        f"{value['mismatched_rows']:,} of {value['rows']:,} transactions differ from the batch, in "
        f"{', '.join(value['features'])} (largest relative difference {value['max_rel_diff']:.1e})",
        style="red",
    )


def shown(found: Shown) -> dict[str, Any]:
    """What a state keeps of an entity."""
    return {
        "transactions": found.transactions,
        "first": found.first,
        "last": found.last,
        "within": {from_duration(span): count for span, count in found.within.items()},
        "labels": found.labels,
        "frauds": found.frauds,
        "latest": [{"time": time, **values} for time, values in found.latest],
    }


def entity(role: str, value: str, said: Mapping[str, Any]) -> RenderableType:
    """The same for people."""
    if not said["transactions"] and not said["labels"]:
        return Text(f"the state keeps nothing of the {role} {value}")
    within = ", ".join(f"{count:,} in {span}" for span, count in said["within"].items())
    columns = list(said["latest"][0]) if said["latest"] else []
    rows = [[one[name] for name in columns] for one in said["latest"]]
    return Group(
        Text(f"{role} {value}: {said['transactions']:,} transactions, {_when(said['first'])} to {_when(said['last'])}"),
        Text(f"up to the latest: {within}"),
        Text(f"labels that are known: {said['labels']:,}, of frauds {said['frauds']:,}"),
        table("The latest", columns, rows),
    )


def _when(time: datetime | None) -> str:
    return UNKNOWN if time is None else f"{time:%Y-%m-%d %H:%M:%S}"


def _count(spec: FeatureSpec, kind: str) -> int:
    if kind == "windows":
        return sum(len(item.windows) for item in spec.windows)
    return len(getattr(spec, kind))


def _parts(spec: FeatureSpec, feature: str) -> list[str]:
    """A feature, then what an expression is computed from, each once."""
    found, computed = [feature], set(spec.computed)
    for name in found:
        node = spec.nodes.get(name)
        read = [] if node is None else [one.name for one in names_in(node)]
        found += [one for one in dict.fromkeys(read) if one in computed and one not in found]
    return found
