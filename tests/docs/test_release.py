"""A release is one command that does all or nothing; the audit never calls checked what nobody checked."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.places import ROOT

RELEASE = runpy.run_path(str(ROOT / ".ci" / "release.py"))
AUDIT = runpy.run_path(str(ROOT / ".ci" / "audit.py"))
Refused: type[Exception] = RELEASE["RefusedError"]

PROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"
[project]
name = "fds-mlflow"
version = "0.3.0"
[project.optional-dependencies]
excel = []
kafka = []
online = []
parquet = []
pdf = []
postgresql = []
redis = []
search = []
spark = []
[tool.setuptools]
py-modules = ["shop"]
"""
CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A shop.\n\n## [0.3.0] - 2026-01-01\n\n- First.\n"


def git(folder: Path, *words: str) -> str:
    """What git says in a folder."""
    named = ("-c", "user.name=ann", "-c", "user.email=ann@localhost")
    return subprocess.run(
        ["git", *named, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project, committed, whose last release was 0.3.0."""
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"):
        monkeypatch.setenv(name, "ann")
    for name in ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "ann@localhost")
    files = {"pyproject.toml": PROJECT, "CHANGELOG.md": CHANGELOG, "requirements.lock": "", "shop.py": "open = True\n"}
    for name, text in {**files, ".gitignore": "dist/\n"}.items():
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "A shop")
    git(tmp_path, "tag", "v0.3.0")
    return tmp_path


def contents(tree: Path) -> dict[str, bytes]:
    """The files beside git's folder."""
    return {path.name: path.read_bytes() for path in tree.iterdir() if path.is_file()}


def dirty(tree: Path) -> None:
    """A change that is not committed."""
    (tree / "shop.py").write_text("open = False\n")


def unknown(tree: Path) -> None:
    """A file that git does not know."""
    (tree / "bar.py").write_text("")


def silent(tree: Path) -> None:
    """A changelog with headings and nothing under them."""
    (tree / "CHANGELOG.md").write_text(CHANGELOG.replace("- A shop.\n", ""))
    git(tree, "commit", "--quiet", "--all", "--message", "Say nothing")


@pytest.mark.parametrize(
    ("version", "before", "why"),
    [
        ("0.4.0", dirty, r"not committed.*\n.*shop\.py"),
        ("0.4.0", unknown, r"not committed.*\n.*bar\.py"),
        ("0.4.0", silent, "nothing under \\[Unreleased\\]"),
        ("", None, "no version"),
        ("next", None, "no version"),
        ("v0.4.0", None, "not written as x.y.z"),
        ("0.4", None, "not written as x.y.z"),
        ("0.4.0.dev1", None, "not written as x.y.z"),
        ("0.4.0+local", None, "not written as x.y.z"),
        ("0.3.0", None, "released already"),
        ("0.2.9", None, "not later than 0.3.0"),
        ("0.3.0rc1", None, "not later than 0.3.0"),
    ],
)
def test_what_cannot_be_released_is_refused(
    tree: Path, version: str, before: Callable[[Path], None] | None, why: str
) -> None:
    """A dirty tree, a version that is none or not later, a silent changelog: refused, and nothing changed."""
    if before is not None:
        before(tree)
    status, files = git(tree, "status", "--porcelain"), contents(tree)
    with pytest.raises(Refused, match=why):
        RELEASE["release"](tree, version)
    assert git(tree, "status", "--porcelain") == status
    assert contents(tree) == files
    assert git(tree, "tag") == "v0.3.0"


@pytest.mark.campaign
def test_a_release_is_one_command(tree: Path) -> None:
    """Version, changelog, wheel, source, bill of materials, checksums, commit and tag, all of one version."""
    pytest.importorskip("cyclonedx_py", reason="the tools of a release are not installed: make venv")
    made = RELEASE["release"](tree, "0.4.0")
    assert sorted(path.name for path in made.iterdir()) == [
        "SHA256SUMS",
        "fds_mlflow-0.4.0-py3-none-any.whl",
        "fds_mlflow-0.4.0.cdx.json",
        "fds_mlflow-0.4.0.tar.gz",
    ]
    assert "shop.py" in zipfile.ZipFile(made / "fds_mlflow-0.4.0-py3-none-any.whl").namelist()
    bill = json.loads((made / "fds_mlflow-0.4.0.cdx.json").read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["version"]) == ("CycloneDX", "0.4.0")
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=made, check=True, capture_output=True)
    assert git(tree, "status", "--porcelain") == ""
    assert git(tree, "log", "-1", "--format=%s") == "Release 0.4.0"
    assert git(tree, "rev-parse", "v0.4.0^{commit}") == git(tree, "rev-parse", "HEAD")
    assert re.search(
        r"## \[Unreleased\]\n\n## \[0\.4\.0\] - \d{4}-\d\d-\d\d\n\n### Added", git(tree, "show", ":CHANGELOG.md")
    )
    with pytest.raises(Refused, match="nothing under"):
        RELEASE["release"](tree, "0.5.0")


@pytest.mark.campaign
@pytest.mark.parametrize("broken", ["build", "commit"])
def test_a_release_that_fails_leaves_the_tree_as_it_was(tree: Path, broken: str) -> None:
    """Where the wheel cannot be built or a hook refuses the commit, there is no commit, no tag and no change."""
    pytest.importorskip("cyclonedx_py", reason="the tools of a release are not installed: make venv")
    if broken == "build":
        (tree / "pyproject.toml").write_text(PROJECT.replace("setuptools.build_meta", "gone"))
        git(tree, "commit", "--quiet", "--all", "--message", "Build with what is not there")
    else:
        hook = tree / ".git" / "hooks" / "pre-commit"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\nexit 1\n")
        hook.chmod(0o755)
    head = git(tree, "rev-parse", "HEAD")
    with pytest.raises(Refused, match="failed"):
        RELEASE["release"](tree, "0.4.0")
    assert (git(tree, "rev-parse", "HEAD"), git(tree, "status", "--porcelain"), git(tree, "tag")) == (
        head,
        "",
        "v0.3.0",
    )
    assert not list((tree / "dist").glob("*"))


def test_a_section_that_was_begun_goes_into_the_release(tree: Path) -> None:
    """The section of a version that was never released gets its date, and none of its lines is lost."""
    (tree / "CHANGELOG.md").write_text(CHANGELOG.replace("[0.3.0] - 2026-01-01", "[0.4.0] - unreleased"))
    RELEASE["write"](tree, "0.4.0", "2026-02-03")
    assert (tree / "CHANGELOG.md").read_text() == (
        "# Changelog\n\n## [Unreleased]\n\n## [0.4.0] - 2026-02-03\n\n### Added\n\n- A shop.\n\n- First.\n"
    )


def test_only_what_has_a_hash_is_installed() -> None:
    """`make venv` takes nothing, uv and the build tools included, whose hash is not in the lock file."""
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").split("$(READY):")[1].split("\n\n")[0]
    calls = [line for line in recipe.splitlines() if " install " in line or " sync " in line]
    assert len(calls) == 3
    for call in calls:
        assert "--require-hashes" in call or "--no-deps --no-build-isolation --editable ." in call


SAFE: dict[str, Any] = {"name": "safe", "version": "1", "vulns": []}
WEAK: dict[str, Any] = {"name": "weak", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
LEFT: dict[str, Any] = {"name": "left", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("answers", "code", "says"),
    [
        ([("a", [SAFE])], 0, "a: 1 packages checked, 0 vulnerabilities known"),
        ([("a", [SAFE, WEAK])], 1, "weak 2: CVE-1, fixed in 3"),
        ([("a", [SAFE, LEFT])], 0, "!! NOT CHECKED: left"),
        ([("a", [WEAK, LEFT])], 1, "!! NOT CHECKED: left"),
        ([("a", [LEFT]), ("b", [WEAK])], 1, "weak 2: CVE-1"),
        ([("a", [LEFT]), ("b", "no answer")], 0, "!! NOT CHECKED: no service"),
        ([("a", "no answer"), ("b", "no answer")], 0, "!! NOT CHECKED: no service"),
    ],
)
def test_the_audit_says_what_it_did_not_check(answers: list[tuple[str, Any]], code: int, says: str) -> None:
    """A known vulnerability fails; a service that is silent or knows no package is no "no known vulnerabilities"."""
    lines, found = AUDIT["told"](answers)
    assert found == code
    assert any(line.startswith(says) for line in lines)
    assert ("NOT CHECKED" in "".join(lines)) == (says.startswith("!!"))
