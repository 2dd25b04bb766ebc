"""Make a release: `make release VERSION=x.y.z`; `make release-check` does the same in a clone that is thrown away.

What is asked of the tree is asked before anything is changed. Then the version and the changelog are written, wheel and
source distribution are built from what is committed with the build tools of requirements.lock, beside them a bill of
materials (CycloneDX) and checksums; only then is there a commit and a tag. Whatever fails leaves the tree as it was.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from datetime import UTC, datetime
from pathlib import Path

from packaging.version import InvalidVersion, Version

PROJECT, CHANGELOG, LOCK = "pyproject.toml", "CHANGELOG.md", "requirements.lock"
EXTRAS = ("excel", "kafka", "online", "parquet", "pdf", "postgresql", "redis", "search")
"""Extras of the wheel that the bill of materials covers: those that people install, not the tools of development."""

_UNRELEASED = re.compile(r"^## \[Unreleased\]\n(.*?)(?=^## \[|\Z)", re.MULTILINE | re.DOTALL)
_ENTRY = re.compile(r"^- ", re.MULTILINE)


class RefusedError(Exception):
    """No release, and why; nothing was changed."""


def run(root: Path, *words: str | Path, environment: dict[str, str] | None = None) -> str:
    """Standard output of a program; what it says goes to the terminal where it fails."""
    done = subprocess.run(
        [*map(str, words)],
        cwd=root,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode != 0:
        raise RefusedError(f"{' '.join(map(str, words))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def current(root: Path) -> Version:
    """The version in the package's metadata."""
    return Version(tomllib.loads((root / PROJECT).read_text(encoding="utf-8"))["project"]["version"])


def check(root: Path, wanted: str) -> None:
    """Ask whether this tree can be released under this version.

    Raises:
        RefusedError: It cannot, and why.
    """
    try:
        version = Version(wanted)
    except InvalidVersion:
        raise RefusedError(f"{wanted!r} is no version; write VERSION=x.y.z") from None
    if str(version) != wanted or len(version.release) != 3 or version.local or version.dev is not None:
        raise RefusedError(f"{wanted!r} is not written as x.y.z (or x.y.zrc1)")
    tags = run(root, "git", "tag", "--list").split()
    if f"v{wanted}" in tags:
        raise RefusedError(f"v{wanted} is released already; take a later version")
    before = current(root)
    if version < before or (version == before and f"v{before}" in tags):
        raise RefusedError(f"{wanted} is not later than {before}, the version in {PROJECT}")
    changed = run(root, "git", "status", "--porcelain")
    if changed:
        raise RefusedError(f"the tree has changes that are not committed; commit or stash them:\n{changed}")
    text = (root / CHANGELOG).read_text(encoding="utf-8")
    section = _UNRELEASED.search(text)
    if section is None or not _ENTRY.search(section[1]):
        raise RefusedError(f"{CHANGELOG} has nothing under [Unreleased]; say what has changed")
    if version > before and f"## [{wanted}]" in text:
        raise RefusedError(f"{CHANGELOG} has a section [{wanted}] already; move its lines to [Unreleased]")


def write(root: Path, version: str, day: str) -> None:
    """Put the version into the metadata, and its section, with a date, into the changelog."""
    project = root / PROJECT
    text = project.read_text(encoding="utf-8")
    project.write_text(re.sub(r'^version = "[^"]+"$', f'version = "{version}"', text, count=1, flags=re.MULTILINE))
    changelog = root / CHANGELOG
    text = changelog.read_text(encoding="utf-8")
    # A section that was begun under this version, without a date, goes on below what is new.
    text = re.sub(rf"^## \[{re.escape(version)}\] - unreleased\n\n?", "", text, flags=re.MULTILINE)
    changelog.write_text(text.replace("## [Unreleased]\n", f"## [Unreleased]\n\n## [{version}] - {day}\n", 1))


def build(root: Path, version: str, made: Path) -> None:
    """Wheel, source distribution, bill of materials and checksums, in a folder.

    Only what git tracks is built, by the setuptools of the lock file, so that the same commit gives the same files.
    """
    epoch = {"SOURCE_DATE_EPOCH": run(root, "git", "log", "-1", "--format=%ct")}
    uv = Path(sys.executable).with_name("uv")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        for name in run(root, "git", "ls-files", "-z").split("\0"):
            if name:
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, source / name)
        shutil.rmtree(made, ignore_errors=True)
        build = [uv, "build", "--quiet", "--no-build-isolation", "--python", sys.executable, "--out-dir", made]
        run(source, *build, environment=epoch)
        # The lock file without the tools of development: the same pins, none chosen anew.
        pins = Path(folder) / "pins.txt"
        extras = [word for extra in EXTRAS for word in ("--extra", extra)]
        compiled = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
        run(source, *compiled, "--constraint", LOCK, *extras, "--output-file", pins, PROJECT)
        bill = made / f"fds_mlflow-{version}.cdx.json"
        cyclonedx = [sys.executable, "-m", "cyclonedx_py", "requirements", pins, "--pyproject", PROJECT]
        run(source, *cyclonedx, "--mc-type", "library", "--output-reproducible", "--output-file", bill)
    (made / ".gitignore").unlink(missing_ok=True)  # uv's
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(made.iterdir())]
    (made / "SHA256SUMS").write_text("".join(sums))


def release(root: Path, version: str) -> Path:
    """Check, write, build, commit and tag.

    Returns:
        The folder with what was built: `dist/VERSION`.

    Raises:
        RefusedError: The tree is as it was.
    """
    check(root, version)
    made = root / "dist" / version
    try:
        write(root, version, datetime.now(UTC).date().isoformat())
        build(root, version, made)
        run(root, "git", "commit", "--quiet", "--message", f"Release {version}", PROJECT, CHANGELOG)
        run(root, "git", "tag", "--annotate", f"v{version}", "--message", f"Release {version}")
    except BaseException:
        if f"v{version}" not in run(root, "git", "tag", "--list").split():
            if run(root, "git", "log", "-1", "--format=%s") == f"Release {version}":
                run(root, "git", "reset", "--quiet", "--soft", "HEAD~1")
            run(root, "git", "checkout", "--quiet", "HEAD", "--", PROJECT, CHANGELOG)
            shutil.rmtree(made, ignore_errors=True)
        raise
    return made


def rehearse(root: Path) -> None:
    """Release the last commit under the next version, in a clone that is thrown away.

    Raises:
        RefusedError: The release would fail, and why.
    """
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        run(root, "git", "clone", "--quiet", "--no-hardlinks", root, clone)
        for name, value in (("user.name", "release check"), ("user.email", "release-check@localhost")):
            run(clone, "git", "config", name, value)
        major, minor, _ = current(clone).release
        version = f"{major}.{minor + 1}.0"
        made = release(clone, version)
        for path in sorted(made.iterdir()):
            print(f"{path.stat().st_size:>12,} {path.name}")
    print(f"{version} could be released from {run(root, 'git', 'log', '-1', '--format=%h %s')}")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("version", nargs="?", default="", help="x.y.z")
    parser.add_argument("--check", action="store_true", help="release the last commit in a clone, and throw it away")
    given = parser.parse_args()
    root = Path(__file__).resolve().parents[1]
    try:
        if given.check:
            rehearse(root)
        else:
            made = release(root, given.version)
            print(f"{made.relative_to(root)} and the tag v{given.version} are made. To publish: git push --follow-tags")
    except RefusedError as error:
        print(f"no release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
