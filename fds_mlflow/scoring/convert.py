"""Compiles a logged model, or makes one that takes arrays; it is believed only where both give the same scores.

Runs where scikit-learn and MLflow are loaded: beside the processes that serve, never in them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fds_mlflow.errors import FdsError
from fds_mlflow.scoring.arrays import ArrayModel
from fds_mlflow.scoring.beside import Beside
from fds_mlflow.scoring.columns import DTYPES, PLAIN
from fds_mlflow.scoring.compiled import Column, CompiledModel, ForestScore

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

TOLERANCE = 1e-9
"""Largest difference of two scores that count as the same; LightGBM's own are equal to the last bit."""

_PROBES = 256


def compiled(
    folder: str, loaded: Any, example: pd.DataFrame | None, inputs: Mapping[str, str]
) -> CompiledModel | ArrayModel | None:
    """The quickest scorer with a logged model's scores, None where that is pyfunc; arguments as for `convert`."""
    if not PLAIN.issuperset(inputs.values()):
        return None
    if isinstance(loaded._model_impl, Beside):
        return loaded._model_impl.compiled  # compared when it was logged
    return convert(folder, loaded, example, inputs) or array_model(loaded, example, inputs)


def convert(folder: str, loaded: Any, example: pd.DataFrame | None, inputs: Mapping[str, str]) -> CompiledModel | None:
    """The compiled scorer of a logged model.

    Args:
        folder: Of the logged model, on disk.
        loaded: The same as MLflow's pyfunc.
        example: Rows to compare both on.
        inputs: Input columns and MLflow's names of their types, in the order of the signature.

    Returns:
        The compiled scorer; None where there is none, or where it does not give the same scores.
    """
    flavors = loaded.metadata.flavors
    if example is None or not inputs or len(example) == 0:
        return None
    try:
        if "lightgbm" in flavors:
            found = _booster(folder, flavors["lightgbm"], inputs)
        elif "sklearn" in flavors:
            found = _pipeline(loaded.get_raw_model(), inputs)
        else:
            return None
    except (FdsError, KeyError, AttributeError, ValueError, TypeError, OSError) as error:
        log.info("no compiled scorer: %s: %s", type(error).__name__, error)
        return None
    if found is None or not _agree(found, loaded, example, inputs):
        return None
    return found


def of_pipeline(model: Any, example: pd.DataFrame, inputs: Mapping[str, str]) -> CompiledModel | None:
    """The compiled scorer of a fitted pipeline of ours, before it is logged.

    Args:
        model: The pipeline.
        example: Rows to compare both on.
        inputs: Input columns and MLflow's names of their types, in the order of the signature.

    Returns:
        The compiled scorer; None where it does not give the same scores.
    """
    found = _pipeline(model, inputs)
    return found if found is not None and _agree(found, model, example, inputs) else None


def array_model(loaded: Any, example: pd.DataFrame | None, inputs: Mapping[str, str]) -> ArrayModel | None:
    """The logged scikit-learn model without a frame around its rows; arguments as for `convert`.

    Returns:
        The model; None where it is none of scikit-learn's, has other columns than numbers, or gives other scores so.
    """
    if "sklearn" not in loaded.metadata.flavors or example is None or len(example) == 0 or not inputs:
        return None
    if not DTYPES.keys() >= set(inputs.values()):
        return None
    try:
        arrays = ArrayModel(loaded, inputs)
        return arrays if _agree(arrays, loaded, example, inputs) else None
    except Exception as error:  # somebody else's code: whatever it is, a frame will do
        log.info("no arrays: %s: %s", type(error).__name__, error)
        return None


def _agree(form: CompiledModel | ArrayModel, loaded: Any, example: pd.DataFrame, inputs: Mapping[str, str]) -> bool:
    """Whether both give the same scores on the example and on rows shuffled and spread out from it."""
    frame = _probes(example, inputs)
    try:
        try:
            expected = loaded.predict(frame)
        except Exception:  # not every model takes gaps, and one that does not says so in both forms
            frame = frame.dropna()
            expected = loaded.predict(frame)
        expected = np.asarray(expected, dtype=np.float64).reshape(-1)
    except Exception as error:  # somebody else's code, and rows nobody has asked it about
        log.info("nothing to compare a compiled scorer with: %s: %s", type(error).__name__, error)
        return False
    columns = [frame[name].to_numpy() for name in inputs]
    differences = [np.abs(form.matrix(columns).reshape(-1) - expected).max()]
    rows = [[column[i] for column in columns] for i in range(len(frame))]
    differences.append(np.abs(np.array([form.row(row) for row in rows]) - expected).max())
    if not all(difference <= TOLERANCE for difference in differences):  # nor where one is no number
        log.warning("a compiled scorer is left aside: its scores differ by up to %.3g", max(differences))
        return False
    return True


