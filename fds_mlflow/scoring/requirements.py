"""The packages that a version was logged with, beside those that are installed here."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement


def unmet(folder: str) -> list[str]:
    """What a model names in its `requirements.txt` and is not so here, such as `scikit-learn==1.7.0 (here 1.9.1)`.

    Args:
        folder: Where its artifacts are; "" for a model that was made by hand.
    """
    file = Path(folder, "requirements.txt")
    lines = file.read_text(encoding="utf-8").splitlines() if folder and file.is_file() else []
    found = []
    for line in lines:
        try:
            wanted = Requirement(line)
        except InvalidRequirement:  # a comment, an option, a file
            continue
        try:
            here = version(wanted.name)
        except PackageNotFoundError:
            here = "not installed"
        if here == "not installed" or not wanted.specifier.contains(here, prereleases=True):
            found.append(f"{wanted} (here {here})")
    return found


def fix(folder: str, otherwise: str) -> str:
    """The fix for a model that does not load or score: its own packages, where others are installed."""
    wanted = unmet(folder)
    if not wanted:
        return otherwise
    return f"it was logged with {', '.join(wanted)}: install these, or train and register it here; else {otherwise}"
