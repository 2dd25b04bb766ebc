"""A registry on which everything can be tried: what is written to it is kept aside, and nobody else sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from fds_mlflow.core.weight import to_percent
from fds_mlflow.display.characters import printable
from fds_mlflow.registry import tags
from fds_mlflow.registry.store import (
    AroundStore,
    DeleteAlias,
    DeleteModelTag,
    ModelView,
    RegistryStore,
    SetAlias,
    SetModelTag,
    SetStage,
    SetVersionTag,
    VersionView,
    Write,
)
from fds_mlflow.registry.view import View
from fds_mlflow.runtime.clock import Clock


@dataclass(frozen=True)
class Serving:
    """Who gets how much.

    Attributes:
        champion: Version that serves.
        canary: Version on trial.
        weight: Percentage of the traffic that it gets; 0 without one.
    """

    champion: int | None
    canary: int | None = None
    weight: float = 0.0


@dataclass(frozen=True)
class Change:
    """One thing in the registry that would be another.

    Attributes:
        what: The alias, tag or stage.
        before: What it is; None where it is not there.
        after: What it would be; None where it would be gone.
    """

    what: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Preview:
    """What an operation would do to a model; nothing of it was written.

    Attributes:
        before: Who serves now.
        after: Who would serve.
        changes: What would be written in the end, in order of name; what only lies there meanwhile is left out.
    """

    before: Serving
    after: Serving
    changes: tuple[Change, ...]


class DryRunStore(AroundStore[RegistryStore]):
    """A registry as it would be after writes that are kept in memory; reads see them, the registry below does not.

    Args:
        base: The registry.
    """

    def __init__(self, base: RegistryStore) -> None:
        super().__init__(base)
        self.write_limit = base.write_limit
        self._written: dict[str, list[Write]] = {}

    def __getattr__(self, name: str) -> Any:
        """Whatever else this registry can be asked."""
        return getattr(self._base, name)

    def read(self, model: str) -> ModelView:
        """Aliases and tags of a model, as they would be."""
        there = self._base.read(model)
        aliases, model_tags = dict(there.aliases), dict(there.tags)
        for write in self._written.get(model, ()):
            match write:
                case SetAlias(alias, version):
                    aliases[alias] = version
                case DeleteAlias(alias):
                    aliases.pop(alias, None)
                case SetModelTag(name, value):
                    model_tags[name] = value
                case DeleteModelTag(name):
                    model_tags.pop(name, None)
        return replace(there, aliases=aliases, tags=model_tags)

    def version(self, model: str, version: int) -> VersionView:
        """One version, as it would be."""
        return self._changed(model, self._base.version(model, version))

    def by_alias(self, model: str, alias: str) -> VersionView | None:
        """The version an alias would point at."""
        version = self.read(model).aliases.get(alias)
        return None if version is None else self.version(model, version)

    def versions(self, model: str) -> list[VersionView]:
        """All versions as they would be, the newest first."""
        return [self._changed(model, view) for view in self._base.versions(model)]

    def write(self, model: str, write: Write) -> None:
        """Keep a write aside; raises NotFoundError as the registry would."""
        match write:
            case SetAlias(_, version) | SetVersionTag(version) | SetStage(version):
                self._base.version(model, version)
            case _:
                self._base.read(model)
        self._written.setdefault(model, []).append(write)

    def _changed(self, model: str, view: VersionView) -> VersionView:
        for write in self._written.get(model, ()):
            match write:
                case SetVersionTag(view.version, name, value):
                    view = replace(view, tags={**view.tags, name: value})
                case SetStage(view.version, stage):
                    view = replace(view, stage=stage)
        return view

    def changes(self, model: str) -> tuple[Change, ...]:
        """What would be another than it is, in order of name."""
        if not self._written.get(model):
            return ()
        before, after = self._base.read(model), self.read(model)
        found = _differences("alias ", before.aliases, after.aliases)
        found += _differences("tag ", before.tags, after.tags)
        touched = {w.version for w in self._written[model] if isinstance(w, SetVersionTag | SetStage)}
        for number in sorted(touched):
            there = self._base.version(model, number)
            would = self._changed(model, there)
            stages = ({"stage": there.stage}, {"stage": would.stage})
            found += _differences(f"version {number}, ", *stages)
            found += _differences(f"version {number}, tag ", there.tags, would.tags)
        return tuple(found)


def _differences(what: str, before: Mapping[str, object], after: Mapping[str, object]) -> list[Change]:
    names = sorted(name for name in {**before, **after} if not tags.is_intent(name))
    pairs = [(name, before.get(name), after.get(name)) for name in names]
    return [Change(f"{what}{name}", _text(one), _text(other)) for name, one, other in pairs if one != other]


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def serving(view: View) -> Serving:
    """Who gets how much, by a model's view."""
    rollout = view.rollout
    if rollout is None:
        return Serving(view.champion_alias)
    return Serving(view.champion_alias, rollout.canary, to_percent(rollout.weight))


class PassingClock:
    """A clock on which waiting takes no time: whatever an operation waits for is taken to be dead.

    Args:
        clock: The time it goes on from.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waited = 0.0

    def now(self) -> datetime:
        """The time, UTC, as if the waiting had been done."""
        return self._clock.now() + timedelta(seconds=self._waited)

    def monotonic(self) -> float:
        """Seconds, as if the waiting had been done."""
        return self._clock.monotonic() + self._waited

    def sleep(self, seconds: float) -> None:
        """Wait, without waiting."""
        self._waited += seconds


def told(preview: Preview) -> list[str]:
    """What would happen, for people, a line each."""
    before, after = preview.before, preview.after
    lines = ["Dry run: nothing was written."]
    if before != after:
        lines.append(f"traffic: {_share(before)} -> {_share(after)}")
    else:
        lines.append(f"traffic: {_share(before)}, as it is")
    lines += [f"  {printable(each.what)}: {_short(each.before)} -> {_short(each.after)}" for each in preview.changes]
    return lines


def _share(one: Serving) -> str:
    champion = "no champion" if one.champion is None else f"champion {one.champion}"
    return champion if one.canary is None else f"{champion}, canary {one.canary} at {one.weight:g} %"


def _short(value: str | None) -> str:
    return "none" if value is None else printable(value if len(value) <= 100 else f"{value[:99]}…")
