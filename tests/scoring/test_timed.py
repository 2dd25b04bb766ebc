"""Somebody else's code, asked for a limited time: whatever it does, it ends its own call and nothing more."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from fds_mlflow.scoring.timed import Timed


@pytest.mark.parametrize("code", [0, 3, "enough", None])
def test_a_model_cannot_end_the_process(code: Any) -> None:
    """`sys.exit` in a model is an error of that model: the process that asks it goes on, and asks it again."""
    asked = Timed(lambda ending: sys.exit(code) if ending else "an answer")
    with pytest.raises(RuntimeError, match="asked for the end of the process"):
        asked(True, 60)
    assert asked(False, 60) == "an answer"
