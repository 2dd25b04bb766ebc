"""The Grafana dashboard asks for what the server tells."""

from __future__ import annotations

import json
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from fds_mlflow.serving.http.app import App
from fds_mlflow.serving.worker.settings import ServerSettings
from tests.support.places import ROOT
from tests.support.version_caches import table, version_cache

DASHBOARD = ROOT / "docs" / "grafana.json"


def test_every_panel_asks_for_series_and_labels_that_the_server_has(tmp_path: Path):
    """Each metric and each label in the dashboard's queries is among those at /metrics."""
    version_cache(tmp_path).write_table(table(weight=2_500))
    app = App(ServerSettings("fraud", "memory:", tmp_path))
    app.worker.follow()
    app.worker.metrics.scored("canary", 2, 0.001)
    app.worker.metrics.responded("/score", 200)
    told = list(text_string_to_metric_families(app.worker.exposition().decode()))
    names = {sample.name for family in told for sample in family.samples}
    labels = {label for family in told for sample in family.samples for label in sample.labels}
    queries = [target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]]
    assert set(re.findall(r"fds_\w+", " ".join(queries))) <= names
    grouped = {label for group in re.findall(r"by \(([^)]*)\)", " ".join(queries)) for label in group.split(", ")}
    assert grouped <= labels
    assert all('model="$model"' in query for query in queries)
