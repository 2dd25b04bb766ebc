"""A card as a PDF file, set in the fonts that Matplotlib brings: Latin, Greek, Cyrillic, Arabic and more."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from fds_mlflow.display.characters import printable
from fds_mlflow.display.document import Block, Table
from fds_mlflow.errors import ConfigError
from fds_mlflow.training.card.card import Card, sections

_FONT = "DejaVu"
_SIZE = 9.5
_LINE = 5.0
_LONGEST = 700  # characters of a cell: a row must fit on a page


def rendered(card: Card) -> bytes:
    """The whole card, A4.

    Raises:
        ConfigError: The library that writes PDF is not installed.
    """
    try:
        from fpdf import FPDF
    except ImportError:
        raise ConfigError(
            "PDF files are written with fpdf2, which is not installed",
            fix="install it: pip install 'fds-mlflow[pdf]'; or write HTML and print it",
        ) from None
    page = FPDF(format="A4")
    page.set_title(_said(card.title))
    page.set_margins(18, 16)
    page.set_auto_page_break(auto=True, margin=16)
    for style, name in (("", "DejaVuSans.ttf"), ("B", "DejaVuSans-Bold.ttf")):
        page.add_font(_FONT, style, str(_fonts() / name))
    page.add_page()
    _write(page, card.title, size=16, style="B")
    _write(page, "Model card", size=_SIZE)
    for section in sections(card):
        page.ln(3)
        if page.will_page_break(25):
            page.add_page()
        _write(page, section.title, size=12.5, style="B")
        for block in section.blocks:
            _block(page, block, card)
    return bytes(page.output())


def _block(page: Any, block: Block, card: Card) -> None:
    from io import BytesIO

    if isinstance(block, str):
        _write(page, block)
    elif isinstance(block, list):
        for item in block:
            _write(page, f"\N{BULLET} {item}")
    elif isinstance(block, Table):
        _table(page, block)
    else:
        width = min(120.0, page.epw)
        if page.will_page_break(width * 0.64 + 8):
            page.add_page()
        page.image(BytesIO(card.pictures[block.name]), w=width, alt_text=block.caption)
        _write(page, block.caption, size=8)


def _write(page: Any, text: str, *, size: float = _SIZE, style: str = "") -> None:
    page.set_font(_FONT, style, size)
    page.multi_cell(0, _LINE * size / _SIZE, _said(text), new_x="LMARGIN", new_y="NEXT", align="L")
    page.ln(1)


def _table(page: Any, block: Table) -> None:
    from fpdf.fonts import FontFace

    page.set_font(_FONT, "", 8)
    # As wide as the longest cell wants, none below a twelfth: the first column of names may be long.
    cells = [block.columns, *block.rows]
    wanted = [min(40, max(len(row[place]) for row in cells)) + 3 for place in range(len(block.columns))]
    wanted[0] = max(wanted[0], int(1.4 * len(block.columns[0])))  # a title is bold, and one word
    aligned = ["LEFT" if block.text or not place else "RIGHT" for place in range(len(wanted))]
    with page.table(
        borders_layout="HORIZONTAL_LINES",
        col_widths=tuple(max(one, sum(wanted) / 12) for one in wanted),
        text_align=tuple(aligned),
        line_height=4.4,
        padding=0.6,
        first_row_as_headings=any(block.columns),
        headings_style=FontFace(emphasis="BOLD"),
    ) as made:
        for row in cells if any(block.columns) else block.rows:
            line = made.row()
            for cell in row:
                told = " ".join(_said(cell).split())
                line.cell(told if len(told) <= _LONGEST else f"{told[:_LONGEST]}… (whole in the HTML)")
    page.ln(2)


@cache
def _fonts() -> Path:
    import matplotlib as mpl

    return Path(mpl.get_data_path()) / "fonts" / "ttf"


@cache
def _signs() -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(_fonts() / "DejaVuSans.ttf")).get_charmap())


def _said(text: str) -> str:
    """A text as the fonts can show it: signs that they do not have are written out."""
    shown = printable(text, keep="\n\t").replace("\t", " ")
    known = _signs()
    return "".join(
        one if ord(one) in known or one == "\n" else one.encode("unicode_escape").decode("ascii") for one in shown
    )
