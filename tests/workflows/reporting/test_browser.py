"""The pages for people who know no statistics, in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fds_mlflow.display.document import html
from fds_mlflow.display.languages import LANGUAGES
from fds_mlflow.rollouts.report import plain
from fds_mlflow.workflows.reporting.page import document
from fds_mlflow.workflows.reporting.period import Change, ModelPeriod
from tests.rollouts.report.test_plain import counted, hostile, stopped
from tests.support.chromium import require_readable
from tests.workflows.reporting.test_report import METRICS, START, Kind, event, harmful, told

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.campaign]


def test_everybody_can_read_both_pages(chromium: Browser, tmp_path: Path) -> None:
    """No serious finding of accessibility, nothing wider than the screen: on a phone and a desk, by day and night."""
    changes = tuple(Change(event(n, Kind.PROMOTE, n, actor="ann@a-very-long-host-name"), None, 60.0) for n in (1, 2))
    models = [ModelPeriod(f"fraud-{n}", 2, START, (1, 2), (harmful(metrics=METRICS),), changes) for n in range(3)]
    for language in LANGUAGES:
        pages = {
            "one": html(plain.document(counted(stopped()), language)),
            "hostile": html(plain.document(hostile(), language)),
            "period": html(document(told(*models), language)),
        }
        for name, text in pages.items():
            (tmp_path / f"{name}.html").write_text(text, encoding="utf-8")
            for width, scheme in ((360, "light"), (1280, "dark")):
                page = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
                page.goto((tmp_path / f"{name}.html").as_uri())
                require_readable(page)
                page.close()
