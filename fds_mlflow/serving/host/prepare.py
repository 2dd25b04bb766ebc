"""Fetches a version, checks it, and compiles it: in a process of its own, with its own memory and time limit.

python -m fds_mlflow.serving.host.prepare MODEL VERSION FOLDER [--tracking-uri URI] [--registry-uri URI]
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import click

from fds_mlflow.errors import FdsError, RefusedError
from fds_mlflow.registry.store import RegistryStore
from fds_mlflow.serving.disk.version_cache import describe, model_folder


@dataclass(frozen=True)
class Preparation:
    """Prepares versions of one model, each in a process of its own.

    Attributes:
        model: Registered model.
        tracking_uri: None for the one MLflow resolves.
        registry_uri: None for the one MLflow resolves.
        seconds: How long one may take.
    """

    model: str
    tracking_uri: str | None = None
    registry_uri: str | None = None
    seconds: float = 600.0
    _running: set[subprocess.Popen[str]] = field(default_factory=set, init=False, repr=False, compare=False)

    def __call__(self, version: int, folder: Path) -> None:
        """Prepare a version in an empty folder.

        Raises:
            RefusedError: It does not load, does not score its example, or takes too long.
        """
        command = [sys.executable, "-m", "fds_mlflow.serving.host.prepare", self.model, str(version), str(folder)]
        # Not as arguments: everybody on the machine sees those, and an address may hold a password.
        uris = {"MLFLOW_TRACKING_URI": self.tracking_uri, "MLFLOW_REGISTRY_URI": self.registry_uri}
        environment = os.environ | {name: uri for name, uri in uris.items() if uri}
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            self._running.add(process)
            try:
                _, said = process.communicate(timeout=self.seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                raise RefusedError(
                    f"version {version} of {self.model!r} was not ready after {self.seconds:g} s",
                    fix="check the artifact store, or give it longer with --prepare-seconds",
                ) from None
            finally:
                self._running.discard(process)
        if process.returncode != 0:
            what, fix = _told(said, version)
            raise RefusedError(what, fix=fix)

    def stop(self) -> None:
        """End what is being prepared: a server that is told to stop need not wait for it."""
        for process in tuple(self._running):
            process.kill()


def _told(text: str, version: int) -> tuple[str, str]:
    last = text.strip().splitlines()[-1:] or [""]
    try:
        said = json.loads(last[0])
        return str(said["what"]), str(said["fix"])
    except (ValueError, KeyError, TypeError):
        return (
            f"preparing version {version} failed: {last[0][:300]}",
            "load it with mlflow.pyfunc to see the whole trace",
        )


def prepare(
    store: RegistryStore,
    model: str,
    version: int,
    folder: Path,
    *,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> None:
    """Fetch a version into an empty folder, check it, and write down what it is.

    Raises:
        RefusedError: It does not load, or does not score its input example.
    """
    from fds_mlflow.scoring.arrays import ArrayModel
    from fds_mlflow.scoring.compiled import CompiledModel
    from fds_mlflow.scoring.convert import compiled
    from fds_mlflow.scoring.output import score_tag
    from fds_mlflow.scoring.scorer import load
    from fds_mlflow.scoring.trial import tried

    scorer = load(store, model, version, tracking_uri=tracking_uri, registry_uri=registry_uri)
    try:
        if scorer.example is not None:
            scorer.score(scorer.example)
        tried(scorer)
    except FdsError as error:
        raise RefusedError(f"version {version} does not score its input example: {error.what}", fix=error.fix) from None
    target = model_folder(folder)
    shutil.copytree(scorer.folder, target)
    form = compiled(str(target), scorer.loaded, scorer.example, scorer.inputs)
    if isinstance(form, CompiledModel):
        form.save(folder)
    describe(
        folder,
        scorer.inputs,
        compiled=isinstance(form, CompiledModel),
        arrays=isinstance(form, ArrayModel),
        optional=scorer.optional,
        codes=scorer.codes,
        score=score_tag(scorer.loaded),
    )


@click.command()
@click.argument("model")
@click.argument("version", type=int)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--tracking-uri", envvar="MLFLOW_TRACKING_URI")
@click.option("--registry-uri", envvar="MLFLOW_REGISTRY_URI")
def main(model: str, version: int, folder: Path, tracking_uri: str | None, registry_uri: str | None) -> None:
    """Prepare a version; an error is one line of JSON, last on standard error."""
    from fds_mlflow.registry.connection import connect

    try:
        store = connect(tracking_uri, registry_uri)
        prepare(store, model, version, folder, tracking_uri=tracking_uri, registry_uri=registry_uri)
    except FdsError as error:
        click.echo(json.dumps({"what": error.what, "fix": error.fix}), err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
