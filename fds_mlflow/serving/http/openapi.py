"""The HTTP interface described in OpenAPI, with the columns of the version that serves, and a page to read it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

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

_HEADERS = [
    ("X-Request-ID", "Identity of the request, at most 255 characters; one that comes again is recorded once."),
    ("X-Routing-Key", "The routing key, where the body has none; made and returned where it is absent as well."),
    ("X-FDS-Variant", "`champion` or `canary`: answer with this variant, for tests; only where the server allows it."),
]

PAGE = b"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>fds serve</title><link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="swagger-ui"></div><script src="/docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui"})</script></body>
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


def description(model: str, kinds: Mapping[str, str], required: Collection[str], key: str) -> bytes:
    """The interface as JSON.

    Args:
        model: Registered model.
        kinds: Columns of the versions that serve, and MLflow's names of their types.
        required: Those of them that a request must have.
        key: Column of the routing key.
    """
    (answer, label), components = msgspec.json.schema_components(
        [Answer, Label], ref_template="#/components/schemas/{name}"
    )
    columns = {name: _TYPES.get(kind, {}) for name, kind in kinds.items()}
    columns.setdefault(key, {"type": "string", "nullable": True, "description": "The routing key."})
    components["Transaction"] = {
        "type": "object",
        "properties": columns,
        "required": [name for name in kinds if name in required],
    }
    components["Refusal"] = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("error_code", "message", "fix")},
    }
    transaction = {"$ref": "#/components/schemas/Transaction"}
    return json.dumps(
        {
            "openapi": "3.0.3",
            "info": {"title": f"fds serve {model}", "version": version("fds-mlflow")},
            "paths": _paths(transaction, answer, label),
            "components": {"schemas": components},
        }
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


def _paths(transaction: Any, answer: Any, label: Any) -> dict[str, Any]:
    """What can be asked, by path; the arguments are schemas."""
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
            {"application/json": _invocation(transaction), "text/csv": {"type": "string"}},
            predictions,
        ),
        "/labels": _post(
            "Say what is known about transactions",
            {"application/json": {"type": "array", "items": label}},
            {"type": "object", "properties": {"accepted": {"type": "integer"}}},
        ),
        "/health": _get("What serves, how old that knowledge is, and what is wrong"),
        "/ping": _get("Whether requests are answered"),
        "/version": _get("MLflow's version"),
        "/metrics": _get("Counts in Prometheus' text format"),
    }


def _post(summary: str, bodies: Mapping[str, Any], answer: Any) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "header", "schema": {"type": "string"}, "description": told} for name, told in _HEADERS
    ]
    return {
        "post": {
            "summary": summary,
            "parameters": parameters,
            "requestBody": {"required": True, "content": {kind: {"schema": body} for kind, body in bodies.items()}},
            "responses": {"200": _response("Done", answer)}
            | {
                status: _response(told, {"$ref": "#/components/schemas/Refusal"})
                for status, told in (
                    ("400", "The request does not fit; the message names the column"),
                    ("401", "The bearer token is missing or wrong"),
                    ("413", "Too many bytes or rows"),
                    ("503", "No version can answer just now"),
                )
            },
        }
    }


def _get(summary: str) -> dict[str, Any]:
    return {"get": {"summary": summary, "responses": {"200": {"description": summary}}}}


def _response(told: str, schema: Any) -> dict[str, Any]:
    return {"description": told, "content": {"application/json": {"schema": schema}}}
