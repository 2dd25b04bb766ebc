"""The run context: tags for this project's runs, silence everywhere else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fds_mlflow_plugins.run_context import ReproducibilityContext

from fds_mlflow.training.reproducibility import code_tags, current_facts, run_facts


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    answer = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True
    )
    return answer.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, a lock file, and a folder to work in."""
    _git(tmp_path, "init", "-q")
    (tmp_path / "requirements.lock").write_text("mlflow==3.17.2\n")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "code.py").write_text("1\n")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-qm", "first")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def test_tags_name_commit_state_lock_and_version(repository: Path):
    """Inside our run the tags say which code, whether it was changed, which lock file and which release."""
    with run_facts({"fds.digest": "d1", "fds.schema": "s1"}):
        tags = ReproducibilityContext().tags()
    assert tags["fds.git_commit"] == _git(repository, "rev-parse", "HEAD")
    assert tags["fds.git_dirty"] == "false"
    assert tags["fds.lock"].startswith("requirements.lock sha256:")
    assert tags["fds.digest"] == "d1"
    assert tags["fds.schema"] == "s1"


def test_changed_code_is_called_dirty(repository: Path):
    """An edited tracked file makes the run dirty; an untracked one, such as an output, does not."""
    (repository / "work" / "new.txt").write_text("output")
    assert code_tags()["fds.git_dirty"] == "false"
    (repository / "work" / "code.py").write_text("2\n")
    assert code_tags()["fds.git_dirty"] == "true"


def test_another_lock_file_is_another_tag(repository: Path):
    """The tag follows the content of the lock file."""
    before = code_tags()["fds.lock"]
    (repository / "requirements.lock").write_text("mlflow==3.18.0\n")
    assert code_tags()["fds.lock"] != before


def test_it_is_silent_outside_our_runs():
    """Somebody else's run in the same environment gets no tag of ours, and after ours neither."""
    context = ReproducibilityContext()
    assert not context.in_context()
    with run_facts({"fds.digest": "d"}):
        assert context.in_context()
        with run_facts({"fds.digest": "inner"}):
            assert current_facts() == {"fds.digest": "inner"}
        assert current_facts() == {"fds.digest": "d"}
    assert not context.in_context()


def test_a_parent_process_hands_its_facts_over(monkeypatch: pytest.MonkeyPatch):
    """The environment variable carries the facts into another process; nonsense in it is ignored."""
    monkeypatch.setenv("FDS_RUN_CONTEXT", json.dumps({"fds.digest": "d"}))
    assert ReproducibilityContext().in_context()
    assert ReproducibilityContext().tags()["fds.digest"] == "d"
    for nonsense in ("", "{", "[1]", "null"):
        monkeypatch.setenv("FDS_RUN_CONTEXT", nonsense)
        assert not ReproducibilityContext().in_context()


def test_no_repository_no_git_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd):  # type: ignore[no-untyped-def]
    """Without a repository, without git, even in a deleted folder there are fewer tags, no error and no output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "fds.git_commit" not in code_tags()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "fds.git_commit" not in code_tags()
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with run_facts({"fds.digest": "d"}):
        assert ReproducibilityContext().tags() == {"fds.digest": "d"}
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_mlflow_asks_it(mlflow_uri: str):
    """Installed, MLflow finds the provider and puts its tags on a run started inside our block only."""
    import mlflow

    with run_facts({"fds.digest": "d1"}), mlflow.start_run() as run:
        assert run.data.tags["fds.digest"] == "d1"
    with mlflow.start_run() as run:
        assert not [key for key in run.data.tags if key.startswith("fds.")]


def test_importing_the_provider_is_light():
    """Loaded at `import mlflow`, it brings neither our package nor anything else with it."""
    code = (
        "import sys, fds_mlflow_plugins.run_context as c\n"
        "assert not c.ReproducibilityContext().in_context()\n"
        "sys.exit(any(name.split('.')[0] in ('fds_mlflow', 'mlflow', 'numpy') for name in sys.modules))\n"
    )
    answer = subprocess.run([sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.tested(1)
@pytest.mark.parametrize("first", ["mlflow", "fds_mlflow_plugins.run_context", "fds_mlflow.training.pipeline"])
@pytest.mark.slow
def test_mlflow_registers_it_whatever_is_imported_first(first: str):
    """Whichever module comes first, MLflow ends up with the provider and prints no warning about it."""
    code = (
        f"import warnings; warnings.filterwarnings('error', message='Failure attempting'); import {first}\n"
        "from mlflow.tracking.context.registry import _run_context_provider_registry as registry\n"
        "assert 'ReproducibilityContext' in [type(provider).__name__ for provider in registry]\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
