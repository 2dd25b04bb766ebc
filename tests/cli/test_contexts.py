"""Contexts: which one counts, what is kept of the file, and that a broken one is told instead of guessed at."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient

from fds_mlflow.cli.main import main
from fds_mlflow.errors import ConfigError
from fds_mlflow.runtime.contexts import Contexts


def fds(*words: str) -> Result:
    """Call the command line, as a process of its own would: what it sets in the environment ends with it."""
    before = dict(os.environ)
    try:
        return CliRunner().invoke(main, words)
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the file of contexts is; there is none yet."""
    monkeypatch.setenv("FDS_CONFIG", str(tmp_path / "fds" / "config.toml"))
    return tmp_path / "fds" / "config.toml"


@pytest.fixture
def places(path: Path, migrated_database: Path, tmp_path: Path) -> dict[str, str]:
    """Three registries, each with one model of its name; contexts `one` and `two` lead to the first two."""
    uris = {}
    for name in ("one", "two", "three"):
        shutil.copyfile(migrated_database, tmp_path / f"{name}.db")
        uris[name] = f"sqlite:///{tmp_path / name}.db"
        MlflowClient(uris[name], uris[name]).create_registered_model(name)
        if name != "three":
            assert fds("config", "set", name, "--tracking-uri", uris[name]).exit_code == 0
    return uris


def listed(*words: str) -> str:
    """Which registry a call looked at."""
    (model,) = json.loads(fds(*words, "list", "--json").stdout)
    return str(model["model"])


def test_the_command_line_counts_before_the_environment_and_that_before_the_current_context(
    places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A context that is named where one acts counts before the environment; an address there counts before it."""
    assert listed() == "one"  # the first one is the current one
    assert fds("config", "use", "two").exit_code == 0
    assert listed() == "two"
    monkeypatch.setenv("FDS_CONTEXT", "one")
    assert listed() == "one"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", places["three"])
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", places["three"])
    assert listed() == "three"
    assert listed("--context", "two") == "two"  # the registry, too: no half of another MLflow
    assert listed("--context", "two", "--registry-uri", places["three"]) == "three"


def test_what_a_person_wrote_in_the_file_stays(path: Path) -> None:
    """Comments and order survive; a context is added to, made the current one, and deleted; only its owner may read."""
    path.parent.mkdir()
    path.write_text("# ours\n[contexts.prod]\ntracking_uri = 'sqlite:///a.db'  # the one\n")
    assert fds("config", "set", "prod", "--outcomes", "postgresql://ann:verysecret@db/x").exit_code == 0
    assert fds("config", "set", "dev", "--actor", "ann").exit_code == 0
    assert "# ours" in path.read_text()
    assert "# the one" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shown = fds("config", "show", "--json").stdout
    assert "verysecret" not in shown + fds("config", "show").output
    assert json.loads(shown)["contexts"]["prod"]["tracking_uri"] == "sqlite:///a.db"
    assert fds("config", "use", "dev").exit_code == 0
    assert fds("config", "delete", "dev").exit_code == 0
    assert json.loads(fds("config", "show", "--json").stdout)["current"] is None
    assert list(Contexts(path).settings) == ["prod"]
    assert [each.name for each in path.parent.iterdir()] == ["config.toml"]


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("current = ", "Invalid value"),
        ("contexts = 3", "no table"),
        ("[contexts]\nprod = 'x'", "contexts.prod is no table"),
        ("[contexts.prod]\ntracking_uri = 3", "contexts.prod is no table of texts"),
        ("[contexts.prod]\ntracking_url = 'x'", "contexts.prod has tracking_url, and may have tracking_uri"),
        ("current = 'prod'", "current is 'prod', which is no context"),
        ("curent = 'prod'", "unknown: curent"),
        ("\ufeff[", "Invalid"),
    ],
)
def test_a_broken_file_is_told_and_left_alone(path: Path, written: str, says: str) -> None:
    """No verb goes on with half of what it says: a wrong registry is worse than none. Nothing overwrites it."""
    path.parent.mkdir()
    path.write_text(written)
    for words in (("list",), ("config", "show"), ("config", "set", "prod", "--actor", "ann")):
        said = fds(*words, "--json")
        assert said.exit_code == 1
        assert says in json.loads(said.stdout)["error"]
        assert str(path) in said.stdout
    assert path.read_text() == written


def test_an_unknown_context_lists_those_that_are_there(places: dict[str, str]) -> None:
    """In the option, the environment and the verbs."""
    for words in (("--context", "prod", "list"), ("config", "use", "prod"), ("config", "delete", "prod")):
        said = json.loads(fds(*words, "--json").stdout)
        assert said["error"] == "there is no context 'prod' (there is: one, two)"
        assert said["fix"] == "`fds config set prod --tracking-uri URI`"


def test_a_disk_that_takes_nothing_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that cannot be written is an error, and the contexts are those of before."""
    assert fds("config", "set", "prod", "--actor", "ann").exit_code == 0
    before = path.read_text()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    said = fds("config", "set", "dev", "--actor", "bob", "--json")
    assert said.exit_code == 1
    assert "No space left" in json.loads(said.stdout)["error"]
    assert path.read_text() == before
    assert [each.name for each in path.parent.iterdir()] == ["config.toml"]


def test_a_file_that_lies_elsewhere_stays_there(path: Path, tmp_path: Path) -> None:
    """A link to it, as people have who keep such files in a repository, stays one."""
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere.toml")
    assert fds("config", "set", "prod", "--actor", "ann").exit_code == 0
    assert path.is_symlink()
    (tmp_path / "elsewhere.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        Contexts(path)
