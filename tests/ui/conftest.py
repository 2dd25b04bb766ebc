"""The page over an MLflow of its own, in the test's process."""

from __future__ import annotations

import pytest
from flask import Flask

from fds_mlflow.ui import app, permissions
from tests.support.chromium import chromium
from tests.support.page import Browser, House, People

__all__ = ["chromium"]


@pytest.fixture
def house(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> House:
    """A registry, which the page takes for its server's own."""
    monkeypatch.setenv("_MLFLOW_SERVER_FILE_STORE", mlflow_uri)
    return House(mlflow_uri)


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> People:
    """Who is signed in: at first nobody, on a server where everybody may do everything."""
    made = People()
    monkeypatch.setattr(permissions, "_access", made)
    return made


@pytest.fixture
def browser(house: House, people: People) -> Browser:
    """Somebody who looks at the page."""
    made = Flask("page")
    app.add_pages(made)
    return Browser(made.test_client(), people)
