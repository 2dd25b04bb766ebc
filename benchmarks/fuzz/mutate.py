"""What is generated: valid samples, changed a little or a lot, by a seeded generator; the same seed gives the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

NUMBERS = (
    *("0", "-0", "-1", "1", "00", "010", "0x1F", "0o17", "0b1", "1_000", "1:30", "1,5", "1e3", "1E+400", "-1e-400"),
    *("nan", "NaN", ".nan", ".inf", "-.inf", "inf", "Infinity", "-Infinity", "0.1", ".5", "5.", "+3", "1e", "--1"),
    *("2147483647", "2147483648", "9007199254740993", "9223372036854775808", "-9223372036854775809", "1" + "0" * 30),
    *("9" * 400, "9" * 5_001, "0." + "3" * 5_001, "0x" + "f" * 5_000, "٣", "\uff11", "²", "½"),
)
MOMENTS = (
    *("2026-03-01", "2026-02-30", "2026-13-01T00:00:00Z", "2026-03-01T24:00:00Z", "2026-03-01T23:59:60Z"),
    *("0001-01-01T00:00:00+14:00", "0001-01-01", "0000-00-00", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59Z"),
    *("2999-01-01T00:00:00Z", "2026-03-01T12:00:00+23:59", "2026-03-01T12:00:00+99:99", "2026-03-29T02:30:00"),
    *(
        "20260301T120000Z",
        "2026-W10-7",
        "2026-060",
        "12:00",
        "1:30",
        "-2026-03-01T00:00:00Z",
        "1677-09-21",
        "2262-04-12",
    ),
    *("1e18", "253402300800", "-62135596801", "2026-03-01T12:00:00.123456789Z", "now", "01.03.2026", "03/01/26"),
)
WORDS = (
    *("", " ", "\t", "null", "~", "None", "true", "yes", "no", "on", "off", "y", "Infinity", "undefined", "[]", "{}"),
    *(
        "'",
        '"',
        '""',
        "'''",
        "`",
        ",",
        ";",
        "|",
        "=",
        ":",
        "#",
        "-",
        "?",
        "&a",
        "*a",
        "<<: *a",
        "!!python/object:os.system",
    ),
    *(
        "!!binary x",
        "%YAML 1.1",
        "---",
        "...",
        "{{7*7}}",
        "${HOME}",
        "$(id)",
        "%s%n",
        "%00",
        "../../etc/passwd",
        "/dev/zero",
    ),
    *("<script>alert(1)</script>", "=cmd()", "\r\n", "\r", "\n", "\n\n", "\x00", "\x1b[31m", "\x07", "\x9b31m", "\x85"),
    *(
        "\u2028",
        "\u202e",
        "\u200f",
        "\ufeff",
        "\ufffe",
        "\udc80",
        "\ud800",
        "é",
        "e\u0301",
        "\U0001d54f",
        "👩‍👩‍👧",
        "ß",
        "İ",
        "٣",
    ),
    *("a" * 300, "a" * 5_000, "[" * 2_000, "{" * 500, "(" * 2_000, "\\" * 99, "a." * 200, "/" * 300),
)
TOKENS = (*NUMBERS, *MOMENTS, *WORDS)
BLOCKS = (
    *(
        b"\x00",
        b"\xff",
        b"\xff\xfe",
        b"\xfe\xff",
        b"\xef\xbb\xbf",
        b"\x1f\x8b",
        b"BZh9",
        b"\xfd7zXZ\x00",
        b"PAR1",
        b"PK\x03\x04",
    ),
    *(
        b"\xc3\x28",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\r\n",
        b"\n",
        b'"',
        b",",
        b"\x1b[2J",
        b"\x80" * 9,
        b"\x00" * 64,
    ),
)
LONGEST = 2**16
"""Bytes that an input may grow to."""


def text(rng: Random, samples: Sequence[str]) -> str:
    """A sample with some of its places changed."""
    made = rng.choice(samples)
    for _ in range(1 + min(7, int(rng.expovariate(0.7)))):
        made = rng.choice(_TEXT_STEPS)(rng, made, samples)[:LONGEST]
    return made


def binary(rng: Random, samples: Sequence[bytes]) -> bytes:
    """A sample with some of its bytes changed."""
    made = rng.choice(samples)
    for _ in range(1 + min(7, int(rng.expovariate(0.7)))):
        made = rng.choice(_BYTE_STEPS)(rng, made, samples)[: 2**20]
    return made


def value(rng: Random, made: Any, depth: int = 0) -> Any:
    """Plain values with some of them changed: another kind, another key, one more, one less, one level more."""
    chance = rng.random()
    if chance < 0.08 or depth > 40:
        return leaf(rng)
    if chance < 0.1:
        return [made] if rng.random() < 0.5 else {rng.choice(WORDS): made}
    if isinstance(made, dict) and made:
        changed = {k: v if rng.random() < 0.6 else value(rng, v, depth + 1) for k, v in made.items()}
        if rng.random() < 0.1:
            changed.pop(rng.choice(list(changed)))
        if changed and rng.random() < 0.1:
            changed[rng.choice(TOKENS)] = changed.pop(rng.choice(list(changed)))
        return changed
    if isinstance(made, list) and made:
        changed_list = [v if rng.random() < 0.7 else value(rng, v, depth + 1) for v in made]
        return changed_list * 2 if rng.random() < 0.05 else changed_list
    return leaf(rng) if rng.random() < 0.5 else made


def leaf(rng: Random) -> Any:
    """A value of any kind."""
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice((None, True, False, [], {}, 0, -1, 0.5, 1e308, 2**31, 2**63, 10**30, -(10**400)))
    if kind == 1:
        return rng.randint(-(2**40), 2**40)
    if kind == 2:
        return rng.uniform(-10, 110)
    if kind == 3:
        return float(rng.choice(("nan", "inf", "-inf", "5e-324")))
    return rng.choice(TOKENS)


def dumped(rng: Random, made: Any) -> str:
    """Plain values as JSON; now and then with a key twice, or with what JSON has no word for."""
    try:
        written = json.dumps(made, ensure_ascii=rng.random() < 0.5)
    except ValueError:  # a number of more digits than Python writes
        written = json.dumps(str(type(made)))
    if rng.random() < 0.05 and '": ' in written:
        place = written.index('"')
        end = written.index('": ', place) + 3
        written = f"{written[:place]}{written[place:end]}0, {written[place:]}"
    return written


def _replace(rng: Random, made: str, _: Sequence[str]) -> str:
    start, end = _span(rng, len(made), 12)
    return made[:start] + rng.choice(TOKENS) + made[end:]


def _replace_token(rng: Random, made: str, _: Sequence[str]) -> str:
    """A whole word or number, which changes the meaning and not the form."""
    start = rng.randrange(len(made) + 1)
    while start and made[start - 1].isalnum():
        start -= 1
    end = start
    while end < len(made) and (made[end].isalnum() or made[end] in "._-"):
        end += 1
    return made[:start] + rng.choice(TOKENS) + made[end:]


def _insert(rng: Random, made: str, _: Sequence[str]) -> str:
    place = rng.randrange(len(made) + 1)
    return made[:place] + rng.choice(TOKENS) + made[place:]


def _delete(rng: Random, made: str, _: Sequence[str]) -> str:
    start, end = _span(rng, len(made), 40)
    return made[:start] + made[end:]


def _double(rng: Random, made: str, _: Sequence[str]) -> str:
    start, end = _span(rng, len(made), 80)
    return made[:end] + made[start:end] * rng.choice((1, 1, 2, 9, 200)) + made[end:]


def _line(rng: Random, made: str, _: Sequence[str]) -> str:
    """A line twice, elsewhere, or with other indentation."""
    lines = made.split("\n")
    line = rng.choice(lines)
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(("", " ", "  ", "- ", "? ")) + line)
    return "\n".join(lines)


def _cut(rng: Random, made: str, _: Sequence[str]) -> str:
    return made[: rng.randrange(len(made) + 1)]


def _splice(rng: Random, made: str, samples: Sequence[str]) -> str:
    other = rng.choice(samples)
    return made[: rng.randrange(len(made) + 1)] + other[rng.randrange(len(other) + 1) :]


_TEXT_STEPS: tuple[Callable[[Random, str, Sequence[str]], str], ...] = (
    *(_replace, _replace_token, _replace_token, _replace_token, _insert, _delete, _double, _line, _cut, _splice),
)


def _flip(rng: Random, made: bytes, _: Sequence[bytes]) -> bytes:
    if not made:
        return b"\x00"
    place = rng.randrange(len(made))
    return made[:place] + bytes((made[place] ^ 1 << rng.randrange(8),)) + made[place + 1 :]


def _block(rng: Random, made: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _span(rng, len(made), 16)
    return made[:start] + rng.choice(BLOCKS) + made[end if rng.random() < 0.5 else start :]


def _noise(rng: Random, made: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _span(rng, len(made), 8)
    return made[:start] + rng.randbytes(end - start) + made[end:]


def _less(rng: Random, made: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _span(rng, len(made), 64)
    return made[:start] + (made[end:] if rng.random() < 0.7 else b"")


def _more(rng: Random, made: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _span(rng, len(made), 64)
    return made[:end] + made[start:end] * rng.choice((1, 2, 64)) + made[end:]


def _joined(rng: Random, made: bytes, samples: Sequence[bytes]) -> bytes:
    other = rng.choice(samples)
    return made[: rng.randrange(len(made) + 1)] + other[rng.randrange(len(other) + 1) :]


_BYTE_STEPS: tuple[Callable[[Random, bytes, Sequence[bytes]], bytes], ...] = (
    *(_flip, _flip, _block, _noise, _less, _more, _joined),
)


def _span(rng: Random, size: int, longest: int) -> tuple[int, int]:
    start = rng.randrange(size + 1)
    return start, min(size, start + rng.randrange(longest + 1))
