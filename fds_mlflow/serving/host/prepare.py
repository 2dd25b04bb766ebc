"""Fetches a version, checks it, and compiles it: in a process of its own, with its own memory and time limit.

python -m fds_mlflow.serving.host.prepare MODEL VERSION FOLDER [--tracking-uri URI] [--registry-uri URI]
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import click

from fds_mlflow.errors import RefusedError
from fds_mlflow.registry import tags
from fds_mlflow.registry.store import RegistryStore
from fds_mlflow.runtime import environment
from fds_mlflow.scoring.apart import how_ended
from fds_mlflow.serving.disk.version_cache import model_folder
from fds_mlflow.serving.host.readying import Waiting, told


@dataclass(frozen=True)
class Preparation:
    """Prepares versions of one model, each in a process of its own.

    Attributes:
        model: Registered model.
        tracking_uri: None for the one MLflow resolves.
        registry_uri: None for the one MLflow resolves.
        seconds: How long one may take.
        trust: Code that versions bring may run, whatever the history says.
    """

    model: str
    tracking_uri: str | None = None
    registry_uri: str | None = None
    seconds: float = 600.0
    trust: bool = False
    _running: set[subprocess.Popen[str]] = field(default_factory=set, init=False, repr=False, compare=False)

    def __call__(self, version: int, folder: Path) -> None:
        """Prepare a version in an empty folder.

        Raises:
            RefusedError: It does not load, does not score its example, or takes too long.
        """
        command = [sys.executable, "-m", "fds_mlflow.serving.host.prepare", self.model, str(version), str(folder)]
        command += ["--trust"] * self.trust
        # Not as arguments: everybody on the machine sees those, and an address may hold a password.
        uris = {"MLFLOW_TRACKING_URI": self.tracking_uri, "MLFLOW_REGISTRY_URI": self.registry_uri}
        variables = environment.for_fetching() | {name: uri for name, uri in uris.items() if uri}
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=variables
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
        if process.returncode < 0:
            how = how_ended(process.returncode)
            raise RefusedError(
                f"reading the files of version {version} ended the process that tried to: {how}",
                fix="register it again from where it was trained: a file is cut off or was changed",
            )
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


def fetch(
    store: RegistryStore,
    model: str,
    version: int,
    folder: Path,
    *,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    trust: bool = False,
) -> Waiting:
    """Fetch a version's files into an empty folder, and look whether they may be read.

    Args:
        store: The registry.
        model: Registered model.
        version: The version.
        folder: Where it is prepared.
        tracking_uri: None for the one MLflow resolves.
        registry_uri: None for the one MLflow resolves.
        trust: Code that it brings may run, whatever the history says.

    Raises:
        RefusedError: Its files are not those that were recorded, or bring code that nobody has allowed to run.
    """
    from fds_mlflow.scoring.fetched import fetched
    from fds_mlflow.scoring.scorer import threshold_of

    there = store.version(model, version)
    there.require_ready(model)
    threshold = threshold_of(model, there)
    place = model_folder(folder)
    place.mkdir()
    files = fetched(store, model, there, str(place), tracking_uri=tracking_uri, registry_uri=registry_uri)
    if not trust:
        files.require_allowed()
    return Waiting(version, threshold, there.tags.get(tags.SCORE), files.digest, files.code is not None)


def prepare(
    store: RegistryStore,
    model: str,
    version: int,
    folder: Path,
    *,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    trust: bool = False,
) -> None:
    """Fetch a version into an empty folder, check it, and write down what it is; arguments as for `fetch`.

    Raises:
        RefusedError: It may not be read, does not load, or does not score its input example.
    """
    fetch(store, model, version, folder, tracking_uri=tracking_uri, registry_uri=registry_uri, trust=trust).make_ready(
        folder
    )


@click.command()
@click.argument("model")
@click.argument("version", type=int)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--tracking-uri", envvar="MLFLOW_TRACKING_URI")
@click.option("--registry-uri", envvar="MLFLOW_REGISTRY_URI")
@click.option("--trust", is_flag=True)
def main(  # noqa: PLR0917 - click names them all
    model: str, version: int, folder: Path, tracking_uri: str | None, registry_uri: str | None, trust: bool
) -> None:
    """Prepare a version; an error is one line of JSON, last on standard error."""
    from fds_mlflow.registry.connection import connect

    with told():
        store = connect(tracking_uri, registry_uri)
        waiting = fetch(
            store, model, version, folder, tracking_uri=tracking_uri, registry_uri=registry_uri, trust=trust
        )
        if waiting.runs_code:  # from here on in a process that has never had a secret in its environment
            waiting.go_on_apart(folder)
        waiting.make_ready(folder)


if __name__ == "__main__":
    main()