def _probes(example: pd.DataFrame, inputs: Mapping[str, str]) -> pd.DataFrame:
    """Rows of the example's values, shuffled column by column, numbers spread out, each column of its own type."""
    import pandas as pd

    random = np.random.default_rng(0)
    rows = random.integers(0, len(example), (_PROBES, len(inputs)))
    probes: dict[str, Any] = {}
    for position, (name, kind) in enumerate(inputs.items()):
        values = example[name].to_numpy()[rows[:, position]]
        if kind in DTYPES and kind != "boolean":
            values = np.asarray(values, dtype=np.float64) * random.lognormal(0, 0.5, _PROBES)
            if kind in ("double", "float"):
                values[random.random(_PROBES) < 0.05] = np.nan
            values = values.astype(DTYPES[kind])
        probes[name] = values
    return pd.concat([example[list(inputs)], pd.DataFrame(probes)], ignore_index=True)


def _booster(folder: str, flavor: dict[str, Any], inputs: Mapping[str, str]) -> CompiledModel | None:
    path = Path(folder) / str(flavor["data"])
    if path.suffix != ".lgb":
        return None
    text = path.read_text()
    if text.rstrip().rpartition("pandas_categorical:")[2] not in ("null", "[]"):
        return None  # categories that pandas encoded: pyfunc knows how
    return CompiledModel([_number(name, kind) for name, kind in inputs.items()], range(len(inputs)), text)


def _number(name: str, kind: str) -> Column:
    """A column that passes on as it is; MLflow rounds a `float` to 32 bits."""
    return Column(name, "single" if kind == "float" else "number")


def _pipeline(model: Any, inputs: Mapping[str, str]) -> CompiledModel | None:
    steps = dict(getattr(model, "steps", ()))
    if list(steps) == ["encode", "trees"]:
        columns, order = _columns(steps["encode"], inputs)
        return CompiledModel(columns, order, steps["trees"].booster_.model_to_string())
    if list(steps) == ["prepare", "forest", "score"]:
        columns, order = _columns(steps["prepare"], inputs)
        forest = steps["forest"].estimators_[0]
        text, divisor = forest_text(forest)
        score = steps["score"]
        finish = ForestScore(
            divisor,
            float(forest.offset_),
            tuple(map(float, score.X_thresholds_)),
            tuple(map(float, score.y_thresholds_)),
        )
        return CompiledModel(columns, order, text, forest=finish, single=True)
    return None


def _columns(encoder: Any, inputs: Mapping[str, str]) -> tuple[list[Column], list[int]]:
    """What a fitted ColumnTransformer does with each input, and in which order it puts them."""
    made: dict[str, Column] = {}
    for _, step, names in encoder.transformers_:
        if len(names):
            made |= {column.name: column for column in _transformed(step, list(names), inputs)}
    return [made[name] for name in inputs], [list(inputs).index(name) for name in made]


def _transformed(step: Any, names: list[str], inputs: Mapping[str, str]) -> list[Column]:
    kind = "FunctionTransformer" if step == "passthrough" else type(step).__name__
    if kind == "FunctionTransformer":
        return [_number(name, inputs[name]) for name in names]
    if kind == "Pipeline":
        impute, scale = (part for _, part in step.steps)
        return [
            Column(name, "scaled", missing=float(median), mean=float(mean), scale=float(width))
            for name, median, mean, width in zip(names, impute.statistics_, scale.mean_, scale.scale_, strict=True)
        ]
    if kind == "OrdinalEncoder":
        return [
            Column(name, "ordinal", codes={str(value): code for code, value in enumerate(known)}, other=-1)
            for name, known in zip(names, step.categories_, strict=True)
        ]
    if kind == "OneHotEncoder":
        return [_one_hot(step, position, name) for position, name in enumerate(names)]
    raise ValueError(f"a {kind} has no compiled scorer")


