"""A version that was logged with other packages says so where it fails."""

from __future__ import annotations

from pathlib import Path

import pytest
import sklearn

from fds_mlflow.errors import DataError
from fds_mlflow.scoring.requirements import unmet
from fds_mlflow.scoring.scorer import Scorer
from tests.support.tiny_models import EXAMPLE

HERE = sklearn.__version__


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("scikit-learn==0.1", [f"scikit-learn==0.1 (here {HERE})"]),
        ("no-such-package>=1", ["no-such-package>=1 (here not installed)"]),
        (f"scikit-learn=={HERE}", []),
        ("scikit-learn", []),
        ("# nothing\n--hash=sha256:0\n-r more.txt\n", []),
    ],
)
def test_what_is_not_so_here_is_named(line: str, said: list[str], tmp_path: Path) -> None:
    """Each package of the model that is missing or of another version, with the version that is installed."""
    (tmp_path / "requirements.txt").write_text(line)
    assert unmet(str(tmp_path)) == said


def test_a_model_without_requirements_names_none(tmp_path: Path) -> None:
    """No file, or no folder at all, is no complaint."""
    assert unmet(str(tmp_path)) == unmet("") == []


def test_who_cannot_score_is_told_what_it_was_logged_with(tmp_path: Path) -> None:
    """An estimator of an older scikit-learn lacks what the newer one looks for: the error names both versions."""

    class Stale:
        def predict(self, _rows: object) -> object:
            raise AttributeError("'SimpleImputer' object has no attribute '_fill_dtype'")

    (tmp_path / "requirements.txt").write_text("scikit-learn==0.1\n")
    scorer = Scorer(1, 0.5, {}, None, Stale().predict, str(tmp_path))
    with pytest.raises(DataError, match="_fill_dtype") as caught:
        scorer.score(EXAMPLE)
    assert f"logged with scikit-learn==0.1 (here {HERE})" in caught.value.fix
