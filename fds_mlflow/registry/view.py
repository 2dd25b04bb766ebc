"""A model as an operation finds it: the live registry beside what the history says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fds_mlflow.core.lifecycle.events import AliasNames, Policy, Rollout
from fds_mlflow.core.lifecycle.policy import together
from fds_mlflow.core.lifecycle.state import State
from fds_mlflow.core.weight import to_percent
from fds_mlflow.errors import ConfigError
from fds_mlflow.registry import requests, tags
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
        rollout: The rollout that takes traffic by the routing rule; its plan is the one that the history has for it.
        edited: The same as its tag has it, where somebody has changed the plan there; judging goes by the history's.
        names: What the model's team calls the two aliases.
        unnamed: Why the tag with these names does not count, where it is damaged: the names are those of the history.
    """

    model: ModelView
    history: History
    state: State
    canary: VersionView | None
    rollout: Rollout | None
    edited: Rollout | None
    names: AliasNames
    unnamed: ConfigError | None = None

    @property
    def champion_alias(self) -> int | None:
        """Version of the champion alias."""
        return self.model.aliases.get(self.names.champion)

    @property
    def canary_alias(self) -> int | None:
        """Version of the canary alias."""
        return self.model.aliases.get(self.names.canary)

    @property
    def policy(self) -> Policy:
        """For what approvals are asked: by the history, and by the model's tag beyond it."""
        return together(self.state.policy, requests.stated(self.model.tags))

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
        there, told = _described(view.rollout, view.state.rollout), _described(view.state.rollout, view.rollout)
        parts.append(f"{there} where the history says {told}")
    if view.edited is not None and view.rollout is not None:
        parts.append(f"{edits(view.edited, view.rollout)}, by which nobody judges")
    return "changed outside: " + "; ".join(parts)


def edits(edited: Rollout, recorded: Rollout) -> str:
    """What a rollout's tag says of its plan where the history says something else, in words."""
    there, told = edited.plan_values(), recorded.plan_values()
    names = [name for name in {**there, **told} if there.get(name) != told.get(name)]
    said = [
        f"{name} {_value(there.get(name))} where the history says {_value(told.get(name))}" for name in sorted(names)
    ]
    return f"the plan in the tag of version {recorded.canary} has {'; '.join(said)}"[:600]


def _value(value: Any) -> str:
    return "its default" if value is None else f"{value!r:.100}"


def _described(rollout: Rollout | None, other: Rollout | None) -> str:
    if rollout is None:
        return "no canary takes traffic"
    told = f"canary {rollout.canary} takes {to_percent(rollout.weight):g} %"
    if other is None or told != f"canary {other.canary} takes {to_percent(other.weight):g} %":
        return told
    # The same at first sight: what else routing and judging go by.
    names = ("id", "champion", "step", "since", "status", "spelling", "is_watch", "paused", "later")
    differ = [name for name in names if getattr(rollout, name) != getattr(other, name)]
    return f"{told} ({', '.join(f'{name} {getattr(rollout, name)}' for name in differ)})"
