"""What stands in front of the application: hosts, rates, sizes and patience. Pure ASGI.

A limit that is passed while a body is read ends the request with its own answer, whatever the endpoint
makes of the broken body.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from worldflux.server.bodies import too_large
from worldflux.server.buckets import Buckets
from worldflux.server.problems import Problem, response
from worldflux.server.settings import Settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Largest body of what is neither a bundle nor a blob nor evidence.
DEFAULT_BYTES = 1024 * 1024

#: However steadily it trickles, a body must be there after this.
BODY_SECONDS = 300.0


class Limits:
    """Middleware: refuses before the application is asked, or while it reads."""

    def __init__(self, app: Application, settings: Settings, buckets: Buckets) -> None:
        self.app, self.settings, self.buckets = app, settings, buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = _headers(scope)
        problem = self._host(headers) or self._rate(headers)
        if problem is not None:
            await _answer(scope, send, problem)
            return
        exchange = _Exchange(scope, receive, send, self, self._most(scope))
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except Problem:
            if exchange.problem is None or exchange.started:
                raise
            await _answer(scope, send, exchange.problem)

    def _host(self, headers: dict[bytes, list[bytes]]) -> Problem | None:
        """A Host that is none of ours may be another site's name that leads here."""
        allowed = self.settings.allowed_hosts
        hosts = headers.get(b"host", [])
        if len(hosts) != 1:
            return Problem(400, "host", "there is not one Host header", "")
        if "*" in allowed or host_name(hosts[0].decode("latin-1")) in allowed:
            return None
        return Problem(
            421,
            "host",
            "this server does not answer to that Host",
            "worldflux server start --allow-host NAME",
        )

    def _rate(self, headers: dict[bytes, list[bytes]]) -> Problem | None:
        """Each credential, right or wrong, has a bucket of its own."""
        values = headers.get(b"authorization", []) or headers.get(b"cookie", [])
        if not values:
            return None
        name = hashlib.sha256(b"\0".join(values)).hexdigest()
        wait = self.buckets.take(f"key:{name}", self.settings.key_rate, self.settings.key_burst)
        return too_many(wait) if wait else None

    def refused(self, scope: Scope) -> Problem | None:
        """Who was refused too often has to wait. Right credentials of the same address go on working."""
        rate, burst = self.settings.address_rate, self.settings.address_burst
        wait = self.buckets.take(f"address:{address(scope)}", rate, burst)
        return too_many(wait) if wait else None

    def _most(self, scope: Scope) -> int:
        """Bytes that the body of this request may have."""
        path = scope["path"]
        if path == "/api/sync/bundle":
            return self.settings.bundle_bytes
        if path.startswith("/api/sync/blobs/"):
            return self.settings.patch_bytes
        if path.endswith(("/signature", "/evidence")):
            return max(self.settings.patch_bytes, DEFAULT_BYTES)
        return DEFAULT_BYTES


class _Exchange:
    """One request and its answer, watched."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: Limits, most: int) -> None:
        self._scope, self._receive, self._send, self._limits = scope, receive, send, limits
        self._idle, self._most = limits.settings.read_idle_seconds, most
        self._seen, self._done = 0, False
        self._until = time.monotonic() + BODY_SECONDS
        self._silenced = False
        self.problem: Problem | None = None
        self.started = False

    async def receive(self) -> Message:
        """The next part of the body, if it comes in time and is not too much."""
        if self._done:
            return await self._receive()
        patience = min(self._idle, self._until - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), max(0.001, patience))
        except asyncio.TimeoutError:
            raise self._refuse(
                Problem(408, "timeout", "the body did not come in time", "send it again",
                        headers={"Connection": "close"})
            ) from None  # fmt: skip
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            self._done = not message.get("more_body", False)
            if self._seen > self._most:
                raise self._refuse(too_large(self._most))
        else:
            self._done = True
        return message

    def _refuse(self, problem: Problem) -> Problem:
        self.problem, self._done = problem, True
        return problem

    async def send(self, message: Message) -> None:
        """Pass the answer on, unless a limit has one of its own."""
        if message["type"] == "http.response.start" and not self.started:
            self.started = True
            if message["status"] == 401 and self.problem is None:
                self.problem = self._limits.refused(self._scope)
            if self.problem is not None:
                self._silenced = True
                await _answer(self._scope, self._send, self.problem)
        if not self._silenced:
            await self._send(message)


async def _answer(scope: Scope, send: Send, problem: Problem) -> None:
    request_id = scope.get("state", {}).get("request_id", "")

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    await response(request_id, problem)(scope, nothing, send)


def too_many(wait: float) -> Problem:
    """What is said to somebody who asks too often, with the time after which to try again."""
    seconds = max(1, math.ceil(wait))
    return Problem(
        429, "too-many-requests", "too many requests", f"try again in {seconds} s",
        headers={"Retry-After": str(seconds)},
    )  # fmt: skip


def host_name(header: str) -> str:
    """A Host header without its port, in lower case."""
    name = header.strip().lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0]


def address(scope: Scope) -> str:
    """Who asks, for limits: an IPv4 address, or the /64 network of an IPv6 address."""
    client = scope.get("client")
    if not client:
        return "local"
    try:
        found = ipaddress.ip_address(client[0])
    except ValueError:
        return str(client[0])[:64]
    return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))


def _headers(scope: Scope) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name, []).append(value)
    return found
