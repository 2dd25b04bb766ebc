"""What every operation writes while it holds the model, and how a dead one or an out-of-band change is settled."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from fds_mlflow.core.lifecycle.decision import AUTOPILOT
from fds_mlflow.core.lifecycle.events import MOVES_CHAMPION, Ending, Event, Kind, RolloutStatus
from fds_mlflow.core.lifecycle.policy import unapproved
from fds_mlflow.core.lifecycle.state import Stage, fold
from fds_mlflow.errors import NotFoundError, RefusedError, UnavailableError
from fds_mlflow.registry import requests, seals, tags, texts, writes
from fds_mlflow.registry.exclusion import BusyError, Exclusion, Turn
from fds_mlflow.registry.history import numbered
from fds_mlflow.registry.store import DeleteAlias, DeleteModelTag, SetAlias, SetModelTag, SetStage, SetVersionTag
from fds_mlflow.registry.tags import Intent
from fds_mlflow.registry.view import View, difference

log = logging.getLogger(__name__)


def named(actor: str, user: str | None) -> str:
    """An actor by the name that events have: the user who is signed in, for whoever is named."""
    if user is None:
        return actor
    autopilot = AUTOPILOT if actor.startswith(AUTOPILOT) else ""
    claimed = actor.removeprefix(autopilot)
    if claimed != user and not claimed.startswith(f"{user} for "):
        claimed = f"{user} for {claimed}"
    return texts.clipped(autopilot + claimed, texts.MAX_ACTOR)


def _nobody(_model: str, _event: Event) -> None:
    """Nobody wants to know."""


@dataclass
class Settlement(Exclusion):
    """Carries an operation's writes out, and finishes or writes off those whose process died.

    Args:
        on_event: Called with the model and each event that this process has written into a history, its own and those
            of operations it settles. It is called while the model is held: it must return at once, and not raise.
    """

    on_event: Callable[[str, Event], None] = _nobody
    _own: set[str] = field(default_factory=set)  # operations that this process began
    _stageless: bool = False

    def _look_alone(self, model: str) -> View:
        """Read the model, or give way to an operation that lives."""
        view = self.look(model)
        living = self._living(model, view.history)
        if living:
            raise BusyError(living[0])
        return view

    def _operate(self, model: str, view: View, event: Event, on_moved: Callable[[int], None] | None = None) -> Event:
        """Before, the decisive write, after, the event: in the order of the design's table."""
        done = numbered(event, view.history.last[0] + 1)
        with self._turn(model, view, event) as turn:
            point = writes.point(event)
            for write in writes.before(view, event):
                self._write(model, turn, write)
            if point is None:
                done = self._append(model, turn, done)
                self._tidy(model, turn, view, done)
                return done
            try:
                self._write(model, turn, point, decisive=True)
            except (NotFoundError, RefusedError):
                self._defuse(model, turn, event, RolloutStatus.ABANDONED)
                raise
            if on_moved is not None and isinstance(point, SetAlias) and point.alias == tags.CHAMPION:
                on_moved(point.version)
            return self._finish(model, turn, view, done)

    def _finish(self, model: str, turn: Turn, view: View, done: Event) -> Event:
        """What follows a decisive write; every part can be repeated."""
        done = self._attributed(done)
        for write in writes.after(view, done):
            self._write_if_there(model, turn, write)
        self._mirror(model, turn, view, done)
        return self._append(model, turn, done)

    def _tidy(self, model: str, turn: Turn, view: View, event: Event, *, recorded: bool = False) -> None:
        """What follows an event that decides by itself: stages, the policy's tag, what a hand left of a rollout."""
        if event.policy is not None and event.outcome is Ending.DONE:
            asks = event.policy.require or event.policy.later
            stated = SetModelTag(requests.POLICY, requests.encode(event.policy))
            self._write(model, turn, stated if asks else DeleteModelTag(requests.POLICY))
        if event.kind is Kind.ADOPT:
            self._defuse(model, turn, event, RolloutStatus.OVERTAKEN)
            if view.edited is not None and view.rollout is not None:
                tag = SetVersionTag(view.rollout.canary, tags.ROLLOUT, tags.encode_rollout(view.rollout))
                self._write_if_there(model, turn, tag)
            if view.canary_alias is not None and view.rollout is None:
                # It takes no traffic, and an out-of-band move of the champion back must not wake it.
                self._write_if_there(model, turn, DeleteAlias(tags.CANARY))
        self._mirror(model, turn, view, event, recorded=recorded)

    def _append(self, model: str, turn: Turn, event: Event) -> Event:
        event = seals.sealed(self._attributed(event), model)
        name, value = tags.event_tag(event)
        self._write(model, turn, SetModelTag(name, value), decisive=True)
        self.on_event(model, event)
        return event

    def _attributed(self, event: Event) -> Event:
        """An event in the name of whom the registry let in, for whoever is named in it; asked after the decisive write.

        Of an operation that another process began nobody knows: whoever may write tags can leave an intent.
        """
        user = self.store.signed_in() if event.operation in self._own else None
        if user is None:
            return replace(event, signed_in=False)
        return replace(event, actor=named(event.actor, user), signed_in=True)

    def _new_operation(self) -> str:
        """The id of an operation that this process begins."""
        operation = self.new_id()
        self._own.add(operation)
        return operation

    def _mirror(self, model: str, turn: Turn, view: View, event: Event, *, recorded: bool = False) -> None:
        """Mirror the fold's stages of the versions that the event names or changes, version by version."""
        before, canary = view.state, view.canary
        state = before if recorded else fold([event], before)
        changed = {version for version, stage in state.stages.items() if before.stages.get(version) != stage}
        for version in sorted(changed):
            self._set_stage(model, turn, version, state.stages[version])
        if not recorded and event.outcome is Ending.DONE:
            stage = state.stages.get(canary.version) if canary is not None and canary.version not in changed else None
            if canary is not None and stage is not None and canary.stage != stage:  # changed by hand
                self._set_stage(model, turn, canary.version, stage)
            return
        # A process died over it: who knows how far its stages came.
        named = (event.from_version, event.to_version, event.rollout.canary if event.rollout else None)
        for version in sorted({v for v in named if v is not None} - changed):
            try:
                there = self._patiently(lambda version=version: self.store.version(model, version))  # type: ignore[misc]
            except NotFoundError:
                continue  # deleted by hand meanwhile: no stage to mirror
            stage = state.stages.get(version)
            if stage is None and there.stage == Stage.PRODUCTION:
                stage = Stage.STAGING  # its promotion was overtaken after it had set the stage
            if stage is not None and there.stage != stage:
                self._set_stage(model, turn, version, stage)

    def _set_stage(self, model: str, turn: Turn, version: int, stage: Stage) -> None:
        """Set a version's stage, if the registry lets one: a mirror for the UI, on which nothing depends."""
        if self._stageless:
            return
        try:
            # Some registries without stages refuse them as if it were a passing fault of theirs.
            self._write(model, turn, SetStage(version, stage), patience=self.store.write_limit / 10)
        except NotFoundError:
            pass  # deleted by hand meanwhile: no stage to mirror
        except (RefusedError, UnavailableError) as error:
            if isinstance(error, UnavailableError) and not error.answered:
                raise
            self._stageless = True
            log.warning("stages are not mirrored any more: %s", error.what)

    # --- settling, adopting, taking over, packing ----------------------------------------------------------

    def _housekeep(self, model: str, view: View, actor: str, *, adopt: bool = True, urgent: bool = False) -> bool:
        """Settle one dead intent, or adopt an out-of-band change; whether there was anything of the kind.

        Args:
            model: Registered model.
            view: The model as it is.
            actor: Who asks.
            adopt: Take out-of-band changes into the history.
            urgent: But not one of a plan, which changes neither who serves nor how much.
        """
        dead = [intent for intent in view.history.intents if self._is_dead(model, intent)]
        if dead:
            self._settle(model, view, writes.first_to_settle(view, dead), actor)
            return True
        if adopt and (not view.agrees or (view.edited is not None and not urgent)):
            self._operate(model, view, self._adoption(view, actor))
            return True
        return False

    def _settle(self, model: str, view: View, dead: Intent, actor: str, *, reassert: bool = False) -> None:
        """Finish or write off a dead operation, by looking at its decisive write.

        Args:
            model: Registered model.
            view: The model as it is; the dead intent is in it.
            dead: What to settle.
            actor: Who settles.
            reassert: Make the decisive write again if it is not there: for a take-over's own process, which is alive.
        """
        event = dead.event
        recorded = view.history.find(dead.id)
        with self._turn(model, view, None, actor) as turn:
            if recorded is not None:
                self._tidy(model, turn, view, recorded, recorded=True)
            elif event is not None and event.kind is not Kind.ADOPT:  # what a dead one noticed, the next one notices
                outcome = writes.landed(view, dead)
                if dead.take_over:  # it looked past others: the settled history knows which rollout it ended
                    active = view.state.rollout
                    event = replace(event, rollout=active.ended(RolloutStatus.ROLLED_BACK) if active else None)
                point = writes.point(event)
                if reassert and outcome is not Ending.DONE and point is not None:
                    for write in (*writes.before(view, event), point):
                        self._write(model, turn, write)
                    outcome = Ending.DONE
                done = replace(event, sequence=view.history.last[0] + 1, outcome=outcome)
                if event.kind in MOVES_CHAMPION and view.state.champion not in (None, event.to_version):
                    # An emergency looked while another operation was in flight, which has been recorded since.
                    done = replace(done, from_version=view.state.champion)
                if outcome is Ending.DONE:
                    self._finish(model, turn, view, done)
                else:
                    self._defuse(model, turn, event, RolloutStatus.ABANDONED)
                    renaming = event.renaming
                    if renaming is not None and renaming.creates and renaming.after.champion in view.model.aliases:
                        self._write_if_there(model, turn, DeleteAlias(renaming.after.champion))
                    self._mirror(model, turn, view, done)
                    self._append(model, turn, done)
            self._write(model, turn, DeleteModelTag(tags.intent_name(dead.id)))

    def _defuse(self, model: str, turn: Turn, event: Event, status: RolloutStatus) -> None:
        """Mark a rollout that is not under way as ended on its version, so that no hand can wake it."""
        rollout = event.rollout
        never = event.kind is Kind.START
        over = event.kind is Kind.ADOPT and rollout is not None and not rollout.active
        if rollout is None or not (never or over):
            return
        try:
            there = self._patiently(lambda: self.store.version(model, rollout.canary))
        except NotFoundError:
            return
        named = tags.decode_rollout(there.tags.get(tags.ROLLOUT))
        if named is not None and named.active and named.id == rollout.id:
            ended = tags.encode_rollout(named.ended(status), event if over else None)
            self._write_if_there(model, turn, SetVersionTag(there.version, tags.ROLLOUT, ended))

    def _adoption(self, view: View, actor: str) -> Event:
        """The event that takes an out-of-band change into the history."""
        rollout = view.rollout
        if rollout is None and view.state.rollout is not None:
            rollout = view.state.rollout.ended(RolloutStatus.OVERTAKEN)
        event = Event(
            sequence=0,
            operation=self._new_operation(),
            kind=Kind.ADOPT,
            actor=actor,
            reason=difference(view),
            time=self.clock.now(),
            from_version=view.state.champion,
            to_version=view.champion_alias,
            rollout=rollout,
        )
        return replace(
            event, reason=texts.clipped(event.reason + unapproved(view.state, view.policy, event), texts.MAX_REASON)
        )
