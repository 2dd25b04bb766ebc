"""Tries a version the way a server will be asked: its input example as JSON, read, checked and scored row by row."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from fds_mlflow.core.routing.routing import RoutingTable
from fds_mlflow.errors import DataError
from fds_mlflow.scoring.loaded import Loaded
from fds_mlflow.scoring.requests.formats import formats
from fds_mlflow.scoring.scorer import Scorer
from fds_mlflow.scoring.served import Served, Table
from fds_mlflow.scoring.state import ServingState

_KEY = "transaction_id"
_SECONDS = 600.0


def tried(scorer: Scorer) -> int | None:
    """Score the input example of a version as a request of a client.

    Returns:
        How many rows it has; None where there is no example to try, or the version was made by hand.

    Raises:
        DataError: The server cannot read such a request, or the version does not score it so.
    """
    request = None if scorer.loaded is None else _request(scorer)
    if request is None:
        return None
    number, threshold = scorer.version, scorer.threshold
    version = Loaded(
        number, scorer.inputs, threshold, _SECONDS, optional=scorer.optional, model=scorer.loaded, warm=False
    )
    table = Table(RoutingTable(number), (Served(number, "", threshold),), datetime.min.replace(tzinfo=UTC))
    state = ServingState(table, version, None, _KEY, _KEY)
    rows = formats(state, limit=1_000_000).invocation(request).rows
    version.rows([state.for_champion(row) for row in rows])
    return len(rows)


def _request(scorer: Scorer) -> bytes | None:
    """The body of a request with the example's rows, as MLflow keeps it beside the model; None where there is none."""
    from mlflow.models import convert_input_example_to_serving_input

    try:
        text = scorer.loaded.metadata.get_serving_input(scorer.folder)
        if text is None and scorer.example is not None:
            text = convert_input_example_to_serving_input(scorer.example)
    except Exception as error:  # whatever MLflow and the example's own types say
        raise DataError(
            f"the input example of version {scorer.version} does not become a request: {error}",
            fix="log the version with an example of rows that JSON can hold",
        ) from error
    if text is None:
        return None
    request: dict[str, Any] = json.loads(text)
    request.pop("params", None)
    return json.dumps(request).encode()
