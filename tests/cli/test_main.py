"""The command line: help everywhere, JSON for machines, exit codes, and errors that name the fix."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from fds_mlflow.cli.main import main
from fds_mlflow.cli.output import tables
from fds_mlflow.registry import tags
from fds_mlflow.registry.mlflow_store import MlflowStore
from fds_mlflow.registry.store import SetAlias, SetModelTag
from tests.registry.test_tags import EVENT, FOUND, ULID
from tests.support import tiny_models

HEAVY = ("mlflow", "pandas", "sqlalchemy", "sklearn", "lightgbm", "matplotlib", "pyarrow", "scipy", "numpy")


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command with its words."""
    yield " ".join(path), command
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            yield from walk(sub, (*path, name))


COMMANDS = dict(walk(main))
VERBS = [words for words, command in COMMANDS.items() if not isinstance(command, click.Group)]


def fds(*words: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(main, words)


def answer(*words: str) -> Any:
    """What a command that succeeds prints as JSON; NaN and Infinity are no JSON."""
    result = fds(*words, "--json")
    assert result.exit_code == 0, result.output
    return strict(result.stdout)


def strict(text: str) -> Any:
    """JSON as the standard has it."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two tiny models on disk."""
    folder = tmp_path_factory.mktemp("tiny")
    return [
        tiny_models.save(folder, name, expression)
        for name, expression in (("good", tiny_models.GOOD), ("better", tiny_models.BETTER))
    ]


@pytest.fixture
def fraud(mlflow_uri: str, saved: list[Path], monkeypatch: pytest.MonkeyPatch) -> MlflowStore:
    """Model `fraud` with two versions that load; the actor is ann."""
    monkeypatch.setenv("FDS_ACTOR", "ann")
    for path in saved:
        tiny_models.register("fraud", path, metrics={"average_precision": 0.5})
    return MlflowStore()


# --- help ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_has_help(words: str) -> None:
    """Each command answers --help with one sentence on what it does, and exit code 0."""
    result = fds(*words.split(), "--help")
    assert result.exit_code == 0
    assert (COMMANDS[words].help or "").strip().split("\n")[0].rstrip(".`)").strip()


def test_every_option_has_help() -> None:
    """No option is left without a word on what it is for."""
    silent = [
        f"{words} {option.opts[0]}"
        for words, command in COMMANDS.items()
        for option in command.params
        if isinstance(option, click.Option) and not option.help
    ]
    assert silent == []


def test_the_command_line_mirrors_the_managed_model() -> None:
    """One command for each verb that a person uses."""
    expected = {
        "stage", "promote", "retire", "list", "show", "settle", "route", "train", "retrain", "compare", "simulate",
        "demo", "canary start", "canary status", "canary advance", "canary complete", "canary abort",
        "rollback emergency", "rollback to", "rollback candidates", "rollback validate",
    }  # fmt: skip
    assert expected <= set(COMMANDS)


def test_help_imports_nothing_heavy() -> None:
    """Help answers without MLflow or any data library, so that it answers at once."""
    code = (
        "import sys\n"
        "from fds_mlflow.cli.main import main\n"
        "for words in (['--help'], ['canary', 'start', '--help'], ['train', '--help'], ['--version']):\n"
        "    main(words, standalone_mode=False)\n"
        "print('loaded:', [name for name in sys.argv[1:] if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("loaded: []")


def test_a_public_name_costs_nothing_before_it_is_used() -> None:
    """`import fds_mlflow` alone loads no library; the names come when asked for."""
    code = (
        "import sys, fds_mlflow\n"
        "print('loaded:', [name for name in sys.argv[1:] if name in sys.modules], fds_mlflow.Plan().steps)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True)
    assert done.stdout == "loaded: [] (10.0, 25.0, 50.0, 100.0)\n"


@pytest.mark.parametrize("words", VERBS)
def test_every_question_and_verb_speaks_json(words: str) -> None:
    """Machines get JSON from every command that has something to tell."""
    names = {option.opts[0] for option in COMMANDS[words].params if isinstance(option, click.Option)}
    assert "--json" in names or words in ("demo", "history export", "plan template", "serve")


# --- the story ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_lifecycle_in_json(fraud: MlflowStore) -> None:
    """From stage to emergency, every command's JSON parses and says what happened, by whom and why."""
    (before,) = answer("list")
    assert (before["model"], before["champion"], before["since"], before["canary"]) == ("fraud", None, None, None)
    staged = answer("stage", "fraud", "1", "--reason", "weekly")
    assert staged["changed"] is True
    assert (staged["event"]["kind"], staged["event"]["actor"], staged["event"]["reason"]) == ("stage", "ann", "weekly")
    answer("promote", "fraud", "1")
    assert answer("promote", "fraud", "1")["changed"] is False
    started = answer("canary", "start", "fraud", "2", "--steps", "30,100")
    assert started["event"]["rollout"]["plan"]["steps"] == [30.0, 100.0]
    routes = answer("route", "fraud", "TX1", "TX2")
    assert set(routes) == {"TX1", "TX2"}
    assert routes["TX1"]["variant"] in ("champion", "canary")
    status = answer("canary", "status", "fraud")
    assert status["recommendation"]["action"] == "wait"
    assert (status["canary"]["keys"], status["verdicts"][0]["status"]) == (0, "NODATA")
    (trying,) = answer("list", "--rollout", "--alias", "canary", "--stage", "staging")
    assert (trying["champion"], trying["canary"], trying["weight"]) == (1, 2, 30.0)
    assert (
        answer("list", "--no-rollout") == answer("list", "--older-than", "1d") == answer("list", "--alias", "x") == []
    )
    assert answer("canary", "advance", "fraud")["event"]["rollout"]["weight"] == 10_000
    answer("canary", "complete", "fraud", "--reason", "proven")
    (after,) = answer("list", "--older-than", "0s")
    assert (after["champion"], after["canary"], after["weight"]) == (2, None, None)
    assert after["stages"] == {"Production": [2], "Archived": [1]}
    (candidate,) = answer("rollback", "candidates", "fraud")
    assert (candidate["version"], candidate["metrics"]) == (1, {"average_precision": 0.5})
    assert answer("rollback", "validate", "fraud", "1")["passed"] is True
    emergency = fds("rollback", "emergency", "fraud", "--reason", "alerts", "--json")
    assert strict(emergency.stdout)["event"]["to_version"] == 1
    assert "champion is version 1 from now on" in emergency.stderr
    shown = answer("show", "fraud")
    assert (shown["champion"], shown["agrees"], shown["pending"]) == (1, True, [])
    assert [event["kind"] for event in answer("history", "show", "fraud")["events"]] == [
        "emergency", "complete", "advance", "start", "promote", "stage",
    ]  # fmt: skip
    assert answer("settle", "fraud") == {"settled": True}


@pytest.mark.slow
def test_a_canary_does_not_get_ahead_of_its_plan_without_force(fraud: MlflowStore) -> None:
    """The command line holds what Python holds: beyond the next step, and to 100 %, by force and with a reason."""
    answer("promote", "fraud", "1")
    answer("canary", "start", "fraud", "2")
    for to in ("26", "50", "100"):
        refused = fds("canary", "advance", "fraud", "--to", to, "--reason", "hurry")
        assert (refused.exit_code, "beyond the plan's next step" in refused.stderr) == (1, True)
    done = answer("canary", "advance", "fraud", "--to", "100", "--force", "--reason", "known good")
    assert (done["event"]["forced"], done["event"]["rollout"]["weight"]) == (True, 10_000)
    assert "advance (forced) 100 %" in " ".join(fds("history", "fraud").output.replace("│", " ").split())


@pytest.mark.slow
def test_a_lifecycle_in_tables(fraud: MlflowStore) -> None:
    """People get tables: roles, weights, reasons and names, and nothing is cut off."""
    reason = "a reason long enough to be folded, with [brackets] and a backslash \\\\ " * 2
    for words in (["promote", "fraud", "1", "--reason", reason], ["canary", "start", "fraud", "2"]):
        assert fds(*words).exit_code == 0
    shown = fds("show", "fraud")
    assert "champion" in shown.output
    assert "canary 10 %" in shown.output
    history = " ".join(fds("history", "fraud").output.replace("│", " ").split())
    for word in ("ann", "promote", "[brackets]", "\\\\"):
        assert word in history
    status = fds("canary", "status", "fraud")
    assert "10 % -> 25 %" in status.output
    assert "NODATA" in status.output
    for words in (["list"], ["route", "fraud", "x"], ["rollback", "candidates", "fraud"], ["history", "show", "fraud"]):
        assert fds(*words).exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("reason", ["see \\[/ticket]", "done :tada: and \\[red]"])
def test_a_reason_is_shown_as_it_was_given(fraud: MlflowStore, reason: str) -> None:
    """No reason can break the history's table, or look different in it."""
    answer("promote", "fraud", "1", "--reason", reason)
    result = fds("history", "fraud")
    assert result.exit_code == 0
    assert reason in result.output


def test_names_with_brackets_break_no_table(fraud: MlflowStore) -> None:
    """Whatever an actor is called, the tables show it."""
    intent = tags.Intent(ULID, "ann [/nowhere]", FOUND, EVENT, EVENT.time)
    fraud.write("fraud", SetModelTag(tags.intent_name(ULID), tags.encode_intent(intent)))
    for words in (["history", "fraud"], ["show", "fraud"]):
        result = fds(*words)
        assert result.exit_code == 0
        assert "ann [/nowhere]" in result.output


@pytest.mark.slow
def test_json_has_no_nan(fraud: MlflowStore, saved: list[Path]) -> None:
    """A metric that is not a number is null, so that any JSON parser reads the answer."""
    tiny_models.register("fraud", saved[0], metrics={"roc_auc": float("nan"), "recall": float("inf")})
    for version in ("3", "1"):
        answer("promote", "fraud", version)
    assert answer("rollback", "candidates", "fraud")[0]["metrics"]["roc_auc"] is None


@pytest.mark.slow
def test_the_history_moves_to_another_model(fraud: MlflowStore, saved: list[Path], tmp_path: Path) -> None:
    """An exported history imported elsewhere tells the same story there, and only once."""
    answer("promote", "fraud", "1")
    answer("canary", "start", "fraud", "2")
    file = tmp_path / "history.jsonl"
    assert fds("history", "export", "fraud", str(file)).exit_code == 0
    for path in saved:
        tiny_models.register("copy", path)
    assert answer("history", "import", "copy", str(file)) == {"events": 2, "champion": 1, "canary": 2}
    assert answer("history", "import", "copy", str(file))["events"] == 2
    assert answer("history", "show", "copy") == answer("history", "show", "fraud")
    assert answer("route", "copy", "TX1") == answer("route", "fraud", "TX1")
    assert fds("doctor", "copy").exit_code == 0


@pytest.mark.slow
def test_the_doctor_finds_what_hands_did_and_mends_it(fraud: MlflowStore) -> None:
    """Exit code 1 while something is unexplained, and 0 once it is repaired."""
    answer("promote", "fraud", "1")
    assert answer("doctor", "fraud") == []
    fraud.write("fraud", SetAlias(tags.CHAMPION, 2))
    found = fds("doctor", "fraud", "--json")
    assert found.exit_code == 1
    assert "champion is 2 where the history says 1" in strict(found.stdout)[0]["what"]
    assert answer("doctor", "fraud", "--fix") == []
    assert answer("history", "show", "fraud")["events"][0]["kind"] == "adopt"


# --- exit codes ---------------------------------------------------------------------------------------------


REFUSED: list[tuple[list[str], str, str]] = [
    (["show", "nobody"], "nobody", "fds list"),
    (["promote", "fraud", "9"], "9", ""),
    (["canary", "status", "fraud"], "no active rollout", "canary start"),
    (["canary", "start", "fraud", "1"], "no champion", "promote"),
    (["rollback", "emergency", "fraud", "--reason", "x"], "no former champion", "promote"),
    (["rollback", "to", "fraud", "1", "--reason", "x"], "never champion", "promote"),
    (["promote", "fraud", "1", "--reason", "x" * 1_001], "1,001 bytes", "shorten"),
    (["canary", "start", "fraud", "1", "--steps", "50,10"], "do not rise", "rising"),
    (["canary", "advance", "fraud", "--to", "120"], "not a percentage", "0 to 100"),
    (["canary", "abort", "fraud", "--reason", ""], "no active rollout", "canary start"),
    (["rollback", "emergency", "fraud", "--reason", " "], "no former champion", "promote"),
    (["rollback", "to", "fraud", "1", "--reason", ""], "never champion", "promote"),
    (["canary", "complete", "fraud", "--force"], "no active rollout", "canary start"),
    (["canary", "advance", "fraud", "--to", "100", "--force"], "no active rollout", "canary start"),
    (["promote", "fraud", "1", "--force"], "force needs a reason", "--reason"),
    (["promote", "fraud", "1", "--reason", " "], "the reason is blank", "leave it out"),
    (["canary", "start", "fraud", "1", "--force"], "no champion", "promote"),
    (["train", "fraud", "--data", "simulator:many"], "how many rows", "simulator:50000"),
    (["train", "fraud", "--data", "nothing.csv"], "nothing.csv", ""),
    (["simulate", "x.xlsx"], "neither .parquet nor .csv", "choose"),
]


def test_words_of_a_table_stay_whole_at_80_columns() -> None:
    """The widest table breaks lines between words only, and loses none of them."""
    columns = ("variant", "version", "requests", "keys", "errors", "alerts", "labelled", "false positives", "missed")
    row = ("champion", 1, 12_345, 12_000, "0.12 %", "2.5 %", "88 %", 123, 12)
    for width in (80, 100, 160):
        shown = io.StringIO()
        Console(file=shown, width=width).print(tables.table("Canary", columns, [row], right=columns[1:]))
        text = shown.getvalue()
        words = " ".join(map(str, (*columns, *row))).split()
        assert not [word for word in words if word not in text], text
        assert max(map(len, text.splitlines())) <= width
    shown = io.StringIO()
    Console(file=shown, width=30).print(tables.table("Narrow", columns, [row]))
    assert all(shown.getvalue().count(letter) >= "champion".count(letter) for letter in "champion")


def test_what_is_refused_exits_1_with_the_fix(fraud: MlflowStore) -> None:
    """A refusal goes to stderr with its fix, or as JSON to stdout, and never with a traceback."""
    for words, says, fix in REFUSED:
        result = fds(*words)
        assert result.exit_code == 1, result.output
        assert says in result.stderr
        assert fix in result.stderr.split("Fix: ")[1]
        assert result.stdout == ""
        assert "Traceback" not in result.output
        as_json = fds(*words, "--json")
        assert as_json.exit_code == 1
        error = strict(as_json.stdout)
        assert says in error["error"]
        assert error["fix"]
        assert error["type"].endswith("Error")


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["promote"],
        ["promote", "fraud", "one"],
        ["promote", "fraud", "0"],
        ["promote", "fraud", "-1"],
        ["promote", "fraud", "1", "--because", "x"],
        ["canary", "start", "fraud", "1", "--steps", "ten,twenty"],
        ["canary", "start", "fraud", "1", "--min-outcomes", "few"],
        ["train", "fraud", "--algorithm", "xgboost"],
        ["train", "fraud", "--split", "random"],
        ["route", "fraud"],
        ["canary", "nonsense"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown commands, missing or malformed arguments: usage on stderr, exit code 2, and nothing was done."""
    monkeypatch.chdir(tmp_path)
    result = fds(*words)
    assert result.exit_code == 2, result.output
    assert "Usage:" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [["canary", "abort", "m"], ["rollback", "emergency", "m"], ["rollback", "to", "m", "1"]]
)
def test_a_reason_that_is_required_must_be_given(words: list[str], mlflow_uri: str) -> None:
    """Stopping and going back are never without a reason: exit code 2 names the option."""
    result = fds(*words)
    assert result.exit_code == 2
    assert "--reason" in result.stderr


def test_a_malformed_parameter_is_found_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong usage is answered before data is read."""
    monkeypatch.chdir(tmp_path)
    result = fds("train", "fraud", "--data", "nothing.csv", "--param", "no-equals-sign")
    assert result.exit_code == 2
    assert "not name=value" in result.stderr


@pytest.mark.slow
def test_a_validation_that_fails_exits_1(fraud: MlflowStore) -> None:
    """A script can ask whether it may roll back."""
    answer("promote", "fraud", "1")
    result = fds("rollback", "validate", "fraud", "2", "--json")
    assert result.exit_code == 1
    assert strict(result.stdout)["passed"] is False
    assert fds("rollback", "validate", "fraud", "2").exit_code == 1


def test_a_server_that_is_not_there_exits_1(mlflow_uri: str) -> None:
    """An unreachable tracking server is a refusal with a fix."""
    result = fds("--tracking-uri", "http://127.0.0.1:1", "--registry-uri", "http://127.0.0.1:1", "list")
    assert result.exit_code == 1
    assert "127.0.0.1:1 did not answer" in result.stderr


def test_the_module_runs_as_a_program() -> None:
    """`python -m fds_mlflow` is the same command line."""
    done = subprocess.run([sys.executable, "-m", "fds_mlflow", "--version"], capture_output=True, text=True, check=True)
    assert "version" in done.stdout


def test_a_simulation_is_written(tmp_path: Path) -> None:
    """`fds simulate` writes a file that is as large as asked for, and says how many frauds it holds."""
    file = tmp_path / "deep" / "transactions.parquet"
    made = answer("simulate", str(file), "--rows", "2000", "--days", "20", "--seed", "7")
    assert made["rows"] == 2_000
    assert 0 < made["frauds"] < 200
    assert file.is_file()
