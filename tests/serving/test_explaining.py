"""A router tells reasons where they are asked for, as a server does, and never at the cost of an answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fds_mlflow.errors import ConfigError
from fds_mlflow.scoring.scorer import Scorer, accelerated, opened
from tests.serving.test_router import KEYS, Setting
from tests.support import tiny_models

FRAME = pd.DataFrame(
    {"transaction_id": KEYS, "amount": np.linspace(0, 1, len(KEYS)), "hour": 12.0}, index=range(1_000, 1_200)
)


class Explaining(Setting):
    """A world in which version 2 is LightGBM's, and version 1 was made by hand."""

    folder: Path

    def load(self, version: int) -> Scorer:
        """Load a version."""
        if version == 1:
            return super().load(version)
        folder = str(self.folder)
        return accelerated(Scorer.of(version, 0.5, opened(folder, None), folder))


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    """Champion 1, and canary 2 with a quarter of the keys."""
    made = Explaining()
    made.folder = tiny_models.booster(tmp_path / "model")
    made.rollout(2_500)
    return made


def test_each_row_has_the_reasons_of_the_version_that_answered(setting: Setting) -> None:
    """Rows of a version with reasons have them, in their places; those of one without say so, and are scored."""
    answer = setting.router().predict(FRAME, reasons="all")
    plain = setting.router().predict(FRAME)
    pd.testing.assert_frame_equal(answer[list(plain.columns)], plain)
    canary = answer[answer["version"] == 2]
    assert 0 < len(canary) < len(answer)
    for row, reasons, base, score in zip(canary.index, canary["reasons"], canary["base"], canary["score"], strict=True):
        assert {one.feature: one.value for one in reasons} == {"amount": FRAME["amount"][row], "hour": 12.0}
        assert base + sum(one.contribution for one in reasons) == pytest.approx(np.log(score / (1 - score)), abs=1e-9)
    assert canary["reasons_refused"].isna().all()
    champion = answer[answer["version"] == 1]
    assert champion["reasons"].isna().all()
    assert champion["base"].isna().all()
    assert champion["reasons_refused"].str.contains("version 1 gives no reasons").all()
    assert len(setting.outcomes) == 2 * len(FRAME)


def test_one_transaction_has_its_reasons(setting: Setting) -> None:
    """`score` tells of one transaction what `predict` tells of a frame."""
    router = setting.router()
    told = router.predict(FRAME, reasons=1)
    for place in (0, 1, 2, 3, 4, 5, 6, 7):
        one = router.score(FRAME.iloc[place].to_dict(), reasons=1)
        row = told.iloc[place]
        assert (one.explanation and one.explanation.reasons) == row["reasons"]
        assert one.reasons_refused == row["reasons_refused"]
    unasked = router.score(FRAME.iloc[0].to_dict())
    assert (unasked.explanation, unasked.reasons_refused) == (None, None)


def test_no_rows_have_no_reasons(setting: Setting) -> None:
    """An empty frame is answered, with the columns that were asked for."""
    answer = setting.router().predict(FRAME.head(0), reasons=3)
    assert (len(answer), {"reasons", "base", "reasons_refused"} <= set(answer.columns)) == (0, True)


def test_what_is_no_number_of_reasons_is_refused_before_anything_is_scored(setting: Setting) -> None:
    """So many as cannot be asked for are an error, and no outcome is left."""
    with pytest.raises(ConfigError):
        setting.router().predict(FRAME, reasons=0)
    with pytest.raises(ConfigError):
        setting.router().score(FRAME.iloc[0].to_dict(), reasons=0)
    assert len(setting.outcomes) == 0
