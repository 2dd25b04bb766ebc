"""Makes a version ready that was fetched: loads it, tries it, compiles it, and writes down what it is.

python -m fds_mlflow.serving.host.readying FOLDER

Where the version runs code of its own, this is a program of its own: with the files on disk it needs no registry, and
no secret. It takes the place of the process that fetched them, so that whoever waits for that one waits for this.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from fds_mlflow.errors import FdsError, RefusedError
from fds_mlflow.runtime import environment
from fds_mlflow.serving.disk.version_cache import describe, model_folder

_WAITING = "waiting.json"


@dataclass(frozen=True)
class Waiting:
    """A version whose files are on disk.

    Attributes:
        version: Its number.
        threshold: The score from which it flags a transaction.
        score: How its answers become scores, as its tag says; None where they are scores.
        files: Digest of its files.
        runs_code: Whether it runs code of its own.
    """

    version: int
    threshold: float
    score: str | None
    files: str
    runs_code: bool

    def go_on_apart(self, folder: Path) -> None:
        """Become the process that makes it ready; this returns never."""
        (folder / _WAITING).write_text(json.dumps(asdict(self)))
        command = [sys.executable, "-m", "fds_mlflow.serving.host.readying", str(folder)]
        os.execve(sys.executable, command, environment.for_models())  # noqa: S606 - there is no shell to want

    def make_ready(self, folder: Path) -> None:
        """Load it, try it, compile it, and write down what it is.

        Raises:
            RefusedError: It does not load, or does not score its input example.
        """
        from fds_mlflow.scoring import requirements
        from fds_mlflow.scoring.arrays import ArrayModel
        from fds_mlflow.scoring.compiled import CompiledModel
        from fds_mlflow.scoring.convert import compiled
        from fds_mlflow.scoring.output import score_tag
        from fds_mlflow.scoring.scorer import Scorer, opened
        from fds_mlflow.scoring.trial import tried

        place = str(model_folder(folder))
        try:
            loaded = opened(place, self.score)
        except Exception as error:
            raise RefusedError(
                f"the artifacts of version {self.version} do not load: {type(error).__name__}: {error}",
                fix=requirements.fix(place, "check the artifact store and the model's files, or register it again"),
            ) from error
        scorer = Scorer.of(self.version, self.threshold, loaded, place)
        try:
            if scorer.example is not None:
                scorer.score(scorer.example)
            tried(scorer)
        except FdsError as error:
            what = f"version {self.version} does not score its input example: {error.what}"
            raise RefusedError(what, fix=error.fix) from None
        form = compiled(place, loaded, scorer.example, scorer.inputs)
        if isinstance(form, CompiledModel):
            form.save(folder)
        describe(
            folder,
            scorer.inputs,
            compiled=isinstance(form, CompiledModel),
            arrays=isinstance(form, ArrayModel),
            optional=scorer.optional,
            codes=scorer.codes,
            score=score_tag(loaded),
            files=self.files,
        )


@contextlib.contextmanager
def told() -> Iterator[None]:
    """An error of ours as one line of JSON, last on standard error."""
    try:
        yield
    except FdsError as error:
        click.echo(json.dumps({"what": error.what, "fix": error.fix}), err=True)
        sys.exit(error.exit_code)


def main(folder: Path) -> None:
    """Make ready what waits in a folder."""
    with told():
        waiting = folder / _WAITING
        values = json.loads(waiting.read_text())
        waiting.unlink()
        Waiting(**values).make_ready(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
