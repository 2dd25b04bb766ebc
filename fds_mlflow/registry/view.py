"""A model as an operation finds it: the live registry beside what the history says."""

from __future__ import annotations

from dataclasses import dataclass

from fds_mlflow.core.lifecycle.events import AliasNames, Rollout
from fds_mlflow.core.lifecycle.state import State
from fds_mlflow.core.weight import to_percent
from fds_mlflow.registry import tags
from fds_mlflow.registry.history import History
from fds_mlflow.registry.store import ModelView, VersionView
from fds_mlflow.registry.tags import Precondition


@dataclass(frozen=True)
class View:
    """A model as an operation finds it: the live registry, the history, and what the history says.

    Attributes:
        model: Aliases and tags.
        history: What the tags say.
        state: The history, folded.
        canary: The version the canary alias points at.
        rollout: The rollout that takes traffic by the routing rule.
        names: What the model's team calls the two aliases.
    """

    model: ModelView
    history: History
    state: State
    canary: VersionView | None
    rollout: Rollout | None
    names: AliasNames

    @property
    def champion_alias(self) -> int | None:
        """Version of the champion alias."""
        return self.model.aliases.get(self.names.champion)

    @property
    def canary_alias(self) -> int | None:
        """Version of the canary alias."""
        return self.model.aliases.get(self.names.canary)

    @property
    def found(self) -> Precondition:
        """What must still hold when the operation goes on."""
        tag = self.canary.tags.get(tags.ROLLOUT) if self.canary else None
        return Precondition(self.champion_alias, self.canary_alias, self.history.last, tags.digest(tag))

    @property
    def agrees(self) -> bool:
        """Whether the history and the live registry say the same."""
        return self.state.champion == self.champion_alias and self.state.rollout == self.rollout

    @property
    def canary_rollout(self) -> Rollout | None:
        """The rollout that the canary alias's version names, whatever it is worth."""
        return tags.decode_rollout(self.canary.tags.get(tags.ROLLOUT)) if self.canary else None


def difference(view: View) -> str:
    """What the registry shows and the history does not explain, in words."""
    parts = []
    if view.state.champion != view.champion_alias:
        parts.append(f"champion is {view.champion_alias} where the history says {view.state.champion}")
    if view.state.rollout != view.rollout:
        parts.append(f"{_describe(view.rollout)} where the history says {_describe(view.state.rollout)}")
    return "changed outside: " + "; ".join(parts)


def _describe(rollout: Rollout | None) -> str:
    if rollout is None:
        return "no canary takes traffic"
    return f"canary {rollout.canary} takes {to_percent(rollout.weight):g} %"
