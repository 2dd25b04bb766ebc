"""A model in a process of its own: one that may die, and in whose environment no secret is.

There a version is first read whose files nobody vouches for, because a file that is cut off ends the process that
reads it inside native code. There a version stays that runs code of its own, and is asked through a pipe.

python -m fds_mlflow.scoring.apart FOLDER
"""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fds_mlflow.errors import FdsError, RefusedError, UnavailableError
from fds_mlflow.runtime import environment
from fds_mlflow.scoring import messages
from fds_mlflow.scoring.output import NATIVE, PROBABILITIES, classes_of, predict_name, score_tag

SECONDS = 600.0
"""How long such a model may take to load, or to answer."""


class Apart:
    """MLflow's interface of a model that is loaded in another process.

    Args:
        folder: Where its files are.
        score: How its answers become scores, as its tag says; None where they are scores.

    Attributes:
        kind: What kind of model it is, as `scoring.finding` has it.
        columns: Names of the columns that it remembers from its training.

    Raises:
        RefusedError: It does not load, or ends the process.
    """

    def __init__(self, folder: str, score: str | None = None) -> None:
        command = [sys.executable, "-m", "fds_mlflow.scoring.apart", folder]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment.for_models()
        )
        self._lock = threading.Lock()
        self._end = weakref.finalize(self, _ended, self._process)
        try:
            told = self._asked({"score": score})
        except BaseException:
            self.close()
            raise
        self.kind, self.columns = told["kind"], told["columns"]
        known = {} if told["classes"] is None else {"classes_": told["classes"]}
        if told["probabilities"]:
            known[PROBABILITIES] = self._probabilities
        self._raw = (
            SimpleNamespace(**known) if told["name"] is None else type(told["name"], (SimpleNamespace,), {})(**known)
        )

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """What it answers about rows.

        Raises:
            RefusedError: It ended its process.
            UnavailableError: It took too long.
            Exception: Whatever it raised, by that name.
        """
        return self._asked({"data": data, "params": params})

    def tried(self) -> None:
        """Have it score its input example, where it has one; what else it raises, whoever asks it then is told.

        Raises:
            RefusedError: It ended its process.
            RuntimeError: It took more memory than it may.
        """
        try:
            self._asked({"data": None})
        except RuntimeError as error:
            if type(error).__name__.endswith("MemoryError"):  # here, without a limit, it would take all there is
                raise

    def get_raw_model(self) -> Any:
        """What is known here of the logged model: its classes, and that it can be asked for their probabilities."""
        return self._raw

    def _probabilities(self, data: Any) -> Any:
        return self._asked({"data": data, "call": PROBABILITIES})

    def close(self) -> None:
        """End the process."""
        self._end()

    def _asked(self, question: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            try:
                if self._process.stdin.closed:
                    raise EOFError
                messages.send(self._process.stdin.fileno(), question)
                told = messages.receive(self._process.stdout.fileno(), SECONDS)
            except TimeoutError:
                self.close()
                raise UnavailableError(
                    f"the model was not done after {SECONDS:g} s", fix="look for what it waits for"
                ) from None
            except (EOFError, OSError):
                with contextlib.suppress(subprocess.TimeoutExpired):  # it may have closed the pipe and gone on
                    self._process.wait(10)
                self.close()
                raise RefusedError(
                    f"reading its files ended the process that tried to: {how_ended(self._process.returncode)}",
                    fix="register it again from where it was trained: a file is cut off or was changed",
                ) from None
        if "refused" in told:
            raise RefusedError(told["refused"][0], fix=told["refused"][1])
        if "raised" in told:
            name, said = told["raised"]
            raise type(name, (RuntimeError,), {})(said)
        return tuple(told["answer"]) if told.get("tuple") else told["answer"]


def loaded(folder: str, score: str | None = None) -> Any:
    """A logged model that runs code of its own, as MLflow's pyfunc; arguments as for `Apart`.

    Raises:
        RefusedError: It does not load, or ends its process.
    """
    from mlflow.models import Model
    from mlflow.pyfunc import PyFuncModel

    metadata = Model.load(folder)
    model = Apart(folder, score)
    made = PyFuncModel(metadata, model)
    setattr(model, predict_name(made), model.predict)
    with contextlib.suppress(Exception):  # as MLflow has it: one that cannot be read is as good as none
        made.input_example = metadata.load_input_example(folder)
    return made


_probed: set[str] = set()


def probe(folder: str, digest: str) -> None:
    """Have files read in a process that may die, before this one reads them; once for the same files.

    Args:
        folder: Where they are.
        digest: Of the files.

    Raises:
        RefusedError: They ended the process that read them.
        Exception: Whatever reading them raised there, by that name.
    """
    if digest in _probed:
        return
    model = Apart(folder)
    try:
        model.tried()
    finally:
        model.close()
    _probed.add(digest)


def _ended(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def how_ended(code: int) -> str:
    """What is said of a process by its return code."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"signal {-code} ({signal.Signals(-code).name})"
    return f"signal {-code}"


# --- the other process ------------------------------------------------------------------------------------------------


def _limited() -> None:
    """At most half of the machine's memory: files that unpack to more than that end this process and no other."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
        resource.setrlimit(resource.RLIMIT_DATA, (half, half))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@contextlib.contextmanager
def _answers_apart() -> Iterator[tuple[int, int]]:
    """The two pipes, out of the way of a model that prints or reads."""
    there = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    yield there


def main(folder: str) -> None:
    """Load a model and answer, until nobody asks any more."""
    _limited()
    with _answers_apart() as (asks, tells), contextlib.suppress(EOFError, BrokenPipeError):
        score = messages.receive(asks)["score"]
        model = None
        question: Any = None
        while True:
            try:
                if model is None:
                    model = _model(folder, score)
                    answer = _known(model)
                else:
                    answer = _predicted(model, question)
                messages.send(tells, {"answer": answer, "tuple": isinstance(answer, tuple)})
            except FdsError as error:
                messages.send(tells, {"refused": [_text(error.what), _text(error.fix)]})
            except (Exception, SystemExit) as error:
                messages.send(tells, {"raised": [type(error).__name__, _text(str(error))]})
            if model is None:
                return
            question = messages.receive(asks)


def _text(said: str) -> str:
    """What a model says may hold anything: with half a character no message can be written, and this process ended."""
    return said.encode("utf-8", "replace").decode()


def _model(folder: str, score: str | None) -> Any:
    from fds_mlflow.scoring.scorer import opened

    return opened(folder, score)


def _known(model: Any) -> dict[str, Any]:
    from fds_mlflow.scoring.finding import kind_of, known_columns

    classes, is_native = classes_of(model), bool(NATIVE & model.metadata.flavors.keys())
    return {
        "classes": classes,
        "name": type(model.get_raw_model()).__name__ if is_native else None,
        "probabilities": is_native and hasattr(model.get_raw_model(), PROBABILITIES),
        "kind": kind_of(model),
        "columns": known_columns(model),
    }


def _predicted(model: Any, question: Mapping[str, Any]) -> Any:
    if question["data"] is None:
        return None if model.input_example is None else len(model.predict(model.input_example))
    if "call" in question:
        return getattr(model.get_raw_model(), question["call"])(question["data"])
    # Past the checks of its signature, which were made where it was asked.
    ask = getattr(model._model_impl, "predict" if score_tag(model) is not None else predict_name(model))
    takes_params = "params" in inspect.signature(ask).parameters
    return ask(question["data"], params=question["params"]) if takes_params else ask(question["data"])


if __name__ == "__main__":
    main(str(Path(sys.argv[1])))
