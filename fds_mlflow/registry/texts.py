"""What people write into a registry: the reason, the actor and the name of a model, if they may stand there."""

from __future__ import annotations

from fds_mlflow.display.characters import acting
from fds_mlflow.display.redaction import redacted
from fds_mlflow.errors import ConfigError

MAX_REASON = 1_000
MAX_ACTOR = 200


def checked_reason(reason: str) -> str:
    """The reason, if it may stand in a tag, without secrets.

    Raises:
        ConfigError: It is no text, is longer than 1,000 bytes, or has characters that act on whoever shows it.
    """
    if not isinstance(reason, str):
        raise ConfigError(f"the reason is {reason!r}, not a text", fix="say why in words, or leave it out")
    return _checked_text(reason, "the reason", MAX_REASON)


def checked_actor(actor: str) -> str:
    """The actor, if it may stand in a tag, without secrets.

    Raises:
        ConfigError: It is empty, longer than 200 bytes, or has characters that act on whoever shows it.
    """
    if not actor.strip():
        raise ConfigError(
            "the actor is empty", fix="set FDS_ACTOR or --actor before the verb, or pass actor=, to who is acting"
        )
    return _checked_text(actor, "the actor", MAX_ACTOR)


def clipped(text: str, limit: int) -> str:
    """A text cut to at most so many bytes of UTF-8, with an ellipsis where something is missing."""
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    return encoded[: limit - len("…".encode())].decode(errors="ignore") + "…"


def checked_model(name: str) -> str:
    """The name of a model that is to be made, if it may be listed.

    Raises:
        ConfigError: It has a character that acts on whoever lists it.
    """
    sign = acting(name)
    if sign is not None:
        raise ConfigError(f"the name of the model has the control character {sign}: {name!r}", fix="leave it out")
    return name


def _checked_text(text: str, what: str, limit: int) -> str:
    text = redacted(text)
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise ConfigError(f"{what} is not valid Unicode", fix="leave out the lone surrogate") from error
    if size > limit:
        raise ConfigError(
            f"{what} has {size:,} bytes, more than the {limit:,} a tag may hold",
            fix="shorten it, and link to the longer text",
        )
    sign = acting(text, keep="\n\t")
    if sign is not None:
        raise ConfigError(
            f"{what} has control characters ({sign})",
            fix="leave out all but line breaks and tabs, and what changes the direction of a text",
        )
    return text
