"""What pages show of the program's output is what it prints, but for numbers, names and what they leave out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from fds_mlflow.cli.main import main
from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import DataError
from fds_mlflow.notifications.words import words
from fds_mlflow.workflows import Source
from tests.notifications.test_people import VERDICT
from tests.support import tiny_models
from tests.support.places import ROOT


def block(page: str, begin: str) -> list[str]:
    """The lines of the block of text that begins so; what is left out, and what a shell is told, is left out."""
    text = (ROOT / page).read_text(encoding="utf-8")
    (found,) = [one for one in re.findall(r"```text\n(.*?)```", text, re.DOTALL) if one.startswith(begin)]
    lines = [line.partition(" (…)")[0] for line in found.splitlines()]
    return [kept(line) for line in lines if line.strip() not in ("", "...", "4") and not line.startswith("$")]


def kept(line: str) -> str:
    """A line without numbers and ids."""
    return re.sub(r"\b(?:01[0-9A-Z]{24}|\d[\d,.]*)\b", "N", line.strip())


def fds(*given: str) -> list[str]:
    """The lines that a call prints."""
    return CliRunner().invoke(main, given).output.splitlines()


def test_approvals(mlflow_uri: str, tmp_path: Path) -> None:
    """A promotion that waits, the approval that carries it out, and a dry run."""
    source = tiny_models.save(tmp_path, "good", tiny_models.GOOD)
    for _ in range(3):
        tiny_models.register("fraud", source)
    fds("promote", "fraud", "1", "--reason", "first")
    dry = fds("promote", "fraud", "2", "--dry-run", "--reason", "x")
    assert [line for line in block("docs/approvals.md", "$ fds promote") if line not in "\n".join(map(kept, dry))] == []
    fds("policy", "fraud", "--require-approval", "promote")
    waits = fds("--actor", "ann", "promote", "fraud", "3", "--reason", "quarterly retrain")
    request = re.search(r"01[0-9A-Z]{24}", "".join(waits))
    assert request is not None
    done = fds("--actor", "bob", "approve", request[0], "--execute")
    printed = "\n".join(map(kept, [*waits, *done]))
    assert [line for line in block("docs/approvals.md", "$ fds --actor ann") if line not in printed] == []


def test_a_verdict_for_people() -> None:
    """The message that Slack or a mailbox gets."""
    title, body, _ = words(VERDICT)
    shown = block("docs/notifications.md", "fraud: FAIL")
    assert shown[:-1] == [kept(line) for line in (title, *body.splitlines())][:-1]


def test_what_does_not_fit_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal of a file: its column, its rows, the first of them, and the fix."""
    rows = [f"{number},2026-01-01T00:00:{number % 60:02},{number}" for number in range(1_000)]
    for number in (16, 40, 50):
        rows[number] = f'{number},2026-01-01T00:00:00,"1,250.00"'
    monkeypatch.chdir(tmp_path)
    Path("orders.csv").write_text("\n".join(["order_no,ordered_at,total_eur", *rows]))
    schema = Schema(transaction_id="order_no", time="ordered_at", amount="total_eur")
    with pytest.raises(DataError) as refused:
        Source("orders.csv", schema).read()
    printed = [kept(refused.value.what), kept(f"Fix: {refused.value.fix}")]
    assert block("docs/data.md", "column 'total_eur'") == printed
