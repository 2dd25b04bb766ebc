"""The documentation says nothing that is not so: its example runs, its links resolve, its command lines parse."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from itertools import pairwise, takewhile
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest
import yaml

from fds_mlflow.cli.main import main
from fds_mlflow.core.routing.routing import bucket
from tests.support.places import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
EXAMPLES = sorted({*ROOT.glob("examples/*.py")} - {ROOT / "examples" / "own_data.py"})  # run by test_own_data.py

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_SPAN = re.compile(r"`([^`\n]+)`")


def named(paths: list[Path]) -> list[object]:
    """Parametrize by path, with the name inside the repository as test id."""
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in paths]


def shell_lines(page: Path) -> Iterator[str]:
    """The command lines of a page's shell blocks, continuations joined, comments, prompts and paths to .venv off."""
    for language, block in _FENCE.findall(page.read_text(encoding="utf-8")):
        if language in ("bash", "sh", "console", "shell"):
            for line in block.replace("\\\n", " ").splitlines():
                yield line.removeprefix("$ ").replace(".venv/bin/", "").strip()


def commands(page: Path, program: str) -> Iterator[list[str]]:
    """The arguments of each call of a program in a page's shell blocks, without settings before it or redirections."""
    for line in shell_lines(page):
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words and words[0] == program:
            yield list(takewhile(lambda word: word not in (">", ">>", "<"), words[1:]))


def prose_spans(page: Path) -> list[str]:
    """Inline code of a page, code blocks left out."""
    return _SPAN.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def leaf(words: list[str]) -> tuple[click.Command, list[str]]:
    """The verb that a command line of fds names, and the words that follow it."""
    command: click.Command = main
    while isinstance(command, click.Group):
        context = click.Context(command)
        _, words, _ = command.make_parser(context).parse_args(words)
        if not words:
            break
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
    return command, words


