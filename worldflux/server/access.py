"""The outermost layer: a request id, headers of safety, one JSON line about each request, and no traceback.

The line holds no query string, no header but the agent's name and no body, so no secret; a token that
somebody put into a path is masked.
"""

from __future__ import annotations

import json
import re
import sys
import time
import traceback
import uuid
from typing import Any

from worldflux.manifest.model import utc_now
from worldflux.server import gauges
from worldflux.server.limits import Application, Message, Receive, Scope, Send
from worldflux.server.problems import internal

_TOKEN = re.compile(r"wf[a-z]_[A-Za-z0-9_]+")
_MOST_TEXT = 200


class Access:
    """Middleware around everything else."""

    def __init__(self, app: Application, *, log: bool) -> None:
        self.app, self.log = app, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        begun, told = time.perf_counter(), {"status": 0, "bytes": 0}

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                told["status"] = message["status"]
                message["headers"] = [*message.get("headers", ()), *_headers(scope, message, request_id)]
            elif message["type"] == "http.response.body":
                told["bytes"] += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, answer)
        except Exception:
            _complain(request_id)
            if told["status"] == 0:
                await internal(request_id)(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - begun
            gauges.count(scope["method"], route_of(scope), told["status"], seconds)
            if self.log:
                _write(line(scope, request_id, told["status"], told["bytes"], seconds))


def _headers(scope: Scope, message: Message, request_id: str) -> list[tuple[bytes, bytes]]:
    there = {name.lower() for name, _ in message.get("headers", ())}
    added = [(b"x-request-id", request_id.encode())]
    if b"x-content-type-options" not in there:
        added.append((b"x-content-type-options", b"nosniff"))
    if scope["path"].startswith("/api") and b"cache-control" not in there:
        added.append((b"cache-control", b"no-store"))
    return added


def route_of(scope: Scope) -> str:
    """The route's pattern, so that counters have few names; `other` when none fits."""
    route = scope.get("route")
    return str(getattr(route, "path", "other"))


def line(scope: Scope, request_id: str, status: int, size: int, seconds: float) -> str:
    """One line of the access log."""
    state = scope.get("state", {})
    who = state.get("principal")
    facts: dict[str, Any] = {
        "at": utc_now(), "id": request_id, "method": scope["method"], "path": safe(scope["path"]),
        "status": status, "bytes": size, "ms": round(seconds * 1000, 1),
        "client": scope["client"][0] if scope.get("client") else None,
        "who": who.id if who is not None else None,
        "workspace": who.workspace if who is not None else None,
        "agent": next((safe(v.decode("latin-1")) for n, v in scope["headers"] if n == b"user-agent"), None),
    }  # fmt: skip
    return json.dumps(facts, ensure_ascii=True)


def safe(text: str) -> str:
    """Text of a stranger, short and without tokens; JSON escapes its control characters."""
    return _TOKEN.sub(lambda match: match[0][:4] + "***", text[:_MOST_TEXT])


def _write(text: str) -> None:
    # One write for a line: several workers share the stream.
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _complain(request_id: str) -> None:
    """A fault of ours, for who runs the server; the message of an exception may hold values, so it is masked."""
    trace = _TOKEN.sub("***", traceback.format_exc(limit=-20))
    _write(json.dumps({"at": utc_now(), "id": request_id, "error": trace[-8000:]}))
