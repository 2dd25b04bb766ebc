"""The HTTP interface described in OpenAPI, with the columns of the version that serves, and a page to read it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from fds_mlflow.outcomes.records import SHOWN
from fds_mlflow.scoring.requests.names import LONGEST_KEY
from fds_mlflow.serving.disk.spool import Label
from fds_mlflow.serving.worker.engine import Answer

_TYPES: Mapping[str, dict[str, Any]] = {
    "double": {"type": "number", "nullable": True},
    "float": {"type": "number", "nullable": True},
    "long": {"type": "integer", "nullable": True},
    "integer": {"type": "integer", "nullable": True},
    "string": {"type": "string", "nullable": True},
    "boolean": {"type": "boolean", "nullable": True},
}

_PARAMETERS: Sequence[tuple[str, str, dict[str, Any], str]] = [
    (
        "query",
        "reasons",
        {"pattern": "^([1-9][0-9]{0,8}|all)$"},
        "How many reasons to tell of a score at most, of those that speak for fraud, the strongest first; or all.",
    ),
    (
        "query",
        "features",
        {"enum": ["true", "false"]},
        "Whether to tell the features that the version scored.",
    ),
    (
        "header",
        "X-Request-ID",
        {},
        "Identity of the request: the same transaction that comes again under it is recorded once. All of it counts; "
        f"records show its first {SHOWN} characters.",
    ),
    (
        "header",
        "X-Routing-Key",
        {"maxLength": LONGEST_KEY},
        "The routing key, where the body has none; made and returned where it is absent as well.",
    ),
    (
        "header",
        "X-FDS-Variant",
        {"enum": ["champion", "canary"]},
        "Answer with this variant, for tests; only where the server allows it.",
    ),
]

_REFUSALS = {
    "400": "The request does not fit; the message names the column",
    "401": "The bearer token is missing or wrong",
    "403": "A page of another site, a name that is not the server's, or labels without a token off loopback",
    "408": "The body did not arrive in time",
    "413": "Too many bytes or rows",
    "415": "The content type is missing or another one",
    "503": "No version can answer, or there is too much to do; Retry-After says when to come again",
    "default": "Another refusal",
}

PAGE = b"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>fds serve</title><link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><div id="swagger-ui"></div><script src="docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui"})</script></body>
</html>
"""

FILES: Mapping[str, bytes] = {
    "/docs/swagger-ui.css": b"text/css",
    "/docs/swagger-ui-bundle.js": b"text/javascript",
}
"""What the page loads, and of which type it is."""


def file(path: str) -> bytes:
    """A file of the page."""
    folder = import_module("swagger_ui_bundle").swagger_ui_path
    return (Path(folder) / Path(path).name).read_bytes()


@dataclass(frozen=True)
class Described:
    """A model, as far as its requests are concerned.

    Attributes:
        model: Registered model.
        key: Column of the routing key.
        kinds: Columns of the versions that serve, and MLflow's names of their types; empty while none serves.
        required: Those of them that a request must have.
    """

    model: str
    key: str
    kinds: Mapping[str, str] = field(default_factory=dict)
    required: Collection[str] = ()

    @property
    def transaction(self) -> dict[str, Any]:
        """The schema of one transaction."""
        columns = {name: _TYPES.get(kind, {}) for name, kind in self.kinds.items()}
        columns.setdefault(self.key, {"type": "string", "nullable": True, "description": "The routing key."})
        required = [name for name in self.kinds if name in self.required]
        return {"type": "object", "properties": columns} | ({"required": required} if required else {})


def description(one: Described) -> bytes:
    """The interface of one model as JSON; its addresses begin where the description lies."""
    paths = {**_model_paths("Transaction"), **_questions()}
    return _document(one.model, paths, {"Transaction": one.transaction}, servers=[{"url": "."}])


def descriptions(models: Mapping[str, Described]) -> bytes:
    """The interface of a server of several models as JSON.

    Args:
        models: Each by the address where it begins.
    """
    paths, transactions = _questions(), {}
    for number, (address, one) in enumerate(models.items(), 1):
        name = f"Transaction{number}"  # a model's own name may have any sign
        transactions[name] = {"title": f"Transaction of {one.model}", **one.transaction}
        for path, item in {**_model_paths(name), **_questions()}.items():
            paths[address + path] = {method: {**what, "tags": [one.model]} for method, what in item.items()}
    return _document(", ".join(one.model for one in models.values()), paths, transactions)


