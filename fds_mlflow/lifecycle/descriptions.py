"""Who serves and what happened, in MLflow's own pages: descriptions in Markdown, beside what people wrote there.

What is ours stands between two comments, which MLflow's pages do not show; all else in a description is left as it is.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from fds_mlflow.core.lifecycle.decision import decision, done, ended, moves_champion, who
from fds_mlflow.core.lifecycle.events import Ending, Event, Rollout
from fds_mlflow.core.weight import FULL, to_percent
from fds_mlflow.display.characters import markdown
from fds_mlflow.display.languages import LANGUAGES
from fds_mlflow.errors import FdsError
from fds_mlflow.registry import tags
from fds_mlflow.registry.store import Describe, RegistryStore, VersionView
from fds_mlflow.registry.view import View
from fds_mlflow.runtime import environment

if TYPE_CHECKING:
    from datetime import datetime

log = logging.getLogger(__name__)

BEGIN = "<!-- fds: kept current; write above or below -->"
END = "<!-- /fds -->"

REPORT = "report.html"
"""Artifact of the run of a rollout that has ended; beside it `summary_file`, for who knows no statistics."""

PLAIN_WORDS = ("In plain words", "쉬운 설명")
"""What a link to it says, in the order of `LANGUAGES`."""

MOST = 5_000
"""Characters of a description that MLflow's tables hold."""

_EVENTS = 10
"""Events that a description tells, where they find room."""
_WHY = 160
"""Characters of a reason in a table; the history has all of it."""
_HERE = "?workflowType=machine_learning"
"""Opens MLflow's pages of models and runs in their own view, not in that of traces."""
_BLOCK = re.compile(rf"\n*^{re.escape(BEGIN)}$.*?^{re.escape(END)}$\n*", re.DOTALL | re.MULTILINE)


def merged(text: str, lines: Sequence[str], keep: int = 1) -> str | None:
    """A description with our block in it, as many lines of it as find room; None where not even the first do.

    Args:
        text: The description as it is; what stands outside of our block stays, to the character but for the empty
            lines around the block.
        lines: Of the block, the most important first.
        keep: How many of them must find room.
    """
    before, *after = (part.strip("\n") for part in _BLOCK.split(text))
    parts = (before, "\n\n".join(filter(None, after)))
    for count in range(len(lines), keep - 1, -1):
        block = "\n".join((BEGIN, "", *lines[:count], "", END))
        found = "\n\n".join(filter(None, (parts[0], block, parts[1])))
        if len(found) <= MOST:
            return found
    return None


def model_link(model: str) -> str:
    """A link to a model's page."""
    return f"[{markdown(model)}]({model_place(model)})"


def version_place(model: str, version: int) -> str:
    """Where a version's page is, below the address of MLflow's UI."""
    return f"#/models/{quote(model, safe='')}/versions/{version}{_HERE}"


def model_place(model: str) -> str:
    """Where a model's page is, below the address of MLflow's UI."""
    return f"#/models/{quote(model, safe='')}{_HERE}"


def version_link(model: str, version: int) -> str:
    """A link to a version's page."""
    return f"[{version}]({version_place(model, version)})"


def run_link(words: str, place: str) -> str:
    """A link to a run's page.

    Args:
        words: What is shown.
        place: Ids of experiment and run, parted by a slash.
    """
    return f"[{words}]({run_place(place)})"


def run_place(place: str) -> str:
    """Where a run's page is, below the address of MLflow's UI.

    Args:
        place: Ids of experiment and run, parted by a slash.
    """
    experiment, _, run = place.partition("/")
    return f"#/experiments/{quote(experiment, safe='')}/runs/{quote(run, safe='')}{_HERE}"


def artifact_place(place: str, name: str) -> str:
    """Where a file of a run is shown; the place is the run's, as above."""
    return run_place(place).replace(_HERE, f"/artifacts/{quote(name)}{_HERE}")


def summary_file(language: str) -> str:
    """Artifact beside the report: the same for people who know no statistics, in a language."""
    return "summary.html" if language == LANGUAGES[0] else f"summary.{language}.html"


def reports(place: str) -> str:
    """Links to the reports of a rollout that has ended; the place is its run's, as above."""
    summaries = zip(PLAIN_WORDS, LANGUAGES, strict=True)
    found = [f"[{words}]({artifact_place(place, summary_file(language))})" for words, language in summaries]
    return f"{', '.join([*found, f'[report]({artifact_place(place, REPORT)})'])}."


def of_model(model: str, view: View, versions: Mapping[int, VersionView]) -> list[str]:
    """The lines of a model's block: who serves, the rollout, the last events.

    Args:
        model: Registered model.
        view: The model as it is.
        versions: Those of its versions that are at hand: a rollout's record is linked from its canary's.
    """
    lines = ["| who serves | version | traffic | since (UTC) | how |", "|---|---|---|---|---|"]
    events = [event for event in view.history.events if event.outcome is Ending.DONE]
    champion, rollout = view.champion_alias, view.rollout
    weight = 0 if rollout is None else rollout.weight
    if champion is not None:
        came = next((e for e in reversed(events) if moves_champion(e) and e.to_version == champion), None)
        lines.append(_row("**champion**", version_link(model, champion), _percent(FULL - weight), *_how(came)))
    else:
        lines.append("| **nobody** | | | | promote a version |")
    if rollout is not None:
        began = next((e for e in events if e.rollout is not None and e.rollout.id == rollout.id), None)
        role = "**former champion**, as control" if rollout.is_watch else "**canary**"
        lines.append(_row(role, version_link(model, rollout.canary), _percent(weight), *_how(began)))
    lines += _rollout(model, events, versions)
    return [*lines, "", *_events(model, view.history.events)]


