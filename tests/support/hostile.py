"""Texts that harm whoever shows them, and what tells whether an output shows them raw."""

from __future__ import annotations

import re
import unicodedata

from hypothesis import strategies as st

ACTING = [
    *(
        "\x1b]8;;http://evil.example\x07here\x1b]8;;\x07",
        "\x1b[2J\x1b[31m",
        "\x9b31m",
        "\x85",
        "\x00",
        "\x07",
        "\x08",
        "\r",
    ),
    *("\u202e", "\u2066", "\u2028", "\u2029", "\ud800", "\udfff", "\x7f", "\u206a", "\ufff9", "\U000e0041"),
]
"""Each acts on a terminal, a log or a reader: escape codes, C1 controls, overrides, separators, half characters."""

HIDING = ["\u200b", "\u00ad", "\ufeff", "\u2060", "\u3164", "a\u200db", "x\ufe0f", "\u034f", "\u115f", "n\u200f"]
"""Each has a character that nobody sees, and that nothing there needs."""

HONEST = [
    *(
        "담당자 김민수",
        "مدير المخاطر",
        "ראש צוות \u200f5",
        "अनुसंधान क्‍ष",
        "می‌خواهم",
        "e\u0301te\u0301",
        "日本\U000e0100語",
    ),
    *("👩‍💻 on call", "❤️‍🔥", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "👋🏽", "ᠮᠣᠩᠭᠣᠯ", "naïve “quoted” … 10 %", "a\u00a0b", "ന്‍", "C:\\new"),
]
"""What people write in many scripts, with joiners, selectors, marks and combining characters."""

TEXTS = st.lists(st.one_of(st.text(max_size=8), st.sampled_from([*ACTING, *HIDING, *HONEST])), max_size=4).map("".join)
"""Any text, of which many harm."""


def raw(text: str, keep: str = "\n\t") -> list[str]:
    """Characters of a text that act on whoever shows it."""
    bidirectional = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return [
        f"U+{ord(sign):04X}"
        for sign in text
        if sign not in keep
        and (unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(sign) in bidirectional)
    ]


def without_colours(text: str) -> str:
    """A terminal's text without what rich says to it itself: colours, movements of the cursor, lines rubbed out."""
    return re.sub(r"\x1b\[(?:[0-9;]*[mAK]|\?25[lh])|\r(?=\x1b|$)", "", text)
