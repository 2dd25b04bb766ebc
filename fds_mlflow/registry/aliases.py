"""What the two aliases say now: the routing table and the versions it names."""

from __future__ import annotations

from dataclasses import dataclass

from fds_mlflow.core.lifecycle.events import AliasNames, Rollout
from fds_mlflow.core.routing.routing import RoutingTable, effective_rollout
from fds_mlflow.errors import UnavailableError
from fds_mlflow.registry import alias_names, tags
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


class AliasReader:
    """Reads a model's aliases again and again, under whatever names its team has given them.

    The names are looked up once, and again when there is no champion: a renaming deletes the alias of the old name.

    Args:
        store: The registry.
        model: Registered model.
    """

    def __init__(self, store: RegistryStore, model: str) -> None:
        self._store = store
        self._model = model
        self._names: AliasNames | None = None

    def read(self) -> Aliases:
        """Read the aliases.

        Raises:
            UnavailableError: There is no champion that is READY, the aliases keep moving, or the registry is away.
            NotFoundError: The model does not exist.
            ConfigError: The tag with the names of the aliases cannot be parsed.
        """
        known = self._names or self._looked_up()
        try:
            return read(self._store, self._model, known)
        except UnavailableError:
            names = self._looked_up()
            if names == known:
                raise
        return read(self._store, self._model, names)

    def _looked_up(self) -> AliasNames:
        self._names = alias_names.decode(self._store.read(self._model).tags)
        return self._names


def read(store: RegistryStore, model: str, names: AliasNames | None = None) -> Aliases:
    """Read the aliases of the given names, or of the usual ones.

    Raises:
        UnavailableError: There is no champion that is READY, the aliases keep moving, or the registry is away.
        NotFoundError: The model does not exist.
    """
    names = names or AliasNames()
    for _ in range(READS):
        # The canary first: the other order can pair the old champion with a finished canary.
        canary = store.by_alias(model, names.canary)
        champion = store.by_alias(model, names.champion)
        if champion is None or not champion.ready:
            state = "no champion" if champion is None else f"a champion that is {champion.status}"
            raise UnavailableError(
                f"model {model!r} has {state}", fix="promote a version that is READY (`fds promote MODEL VERSION`)"
            )
        rollout = _rollout(champion, canary)
        # The champion may have moved away and back in between, a canary started or ended: both reads must agree.
        if rollout == _rollout(champion, store.by_alias(model, names.canary)):
            return Aliases(RoutingTable(champion.version, rollout), champion, canary if rollout else None)
    raise UnavailableError(f"the aliases of {model!r} kept moving", fix="wait for the next poll")


def _rollout(champion: VersionView, canary: VersionView | None) -> Rollout | None:
    """The rollout that takes traffic, by what the two aliases point at."""
    if canary is None or not canary.ready:
        return None
    named = tags.decode_rollout(canary.tags.get(tags.ROLLOUT))
    return effective_rollout(champion.version, canary.version, named)
