"""What each operation writes, in which order, and how its decisive write is recognised afterwards: no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fds_mlflow.core.lifecycle.events import MOVES_CHAMPION, AliasNames, Ending, Event, Kind, Renaming, Role
from fds_mlflow.core.lifecycle.state import State, fold
from fds_mlflow.errors import RefusedError
from fds_mlflow.registry import alias_names, tags
from fds_mlflow.registry.store import DeleteAlias, SetAlias, SetModelTag, SetVersionTag, Write
from fds_mlflow.registry.tags import Intent
from fds_mlflow.registry.view import View


def point(event: Event) -> Write | None:
    """The one write that decides; None for the kinds that their own event decides."""
    version, rollout = event.to_version, event.rollout
    if event.kind in MOVES_CHAMPION and version is not None:
        return SetAlias(tags.CHAMPION, version)
    if event.kind is Kind.START and version is not None:
        return SetAlias(tags.CANARY, version)
    if event.kind in (Kind.ADVANCE, Kind.PAUSE, Kind.RESUME) and rollout is not None:
        return SetVersionTag(rollout.canary, tags.ROLLOUT, tags.encode_rollout(rollout))
    if event.kind is Kind.ABORT:
        return DeleteAlias(tags.CANARY)
    if event.renaming is not None:
        return SetModelTag(alias_names.TAG, alias_names.encode(event.renaming.after))
    return None


def named(write: Write, names: AliasNames) -> Write:
    """A write to the alias with a role, as one to the alias that the model's team calls so."""
    if isinstance(write, SetAlias | DeleteAlias) and isinstance(write.alias, Role):
        return replace(write, alias=names.of(write.alias))
    return write


def require_renamable(view: View, names: AliasNames) -> None:
    """Refuse a champion's alias that the model's team uses for another version than the champion.

    Raises:
        RefusedError: It points elsewhere; or an alias would begin to point at a version that nobody has approved.
    """
    there, champion = view.model.aliases.get(names.champion), view.champion_alias
    for role in Role if view.policy.require else ():
        taken = view.model.aliases.get(names.of(role))
        if taken not in (None, view.model.aliases.get(view.names.of(role))):
            raise RefusedError(
                f"the alias {names.of(role)!r} points at version {taken}: nobody approved it as the {role}",
                fix="delete it, then ask again",
            )
    if champion is not None and there not in (None, champion):
        raise RefusedError(
            f"the alias {names.champion!r} points at version {there}, and version {champion} is the champion"
            f" (alias {view.names.champion!r})",
            fix="point both at the same version, or delete one of them, then ask again",
        )


def before(view: View, event: Event) -> list[Write]:
    """Writes before the decisive one: inert for every reader."""
    if event.kind is Kind.START and event.rollout is not None:
        left_over: list[Write] = [DeleteAlias(tags.CANARY)] if view.canary_alias is not None else []
        tag = SetVersionTag(event.rollout.canary, tags.ROLLOUT, tags.encode_rollout(event.rollout))
        return [*left_over, tag]
    if event.renaming is not None:
        champion, creates = view.champion_alias, event.renaming.creates
        return [SetAlias(event.renaming.after.champion, champion)] if champion is not None and creates else []
    if event.kind not in MOVES_CHAMPION:
        return []
    # Past a renaming in flight: who reads the alias of the old name learns the new one when it is gone.
    renamed = [i.event.renaming for i in view.history.intents if i.event is not None and i.event.renaming is not None]
    left = [write for renaming in renamed if renaming.after == view.names for write in _old_names(view, renaming)]
    rollout = view.canary_rollout
    if rollout is not None and rollout.champion == event.to_version:
        left.append(DeleteAlias(tags.CANARY))  # else the old canary would wake up under its old champion
    return left


def _old_names(view: View, renaming: Renaming) -> list[Write]:
    """What removes the aliases under their old names, as far as they are there."""
    kept = (renaming.after.champion,)
    old = (renaming.before.champion, renaming.before.canary)
    return [DeleteAlias(name) for name in old if name in view.model.aliases and name not in kept]


def after(view: View, event: Event) -> list[Write]:
    """Writes after the decisive one, before stages and the event: they change no routing."""
    if event.renaming is not None:
        return _old_names(view, event.renaming)
    writes: list[Write] = []
    rollout = event.rollout
    if rollout is not None and not rollout.active:
        writes.append(SetVersionTag(rollout.canary, tags.ROLLOUT, tags.encode_rollout(rollout, event)))
    awake = view.rollout is not None and view.rollout.champion == event.to_version
    if event.kind in MOVES_CHAMPION and view.canary_alias is not None and not awake:
        writes.append(DeleteAlias(tags.CANARY))
    return writes


def landed(view: View, dead: Intent) -> Ending:
    """Whether the decisive write of a dead operation is there.

    Those that landed are to be settled first: whatever was recorded after an operation looked shows that it never
    passed its second look.
    """
    event = dead.event
    if event is None or point(event) is None:
        return Ending.ABANDONED  # its event would have decided, and is not there
    if not dead.take_over and view.history.last != dead.found.last:
        return Ending.ABANDONED
    if event.renaming is not None:
        return Ending.DONE if view.names == event.renaming.after else Ending.ABANDONED
    if event.kind in MOVES_CHAMPION:
        if _taken_over_after(view, dead, event):
            return Ending.DONE
        return _between(view.champion_alias, dead.found.champion, event.to_version)
    return _landed_on_canary(view, dead, event)


def _landed_on_canary(view: View, dead: Intent, event: Event) -> Ending:
    if event.kind is Kind.ABORT:
        if view.champion_alias != dead.found.champion:
            return Ending.OVERTAKEN  # the canary's alias went with a move of the champion
        return _between(view.canary_alias, dead.found.canary, None)
    if view.canary_rollout == event.rollout and view.canary_alias == event.to_version:
        return Ending.DONE
    if event.kind is Kind.START:
        not_yet = view.canary_alias is None or view.canary_alias == dead.found.canary
    else:
        not_yet = view.found.rollout == dead.found.rollout and view.canary_alias == dead.found.canary
    return Ending.ABANDONED if not_yet else Ending.OVERTAKEN


def _taken_over_after(view: View, dead: Intent, event: Event) -> bool:
    """Whether an emergency found what this operation had written, and moved on (or back) from there."""
    return not dead.take_over and any(
        other.take_over and other.found.champion == event.to_version != dead.found.champion
        for other in view.history.intents
    )


def first_to_settle(view: View, dead: Sequence[Intent]) -> Intent:
    """Which of several dead operations is settled first: the landed ones first, take-overs after their victims."""
    return min(dead, key=lambda intent: (landed(view, intent) is not Ending.DONE, intent.take_over))


def _between(now: int | None, before: int | None, after: int | None) -> Ending:
    if now == after:
        return Ending.DONE
    return Ending.ABANDONED if now == before else Ending.OVERTAKEN


def as_live(view: View) -> State:
    """The state as the aliases show it now, whatever operations are still in flight."""
    state = view.state
    for intent in view.history.intents:
        recorded = view.history.find(intent.id) is not None
        if intent.event is not None and not recorded and landed(view, intent) is Ending.DONE:
            state = fold([intent.event], state)
    return state
