"""Whatever stands in a registry, no door of ours shows it raw: terminal, line, JSON, page, description, metric, log."""

from __future__ import annotations

import ast
import io
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fds_mlflow.cli.output import lines, live, tables
from fds_mlflow.cli.output.plain import plain
from fds_mlflow.core.lifecycle.events import Event
from fds_mlflow.errors import UnavailableError
from fds_mlflow.lifecycle.reports import Candidate, Overview, Validation
from fds_mlflow.lifecycle.validation import ValidationCheck
from fds_mlflow.registry.doctor import Finding, Severity
from fds_mlflow.registry.store import VersionView
from fds_mlflow.registry.tags import Intent, Precondition
from fds_mlflow.registry.transaction import Result
from fds_mlflow.rollouts import naming
from fds_mlflow.rollouts.report.report import RolloutSummary, build, render, summary
from fds_mlflow.rollouts.report.summary import VersionFacts
from fds_mlflow.runtime import streams
from fds_mlflow.runtime.clock import SystemClock
from fds_mlflow.serving.host.server import logging_setup
from fds_mlflow.serving.worker.metrics import Metrics, Series, exposition
from tests.support.hostile import ACTING, HONEST, TEXTS, raw, without_colours
from tests.support.places import ROOT
from tests.support.registry_model import MODEL
from tests.support.rollout_ticks import ROLLOUT, SMALL, Trial

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@lru_cache(maxsize=1)
def _trial() -> Trial:
    return Trial(SMALL)


def history(text: str) -> tuple[Event, ...]:
    """A history whose every text is the given one, as another program could have written it."""
    events = naming.about(_trial().model.session.look().history.events, ROLLOUT)
    return tuple(replace(event, actor=text, reason=text) for event in events)


def version(text: str) -> VersionView:
    """A version whose every text is the given one."""
    tags = {"fds.algorithm": text, "fds.threshold": text, "fds.source": text}
    return VersionView(4, text, text, tags, None, text, NOON, text)


def views(text: str) -> list[object]:
    """All that a terminal is given of a registry."""
    events = history(text)
    pending = Intent("I", text, Precondition(None, None, (0, ""), ""), None, NOON)
    tick = replace(_trial().tick(reason=text), model=text)
    applied = Result(events[0], text)
    view = live.LiveView(SystemClock(), 30.0)
    view(replace(tick, applied=applied))
    failed = live.LiveView(SystemClock())
    failed(replace(tick, error=UnavailableError(text, fix=text)))
    ended = live.LiveView(SystemClock())
    ended(replace(tick, rollout=None, recommendation=None, ended=True, last=events[-1]))
    check = ValidationCheck(text, False, text, text)
    return [
        tables.events(events, [pending]),
        tables.overview(Overview(text, 3, None, False, (pending,), (version(text),))),
        tables.findings([Finding(Severity.DANGER, text, text, text)]),
        tables.validation(Validation(4, (check,), (text,))),
        tables.candidates([Candidate(4, NOON, NOON, False, {}, text)]),
        tables.table(text, [text, "b"], [[text, text]]),
        *(view, failed, ended, text),
    ]


def printed(*shown: object, colours: bool = True) -> str:
    """What a terminal gets."""
    console = tables.console()
    file = io.StringIO()
    made = type(console)(
        file=file,
        width=100,
        force_terminal=colours,
        markup=False,
        emoji=False,
        highlight=False,
        color_system="standard",
    )
    for one in shown:
        made.print(one)
    return file.getvalue()


@pytest.mark.slow
@given(TEXTS)
def test_a_terminal_gets_nothing_raw(text: str) -> None:
    """Tables, the live view and messages show names, reasons and descriptions without obeying them."""
    assert raw(without_colours(printed(*views(text))), "\n") == []


@pytest.mark.parametrize("text", [*ACTING, "[link=http://evil.example]x[/link]", "[red]x[/]", "[/nothing]"])
def test_no_text_styles_or_links(text: str) -> None:
    """Neither escape codes nor rich's markup in a text colours, moves or links anything."""
    shown = printed(text, *views(f"a{text}b"))
    assert "\x1b]8" not in shown
    assert raw(without_colours(shown), "\n") == []
    assert printed("[red]x[/]", colours=False) == "[red]x[/]\n"


@pytest.mark.parametrize("text", HONEST)
def test_a_terminal_shows_honest_texts(text: str) -> None:
    """Every script is legible in a table."""
    assert text.split(maxsplit=1)[0] in printed(tables.table("t", ["who"], [[text]]))


