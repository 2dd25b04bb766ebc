"""Every state of the in-memory registry that a search meets, numbered, and what each call does to each."""

# ruff: noqa: ARG002 - the signatures are the registry port's

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple
from unittest.mock import patch

from fds_mlflow.core.lifecycle import state as folded
from fds_mlflow.errors import FdsError, NotFoundError
from fds_mlflow.registry import exclusion, tags
from fds_mlflow.registry.history import History, in_flight
from fds_mlflow.registry.memory import MemoryModel, MemoryStore, MemoryVersion
from fds_mlflow.registry.store import ModelView, VersionView, Write

MODEL = "fraud"


LIFETIME = 3.0
"""How long an intent lives, in ticks."""


def born(name: str) -> int:
    """The tick in which an explored process made a ULID."""
    return int(name[3:-2])


class Read(NamedTuple):
    """A call that changes nothing: the store's method and its argument."""

    method: str
    argument: int | str | None
    checking: str | None = None  # the intent whose owner only asks whether it is still there
    # All that the caller looks at in a version: "status", "stage", "rollout" or "canary" (both); "a turn" in a model.
    wanted: str | None = None


class _Tags(dict[str, str]):
    """The tags of an interned registry state, with room for what they read as."""

    read: History | None = None


@contextmanager
def quick_reading(*, failures: bool = False) -> Iterator[None]:
    """Compute once what is a pure function of an interned registry state: its history, and the fold of that.

    Without failures nothing is ever retried, so the retrying library is left out as well.
    """
    read, fold = exclusion.read_history, folded.fold
    states: dict[int, tuple[Any, folded.State]] = {}

    def history(given: Mapping[str, str]) -> History:
        if not isinstance(given, _Tags):
            return read(given)
        if given.read is None:
            given.read = read(given)
            states[id(given.read.events)] = given.read.events, fold(given.read.events)
        return given.read

    def folding(events: Any, start: folded.State | None = None) -> folded.State:
        known = states.get(id(events)) if start is None else None
        return known[1] if known is not None and known[0] is events else fold(events, start)

    with ExitStack() as stack:
        stack.enter_context(patch.object(exclusion, "read_history", history))
        for name in ("encode_intent", "encode_rollout", "decode_rollout", "event_tag"):
            stack.enter_context(patch.object(tags, name, lru_cache(maxsize=None)(getattr(tags, name))))
        stack.enter_context(patch.object(exclusion, "fold", folding))
        if not failures:
            stack.enter_context(patch.object(exclusion, "Retrying", lambda **_: lambda call: call()))
        yield


