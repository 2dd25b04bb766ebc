"""A person with an MLflow of another version: all operations on a server, then what a deleted canary leaves there.

Run by that MLflow's Python, as `python -m tests.support.other_client URL MODEL FOLDER`; its last line is JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mlflow
from click.testing import CliRunner

from fds_mlflow import ManagedModel
from fds_mlflow.cli.main import main
from fds_mlflow.registry.doctor import Finding
from tests.support import tiny_models


def fds(*words: str) -> Any:
    """What `fds` answers, as JSON; an error ends the process."""
    done = CliRunner().invoke(main, [*words, "--json"])
    if done.exit_code != 0:
        raise SystemExit(f"fds {' '.join(words)}: {done.output} {done.exception!r}")
    return json.loads(done.stdout)


def versions(model: str, folder: Path) -> None:
    """Three versions, their artifacts at the server."""
    saved = tiny_models.save(folder, "good", tiny_models.GOOD)
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(saved), "model")
    client = mlflow.MlflowClient()
    client.create_registered_model(model)
    for _ in range(3):
        place = f"{run.info.artifact_uri}/model"
        client.create_model_version(model, place, run.info.run_id, tags={"fds.threshold": "0.5"})


def life(model: str) -> dict[str, Any]:
    """Promote, canary, emergency; then the canary of the next rollout is deleted by hand."""
    fds("promote", model, "1", "--reason", "first")
    fds("canary", "start", model, "2", "--steps", "10,50,100", "--reason", "weekly")
    fds("canary", "advance", model, "--reason", "good")
    fds("canary", "complete", model, "--force", "--reason", "shown")
    fds("rollback", "emergency", model, "--reason", "blocked")
    healthy = fds("doctor", model)
    fds("canary", "start", model, "3", "--steps", "10,100", "--reason", "again")
    mlflow.MlflowClient().delete_model_version(model, "3")
    managed = ManagedModel(model)
    left: list[Finding] = managed.doctor()
    frame = tiny_models.EXAMPLE.assign(transaction_id=[f"T{row}" for row in range(len(tiny_models.EXAMPLE))])
    routed = managed.router().predict(frame, key="transaction_id")
    fds("canary", "start", model, "2", "--steps", "10,100", "--reason", "once more")
    return {
        "mlflow": mlflow.__version__,
        "healthy": healthy,
        "left": [finding.what for finding in left],
        "routed": sorted(set(routed["version"])),
        "events": [event.kind for event in reversed(managed.history())],
        "found": [finding.what for finding in managed.doctor()],
        "models": fds("list"),
    }


if __name__ == "__main__":
    url, name, where = sys.argv[1:]
    mlflow.set_tracking_uri(url)
    versions(name, Path(where))
    print(json.dumps(life(name), default=str))