class TestReadme:
    def test_one_sentence_and_at_most_five_bullets_come_before_the_example(self) -> None:
        """A reader sees what it is, why, and how, on the first screen."""
        lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:40]
        start = lines.index("```python")
        assert lines.index("```", start) < 40
        assert len([line for line in lines[:start] if line.startswith("- ")]) <= 5
        assert len([line for line in lines[1:start] if line and not line.startswith("- ")]) == 1

    @pytest.mark.campaign
    @pytest.mark.slow
    def test_its_example_runs(self, mlflow_uri: str, capsys: pytest.CaptureFixture[str]) -> None:
        """The code on the first screen does what its comments say, with nothing added."""
        from mlflow import MlflowClient

        head = (ROOT / "README.md").read_text(encoding="utf-8")
        language, code = _FENCE.findall(head)[0]
        assert language == "python"
        exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
        printed = capsys.readouterr().out
        assert "outcomes in this step" in printed
        assert "4 emergency 2 -> 1 support reports blocked customers" in printed
        assert MlflowClient(mlflow_uri).get_model_version_by_alias("fraud", "champion").version in (1, "1")


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.parametrize("script", named(EXAMPLES))
def test_every_example_runs(script: Path, tmp_path: Path) -> None:
    """A script under examples/ runs from any folder and leaves nothing outside the one it is given."""
    folder = tmp_path / "made"
    done = subprocess.run(
        [sys.executable, str(script), str(folder)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "complete" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize("page", named(PAGES))
def test_every_internal_link_resolves(page: Path) -> None:
    """A link inside the repository leads to a file that is there, and to a heading that is there."""
    for link in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), f"{link} leaves the repository"
        assert target.exists(), f"{link} does not exist"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{link}: no such heading; there are {sorted(anchors(target))}"


@pytest.mark.parametrize("page", named(PAGES))
def test_every_command_line_parses(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command line copied from a page is accepted by the program."""
    monkeypatch.chdir(tmp_path)
    for words in commands(page, "fds"):
        for word in words:
            if word.endswith(".jsonl"):
                Path(word).touch()  # a file to read must be there
        try:
            command, rest = leaf(words)
            with suppress(click.exceptions.Exit):  # --help
                command.make_context(command.name or "fds", rest)
        except click.UsageError as error:
            pytest.fail(f"fds {shlex.join(words)}: {error.format_message()}")


@pytest.mark.parametrize("page", named(PAGES))
def test_every_verb_and_option_in_the_text_exists(page: Path) -> None:
    """A verb or an option named in a sentence is one that the program has."""
    for span in prose_spans(page):
        if span.startswith("fds ") and not span.startswith("fds VERB"):
            command, rest = leaf(span.split()[1:])
            known = [*command.params, *main.params]  # which may stand anywhere
            options = {name for parameter in known for name in parameter.opts} | {"--help", "-h"}
            for word in rest:
                assert not word.startswith("-") or word.partition("=")[0] in options, f"{span}: no option {word}"


@pytest.mark.parametrize("page", named(PAGES))
def test_every_name_that_a_page_imports_exists(page: Path) -> None:
    """A Python block on a page parses, and what it imports from this package is there."""
    for language, block in _FENCE.findall(page.read_text(encoding="utf-8")):
        for node in ast.walk(ast.parse(block)) if language == "python" else ():
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fds_mlflow"):
                module = import_module(node.module or "")
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert not missing, f"{node.module} has no {', '.join(missing)}"


@pytest.mark.parametrize("page", named(PAGES))
def test_every_make_target_exists(page: Path) -> None:
    """A `make` target named on a page is one that the Makefile has."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    spans = [shlex.split(span)[1:] for span in prose_spans(page) if span.startswith("make ")]
    for words in [*commands(page, "make"), *spans]:
        unknown = {word for word in words if "=" not in word and not word.startswith("-")} - targets
        assert not unknown, f"make {shlex.join(words)}: the Makefile has {sorted(targets)}"


@pytest.mark.slow
@pytest.mark.parametrize("page", named(PAGES))
def test_every_mlflow_run_names_an_entry_point_and_its_parameters(page: Path) -> None:
    """An `mlflow run` copied from a page names an entry point of MLproject, and gives what that one needs."""
    entries = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
    for words in commands(page, "mlflow"):
        if words[:1] != ["run"]:
            continue
        options = list(pairwise(words))
        entry = next((value for option, value in options if option in ("-e", "--entry-point")), "main")
        given = {value.partition("=")[0] for option, value in options if option == "-P"}
        assert entry in entries, f"MLproject has no entry point {entry!r}"
        parameters = entries[entry]["parameters"]
        needed = {name for name, declared in parameters.items() if "default" not in declared}
        assert needed <= given <= set(parameters), f"{shlex.join(words)}: {entry} takes {sorted(parameters)}"


@pytest.mark.parametrize("page", named(PAGES))
def test_every_named_test_exists(page: Path) -> None:
    """A `pytest` command line names files, classes and methods that are there."""
    for words in commands(page, "pytest"):
        for word in words:
            if not word.startswith("tests"):
                continue
            path, *names = word.split("::")
            assert (ROOT / path).exists(), f"{path} does not exist"
            body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body if names else []
            for name in names:
                found = [n for n in body if getattr(n, "name", None) == name]
                assert found, f"{word}: no {name}"
                body = getattr(found[0], "body", [])


def test_the_list_of_verbs_is_current() -> None:
    """docs/cli.md lists every verb with the options it has today; `python docs/generate_cli.py` writes it."""
    made = runpy.run_path(str(ROOT / "docs" / "generate_cli.py"))["page"]()
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == made


def test_the_bucket_in_the_concepts_is_the_bucket_of_the_code() -> None:
    """The worked example of the routing rule can be used to check another implementation."""
    text = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    found = re.search(r"rollout id `(\w+)` the key `(\w+)` has the\s+bucket (\d+)", text)
    assert found is not None
    assert bucket(found[1], found[2]) == int(found[3])


def test_the_signed_hash_of_spark_gives_the_same_bucket() -> None:
    """The SQL in the concepts, written out: a signed hash, two moduli and 1616 give the unsigned remainder."""
    for signed in (-(2**63), -10_001, -1, 0, 7, 2**63 - 1):
        assert (signed % 10_000 + (1616 if signed < 0 else 0)) % 10_000 == signed % 2**64 % 10_000


def test_the_picture_is_well_formed_and_knows_dark_pages() -> None:
    """The picture opens in a browser, says in words what it shows, and has colours for dark pages."""
    picture = ROOT / "docs" / "architecture.svg"
    tree = ElementTree.parse(picture)
    assert tree.getroot().find("{http://www.w3.org/2000/svg}desc") is not None
    assert "prefers-color-scheme: dark" in picture.read_text(encoding="utf-8")


def test_the_changelog_knows_this_version() -> None:
    """The version in the package metadata has its section in the changelog."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
