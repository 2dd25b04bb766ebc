"""The card of a version, for model-risk review: from its run, its tags and the registry's history."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fds_mlflow.errors import ConfigError
from fds_mlflow.registry.tags import ALGORITHM, THRESHOLD
from fds_mlflow.runtime import mlflow_client
from fds_mlflow.training.card import facts as recorded
from fds_mlflow.training.card.card import Card
from fds_mlflow.training.card.facts import Facts, Part
from fds_mlflow.training.card.figures import Figure
from fds_mlflow.workflows.retraining.staging import events_of

if TYPE_CHECKING:
    from fds_mlflow.model import ManagedModel
    from fds_mlflow.registry.store import VersionView

PLOTS = ("calibration", "precision_recall", "roc", "score_distribution", "importance")

FORMATS = (".html", ".pdf", ".md", ".json")


def card(model: ManagedModel, version: int, *, pictures: bool = True) -> Card:
    """The card of a version. One that was trained before cards has what its run's metrics and tags say.

    Args:
        model: The model.
        version: The version.
        pictures: Fetch the run's plots as well.

    Raises:
        NotFoundError: There is no such version.
        UnavailableError: The tracking server does not answer.
        ConfigError: What the run says of the version cannot be read.
    """
    import mlflow

    view = model.session.version(version)
    overview = model.overview()
    client = mlflow.MlflowClient(model.session.tracking_uri, model.session.registry_uri)
    with mlflow_client.tracking(f"card of version {version}"), tempfile.TemporaryDirectory() as folder:
        run = None if view.run_id is None else client.get_run(view.run_id)
        files = set() if view.run_id is None else {item.path for item in client.list_artifacts(view.run_id)}

        def fetched(path: str) -> bytes | None:
            if view.run_id is None or path.partition("/")[0] not in files:
                return None
            listed = {item.path for item in client.list_artifacts(view.run_id, path.partition("/")[0])} | files
            return Path(client.download_artifacts(view.run_id, path, folder)).read_bytes() if path in listed else None

        said = fetched(recorded.FILE)
        facts = _read(said) if said is not None else _earlier(view, run, fetched("summary.json"))
        plots = {name: fetched(f"plots/{name}.png") for name in (PLOTS if pictures else ())}
        purpose = client.get_registered_model(model.name).description or ""
    canary = None if overview.rollout is None else overview.rollout.canary
    roles = {overview.champion: "champion", canary: "canary"}
    stage = "" if view.stage in ("", "None") else f"stage {view.stage}"
    return Card(
        model.name,
        version,
        facts,
        role=roles.get(version, stage),
        purpose=purpose,
        tags=dict(view.tags),
        events=tuple(reversed(events_of(model, view))),
        pictures={name: data for name, data in plots.items() if data is not None},
        run_id=view.run_id or "",
    )


def _read(said: bytes) -> Facts:
    try:
        return msgspec.json.decode(said, type=Facts)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigError(
            f"{recorded.FILE} of the version's run cannot be read: {error}", fix="train the version again"
        ) from None


def _earlier(view: VersionView, run: Any, summary: bytes | None) -> Facts:
    """What the run and the tags say of a version that was trained before cards, or elsewhere."""
    metrics: Mapping[str, float] = {} if run is None else run.data.metrics
    params: Mapping[str, str] = {} if run is None else run.data.params
    told = {} if summary is None else json.loads(summary)
    shown = sorted(
        name for name in metrics if not name.startswith(("val_", "curve_", "system/")) and name != "threshold"
    )
    threshold = view.tags.get(THRESHOLD)
    return Facts(
        algorithm=view.tags.get(ALGORITHM, "unknown"),
        trained=view.created.isoformat(timespec="seconds"),
        source=view.tags.get("fds.source", ""),
        digest=view.tags.get("fds.digest", ""),
        parts=[Part(name, one["rows"], one["frauds"]) for name, one in told.get("parts", {}).items()],
        features=list(told.get("features", ())),
        trees=int(told.get("trees", 0)),
        params=dict(params),
        threshold=None if threshold is None else float(threshold),
        figures=[Figure(name, metrics[name]) for name in shown],
        warnings=list(told.get("warnings", ())),
        notes=list(told.get("notes", ())),
        complete=False,
    )


def written(card: Card, path: Path) -> None:
    """Write a card to a file; its ending says as what.

    Args:
        card: The card.
        path: Ends in .html, .pdf, .md or .json.

    Raises:
        ConfigError: It ends otherwise, or PDF cannot be written here.
    """
    ending = path.suffix.lower()
    if ending == ".pdf":
        from fds_mlflow.training.card.pdf import rendered as as_pdf

        path.write_bytes(as_pdf(card))
    elif ending == ".json":
        path.write_bytes(msgspec.json.format(msgspec.json.encode(card.facts)))
    elif ending in (".html", ".md"):
        from fds_mlflow.display import document
        from fds_mlflow.training.card.card import document as of

        path.write_text((document.html if ending == ".html" else document.markdown)(of(card)), encoding="utf-8")
    else:
        raise ConfigError(f"{path} ends in none of {', '.join(FORMATS)}", fix="name it card.html, card.pdf or card.md")
