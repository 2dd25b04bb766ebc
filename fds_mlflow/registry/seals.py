"""Seals of events: who has a team's key can tell what was recorded through these doors from what was written past them.

MLflow keeps no name with a tag, so whoever may write one can write any event, in any name. A seal is an HMAC-SHA256
(RFC 2104, 128 bits) of the event, its place in the history and the model's name.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from dataclasses import replace

from fds_mlflow.core.lifecycle.events import Event
from fds_mlflow.errors import ConfigError
from fds_mlflow.registry.records import event_values
from fds_mlflow.runtime import environment

log = logging.getLogger(__name__)

SHORTEST_KEY = 32
"""Characters a key has at least."""


def require_usable_key() -> None:
    """Refuse a key that is too short, before anything is written.

    Raises:
        ConfigError: It is.
    """
    _key()


def sealed(event: Event, model: str) -> Event:
    """The event with its seal; as it is where this process has no key that can be used."""
    try:
        key = _key()
    except ConfigError as error:  # an emergency goes on; whoever reads the event sees that it is unverified
        log.warning("%s: the event has no seal", error.what)
        return event
    return event if key is None else replace(event, seal=_seal(event, model, key))


def is_verified(event: Event, model: str) -> bool | None:
    """Whether an event was recorded by somebody with the key; None where this process has none.

    Raises:
        ConfigError: The key is too short.
    """
    key = _key()
    return None if key is None else hmac.compare_digest(_seal(event, model, key), event.seal)


def _key() -> bytes | None:
    key = environment.setting(environment.HISTORY_KEY)
    if key and len(key) < SHORTEST_KEY:
        raise ConfigError(
            f"{environment.HISTORY_KEY} has {len(key)} characters, and could be guessed",
            fix=f"give at least {SHORTEST_KEY}, such as `openssl rand -hex 32` makes",
        )
    return key.encode(errors="surrogateescape") or None


def _seal(event: Event, model: str, key: bytes) -> str:
    values = event_values(replace(event, seal=""), exported=True)
    said = {"model": model, "sequence": event.sequence, "operation": event.operation, **values}
    written = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, written.encode(), hashlib.sha256).hexdigest()[:32]
