"""The server's own description, `/openapi.json`: routes as they are, refusals and credentials with them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

#: Paths outside of the API, which no API key is for.
PUBLIC = ("/healthz", "/readyz", "/metrics")

_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "hint", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "what is wrong with this request"},
        "code": {"type": "string", "description": "short stable name for programs"},
        "hint": {"type": "string", "description": "what to do next; may be empty"},
        "request_id": {"type": "string"},
    },
}
_REFUSAL = {
    "description": "Refused: a problem document (RFC 9457).",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_CREDENTIALS = {
    "key": {"type": "http", "scheme": "bearer", "description": "API key `wfx_…`, or a share's token `wfs_…`"},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "wf_session",
        "description": "the dashboard's session",
    },
}


def install(app: FastAPI) -> None:
    """Make an application describe itself with `describe`."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = describe(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an application."""
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    parts = document.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = _PROBLEM
    parts["securitySchemes"] = _CREDENTIALS
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            responses.pop("422", None)
            responses["4XX"] = responses["5XX"] = (
                _REFUSAL if method != "head" else {"description": "Refused; an answer to HEAD has no body."}
            )
            if path not in PUBLIC:
                operation["security"] = [{"key": []}, {"session": []}]
    return document
