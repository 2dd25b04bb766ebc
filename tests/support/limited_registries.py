"""Registries of MLflow's own making that can do less: no tags, aliases or stages, or Unity Catalog's limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

TAGLESS, UNITY_CATALOG = "tagless", "databricks-uc"
"""Schemes: as the open-source Unity Catalog is (no tags, aliases or stages), and with the limits of Databricks' own."""


def _refuse(*_: Any, **__: Any) -> Any:
    raise NotImplementedError("Method not implemented")


def install(monkeypatch: pytest.MonkeyPatch, database: Path, *, stages: bool = False) -> None:
    """Make MLflow know both schemes, on one SQLite file; `stages` lets the one without tags have stages."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracking._model_registry import utils

    class Tagless(SqlAlchemyStore):
        set_registered_model_tag = delete_registered_model_tag = _refuse
        set_model_version_tag = delete_model_version_tag = _refuse
        set_registered_model_alias = delete_registered_model_alias = get_model_version_by_alias = _refuse

        def transition_model_version_stage(self, *given: Any, **more: Any) -> Any:
            return super().transition_model_version_stage(*given, **more) if stages else _refuse()

        def create_model_version(self, *given: Any, **more: Any) -> Any:
            return _refuse() if more.get("tags") else super().create_model_version(*given, **more)

    class Limited(SqlAlchemyStore):
        def set_registered_model_tag(self, name: str, tag: Any) -> None:
            _within(tag, len(self.get_registered_model(name).tags))
            super().set_registered_model_tag(name, tag)

        def set_model_version_tag(self, name: str, version: str, tag: Any) -> None:
            _within(tag, len(self.get_model_version(name, version).tags))
            super().set_model_version_tag(name, version, tag)

        def transition_model_version_stage(self, *_: Any, **__: Any) -> Any:
            raise MlflowException("Method 'transition_model_version_stage' is unsupported for models in Unity Catalog")

        def create_model_version(self, *given: Any, **more: Any) -> Any:
            for tag in more.get("tags") or ():
                _within(tag, 0)
            return super().create_model_version(*given, **more)

    def _within(tag: Any, there: int) -> None:
        if set(tag.key) & set(".,-=/:") or len(str(tag.value)) > 1_000 or there >= 50:
            raise MlflowException("INVALID_PARAMETER_VALUE: the tag is not allowed")

    monkeypatch.setattr(utils, "_model_registry_store_registry", None)
    known = utils._get_store_registry()
    for scheme, store in ((TAGLESS, Tagless), (UNITY_CATALOG, Limited)):
        known.register(scheme, lambda *_, store=store, **__: store(f"sqlite:///{database}"))
