"""The ways back to a former champion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from fds_mlflow.core.lifecycle.events import MOVES_CHAMPION, Ending, Event, Kind
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.errors import FdsError, NotFoundError, UnservableError
from fds_mlflow.lifecycle.reports import Candidate, Validation
from fds_mlflow.lifecycle.validation import ValidationCheck
from fds_mlflow.registry.store import VersionView
from fds_mlflow.registry.transaction import Result
from fds_mlflow.registry.view import View

if TYPE_CHECKING:
    from fds_mlflow.lifecycle.session import Session

WATCHED_METRICS = ("average_precision", "recall", "roc_auc")
CLEARLY_WORSE = 0.1
"""Relative loss of a watched metric from which a rollback target is called clearly worse."""


def candidate(view: View, there: VersionView, metrics: Mapping[str, float]) -> Candidate:
    """What a former champion is as a way back."""
    became, stepped_down = reign(view.history.events, there.version)
    return Candidate(
        version=there.version,
        champion_since=became,
        retired_at=stepped_down,
        withdrawn=there.version in view.state.withdrawn,
        metrics=metrics,
        description=there.description,
        emergency=there.version == view.state.emergency_target,
    )


class Rollback:
    """The ways back: `model.rollback.emergency(...)` and its deliberate siblings."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def emergency(
        self, *, reason: str, validate: bool | None = None, on_moved: Callable[[int], None] | None = None
    ) -> Result:
        """Move the champion to the latest former champion, past operations in flight; ends an active rollout.

        The alias moves first: nothing is loaded or asked before that the move does not need.

        Args:
            reason: Why, at most 1,000 bytes.
            validate: True to check before the alias moves that the target loads and scores, and None to check it
                afterwards. With False only that it is READY, afterwards.
            on_moved: Called with the version as soon as the alias has moved. Where another operation was in
                flight, the call goes on until that one cannot write any more.

        Raises:
            RefusedError: There is no former champion to go back to, it may not serve, or no reason is given.
            UnservableError: The champion has moved, to a version that turns out not to serve.
        """
        check = self._session.validated(allow_new_columns=True) if validate else None
        result = self._session.run(Request(Kind.EMERGENCY), reason, check, take_over=True, on_moved=on_moved)
        if result.event is None or result.event.to_version is None:
            return result
        if not validate:
            self._confirm(result.event.to_version, loads=validate is None)
        return replace(result, warnings=tuple(self._doubts(result.event.to_version)))

    def _confirm(self, version: int, *, loads: bool) -> None:
        """Say loudly that the version to which the champion has moved, or in a dry run would move, may not serve."""
        moved = f"version {version} {'would be' if self._session.dry_run else 'is'} the champion again"
        try:
            if loads:
                self._session.checks(version, None).require()
            else:
                self._session.version(version).require_ready(self._session.name)
        except ModuleNotFoundError as error:
            raise UnservableError(
                f"{moved}; whether it serves cannot be tried here, where the Python"
                f" package {error.name!r} is not installed",
                fix="try it where it serves (`fds rollback validate MODEL VERSION`)",
            ) from error
        except FdsError as error:
            following = self._session.look().state.emergency_target
            again = f"go on to version {following}: `fds rollback emergency {self._session.name} --reason WHY`"
            raise UnservableError(
                f"{moved}, but {error.what}",
                fix=again if following is not None else "promote another version (`fds promote MODEL VERSION`)",
            ) from error

    def _doubts(self, version: int) -> list[str]:
        """What is worth knowing about an emergency that has moved the champion to a version."""
        try:
            view = self._session.look()
        except FdsError as error:
            return [f"the model could not be read again: {error.what}"]
        events = [e for e in view.history.events if e.outcome is Ending.DONE and e.to_version == version]
        doubts = []
        if not any(event.kind in MOVES_CHAMPION - {Kind.EMERGENCY} for event in events):
            doubts.append(f"version {version} had become champion by an out-of-band change: no operation promoted it")
        if view.history.intents:
            doubts.append(f"{len(view.history.intents)} operations in flight are left for the next one to settle")
        if view.unnamed is not None:
            doubts.append(f"{view.unnamed.what}: the alias that has moved is {view.names.champion}, by the history")
        return doubts

    def to(self, version: int, *, reason: str) -> Result:
        """Roll back to a given former champion; ends an active rollout.

        Raises:
            RefusedError: The version was never champion, is the canary, or may not serve, or no reason is given.
            NotFoundError: It does not exist.
        """
        check = self._session.validated(allow_new_columns=True)
        return self._session.run(Request(Kind.ROLLBACK, version), reason, check)

    def candidates(self) -> list[Candidate]:
        """Former champions by the history, the latest to step down first, with metrics and dates."""
        view = self._session.look()
        found = []
        for version in reversed(view.state.former):
            try:
                there = self._session.version(version)
            except NotFoundError:
                continue  # deleted by hand: nothing to go back to
            found.append(candidate(view, there, self._session.metrics(version)))
        return found

    def validate(self, version: int) -> Validation:
        """Whether the model can be rolled back to a version, with a warning where it is clearly worse."""
        view = self._session.look()
        loaded = self._session.checks(version, view.champion_alias, allow_new_columns=True)
        former = version in view.state.former
        detail = "a former champion by the history" if former else "never champion"
        fix = "" if former else "promote it (`fds promote MODEL VERSION`)"
        checks = (ValidationCheck("was champion", former, detail, fix), *loaded.checks)
        return Validation(version, checks, (*loaded.warnings, *self._warnings(version, view)))

    def _warnings(self, version: int, view: View) -> list[str]:
        warnings = []
        if version in view.state.withdrawn:
            warnings.append(f"version {version} was itself rolled back from")
        champion = view.champion_alias
        try:
            theirs = self._session.metrics(champion) if champion is not None else {}
            ours = self._session.metrics(version)
        except NotFoundError:
            return warnings
        return warnings + [
            f"version {version} is clearly worse: {name} {ours[name]:.4f} < {theirs[name]:.4f}"
            f" of version {champion} by more than {CLEARLY_WORSE:.0%}"
            for name in WATCHED_METRICS
            if name in theirs and name in ours and ours[name] < (1 - CLEARLY_WORSE) * theirs[name]
        ]


def reign(events: tuple[Event, ...], version: int) -> tuple[datetime | None, datetime | None]:
    """When a version last became champion and when it last stepped down."""
    moves = [e for e in events if e.outcome is Ending.DONE and (e.kind in MOVES_CHAMPION or e.kind is Kind.ADOPT)]
    became = [e.time for e in moves if e.to_version == version and e.from_version != version]
    left = [e.time for e in moves if e.from_version == version and e.to_version != version]
    return (became[-1] if became else None), (left[-1] if left else None)
