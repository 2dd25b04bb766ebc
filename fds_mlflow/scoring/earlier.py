"""Feature tables for versions of earlier releases, whose codes are spelled as they came when they were trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fds_mlflow.data.codes import code
from fds_mlflow.scoring.compiled import CompiledModel
from fds_mlflow.scoring.scorer import Scorer

if TYPE_CHECKING:
    import pandas as pd


def score_table(scorer: Scorer, frame: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Score rows of a feature table, as `Scorer.score` does: shape (rows,), float64 in [0, 1].

    A version that was trained on `101.0` or `True` knows no `101` and no `true`: it would lose every comparison on
    rows that are read today. A code that it does not know stands for the one that is spelled so now, if it knows that.

    Raises:
        DataError: The frame does not fit the signature, or the model breaks the scorer contract.
    """
    if scorer.codes or scorer.loaded is None or "string" not in scorer.inputs.values():
        return scorer.score(frame)
    from fds_mlflow.scoring.convert import compiled

    form = compiled(scorer.folder, scorer.loaded, scorer.example, scorer.inputs)
    if not isinstance(form, CompiledModel):
        return scorer.score(frame)
    respelled = {}
    for column in form.columns:
        known = column.codes or {}
        former = {code(one): one for one in known if code(one) not in known}
        if former and column.name in frame.columns:
            respelled[column.name] = frame[column.name].map(lambda one, former=former: former.get(one, one))
    return scorer.score(frame.assign(**respelled))
