"""Characters that act or hide are written out in every output; honest texts of every script are left as they are."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.display.characters import acting, file_name, in_json, markdown, paragraph, printable
from fds_mlflow.errors import ConfigError
from tests.support.hostile import ACTING, HIDING, HONEST, TEXTS, raw


@given(TEXTS, st.sampled_from(["", "\n", "\n\t"]))
def test_nothing_that_acts_is_shown(text: str, keep: str) -> None:
    """Whatever a text is made of, what is shown of it obeys nobody, can be encoded, and is the same shown twice."""
    shown = printable(text, keep=keep)
    assert raw(shown, keep) == []
    assert shown.encode().decode() == shown
    assert printable(shown, keep=keep) == shown


@pytest.mark.parametrize("text", ACTING)
def test_what_acts_is_written_out_and_may_not_be_written(text: str) -> None:
    """Every kind of character that acts is shown as Python writes it, and refused by its number."""
    assert printable(text).isascii()
    assert "\\" in printable(text)
    assert acting(f"a{text}b") == f"U+{ord(text[0]):04X}"


@pytest.mark.parametrize("text", HIDING)
def test_what_hides_is_written_out(text: str) -> None:
    """A character that nobody sees is seen, so that two names that differ look different; a reason may hold it."""
    assert "\\" in printable(text)
    assert acting(text) is None


@pytest.mark.parametrize("text", HONEST)
def test_honest_texts_stay_as_they_are(text: str) -> None:
    """Korean, Arabic, Hebrew, Persian, Hindi, Mongolian, emoji and combining marks are shown as they were written."""
    assert printable(text) == text
    assert acting(text) is None
    assert json.loads(in_json(json.dumps(text, ensure_ascii=False))) == text


@given(
    st.text(
        st.characters(
            categories=["L", "M", "N", "P", "S"], exclude_characters="\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
        )
    )
)
def test_letters_marks_numbers_and_symbols_are_left(text: str) -> None:
    """No letter, mark, number, sign or symbol of any script is ever written out, but for shapes of nothing."""
    seen = "".join(sign for sign in text if "VARIATION SELECTOR" not in unicodedata.name(sign, ""))
    assert printable(seen) == seen


# Two halves of a sign side by side are that sign, to JSON as to UTF-16.
WHOLE = TEXTS.map(lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass"))


@given(st.recursive(WHOLE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WHOLE, inner, max_size=3)))
def test_json_for_terminals_is_exact(value: object) -> None:
    """JSON that holds anything is read back as it was, and obeys nobody on a terminal."""
    shown = in_json(json.dumps(value, ensure_ascii=False))
    assert raw(shown) == []
    assert json.loads(shown) == value


@given(TEXTS)
def test_a_paragraph_begins_no_line_of_ours(text: str) -> None:
    """A text of several lines cannot pretend to be what is said behind it: its further lines are indented."""
    assert all(line.startswith("  ") for line in paragraph(text).split("\n")[1:])


@given(TEXTS)
def test_markdown_makes_nothing_of_a_text(text: str) -> None:
    """No link, image, HTML, emphasis, code or cell of a table comes out of what somebody wrote."""
    shown = markdown(text)
    plain = shown.replace("\\\\", "")
    assert all(plain[place - 1] == "\\" for place, sign in enumerate(plain) if sign in "[]<`*|")
    assert raw(shown) == []


@given(TEXTS)
def test_a_file_name_stays_in_its_folder(text: str) -> None:
    """Whatever an id or a name holds, a file that is named after it is a plain, short name in its folder."""
    name = file_name(text)
    assert name not in ("", ".", "..")
    assert not set(name) & set("/\\:\0")
    assert len(name.encode()) <= 100
    assert raw(name, "") == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", ".", "", "a/b", "x\0y", ".hidden", "é" * 300])
def test_names_that_lead_elsewhere(name: str) -> None:
    """Paths, hidden files, NUL and names of hundreds of bytes are made into names."""
    assert "/" not in file_name(name)
    assert not file_name(name).startswith(".")


@given(TEXTS, TEXTS)
def test_errors_show_what_they_quote(what: str, fix: str) -> None:
    """An error of the package is safe to print, log and store, in each of its forms."""
    error = ConfigError(what, fix=fix)
    assert raw(f"{error} {error.what} {error.fix} {error!r}") == []
