"""The story of one's own file: a notebook and a script that are one, and end with a report and a new champion."""

from __future__ import annotations

import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest

from tests.support.places import ROOT

jupytext = pytest.importorskip("jupytext", reason="a development dependency is not installed")

SCRIPT = ROOT / "examples" / "own_data.py"
NOTEBOOK = SCRIPT.with_suffix(".ipynb")


def cells(notebook: Any) -> list[tuple[str, str]]:
    """What a reader sees of a notebook: the kind and the text of each cell."""
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def check_end(folder: Path) -> None:
    """The folder has a report that tells of the new champion, and the registry says the same."""
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    assert int(client.get_model_version_by_alias("shop", "champion").version) == 2
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "</html>" in report
    assert "LightGBM instead of an isolation forest" in report


def test_the_notebook_is_the_script() -> None:
    """Who opens the notebook reads what the script does, and nothing that a run left behind; `make docs` writes it."""
    notebook = jupytext.read(NOTEBOOK)
    assert cells(notebook) == cells(jupytext.read(SCRIPT))
    assert [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")] == []
    assert NOTEBOOK.stat().st_size < 20_000


@pytest.mark.slow
def test_the_script_leads_to_a_new_champion(
    migrated_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a script it goes from the file to the report, and leaves nothing outside the folder it is given."""
    folder = tmp_path / "made"
    folder.mkdir()
    shutil.copyfile(migrated_database, folder / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "made"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    check_end(folder)


@pytest.mark.campaign
def test_the_notebook_leads_to_a_new_champion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a notebook, in a kernel of its own, it does the same."""
    nbclient = pytest.importorskip("nbclient", reason="a development dependency is not installed")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = jupytext.read(NOTEBOOK)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}}).execute()
    check_end(tmp_path / "own-data")