def of_version(model: str, version: int, view: View, versions: Mapping[int, VersionView]) -> list[str]:
    """The lines of a version's block: what it is now, its last rollout, the events about it. Arguments as above."""
    about = [event for event in view.history.events if version in (event.to_version, event.from_version)]
    if view.champion_alias == version:
        role = "**Champion**: it serves."
    elif view.rollout is not None and view.rollout.canary == version:
        role = f"**On trial** against {version_link(model, view.rollout.champion)}."
    elif version in view.state.former:
        role = "**Former champion**" + (", rolled back from." if version in view.state.withdrawn else ".")
    else:
        role = "**Serves nothing.**"
    tried = [e for e in about if e.rollout is not None and e.rollout.canary == version and e.outcome is Ending.DONE]
    return [role, *_rollout(model, tried, versions), "", *_events(model, about)]


def _rollout(model: str, events: Sequence[Event], versions: Mapping[int, VersionView]) -> Iterator[str]:
    """The last rollout of some events that took effect, as a line; nothing where there was none."""
    event = next((e for e in reversed(events) if e.rollout is not None), None)
    if event is None or event.rollout is None:
        return
    rollout = event.rollout
    what = f"version {version_link(model, rollout.canary)} against {version_link(model, rollout.champion)}"
    yield ""
    if rollout.active:
        step = f"step {rollout.step + 1} of {len(rollout.plan.weights)}"
        yield f"Rollout of {what}: **{_percent(rollout.weight)}**, {step}.{_record(rollout, versions)}"
    else:
        end = f"{cell(who(event))}, {_time(event.time)}{_why(event)}"
        yield f"Last rollout, of {what}: **{decision(event)}** ({end}).{_record(rollout, versions)}"


def _record(rollout: Rollout, versions: Mapping[int, VersionView]) -> str:
    """What the judge said last of a rollout, and a link to its record, where its canary's tags have them."""
    canary = versions.get(rollout.canary)
    of, _, place = ("" if canary is None else canary.tags.get(tags.ROLLOUT_RUN, "")).partition(" ")
    if canary is None or of != rollout.id:
        return ""
    said = canary.tags.get(tags.VERDICT, "")
    record = f" {run_link('Verdicts and record', place)}."
    if rollout.active:
        return (f" {cell(said, 400)}" if said else "") + record
    return f"{record} {reports(place)}"


def _events(model: str, events: Sequence[Event]) -> Iterator[str]:
    yield from ("| time (UTC) | what | version | who | why |", "|---|---|---|---|---|")
    for event in list(reversed(events))[:_EVENTS]:
        did = done(event) + ("" if event.outcome is Ending.DONE else f" ({event.outcome})")
        version = "" if event.to_version is None else version_link(model, event.to_version)
        yield _row(_time(event.time), cell(did), version, cell(event.actor), cell(event.reason, _WHY))


def _how(event: Event | None) -> tuple[str, str]:
    if event is None:
        return "", "before the history, or out of band"
    return _time(event.time), f"{cell(ended(event) or event.kind.shown)} by {cell(who(event))}{_why(event)}"


def _why(event: Event) -> str:
    return f": {cell(event.reason, _WHY)}" if event.reason else ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def cell(text: str, most: int | None = None) -> str:
    """A text as a cell of a table in Markdown: on one line, as it is, its end left out beyond so many characters."""
    said = " ".join(text.split())
    return markdown(said if most is None or len(said) <= most else f"{said[: most - 1]}…")


def _percent(weight: int) -> str:
    return f"{to_percent(weight):g} %"


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"


def update(store: RegistryStore, model: str, look: Callable[[], View], about: Iterable[int | None]) -> None:
    """Bring the descriptions of a model and of some versions up to date; what goes wrong is logged, and fails nothing.

    What a person writes into a description while it is read and written back, some milliseconds, is lost.

    Args:
        store: The registry.
        model: Registered model.
        look: Tells the model as it is.
        about: The versions; those that are gone, and None, are passed over.
    """
    if environment.setting(environment.DESCRIPTIONS).strip().lower() == "off":
        return
    versions: dict[int, VersionView] = {}
    try:
        view = look()
        for number in dict.fromkeys(number for number in about if number is not None):
            try:
                there = view.canary
                there = there if there is not None and there.version == number else store.version(model, number)
                versions[number] = there
            except FdsError as error:
                log.debug("version %s of %r is not described: %s", number, model, error.what)
        _write(store, model, None, view.model.description, of_model(model, view, versions))
        for number, there in versions.items():
            _write(store, model, number, there.description, of_version(model, number, view, versions))
    except FdsError as error:
        log.warning("the descriptions of %r in MLflow's pages are not up to date: %s", model, error.what)


def _write(store: RegistryStore, model: str, version: int | None, text: str, lines: Sequence[str]) -> None:
    found = merged(text, lines)
    if found is None:
        where = "it" if version is None else f"its version {version}"
        log.warning("the description of %r (%s) is full: what serves is not told there", model, where)
    elif found != text:
        store.write(model, Describe(found, version))
