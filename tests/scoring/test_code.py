"""What of a model is code is told before anything of it is loaded; what is not known to be data counts as code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.errors import ConfigError
from fds_mlflow.scoring.code import code_in
from tests.support.effort import at_most

SKOPS = {"serialization_format": "skops", "model_path": "model"}
SKLEARN = {"loader_module": "mlflow.sklearn", "data": "model", "model_path": "model"}
LIGHTGBM = {"loader_module": "mlflow.lightgbm", "data": "model"}


def saved(folder: Path, main: Mapping[str, Any], **flavors: Any) -> Path:
    """A saved model, as far as its MLmodel file goes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model").write_bytes(b"")
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": {"python_function": dict(main), **flavors}}))
    return folder


@pytest.mark.parametrize(
    ("main", "flavors"),
    [
        (SKLEARN, {"sklearn": SKOPS}),
        (SKLEARN, {"sklearn": {**SKOPS, "skops_trusted_types": ["numpy.dtype", "sklearn.tree._tree.Tree"]}}),
        (LIGHTGBM, {"lightgbm": {"data": "model"}}),
        (LIGHTGBM, {"lightgbm": {"data": "model", "model_class": "lightgbm.sklearn.LGBMClassifier", **SKOPS}}),
        (
            {**LIGHTGBM, "loader_module": "mlflow.xgboost"},
            {"xgboost": {"model_class": "xgboost.sklearn.XGBClassifier"}},
        ),
        ({**LIGHTGBM, "loader_module": "mlflow.catboost"}, {"catboost": {}}),
        ({**LIGHTGBM, "loader_module": "mlflow.onnx"}, {"onnx": {"providers": ["CPUExecutionProvider"]}}),
    ],
)
@pytest.mark.tested(7)
def test_data_is_known_as_data(tmp_path: Path, main: dict[str, Any], flavors: dict[str, Any]) -> None:
    """Text, JSON, ONNX, and skops of the types of well-known libraries."""
    assert code_in(saved(tmp_path / "model", main, **flavors)) is None


@pytest.mark.parametrize(
    ("main", "flavors", "why"),
    [
        (SKLEARN, {"sklearn": {"serialization_format": "cloudpickle"}}, "kept as cloudpickle"),
        (SKLEARN, {"sklearn": {}}, "kept as pickle"),
        (SKLEARN, {"sklearn": {**SKOPS, "skops_trusted_types": ["os.system"]}}, "has skops trust os.system"),
        (SKLEARN, {"sklearn": {**SKOPS, "skops_trusted_types": ["sklearn.os.system"]}}, "sklearn.os.system"),
        (LIGHTGBM, {"lightgbm": {"model_class": "lightgbm.sklearn.LGBMClassifier"}}, "kept as cloudpickle"),
        ({**LIGHTGBM, "loader_module": "mlflow.xgboost"}, {"xgboost": {"model_class": "evil.Model"}}, "evil.Model"),
        ({**LIGHTGBM, "loader_module": "mlflow.onnx"}, {"onnx": {"providers": [["A", {"lib": "x.so"}]]}}, "sets up"),
        ({"loader_module": "mlflow.pyfunc.model"}, {}, "PythonModel"),
        ({"loader_module": "mlflow.pytorch"}, {}, "mlflow.pytorch"),
        ({"loader_module": "my.own"}, {}, "my.own"),
        ({}, {}, "None"),
        ({**LIGHTGBM, "code": "code"}, {"lightgbm": {}}, "code_paths"),
        ({**LIGHTGBM, "data": "/tmp/model"}, {"lightgbm": {}}, "not in its folder"),
        (LIGHTGBM, {"lightgbm": {"data": "../model"}}, "not in its folder"),
        ({**SKLEARN, "data": "."}, {"sklearn": SKOPS}, "MLmodel|loaded by"),
        (LIGHTGBM, {}, "unknown form"),
        (LIGHTGBM, {"lightgbm": "text"}, "unknown form"),
    ],
)
@pytest.mark.tested(20)
def test_everything_else_counts_as_code(
    tmp_path: Path, main: dict[str, Any], flavors: dict[str, Any], why: str
) -> None:
    """Pickle, Python, other loaders, classes by name, files elsewhere, and forms that nobody knows."""
    assert why.partition("|")[0] in (found := code_in(saved(tmp_path / "model", main, **flavors)) or "") or (
        why.partition("|")[2] and why.partition("|")[2] in found
    )


def test_what_is_wrapped_is_looked_at(tmp_path: Path) -> None:
    """A version of ours that wraps a pickled model is pickled."""
    wraps = {"loader_module": "fds_mlflow.scoring.wrapped", "data": "wrapped"}
    folder = saved(tmp_path / "model", wraps)
    saved(folder / "wrapped" / "model", LIGHTGBM, lightgbm={})
    assert code_in(folder) is None
    saved(folder / "wrapped" / "model", {"loader_module": "mlflow.pyfunc.model"})
    assert "PythonModel" in (code_in(folder) or "")


def test_a_folder_with_an_mlmodel_of_its_own_is_no_way_round(tmp_path: Path) -> None:
    """MLflow's loaders read the MLmodel file beside their data: data in a folder inside could bring another one."""
    folder = saved(tmp_path / "model", {**SKLEARN, "data": "inner/model"}, sklearn=SKOPS)
    saved(folder / "inner", SKLEARN, sklearn={"serialization_format": "pickle"})
    assert code_in(folder) is not None
    saved(folder, {**SKLEARN, "data": "inner"}, sklearn=SKOPS)
    assert code_in(folder) is not None


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """No MLmodel file, or one that is no YAML, is told as such."""
    with pytest.raises(ConfigError, match="MLmodel"):
        code_in(tmp_path)
    (tmp_path / "MLmodel").write_text("flavors: {")
    with pytest.raises(ConfigError, match="not YAML"):
        code_in(tmp_path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["skops", "mlflow.sklearn"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@at_most(80)
@given(main=VALUES, sklearn=VALUES, loader=st.sampled_from(["mlflow.sklearn", "mlflow.lightgbm", "x"]))
def test_no_form_is_taken_for_data_by_mistake(
    tmp_path_factory: pytest.TempPathFactory, main: Any, sklearn: Any, loader: str
) -> None:
    """Whatever stands in the file: an answer and no traceback, and never "data" without a format that is known."""
    folder = tmp_path_factory.getbasetemp() / "generated"
    folder.mkdir(exist_ok=True)
    flavors = {"python_function": main, "sklearn": sklearn}
    if isinstance(main, dict):
        flavors["python_function"] = {**main, "loader_module": loader}
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors}), encoding="utf-8")
    if code_in(folder) is None:
        assert loader == "mlflow.sklearn"
        assert sklearn["serialization_format"] == "skops"
