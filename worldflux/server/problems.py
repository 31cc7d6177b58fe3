"""Errors as `application/problem+json` (RFC 9457): a real status code, what is wrong, what to do next."""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from worldflux.errors import WorldFluxError

_BASE = "https://worldflux.dev/problems/"

#: Codes of the refusals that the framework itself makes.
_CODES = {
    400: "bad-request", 401: "unauthorized", 403: "forbidden", 404: "not-found", 405: "method-not-allowed",
    408: "timeout", 409: "conflict", 410: "deleted", 411: "length-required", 413: "too-large",
    415: "media-type", 416: "range", 422: "invalid", 429: "too-many-requests", 500: "internal",
    501: "not-implemented", 503: "unavailable", 507: "storage-full",
}  # fmt: skip


class Problem(Exception):
    """An answer that is a refusal.

    Args:
        status: HTTP status code.
        code: short stable name for programs; ends the `type` URL.
        detail: one sentence: what is wrong with this request. Never holds a secret or the value of a field.
        hint: what to do next.
        headers: sent with the answer.
        extras: more members of the document.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        hint: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        **extras: Any,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status, self.code, self.detail, self.hint = status, code, detail, hint
        self.headers = dict(headers or {})
        self.extras = extras


def unauthorized() -> Problem:
    """The one answer to a missing, unknown, expired or revoked credential: nobody learns which."""
    return Problem(
        401, "unauthorized", "no valid API key came with this request",
        "worldflux auth login", headers={"WWW-Authenticate": "Bearer"},
    )  # fmt: skip


def not_found(what: str) -> Problem:
    """The same for what is not there and for what is another workspace's.

    Args:
        what: a noun, such as `run`; never the name that was asked for.
    """
    return Problem(404, "not-found", f"there is no such {what} in this workspace")


def response(request_id: str, problem: Problem) -> Response:
    """The answer that a problem is sent as."""
    import orjson

    document = {
        "type": _BASE + problem.code,
        "title": _title(problem.status),
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "hint": problem.hint,
        "request_id": request_id,
        **problem.extras,
    }
    return Response(
        orjson.dumps(document), problem.status, problem.headers, media_type="application/problem+json"
    )


def _title(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def install(app: FastAPI) -> None:
    """Make every error of an application a problem document."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(WorldFluxError, _worldflux)


def _answer(request: Request, problem: Problem) -> Response:
    return response(getattr(request.state, "request_id", ""), problem)


def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _answer(request, error)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code
    detail = str(error.detail or _title(status))
    code = _CODES.get(status, "error")
    return _answer(request, Problem(status, code, detail, headers=error.headers or {}))


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [
        {"where": "/".join(str(step) for step in fault["loc"]), "problem": str(fault["msg"])}
        for fault in error.errors()[:20]
    ]
    first = faults[0] if faults else {"where": "", "problem": "is not valid"}
    detail = f"{first['where']}: {first['problem']}"
    return _answer(request, Problem(422, "invalid", detail, "see /openapi.json", faults=faults))


def _worldflux(request: Request, error: Exception) -> Response:
    assert isinstance(error, WorldFluxError)
    status = {"storage": 507, "temporary": 503}.get(error.code, 422)
    return _answer(request, Problem(status, error.code, error.problem, error.hint))


def internal(request_id: str) -> Response:
    """The answer to a fault of ours: says nothing but its request id."""
    return response(
        request_id,
        Problem(
            500, "internal", "the server failed at this request", "give the request id to whoever runs it"
        ),
    )
