"""Every code block of the pages runs, as a reader would run it, on a trained model; the exceptions are counted.

A block of `fds` commands runs in a folder of its own, on a registry in which a rollout is active, is at its last step,
or has not begun, or on one with a former champion: it must do what it says on one of them. README.md is one story.
"""

from __future__ import annotations

import json
import re
import runpy
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from click.testing import CliRunner
from standardwebhooks import Webhook

from fds_mlflow.cli.main import main
from fds_mlflow.runtime.clock import SystemClock
from tests.docs.conftest import Demo
from tests.support.places import ROOT

PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")} - {ROOT / "CHANGELOG.md"})

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)

GIVEN = {
    "--label column": "--label is_fraud",
    "--data outcomes:fraud": "--data transactions.parquet",
    "--rows 100000": "--rows 2000",
    "--search 30m": "--search 1s",
    "--rows 60000": "--rows 20000",
    "runs:/0f3c…/model": "models:/fraud/4",
    "models:/legacy@prod": "models:/fraud/4",
    "--positive-class fraud": "",
    "acme.models:fit": "lightgbm",
    '["amount", "items"], ["country"]': '["amount"]',
    "--plot rehearsal.png": "--plot rehearsal.png --replays 20",
    "--model fraud --version 4": "--model fraud --version 4 --replays 20",
    "whsec_...": "whsec_" + "QUJD" * 8,
    "https://example.com": "http://127.0.0.1:9",
    "kafka://broker1:9092,broker2:9092/outcomes --follow": "parquet:outcomes",
}
"""What a reader fills in, and what would take long: text of the pages, and what stands for it here."""

ELSEWHERE = {
    "make": "tests/docs/test_docs.py::test_every_make_target_exists",
    "pytest": "tests/docs/test_docs.py::test_every_named_test_exists",
    "mlflow": "tests/workflows/test_mlflow_run.py, and tests/plugins/test_deployments.py",
    "pip": "tests/runtime/test_small_installation.py",
    "curl": "tests/serving/http/test_app.py",
    "python": "benchmarks, each of which takes minutes to hours",
    "source": "the reader's shell",
    **dict.fromkeys(("docker", "kubectl", "systemctl"), "tests/deploy/test_deploy.py, as far as `fds` goes"),
    "deploy/compose/restart": "tests/deploy/test_replicas.py",
    "git": "the reader's shell",
    "pre-commit": "the reader's shell",
    ".ci/run": "the reader's shell",
    "find": "tests/runtime/test_model_files.py",
    "fds serve": "tests/serving/host/test_server.py",
    "fds simulate --serve": "tests/docs/test_tour.py",
    "fds demo": "tests/cli/test_demo.py",
    "fds notify": "tests/notifications/test_notifications.py",
}
"""Commands that do not run here, and where what they promise is shown."""

ENDS = {
    **{"canary run": {0, 3, 130}, "canary tick": {0, 3, 4}, "doctor": {0, 1}, "rollback validate": {0, 1}},
    "drift": {0, 3, 4},
    **{"approve": {0, 1}, "reject": {0, 1}, "config delete": {0, 1}, "config use": {0, 1}},
    **{"features show": {0, 1}, "features forget": {0, 1}, "features skew": {0, 1}},
}
"""Exit codes that say something about the model, or that there is no state, request or context; 0 for all others."""


@dataclass(frozen=True)
class Block:
    """One code block.

    Attributes:
        page: Its page.
        line: The line of its fence.
        language: As the fence says.
        text: What is in it, as a reader would complete it.
    """

    page: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        """Where it is."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks() -> Iterator[Block]:
    """All of them."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in _BLOCK.finditer(text):
            indent, language, body = found.groups()
            body = re.sub(rf"^{indent}", "", body, flags=re.MULTILINE)
            for old, new in GIVEN.items():
                body = body.replace(old, new)
            yield Block(page, text[: found.start()].count("\n") + 1, language, body)