def _one_hot(encoder: Any, position: int, name: str) -> Column:
    """Rare categories share the last code, and so does one that was never seen, where there are rare ones."""
    known = list(encoder.categories_[position])
    rare = encoder.infrequent_categories_[position]
    rare = set() if rare is None else set(rare)
    frequent = [value for value in known if value not in rare]
    codes = {str(value): code for code, value in enumerate(frequent)}
    other = len(frequent) if rare else None
    codes |= {str(value): len(frequent) for value in rare}
    return Column(name, "one_hot", codes=codes, other=other, width=len(frequent) + bool(rare))


def forest_text(forest: Any) -> tuple[str, float]:
    """An Isolation Forest in LightGBM's model format: each leaf's value is its path length.

    Source: Liu, Ting, Zhou, *Isolation Forest*, ICDM 2008, algorithm 3: the path length of a leaf that holds n rows
    is its depth plus c(n), the average path length of an unsuccessful search among n (equation 1).

    Args:
        forest: A fitted `sklearn.ensemble.IsolationForest`.

    Returns:
        The text, and the number of trees times c(rows per tree), by which the sum of path lengths is divided.
    """
    columns = forest.n_features_in_
    blocks = [
        _tree(number, tree.tree_, features)
        for number, (tree, features) in enumerate(zip(forest.estimators_, forest.estimators_features_, strict=True))
    ]
    names = " ".join(f"f{i}" for i in range(columns))
    header = (
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\n"
        f"max_feature_idx={columns - 1}\nobjective=regression\nfeature_names={names}\n"
        f"feature_infos={' '.join(['[-1e308:1e308]'] * columns)}\n"
        f"tree_sizes={' '.join(str(len(block)) for block in blocks)}\n\n"
    )
    divisor = len(forest.estimators_) * float(average_path(np.array([forest._max_samples]))[0])
    return header + "".join(blocks) + "end of trees\n\npandas_categorical:null\n", divisor


def average_path(rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """c(n): the average path length of an unsuccessful search in a binary search tree of n rows.

    Source: Liu, Ting, Zhou, *Isolation Forest*, ICDM 2008, equation 1: 2 H(n-1) - 2 (n-1)/n with
    H(i) = ln(i) + 0.5772156649; 0 for one row and 1 for two, as scikit-learn has it.
    """
    rows = np.asarray(rows, dtype=np.float64)
    many = rows > 2
    answer = np.where(rows == 2, 1.0, 0.0)
    n = rows[many]
    answer[many] = 2 * (np.log(n - 1) + np.euler_gamma) - 2 * (n - 1) / n
    return answer


def _tree(number: int, tree: Any, features: npt.NDArray[np.intp]) -> str:
    left, right = tree.children_left, tree.children_right
    leaf = left == -1
    depth = np.zeros(tree.node_count, dtype=np.float64)
    for node in np.flatnonzero(~leaf):  # parents come before their children
        depth[[left[node], right[node]]] = depth[node] + 1
    values = depth + average_path(tree.n_node_samples)
    # Inner nodes and leaves are numbered apart; a leaf is referred to by the complement of its number.
    place = np.where(leaf, -np.cumsum(leaf), np.cumsum(~leaf) - 1)
    inner = np.flatnonzero(~leaf)

    def listed(numbers: Any) -> str:
        return " ".join(map(repr, numbers.tolist()))

    lines = [f"Tree={number}", f"num_leaves={int(leaf.sum())}", "num_cat=0"]
    if len(inner):
        lines += [
            f"split_feature={listed(features[tree.feature[inner]])}",
            f"split_gain={listed(np.zeros(len(inner)))}",
            f"threshold={listed(tree.threshold[inner])}",
            f"decision_type={listed(np.zeros(len(inner), dtype=int))}",
            f"left_child={listed(place[left[inner]])}",
            f"right_child={listed(place[right[inner]])}",
        ]
    lines += [
        f"leaf_value={listed(values[leaf])}",
        f"leaf_weight={listed(np.ones(int(leaf.sum())))}",
        f"leaf_count={listed(tree.n_node_samples[leaf])}",
    ]
    if len(inner):
        zeros = listed(np.zeros(len(inner), dtype=int))
        lines += [f"internal_value={zeros}", f"internal_weight={zeros}"]
        lines.append(f"internal_count={listed(tree.n_node_samples[inner])}")  # of which contributions are made
    return "\n".join([*lines, "is_linear=0", "shrinkage=1", "", "", ""])
