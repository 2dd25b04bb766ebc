"""What is said to people in each language: a catalogue has one message a line, so that none lacks a language."""

from __future__ import annotations

from collections.abc import Mapping

LANGUAGES = ("en", "ko")
"""In the order of a message's texts; the first one where nobody asks for another."""

Messages = Mapping[str, tuple[str, str]]
"""A catalogue: by key, the message in every language."""


def text(messages: Messages, language: str, key: str, **values: object) -> str:
    """A message of a catalogue.

    Args:
        messages: The catalogue.
        language: One of `LANGUAGES`.
        key: Of the message.
        values: What stands for the names in braces; what they hold is not read again.
    """
    return messages[key][LANGUAGES.index(language)].format(**values)