BLOCKS = list(blocks())


def commands(block: Block) -> Iterator[list[str]]:
    """The command lines of a block that run here, in words."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.replace(".venv/bin/", ""), comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        called = {" ".join(words[:count]) for count in (1, 2, 3)}
        if words and not called & ELSEWHERE.keys():
            yield words


def enter(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Work in a folder, on its registry and its outcomes."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    patch.setenv("FDS_OUTCOMES_URI", f"sqlite:///{folder / 'outcomes.db'}")
    patch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    patch.chdir(folder)


def run(block: Block, folder: Path, patch: pytest.MonkeyPatch, printed: dict[str, str] | None = None) -> str:
    """Run a block's commands in a folder; "" where all of them did what they say, else what was said instead.

    Args:
        block: It.
        folder: Where.
        patch: For the environment.
        printed: Takes what each command prints the first time.
    """
    enter(folder, patch)
    if "plan template" in block.text:
        (folder / "plan.yaml").unlink(missing_ok=True)
    for words in commands(block):
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            patch.setenv(name, value)
            continue
        assert words[0] == "fds", f"{block.name}: nobody has said how {words[0]!r} is tested"
        arguments = list(takewhile(lambda word: word != ">", words[1:]))
        done = CliRunner().invoke(main, arguments)
        if printed is not None:
            printed.setdefault(shlex.join(words), done.stdout)
        fine = ENDS.get(" ".join(arguments[:2]), ENDS.get(arguments[0], {0}))
        if done.exit_code not in fine:
            return f"{shlex.join(words)}: exit {done.exit_code}: {done.output}"
        if ">" in words:
            Path(words[-1]).write_text(done.stdout)
    return ""


def somewhere(block: Block, demo: Demo, folder: Path, patch: pytest.MonkeyPatch) -> str:
    """Run a block's commands in one state after the other; "" once they do what they say, else what each said."""
    said = {}
    for state in demo.states:
        demo.copy(state, folder / state)
        said[state] = run(block, folder / state, patch)
        if not said[state]:
            return ""
    return "\n".join(f"{state}: {text}" for state, text in said.items())


@pytest.fixture
def _nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that would wait is stopped as Ctrl-C stops it."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SystemClock, "sleep", interrupted)


def of(*languages: str) -> list[Any]:
    """The blocks in a language, to parametrize by; README.md is a story of its own."""
    return [
        pytest.param(block, id=block.name)
        for block in BLOCKS
        if block.language in languages and block.page.name != "README.md"
    ]


def shell() -> list[Any]:
    """Blocks of commands to parametrize by; what another block runs as well, word for word, is not run twice."""
    made = [one for one in of("bash", "") if one.values[0].language or one.values[0].text.startswith("fds ")]
    lines = [{shlex.join(words) for words in commands(one.values[0])} for one in made]
    return [
        one
        for place, (one, mine) in enumerate(zip(made, lines, strict=True))
        if not any(mine < other or (mine == other and number < place) for number, other in enumerate(lines))
    ]


SHELL = shell()


