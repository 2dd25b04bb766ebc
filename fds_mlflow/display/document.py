"""A document for people, section by section, as HTML and as Markdown.

Every text is shown as it is, whoever wrote it. The HTML fetches nothing from anywhere, works without scripts, is read
on a phone and in the dark, and prints.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from fds_mlflow.display.characters import markdown as escaped
from fds_mlflow.display.characters import printable
from fds_mlflow.display.languages import LANGUAGES
from fds_mlflow.display.templates import environment


class Link(str):
    """A text that leads somewhere.

    Attributes:
        address: Where it leads; None where there is no such place, and the text stands alone.
    """

    address: str | None

    def __new__(cls, text: str, address: str | None) -> Link:
        """The text, with its address."""
        made = super().__new__(cls, text)
        made.address = address
        return made


class Warn(str):
    """A paragraph that nobody should miss."""


@dataclass(frozen=True)
class Table:
    """Rows of texts; all columns but the first are numbers unless said otherwise.

    Attributes:
        columns: Their titles.
        rows: One text a column.
        text: All columns are texts.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    text: bool = False


@dataclass(frozen=True)
class Picture:
    """A plot of the run.

    Attributes:
        name: Its file's stem.
        caption: What it shows.
    """

    name: str
    caption: str


Block = str | list[str] | Table | Picture
"""A text is a paragraph, a list of texts a list."""


@dataclass(frozen=True)
class Section:
    """One section.

    Attributes:
        title: Its heading.
        blocks: Paragraphs, lists, tables and pictures, in order.
    """

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """All of it.

    Attributes:
        title: Its heading.
        subtitle: What it is; empty for nothing.
        sections: In order.
        lead: The one sentence that somebody in a hurry reads; empty for none.
        language: One of `LANGUAGES`.
        pictures: PNG files by `Picture.name`.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]
    lead: str = ""
    language: str = LANGUAGES[0]
    pictures: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))


def html(document: Document) -> str:
    """The whole document as one page."""
    template = environment("fds_mlflow.display").get_template("document.html.j2")
    pictures = {name: b64encode(data).decode() for name, data in document.pictures.items()}
    return printable(template.render(document=document, pictures=pictures, kind=_kind), keep="\n\t")


def _kind(block: object) -> str:
    return type(block).__name__


def markdown(document: Document) -> str:
    """The whole document; pictures are named, not shown."""
    lines = [f"# {said(document.title)}", ""]
    lines += [line for one in (document.subtitle, document.lead) if one for line in (said(one), "")]
    for section in document.sections:
        lines += [f"## {said(section.title)}", "", *_section(section)]
    return "\n".join(lines)


def _section(section: Section) -> Iterator[str]:
    for block in section.blocks:
        if isinstance(block, Warn):
            yield f"**{said(block)}**"
        elif isinstance(block, list):
            yield from (f"- {said(item)}" for item in block)
        elif isinstance(block, Table):
            yield from table(block)
        elif isinstance(block, Picture):
            yield f"*{said(block.caption)}* (plots/{block.name}.png of the run)"
        else:
            yield said(block)
        yield ""


def table(block: Table) -> Iterator[str]:
    """A table's lines in Markdown."""
    yield f"| {' | '.join(map(said, block.columns))} |"
    yield f"|{'|'.join(['---', *(['---' if block.text else '---:'] * (len(block.columns) - 1))])}|"
    yield from (f"| {' | '.join(map(said, row))} |" for row in block.rows)


def said(text: str) -> str:
    """A text on one line of Markdown, shown as it is; a link as a link."""
    shown = escaped(" ".join(printable(text, keep="\n\t").split()))
    address = text.address if isinstance(text, Link) else None
    return shown if address is None else f"[{shown}](<{address.replace('>', '%3E')}>)"
