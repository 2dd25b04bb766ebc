"""What `make site` does beside MkDocs: pages of the repository's root, and a reference that leaves nothing out."""

from __future__ import annotations

import logging
import posixpath
import re
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import griffe

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "fds_mlflow"
HOME = {"README.md": "index.md"}
"""Pages whose name differs on the site."""

log = logging.getLogger("mkdocs.hooks.site")  # a warning under `mkdocs` fails a strict build

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(\]\()([^)\s:#/][^)\s:#]*)((?:#[^)\s]*)?\))")
_ENTRY = re.compile(r"^::: +([\w.]+)$", re.MULTILINE)


def outside() -> list[Path]:
    """What lies beside docs/ and belongs to the site: the pages of the root, and what they link to."""
    shown = (".ipynb", ".py", ".yaml", ".yml")
    examples = [path for path in sorted(ROOT.glob("examples/**/*")) if path.suffix in shown]
    return [*sorted(ROOT.glob("*.md")), ROOT / "LICENSE", *examples]


def on_files(files: Any, config: Any) -> Any:
    """Add the files beside docs/."""
    from mkdocs.structure.files import File  # noqa: PLC0415 - the tests need no MkDocs

    for path in outside():
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, HOME.get(name, name), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead on the site to where they lead in the repository."""
    where = page.file.src_uri
    if page.file.generated_by is None:
        here = f"docs/{where}"
    else:
        here = next((name for name, renamed in HOME.items() if renamed == where), where)
    parts = _FENCE.split(markdown)
    fences = [*_FENCE.findall(markdown), ""]
    return "".join(linked(part, here, where) + fence for part, fence in zip(parts, fences, strict=True))


def linked(text: str, here: str, where: str) -> str:
    """A text whose links between files of the repository are links between files of the site.

    Args:
        text: Markdown without fenced code.
        here: The page in the repository.
        where: The page on the site.
    """

    def moved(found: re.Match[str]) -> str:
        there = posixpath.normpath(posixpath.join(posixpath.dirname(here), found[2]))
        there = HOME.get(there, there.removeprefix("docs/"))
        return found[1] + posixpath.relpath(there, posixpath.dirname(where) or ".") + found[3]

    return _LINK.sub(moved, text)


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Warn of a documented member that did not get onto its page."""
    for name in entries(page.markdown or ""):
        for member in (name, *(f"{name}.{each}" for each, by in members(name).items() if by == "docstring")):
            if f'id="{member}"' not in html:
                log.warning("%s is left out of %s", member, page.file.src_uri)
    return html


def on_post_build(**_: Any) -> None:
    """Warn of public names without a docstring or without a place in the reference."""
    for problem in problems():
        log.warning(problem)


def entries(markdown: str) -> list[str]:
    """The names that a page documents."""
    return _ENTRY.findall(markdown)


def problems() -> list[str]:
    """What the reference leaves out, and what in it has no docstring: a sentence each."""
    listed = [name for page in sorted(ROOT.glob("docs/reference/*.md")) for name in entries(page.read_text("utf-8"))]
    found = [f"{name} is public: add `::: {name}` to docs/reference/" for name in public_names() if name not in listed]
    for name in listed:
        try:
            undescribed = [] if target(name).has_docstring else [name]
            undescribed += [f"{name}.{each}" for each, by in members(name).items() if by is None]
            found += [f"{each} is public and has no docstring" for each in undescribed]
        except KeyError:
            found.append(f"{name} is in docs/reference/ and does not exist")
    return found


def public_names() -> list[str]:
    """The names that the package exports."""
    sys.path.insert(0, str(ROOT))
    try:
        return [f"{PACKAGE}.{name}" for name in import_module(PACKAGE).__all__]
    finally:
        sys.path.remove(str(ROOT))


def members(name: str) -> dict[str, str | None]:
    """The public members of a class, and where each is described.

    Returns:
        `docstring` for its own one, `section` for the class's list of arguments or attributes, None for nowhere.
    """
    owner = target(name)
    described = {
        each.name
        for section in (owner.docstring.parsed if owner.docstring else ())
        if section.kind in (griffe.DocstringSectionKind.attributes, griffe.DocstringSectionKind.parameters)
        for each in section.value
    }
    found: dict[str, str | None] = {}
    for each, member in owner.members.items():
        if not each.startswith("_"):
            own = "docstring" if member.has_docstring else None
            found[each] = own or ("section" if each in described else None)
    return found


def target(name: str) -> Any:
    """What a name stands for, wherever it is defined."""
    found = package()[name.removeprefix(f"{PACKAGE}.")]
    return found.final_target if found.is_alias else found


@cache
def package() -> Any:
    """The package as it is written; nothing of it is imported."""
    return griffe.load(PACKAGE, search_paths=[str(ROOT)], docstring_parser="google")