@pytest.mark.campaign
@pytest.mark.usefixtures("_nobody_waits")
@pytest.mark.parametrize("block", SHELL)
def test_every_shell_block_runs(block: Block, demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands copied from a page do their work on a model that is there, in one of the states that a model has."""
    assert somewhere(block, demo, tmp_path, monkeypatch) == ""


IN_TEXT = sorted(set(re.findall(r"`(fds [^`]+ [^`]+)`", (ROOT / "docs/runbook.md").read_text(encoding="utf-8"))))
"""Commands of the runbook that stand in its sentences; those of two words are talked about."""


@pytest.mark.campaign
@pytest.mark.usefixtures("_nobody_waits")
@pytest.mark.parametrize("command", [one for one in IN_TEXT if "fraud" in one])
def test_every_command_of_the_runbook_does_something(
    command: str, demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to find out at night that a command in a sentence is refused in every state."""
    assert somewhere(Block(ROOT / "docs/runbook.md", 0, "bash", command), demo, tmp_path, monkeypatch) == ""


@pytest.mark.campaign
@pytest.mark.usefixtures("_nobody_waits")
def test_the_commands_of_the_readme_are_one_story(
    demo: Demo, mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first training to the last rollback, in the order of the page; each prints what the page shows of it."""
    monkeypatch.setenv("FDS_ACTOR", "ana@shop1")
    outputs = runpy.run_path(str(ROOT / "docs" / "generate_outputs.py"))
    printed: dict[str, str] = {}
    names: dict[str, Any] = {"__name__": "readme"}
    shutil.copytree(demo.folder / "files", tmp_path, dirs_exist_ok=True)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    story = [block for block in BLOCKS if block.page.name == "README.md" and block.language in ("bash", "python")][1:]
    for block in story:
        if "fds data describe" in block.text:  # a story of its own
            continue
        if block.language == "python":
            exec(compile(block.text, block.name, "exec"), names)
        else:
            assert run(block, tmp_path, monkeypatch, printed) == ""
    for command, text in outputs["shown"]((ROOT / "README.md").read_text(encoding="utf-8")).items():
        assert outputs["words"](printed[command]) == outputs["words"](text), command


def names() -> dict[str, Any]:
    """What the pages call by name without saying where it comes from."""
    secret, body = "whsec_" + "QUJD" * 8, "{}"
    moment = datetime.now(UTC)
    headers = {
        "webhook-id": "1",
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign("1", moment, body),
    }
    return {"__name__": "page", "secret": secret, "body": body, "headers": headers}


PYTHON_ELSEWHERE = {
    "docs/serving.md": "a router with a frame of the reader's own: tests/serving/test_router.py; MLflow's webhook: "
    "tests/serving/host/test_webhook.py",
    "docs/adopt.md": "a frame of the reader's own: tests/workflows/test_adoption.py",
    "docs/autopilot.md": "waits for a rollout's end: tests/rollouts/test_autopilot.py",
}
"""Pages whose Python names what only a reader has; it must parse, and what it imports exist (test_docs.py)."""


@pytest.mark.campaign
@pytest.mark.parametrize(
    "block", [one for one in of("python") if str(one.values[0].page.relative_to(ROOT)) not in PYTHON_ELSEWHERE]
)
def test_every_python_block_runs(
    block: Block, demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Python copied from a page runs as it stands, beside what the page's reader has."""
    demo.copy("rollout", tmp_path)
    if "pyspark" in block.text:
        request.getfixturevalue("spark")
    enter(tmp_path, monkeypatch)
    exec(compile(block.text.replace("/srv/fraud", str(tmp_path)), block.name, "exec"), names())


@pytest.mark.parametrize("block", of("yaml", "json", "toml"))
def test_every_block_of_data_is_what_it_says(block: Block) -> None:
    """YAML, JSON and TOML on a page can be parsed."""
    parse = {"yaml": yaml.safe_load, "json": json.loads, "toml": tomllib.loads}[block.language]
    assert parse(block.text)


def test_every_block_has_a_test_or_a_reason() -> None:
    """No block is of a kind that nobody runs, and no exception outlives what it was made for."""
    assert {block.language for block in BLOCKS} <= {"", "bash", "python", "yaml", "json", "toml", "sql", "text"}
    everything = "\n".join(block.text for block in BLOCKS)
    assert [
        program for program in ELSEWHERE if f"{program} " not in everything and f"{program}\n" not in everything
    ] == []
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [text for text in GIVEN if text not in pages] == []
    for reason in [*ELSEWHERE.values(), *PYTHON_ELSEWHERE.values()]:
        for path in re.findall(r"tests/[\w/]+\.py", reason):
            assert (ROOT / path).is_file(), f"{path} does not exist"
    assert len(ELSEWHERE) <= 19
    assert len(PYTHON_ELSEWHERE) <= 3