def _document(models: str, paths: Mapping[str, Any], transactions: Mapping[str, Any], **more: Any) -> bytes:
    _, components = msgspec.json.schema_components([Answer, Label], ref_template="#/components/schemas/{name}")
    refusal = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("error_code", "message", "fix")},
    }
    info = {"title": f"fds serve {models}", "version": version("fds-mlflow")}
    schemas = {**components, **transactions, "Refusal": refusal}
    return json.dumps(
        {"openapi": "3.0.3", "info": info, **more, "paths": paths, "components": {"schemas": schemas}}
    ).encode()


def _invocation(transaction: Any) -> dict[str, Any]:
    """A call in one of MLflow's formats."""
    return {
        "type": "object",
        "description": "Exactly one of these.",
        "properties": {
            "dataframe_split": {
                "type": "object",
                "properties": {
                    "columns": {"type": "array", "items": {"type": "string"}},
                    "data": {"type": "array", "items": {"type": "array"}},
                },
            },
            "dataframe_records": {"type": "array", "items": transaction},
            "instances": {"type": "array"},
            "inputs": {},
        },
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _model_paths(transaction_name: str) -> dict[str, Any]:
    """What takes a body, by path.

    Args:
        transaction_name: Of the schema of one transaction.
    """
    transaction, answer, label = map(_reference, (transaction_name, "Answer", "Label"))
    predictions = {
        "type": "object",
        "properties": {
            "predictions": {"type": "array", "items": {"type": "number"}},
            "details": {"type": "array", "items": answer},
        },
    }
    return {
        "/score": _post("Score one transaction", {"application/json": transaction}, answer),
        "/invocations": _post(
            "Score rows, as MLflow's scoring server does",
            {
                "application/json": _invocation(transaction),
                "text/csv": {"type": "string"},
                "application/vnd.apache.parquet": {"type": "string", "format": "binary"},
            },
            predictions,
        ),
        "/labels": _post(
            "Say what is known about transactions",
            {"application/json": {"type": "array", "items": label}},
            {"type": "object", "properties": {"accepted": {"type": "integer"}}},
            parameters=[],
        ),
    }


def _questions() -> dict[str, Any]:
    """What is asked of a model, and of the whole server, by path."""
    return {
        "/health": _get("What serves, how old that knowledge is, and what is wrong"),
        "/ping": _get("Whether requests are answered; of several models, any of them", "text/plain"),
        "/ready": _get("Whether every model has a version to serve", "text/plain"),
        "/version": _get("MLflow's version", "text/plain"),
        "/metrics": _get("Counts in Prometheus' text format", "text/plain"),
    }


def _post(
    summary: str,
    bodies: Mapping[str, Any],
    answer: Any,
    parameters: Sequence[tuple[str, str, dict[str, Any], str]] = _PARAMETERS,
) -> dict[str, Any]:
    return {
        "post": {
            "summary": summary,
            "parameters": [
                {"name": name, "in": place, "schema": {"type": "string", **schema}, "description": told}
                for place, name, schema, told in parameters
            ],
            "requestBody": {"required": True, "content": {kind: {"schema": body} for kind, body in bodies.items()}},
            "responses": {"200": _response("Done", answer)}
            | {status: _response(told, _reference("Refusal")) for status, told in _REFUSALS.items()},
        }
    }


def _get(summary: str, kind: str = "application/json") -> dict[str, Any]:
    schema = {} if kind == "application/json" else {"type": "string"}
    responses = {
        "200": _response(summary, schema, kind),
        "503": _response("No version can answer", _reference("Refusal")),
        "default": _response(_REFUSALS["default"], _reference("Refusal")),
    }
    return {"get": {"summary": summary, "responses": responses}}


def _response(told: str, schema: Any, kind: str = "application/json") -> dict[str, Any]:
    return {"description": told, "content": {kind: {"schema": schema}}}
