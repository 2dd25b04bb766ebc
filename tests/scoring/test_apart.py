"""A model in a process of its own: its death costs an error, and it sees no secret."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest

from fds_mlflow.errors import RefusedError
from fds_mlflow.runtime import environment, model_files
from fds_mlflow.scoring import apart
from tests.support import foreign_models, tiny_models

pytestmark = [pytest.mark.slow, pytest.mark.apart]

SECRETS = {
    "FDS_SERVE_TOKEN": "planted-serve-token",
    "MLFLOW_TRACKING_PASSWORD": "planted-password",
    "MLFLOW_TRACKING_URI": "http://user:planted-userinfo@localhost:1",
    "DATABASE_URL": "postgresql://u:planted-database@h/d",
    "AWS_SECRET_ACCESS_KEY": "planted-key",
    "WHATEVER_IT_IS_CALLED": "planted-anything",
}
"""In every kind of name that a secret may have."""

SPY = (
    "pd.Series([float('planted' in open('/proc/self/environ').read() + str(dict(__import__('os').environ)))]"
    " * len(rows))"
)
PRINTS = "(print('not a message'), __import__('os').write(1, b'nor this'), rows['amount'])[2]"
EXITS = "__import__('os')._exit(7)"
FALLS = "__import__('os').abort()"
HALF = "(_ for _ in ()).throw(ValueError('no country ' + chr(0xD800)))"


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def loaded(tmp_path: Path, expression: str) -> Any:
    """A model from code that scores by an expression, loaded apart."""
    tmp_path.mkdir(exist_ok=True)
    return apart.loaded(str(tiny_models.save(tmp_path, "model", expression)))


def test_code_runs_where_no_secret_is(tmp_path: Path) -> None:
    """Neither the environment nor what the system shows of it holds one; a variable that is let through is there."""
    assert loaded(tmp_path, SPY).predict(tiny_models.EXAMPLE).tolist() == [0.0] * 3
    os.environ[environment.MODEL_ENVIRONMENT] = "OTHER, WHATEVER_IT_IS_CALLED"
    assert loaded(tmp_path / "again", SPY).predict(tiny_models.EXAMPLE).tolist() == [1.0] * 3


def test_a_process_of_ours_forgets_what_it_was_given() -> None:
    """A worker that may run a model's code wipes secrets from its environment, also where the system shows it."""
    script = (
        "import os; from fds_mlflow.runtime.environment import forget_secrets; forget_secrets();"
        "print('planted' in open('/proc/self/environ').read() + str(os.environ), 'PATH' in os.environ)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "True"]


def test_it_answers_as_it_does_here(tmp_path: Path) -> None:
    """Scores, and what it raises, are those of the model in this process; what it prints disturbs nobody."""
    frame = tiny_models.EXAMPLE
    here = mlflow.pyfunc.load_model(str(tiny_models.save(tmp_path, "here", tiny_models.BETTER)))
    assert apart.loaded(str(tmp_path / "here")).predict(frame).tolist() == here.predict(frame).tolist()
    assert loaded(tmp_path, PRINTS).predict(frame).tolist() == frame["amount"].tolist()
    with pytest.raises(RuntimeError) as caught:
        loaded(tmp_path / "raises", tiny_models.RAISES).predict(frame)
    assert type(caught.value).__name__ == "ZeroDivisionError"


def test_whatever_it_says_when_it_fails_it_answers_again(tmp_path: Path) -> None:
    """Half a character in its message, which no other process can be told, does not end it."""
    model = loaded(tmp_path, HALF)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"no country [?]") as caught:
            model.predict(tiny_models.EXAMPLE)
        assert type(caught.value).__name__ == "ValueError"
    assert model._model_impl._process.poll() is None


@pytest.mark.parametrize(("expression", "how"), [(EXITS, "exit code 7"), (FALLS, "SIGABRT")])
def test_its_end_is_an_error(tmp_path: Path, expression: str, how: str) -> None:
    """A model that ends its process is refused, with how it ended; and so it is when it is asked again."""
    model = loaded(tmp_path, expression)
    for _ in range(2):
        with pytest.raises(RefusedError, match=how):
            model.predict(tiny_models.EXAMPLE)


def test_its_process_ends_with_it(tmp_path: Path) -> None:
    """A model that nobody holds any more leaves no process behind."""
    model = loaded(tmp_path, tiny_models.GOOD)
    process = model._model_impl._process
    assert process.poll() is None
    del model
    gc.collect()
    assert process.poll() is not None


def test_a_pickled_classifier_is_known_by_its_classes(tmp_path: Path) -> None:
    """What adoption asks of a logged classifier is answered from the other process."""
    flavor, model = foreign_models.forest()
    folder = foreign_models.save(tmp_path / "forest", flavor, model, serialization_format="cloudpickle")
    raw = apart.loaded(str(folder)).get_raw_model()
    rows = foreign_models.rows()[foreign_models.COLUMNS]
    assert (type(raw).__name__, list(raw.classes_)) == ("RandomForestClassifier", ["fraud", "genuine"])
    assert raw.predict_proba(rows) == pytest.approx(model.predict_proba(rows))


@pytest.mark.parametrize("how", ["half", "a leaf more", "nothing"])
def test_a_damaged_file_ends_another_process(tmp_path: Path, how: str) -> None:
    """A model's file that is cut off or has a leaf too many: refused or read, and this process goes on."""
    folder = tiny_models.booster(tmp_path / "model")
    text = (folder / "model.lgb").read_text()
    changed = {
        "half": text[: len(text) // 2],
        "a leaf more": text.replace("leaf_value=", "leaf_value=1 "),
        "nothing": "",
    }
    (folder / "model.lgb").write_text(changed[how])
    with contextlib.suppress(RefusedError, RuntimeError):  # what LightGBM raises there comes by its own name
        apart.probe(str(folder), model_files.digest(folder))


def test_what_takes_too_much_memory_is_not_read_here(tmp_path: Path) -> None:
    """Files that unpack to more than half of the machine's memory are refused in the process that may die."""
    bomb = "np.ones(1 << 38)[:1] if len(rows) == 3 and 'FDS_BOMB' in __import__('os').environ else rows['amount']"
    folder = tiny_models.save(tmp_path, "code", bomb)
    os.environ["FDS_BOMB"], os.environ[environment.MODEL_ENVIRONMENT] = "1", "FDS_BOMB"
    with pytest.raises(RuntimeError) as caught:
        apart.probe(str(folder), "sha256:bomb")
    assert type(caught.value).__name__.endswith("MemoryError")
