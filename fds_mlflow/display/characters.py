r"""Characters that act on whoever shows them, and characters that nobody sees: written out wherever a text is shown.

A terminal obeys control characters; a bidirectional override makes a line read as it is not written; a line separator
begins a line that nobody wrote. Those act, and may not be written at all where people name and explain things. Others
are invisible, and make two names look like one. Both are shown as Python writes them (`\x1b`, `\u202e`), whatever the
output. All else is left as it is: letters, marks and symbols of every script, with what joins and shapes them there.
"""

from __future__ import annotations

import re
import unicodedata

_CONTROLS = r"\x00-\x1f\x7f-\x9f"
"""C0 and C1 controls: a terminal obeys them, a log or table breaks at them (categories Cc)."""
_SEPARATORS = r"\u2028\u2029"
"""Line and paragraph separator (Zl, Zp)."""
_REORDERING = r"\u202a-\u202e\u2066-\u2069\u206a-\u206f"
"""Bidirectional embeddings, overrides and isolates (https://trojansource.codes), and what Unicode deprecated."""
_BROKEN = r"\ud800-\udfff\ufffe\uffff"
"""Halves of characters, which no encoding writes, and what is no character."""
_ANNOTATIONS = r"\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
_ACTING = _CONTROLS + _SEPARATORS + _REORDERING + _BROKEN + _ANNOTATIONS

_MARKS = r"\u061c\u200e\u200f"
"""Marks of direction: shown as they are where a letter is written from right to left, which is what they are for."""
_JOINERS = r"\u200c\u200d\u180b-\u180f"
"""Join or part the letters before them in Indic, Arabic and Mongolian script, and the parts of an emoji."""
_SELECTORS = r"\ufe00-\ufe0f\U000e0100-\U000e01ef"
"""Choose the shape of the character before them."""
_TAGS = r"\U000e0000-\U000e007f"
"""Invisible ASCII, but for the flags of England, Scotland and Wales."""
_INVISIBLE = r"\u00ad\u034f\u115f\u1160\u17b4\u17b5\u200b\u2060-\u2065\u3164\ufeff\uffa0"

_SEEN = rf"[^\x00-\x7f{_ACTING}{_MARKS}{_JOINERS}{_SELECTORS}{_TAGS}{_INVISIBLE}]"
_FLAG = r"\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f"
_HIDING = (
    rf"[{_MARKS}{_INVISIBLE}]|(?<!{_SEEN})(?<!{_SEEN}[{_SELECTORS}])[{_JOINERS}]"
    rf"|(?<!{_SEEN})(?<![0-9#*])[{_SELECTORS}]"
)
_SHOWN = re.compile(rf"({_FLAG})|[{_ACTING}{_TAGS}]|{_HIDING}")
_WRITTEN = re.compile(rf"({_FLAG})|[{_ACTING}{_TAGS}]")
_RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u061b\u061d-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)


def printable(text: str, *, keep: str = "") -> str:
    r"""A text as it may be shown: each character that acts or hides is written out.

    Doing so twice changes nothing more.

    Args:
        text: Any text.
        keep: Controls that stay as they are: `\n\t` where a text may have lines.
    """
    if text.isascii() and text.isprintable():
        return text
    marks_too = _RIGHT_TO_LEFT.search(text) is not None

    def written(found: re.Match[str]) -> str:
        sign = found[0]
        if found[1] or sign in keep or (marks_too and sign in "\u061c\u200e\u200f"):
            return sign
        return sign.encode("unicode_escape").decode("ascii")

    return _SHOWN.sub(written, text)


def paragraph(text: str) -> str:
    """A text of several lines as it may be shown below a first one: no further line looks like one that we begin."""
    return printable(text, keep="\n\t").replace("\n", "\n  ")


def in_json(text: str) -> str:
    r"""JSON that a terminal may show: what acts or hides is escaped as JSON does, so that it means the same.

    Args:
        text: JSON; a line break in it is none of a value.
    """
    if text.isascii() and text.isprintable():
        return text
    return _SHOWN.sub(lambda found: found[0] if found[1] or found[0] in "\n\t\r" else _units(found[0]), text)


def _units(sign: str) -> str:
    units = sign.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def markdown(text: str) -> str:
    """A text as Markdown shows it as it is: no link, no image, HTML, emphasis or code, and no end of a table's cell."""
    return re.sub(r"([\\`*\[\]<|])", r"\\\1", printable(text, keep="\n\t"))


def plotted(text: str) -> str:
    """A text as a plot shows it as it is: Matplotlib reads what stands between two `$` as a formula, or fails at it."""
    return printable(text).replace("$", r"\$")


def file_name(text: str) -> str:
    """A text as a part of a file's name, anywhere: no path, no hidden file, no longer than names may be."""
    name = re.sub(r"[^\w.+=@-]", "_", text).lstrip(".") or "_"
    return name.encode()[:100].decode(errors="ignore")


def alike(text: str) -> str:
    """A text as names are compared: in one case and one Unicode form, without what nobody sees.

    Case and form are those of NFKC_Casefold (https://www.unicode.org/reports/tr44/#NFKC_Casefold). Letters that only
    look alike, such as a Latin and a Cyrillic a, stay different.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    seen = re.sub(f"[{_MARKS}{_JOINERS}{_SELECTORS}{_TAGS}{_INVISIBLE}{_REORDERING}]", "", folded)
    return " ".join(seen.split())


def acting(text: str, *, keep: str = "") -> str | None:
    r"""The first character of a text that acts, written out; None where there is none, and so it may be written.

    Args:
        text: What somebody wants to write: a reason, a name, an id.
        keep: Controls that may be written: `\n\t` where a text may have lines.
    """
    if text.isprintable() and text.isascii():
        return None
    found = (each for each in _WRITTEN.finditer(text) if not each[1] and each[0] not in keep)
    sign = next(found, None)
    return None if sign is None else f"U+{ord(sign[0]):04X}"
