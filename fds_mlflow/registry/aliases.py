"""What the two aliases say now: the routing table and the versions it names."""

from __future__ import annotations

from dataclasses import dataclass

from fds_mlflow.core.lifecycle.events import Rollout
from fds_mlflow.core.routing.routing import RoutingTable, effective_rollout
from fds_mlflow.errors import UnavailableError
from fds_mlflow.registry import tags
from fds_mlflow.registry.store import RegistryStore, VersionView

READS = 5
"""How often the aliases are read anew while they move."""


@dataclass(frozen=True)
class Aliases:
    """What serves, as the registry has it.

    Attributes:
        routing: Which version answers which key.
        champion: The champion.
        canary: The canary where a rollout takes traffic, else None.
    """

    routing: RoutingTable
    champion: VersionView
    canary: VersionView | None


def read(store: RegistryStore, model: str) -> Aliases:
    """Read the aliases.

    Raises:
        UnavailableError: There is no champion that is READY, the aliases keep moving, or the registry is away.
        NotFoundError: The model does not exist.
    """
    for _ in range(READS):
        # The canary first: the other order can pair the old champion with a finished canary.
        canary = store.by_alias(model, tags.CANARY)
        champion = store.by_alias(model, tags.CHAMPION)
        if champion is None or not champion.ready:
            state = "no champion" if champion is None else f"a champion that is {champion.status}"
            raise UnavailableError(
                f"model {model!r} has {state}", fix="promote a version that is READY (`fds promote MODEL VERSION`)"
            )
        rollout = _rollout(champion, canary)
        # The champion may have moved away and back in between, a canary started or ended: both reads must agree.
        if rollout == _rollout(champion, store.by_alias(model, tags.CANARY)):
            return Aliases(RoutingTable(champion.version, rollout), champion, canary if rollout else None)
    raise UnavailableError(f"the aliases of {model!r} kept moving", fix="wait for the next poll")


def _rollout(champion: VersionView, canary: VersionView | None) -> Rollout | None:
    """The rollout that takes traffic, by what the two aliases point at."""
    if canary is None or not canary.ready:
        return None
    named = tags.decode_rollout(canary.tags.get(tags.ROLLOUT))
    return effective_rollout(champion.version, canary.version, named)
