"""The house stands as planned: what core may import, which room sees which, how long a file and a function may be."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.places import ROOT

PACKAGE = ROOT / "fds_mlflow"
MIGRATIONS = PACKAGE / "outcomes" / "migrations" / "versions"

CORE_MAY_IMPORT = frozenset(
    {
        *(
            "__future__",
            "bisect",
            "collections",
            "dataclasses",
            "datetime",
            "decimal",
            "difflib",
            "enum",
            "functools",
            "hashlib",
        ),
        *(
            "itertools",
            "json",
            "math",
            "re",
            "types",
            "typing",
            "numpy",
            "xxhash",
            "fds_mlflow.core",
            "fds_mlflow.display.characters",
            "fds_mlflow.errors",
        ),
    }
)
"""An allow-list: whatever decides touches no clock, environment, file, network or source of random numbers."""

LONGEST_FILE, LONGEST_FUNCTION = 400, 60


def imported(source: str) -> Iterator[str]:
    """Modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f"{'.' * node.level}{node.module or ''}"


def strangers(source: str) -> list[str]:
    """What a file of core imports and may not."""
    return [
        name
        for name in imported(source)
        if not any(name == known or name.startswith(f"{known}.") for known in CORE_MAY_IMPORT)
    ]


def files() -> list[Path]:
    """Every Python file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def test_core_imports_what_it_may() -> None:
    """The core decides and touches nothing."""
    core = [path for path in files() if PACKAGE / "core" in path.parents]
    found = {path.relative_to(ROOT): strangers(path.read_text(encoding="utf-8")) for path in core}
    assert len(found) > 20
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "line",
    [
        *("import os", "import socket", "import time", "import random", "from pathlib import Path", "from . import x"),
        *("def f():\n    import httpx", "from fds_mlflow.registry import tags", "import fds_mlflow.coresque"),
    ],
)
def test_what_core_may_not_import_is_found(line: str) -> None:
    """A violation is seen wherever it is planted: at the top, in a function, by a look-alike name."""
    assert len(strangers(f"import math\n{line}\n")) == 1


@pytest.mark.tested(1)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("core/plan/plan.py", "from fds_mlflow.core.judge import judge"),
        ("registry/tags.py", "import fds_mlflow.outcomes.tables"),
        ("scoring/columns.py", "from fds_mlflow.model import ManagedModel"),
        ("serving/disk/spool.py", "from fds_mlflow.serving.http import app"),
        ("attic/__init__.py", "import math"),
    ],
)
def test_an_arrow_that_points_up_breaks_the_contract(file: str, line: str, tmp_path: Path) -> None:
    """A planted import upwards or sideways, and a room that nobody has placed, fail `make contract`."""
    shutil.copytree(PACKAGE, tmp_path / "fds_mlflow", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "plugins", tmp_path / "fds_mlflow_plugins", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = tmp_path / "fds_mlflow" / file
    planted.parent.mkdir(exist_ok=True)
    before = planted.read_text(encoding="utf-8") if planted.exists() else ""
    planted.write_text(f"{before}\n\n{line}\n", encoding="utf-8")
    program = Path(sys.executable).with_name("lint-imports")
    command, environment = [program, "--no-cache"], {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout or "attic" in done.stdout + done.stderr


def test_no_file_outgrows_a_sitting() -> None:
    """A file has one noun and is read in one sitting."""
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files()}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}


@pytest.mark.slow
def test_no_function_outgrows_a_screen() -> None:
    """A function is seen at once. Migrations are never changed, so theirs stay as they were."""
    found = {
        f"{path.relative_to(ROOT)}: {node.name}": node.end_lineno - node.lineno + 1
        for path in files()
        if MIGRATIONS not in path.parents
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    }
    assert {name: lines for name, lines in found.items() if lines > LONGEST_FUNCTION} == {}


def rooms(folder: Path) -> set[str]:
    """The rooms in a folder: its packages, and its files that are no private ones."""
    packages = {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    modules = {path.name for path in folder.glob("*.py") if not path.name.startswith("__")}
    return packages | modules


def test_the_page_on_architecture_lists_the_rooms_that_are_there() -> None:
    """Whoever reads the page finds each room, and no other."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([\w/.]+)` \|", page, re.MULTILINE))
    inside = {f"core/{room}" for room in rooms(PACKAGE / "core") if room.endswith("/")}
    assert named == rooms(PACKAGE) | inside


def test_the_picture_shows_every_room() -> None:
    """The picture and the folders name the same rooms."""
    picture = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    named = set(re.findall(r'class="name"[^>]*>([a-z]+)<', picture))
    assert named == {room.removesuffix("/").removesuffix(".py") for room in rooms(PACKAGE)}


def test_the_tests_mirror_the_house() -> None:
    """The tests of a room are found under its name."""
    there = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    beside = {"deploy", "docs", "golden", "integration", "plugins", "support"}
    tested = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert tested - beside <= there
    assert there - tested == set()


@pytest.mark.slow
def test_variables_of_the_environment_have_one_home() -> None:
    """Every variable that the package reads is named in one file."""
    home = PACKAGE / "runtime" / "environment.py"
    named = {
        f"{path.relative_to(ROOT)}: {node.value}"
        for path in files()
        if path != home
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch("FDS_[A-Z_]+", node.value)
    }
    assert named == set()


@pytest.mark.slow
def test_time_has_one_protocol() -> None:
    """Whoever takes a clock takes the one of the runtime, so that one twin serves all tests."""
    protocols = {
        str(path.relative_to(PACKAGE))
        for path in files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
        and any(isinstance(one, ast.FunctionDef) and one.name == "now" for one in node.body)
    }
    assert protocols == {"runtime/clock.py"}