class Registry:
    """All states of one registered model that were met, numbered, and what each call does to each."""

    # ruff: noqa: ARG002 - the signatures are the registry port's

    def __init__(self) -> None:
        self.frozen: list[tuple[Any, ...]] = []
        self.views: list[ModelView] = []
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._versions: dict[tuple[Any, ...], VersionView] = {}
        self._models: dict[tuple[Any, ...], ModelView] = {}
        self._crowds: dict[tuple[str, ...], ModelView] = {}
        self._calls: dict[tuple[int, Read | Write], tuple[int, Any, Any]] = {}

    def number(self, store: MemoryStore) -> int:
        """The number of a store's state."""
        entry = store.models[MODEL]
        frozen = (
            tuple(sorted(entry.aliases.items())),
            tuple(sorted(entry.tags.items())),
            tuple((n, v.status, v.stage, tuple(sorted(v.tags.items()))) for n, v in sorted(entry.versions.items())),
        )
        if frozen not in self._numbers:
            self._numbers[frozen] = len(self.frozen)
            self.frozen.append(frozen)
            self.views.append(ModelView(dict(entry.aliases), _Tags(entry.tags)))
        return self._numbers[frozen]

    def store(self, number: int) -> MemoryStore:
        """A store in that state."""
        aliases, model_tags, versions = self.frozen[number]
        store = MemoryStore()
        entries = {n: MemoryVersion(status, stage, dict(t)) for n, status, stage, t in versions}
        store.models[MODEL] = MemoryModel(dict(aliases), dict(model_tags), entries)
        return store

    def call(self, number: int, call: Read | Write) -> tuple[int, Any, Any]:
        """The state after a call, the answer, and a key that is equal for answers the caller cannot tell apart."""
        found = self._calls.get((number, call))
        if found is None:
            found = self._calls[(number, call)] = self._perform(number, call)
        return found

    def crowded(self, number: int, letter: str, tick: float) -> tuple[ModelView, int] | None:
        """What a process sees that may not go on because of a live intent of somebody else: nothing but the intents.

        And the events with the plans that these name, without which they could not be read.

        Args:
            number: The state.
            letter: Marks the process.
            tick: When it looks; an intent that was written less than a life ago is dead to nobody.
        """
        names = tuple(name for name in self.views[number].tags if name.startswith("fds.intent."))
        if not any(name[13] != letter and tick - born(name[11:]) < LIFETIME for name in names):
            return None
        there = self.views[number].tags
        names += tuple(name for name, value in there.items() if name not in names and '"plan":' in value)
        view = self._crowds.get(names)
        if view is None:
            view = self._crowds[names] = ModelView({}, _Tags({name: there[name] for name in names}))
        return view, id(view)

    def _perform(self, number: int, call: Read | Write) -> tuple[int, Any, Any]:
        store = self.store(number)
        try:
            if isinstance(call, Read):
                return number, *self._read(store, number, call)
            store.write(MODEL, call)
        except NotFoundError as error:
            return number, error, ("error", str(error))
        return self.number(store), None, None

    def _read(self, store: MemoryStore, number: int, call: Read) -> tuple[Any, Any]:
        """The answer to a call that reads, the same object wherever the same is read, and its key."""
        if call.method == "read":
            aliases, model_tags, _ = self.frozen[number]
            view = self._models.setdefault((aliases, model_tags), self.views[number])
            if call.checking is None:
                return view, id(view)
            present = in_flight(view.tags)
            challenger = next((i.id for i in present if i.id != call.checking and i.take_over), None)
            return view, (any(i.id == call.checking for i in present), challenger)
        answer = getattr(store, call.method)(MODEL, call.argument)
        if answer is None:
            return None, None
        answer = _as_wanted(answer, call.wanted)
        key = (answer.version, answer.status, answer.stage, tuple(sorted(answer.tags.items())))
        answer = self._versions.setdefault(key, answer)
        return answer, id(answer)


def _as_wanted(answer: VersionView, wanted: str | None) -> VersionView:
    """A version as it looks to a caller that looks at one thing only."""
    if wanted is None:
        return answer
    return replace(
        answer,
        status=answer.status if wanted == "status" else "READY",
        stage=answer.stage if wanted in ("stage", "canary") else "None",
        tags={
            name: value
            for name, value in answer.tags.items()
            if wanted in ("rollout", "canary") and name == tags.ROLLOUT
        },
    )


class Asking:
    """A registry port on which every call is a value, handed on to whoever carries it out."""

    write_limit = 1.0
    latency = 0.0
    user = None

    def signed_in(self) -> None:
        """Nobody."""

    def ask(self, call: Read | Write) -> Any:
        """Have a call carried out; the answer, or the error it raises."""
        raise NotImplementedError

    def _answer(self, call: Read | Write) -> Any:
        answer = self.ask(call)
        if isinstance(answer, FdsError):
            raise type(answer)(answer.what, fix=answer.fix)
        return answer

    def read(self, model: str) -> ModelView:
        """Aliases and tags."""
        view: ModelView = self._answer(Read("read", None))
        return view

    def version(self, model: str, version: int) -> VersionView:
        """One version."""
        view: VersionView = self._answer(Read("version", version))
        return view

    def by_alias(self, model: str, alias: str) -> VersionView | None:
        """The version an alias points at."""
        view: VersionView | None = self._answer(Read("by_alias", alias))
        return view

    def versions(self, model: str) -> list[VersionView]:
        """No explored program lists versions."""
        raise NotImplementedError

    def write(self, model: str, write: Write) -> None:
        """One write."""
        self._answer(write)


class Walker(Asking):
    """A process that is alone with the registry: each of its calls goes on to the next state.

    Args:
        registry: The states.
        number: The one it begins with.
    """

    def __init__(self, registry: Registry, number: int) -> None:
        self._registry = registry
        self.number = number

    def ask(self, call: Read | Write) -> Any:
        """Go on to the state that the call leads to."""
        self.number, answer, _ = self._registry.call(self.number, call)
        return answer