@given(TEXTS)
def test_lines_get_nothing_raw(text: str) -> None:
    """A line of a log is one line, and a message's further lines look like none of ours."""
    tick = replace(_trial().tick(reason=text), model=text)
    ended = replace(tick, rollout=None, recommendation=None, ended=True, last=history(text)[-1])
    for one in (tick, ended, replace(tick, error=UnavailableError(text, fix=text))):
        file = io.StringIO()
        with live.showing(SystemClock(), Console(file=file, width=1_000)) as show:
            show(one)
        assert raw(file.getvalue(), "") == ["U+000A"]
    assert raw(lines.shown(text)) == []
    assert all(line.startswith("  ") for line in lines.shown(text).split("\n")[1:])


@given(TEXTS)
def test_json_gets_nothing_raw_and_stays_exact(text: str) -> None:
    """JSON means what the registry holds, to the letter, and obeys nobody on a terminal."""
    file = io.StringIO()
    streams.say(plain({"events": history(text), text: version(text)}), file)
    assert raw(file.getvalue(), "\n") == []
    assert json.loads(file.getvalue())["events"][0]["reason"] == text


def story(text: str) -> RolloutSummary:
    """A rollout about which every text is the given one."""
    facts = [VersionFacts(number, text, text, text, text, text, text) for number in (3, 4)]
    said = {
        naming.VERDICT: text,
        naming.RECOMMENDATION: f"wait: {text}",
        f"{naming.VERDICT}.error_rate": f"PASS: {text}",
    }
    return build(f"{MODEL}{text}", history(text), {}, said, NOON, versions=facts)


@pytest.mark.slow
@given(TEXTS)
def test_the_report_gets_nothing_raw(text: str) -> None:
    """The page shows what people wrote, and neither HTML, control characters nor overrides come from it."""
    page = render(story(f"<script>{text}</script>"))
    assert raw(page) == []
    assert "<script>" not in page


def test_a_description_makes_no_links() -> None:
    """What a reason holds is Markdown of ours nowhere: MLflow's page shows it as it was written."""
    tick = _trial().tick(reason="[click](http://evil.example) ![x](http://evil.example/p.png) <b>`|")
    for note in (naming._note(tick), naming._note(replace(tick, model="[x](y)"))):
        assert "[click]" not in note.replace("\\[click\\]", "")
        assert "\\<b>\\`\\|" in note
    assert summary(story("[click](x)"))


@given(TEXTS.filter(bool))
def test_metrics_get_nothing_raw(text: str) -> None:
    """A model's name is one label of one line of Prometheus' format."""
    said = exposition([Series(text, Metrics(responses={("/score", 200): 1}))]).decode()
    assert raw(said, "\n") == []
    assert all(line.startswith(("#", "fds_")) for line in said.splitlines())


@given(TEXTS, st.sampled_from([str, ValueError]))
def test_a_servers_log_has_one_line_for_each_record(text: str, kind: Callable[[str], object]) -> None:
    """Nobody forges a line of the log: each is one JSON object, in ASCII, without secrets."""
    root, before, file = logging.getLogger(), logging.getLogger().handlers[:], io.StringIO()
    level, stderr = root.level, sys.stderr
    try:
        sys.stderr = file
        logging_setup()
        logging.getLogger(f"x{text}").error("%s: http://ann:hun%s@host", kind(text), "ter2")
    finally:
        sys.stderr = stderr
        root.handlers[:] = before
        root.setLevel(level)
    assert raw(file.getvalue(), "") == ["U+000A"]
    assert file.getvalue().isascii()
    assert "hunter2" not in json.loads(file.getvalue())["message"]


@given(TEXTS)
def test_what_libraries_print_is_made_safe(text: str) -> None:
    """Prints, warnings, tracebacks and logs of others pass the same door while a verb runs."""
    file, stderr = io.StringIO(), sys.stderr
    try:
        sys.stderr = file
        with streams.guarded():
            sys.stderr.write(f"{text} http://ann:hunter2@host {text}")
            before = file.tell()
            logging.lastResort.handle(logging.makeLogRecord({"msg": f"x\n{text}", "levelno": 50}))  # type: ignore[union-attr]
            logged = file.getvalue()[before:]
        sys.excepthook(ValueError, ValueError(f"{text}http://ann:hunter2@host"), None)  # which is told at the very end
    finally:
        sys.stderr, sys.excepthook = stderr, sys.__excepthook__
    assert all(line.startswith("  ") for line in logged.rstrip("\n").split("\n")[1:])
    assert raw(file.getvalue().removeprefix("\r")) == []
    assert "hunter2" not in file.getvalue()


def test_the_command_line_prints_by_its_doors_alone() -> None:
    """Nobody prints past the doors: consoles, lines and JSON are made in one place each."""
    found = []
    for path in sorted((ROOT / "fds_mlflow" / "cli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("print", "click.echo", "click.secho", "Console", "sys.stdout.write", "sys.stderr.write"):
                    found.append(f"{path.name}: {ast.unparse(node)}")
    assert [one for one in found if not one.startswith("lines.py")] == ["plan.py: click.echo(TEMPLATE, nl=False)"]
