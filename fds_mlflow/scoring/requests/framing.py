"""Values that were read for one version, as a frame for another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fds_mlflow.scoring.columns import labels
from fds_mlflow.scoring.requests.rows import UnfitError


def framed(rows: Sequence[dict[str, Any]], schema: Any) -> Any:
    """A frame of values that were read for another version, as MLflow reads them for this one.

    Args:
        rows: Values by column.
        schema: MLflow's schema of the input; None where there is none.

    Raises:
        UnfitError: They do not fit the schema.
    """
    import pandas as pd
    from mlflow.models.utils import _enforce_schema
    from mlflow.utils.proto_json_utils import cast_df_types_according_to_schema

    frame = pd.DataFrame(list(rows)).rename(columns=labels(schema))
    if schema is None:
        return frame
    try:
        if not schema.is_tensor_spec():
            frame = cast_df_types_according_to_schema(frame, schema)
        _enforce_schema(frame, schema)
    except Exception as error:  # whatever MLflow, pandas and NumPy say of rows that they do not take
        raise UnfitError(f"the request does not fit: {describe(error)}", fix="send what the signature says") from None
    return frame


def describe(error: Exception) -> str:
    """What an error of MLflow says, at most 1,000 characters."""
    return str(getattr(error, "message", error))[:1_000]
