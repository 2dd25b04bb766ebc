"""What a model's team calls the two aliases: the tag's name, and how its value reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from fds_mlflow.core.lifecycle.events import AliasNames
from fds_mlflow.errors import ConfigError
from fds_mlflow.registry import grammar

TAG = "fds.aliases"
"""On the model; absent where the aliases have the usual names."""

_ALIAS_NAME = re.compile(r"[\w-]{1,255}")
_RESERVED_ALIAS = re.compile(r"latest|v\d+", re.IGNORECASE)


def encode(names: AliasNames) -> str:
    """Value of the tag with a model's alias names."""
    return json.dumps(values_of(names), ensure_ascii=False, separators=(",", ":"))


def decode(model_tags: Mapping[str, str]) -> AliasNames:
    """What a model's team calls its aliases.

    Raises:
        ConfigError: The tag cannot be parsed, or holds no names for aliases: who would serve is not known.
    """
    value = model_tags.get(TAG)
    if value is None:
        return AliasNames()
    try:
        return checked(of_values(json.loads(value)))
    except (ConfigError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"the model's tag {TAG} holds {value[:200]!r}, which does not name its aliases",
            fix=f"set it by hand, such as to {encode(AliasNames())}, or delete it for these names",
        ) from error


def checked(names: AliasNames) -> AliasNames:
    """The names, if MLflow takes them for aliases.

    Raises:
        ConfigError: One is empty, too long, reserved or has a character of another kind, or both are the same.
    """
    for name in (names.champion, names.canary):
        if not _ALIAS_NAME.fullmatch(name) or _RESERVED_ALIAS.fullmatch(name):
            raise ConfigError(
                f"{name!r} is no name for an alias",
                fix="use 1 to 255 letters, digits, - and _; MLflow keeps latest, v1, v2 ... for itself",
            )
    if names.champion == names.canary:
        raise ConfigError(f"both aliases would be called {names.champion!r}", fix="give them two names")
    return names


def of_values(values: Any) -> AliasNames:
    """The names from plain values; raises LookupError or TypeError where they are none."""
    champion, canary = values["champion"], values["canary"]
    if not isinstance(champion, str) or not isinstance(canary, str):
        raise TypeError(f"{values!r} holds no names")
    return AliasNames(champion, canary, grammar.later(values, {"champion", "canary"}))


def values_of(names: AliasNames) -> dict[str, Any]:
    """The names as plain values, with whatever a later release has written beside them."""
    return {**json.loads(names.later or "{}"), "champion": names.champion, "canary": names.canary}
