"""One request to the server: repeated while that may help, ended at its limit, answered once."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests
from requests.exceptions import InvalidSchema, RequestException
from urllib3.exceptions import HTTPError

from worldflux.errors import AccessError, Interrupted, TemporaryError, WorldFluxError
from worldflux.sync import retries
from worldflux.sync.bearer import session
from worldflux.sync.deadline import Watchdog, WatchedAdapter
from worldflux.sync.retries import Budget
from worldflux.sync.wire import ProtocolError

if TYPE_CHECKING:
    from worldflux.sync.credentials import Credential

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0

#: A request may take `LIMIT_SECONDS`, and more for what it carries: a line of 32 kB/s is still served.
LIMIT_SECONDS = 60.0
SLOWEST_BYTES_PER_SECOND = 32 * 1024

#: The longest answer that is read.
MOST_ANSWER_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Reply:
    """One answer: status, headers, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON.

        Raises:
            ProtocolError: it is none.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise ProtocolError(f"HTTP {self.status} without JSON") from None

    @property
    def problem(self) -> Mapping[str, Any]:
        """The fields of a problem document; none when it is something else."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def why(self) -> str:
        """The answer in one line, as it may be shown."""
        told = self.problem.get("detail") or self.problem.get("title") or ""
        text = "".join(c if c.isprintable() else " " for c in str(told))[:500]
        request = str(self.headers.get("X-Request-Id", ""))[:64]
        shown = f"HTTP {self.status}" + (f": {text}" if text else "")
        return shown + (
            f" (request {request})" if request.isascii() and request.isprintable() and request else ""
        )


class Channel:
    """Requests to one server with one key; several threads may use it at the same time.

    Args:
        budget: the time that may be spent on repeating.
        patience: seconds without a byte after which a try is given up.
        notice: told in a sentence when something takes longer than it should.
    """

    def __init__(
        self,
        credential: Credential,
        budget: Budget,
        notice: Callable[[str], None] = lambda text: None,
        connections: int = 8,
        patience: float | None = None,
    ) -> None:
        from http.cookiejar import DefaultCookiePolicy

        self.origin = credential.origin
        self.budget = budget
        self.requests = 0
        self._patience = patience or READ_SECONDS
        self._notice = notice
        self._noticed = -60.0
        self._stop = threading.Event()
        self._watchdog = Watchdog()
        self._session = session(credential)
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, WatchedAdapter(pool_maxsize=connections, pool_block=False))

    def close(self) -> None:
        """End what is under way, in whatever thread, and every connection."""
        self._stop.set()
        self._watchdog.close()
        self._session.close()

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One request, repeated while the answer says that this may help. All of ours may be repeated.

        Raises:
            TemporaryError: it did not succeed within the budget, or the certificate is not trusted.
            AccessError: the key is not accepted, or is not allowed to do this.
            RefusedError: the server redirects elsewhere.
            Interrupted: `close` was called.
        """
        begun = time.monotonic()
        reply, why = self._once(method, path, body, headers)
        attempt = 1
        if reply is None or reply.status in retries.TEMPORARY:
            self.budget.charge(time.monotonic() - begun)
            with self.budget.trouble():
                while reply is None or reply.status in retries.TEMPORARY:
                    asked = retries.retry_after(reply.headers) if reply is not None else None
                    self._wait(retries.pause(attempt, asked), why)
                    reply, why = self._once(method, path, body, headers)
                    attempt += 1
        if reply.status in (401, 403):
            raise self._denied(reply)
        return reply

    def _wait(self, seconds: float, why: str) -> None:
        """Wait before the next try, or give up when there is no time left for it."""
        if self._stop.is_set():
            raise Interrupted("stopped")
        left = self.budget.left
        if seconds >= left:
            self.budget.exhaust()
            raise TemporaryError(
                f"{self.origin} did not take what was sent: {why}",
                "nothing is lost: run the same command again, it goes on from there",
                code="server",
                details={"server": self.origin, "reason": why},
            )
        now = time.monotonic()
        if now - self._noticed > 15:
            self._noticed = now
            self._notice(f"{self.origin}: {why}; trying again for up to {round(left)} s")
        if self._stop.wait(seconds):
            raise Interrupted("stopped")

    def _once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None
    ) -> tuple[Reply | None, str]:
        """One try: the reply, or None and why there is none."""
        self.requests += 1
        limit_seconds = LIMIT_SECONDS + len(body or b"") / SLOWEST_BYTES_PER_SECOND
        try:
            with self._watchdog.limit(limit_seconds) as limit:
                reply = self._exchange(method, path, body, headers)
            return reply, reply.why
        except InvalidSchema as error:
            raise WorldFluxError(
                f"the proxy can not be used: {error}", "pip install 'requests[socks]'"
            ) from None
        except (RequestException, HTTPError, OSError, ValueError) as error:
            # http.client raises a plain ValueError when its socket is closed between two steps.
            ended = limit.expired or self._stop.is_set()
            if not ended and not isinstance(error, RequestException | HTTPError | OSError):
                raise
            if self._stop.is_set():
                raise Interrupted("stopped") from None
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise _not_trusted(self.origin) from None
            if limit.expired:
                return None, f"no whole answer within {round(limit_seconds)} s"
            return None, _reason(error, self._patience)

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None
    ) -> Reply:
        response = self._session.request(
            method,
            self.origin + path,
            data=body,
            headers={"Accept": "application/json", **(headers or {})},
            timeout=(CONNECT_SECONDS, self._patience),
            stream=True,
        )
        with contextlib.closing(response):
            # Python takes headers that end with the connection for whole ones. An answer whose length
            # is not told may be such a one, and an empty "200" a success that never was.
            told = response.headers.get("Content-Length", "").isdecimal()
            if not told and "chunked" not in response.headers.get("Transfer-Encoding", "").lower():
                raise requests.exceptions.ConnectionError("the answer was cut in its headers")
            pieces, size = [], 0
            for piece in response.iter_content(1 << 16):
                pieces.append(piece)
                size += len(piece)
                if size > MOST_ANSWER_BYTES:
                    raise ProtocolError(f"it is longer than {MOST_ANSWER_BYTES} bytes")
            return Reply(response.status_code, response.headers, b"".join(pieces))

    def _denied(self, reply: Reply) -> AccessError:
        if reply.status == 401:
            return AccessError(
                f"{self.origin} does not accept the key: {reply.why}",
                f"worldflux auth login --server {self.origin}",
                code="key",
            )
        hint = reply.problem.get("hint")
        return AccessError(
            f"{self.origin} does not allow this: {reply.why}",
            str(hint)[:500] if hint else "ask for a key with the scopes runs:write and artifacts:write",
            code="scope",
        )


def _not_trusted(origin: str) -> TemporaryError:
    """The error for a certificate that trying again does not make better."""
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    variable = next((name for name in names if os.environ.get(name)), "SSL_CERT_FILE")
    return TemporaryError(
        f"the certificate of {origin} is not trusted here",
        f"with an authority of your own: export {variable}=CA.pem; otherwise ask whoever runs the server",
        code="certificate",
    )


def _reason(error: Exception, patience: float) -> str:
    """Why there was no answer, in a few words."""
    text = str(error)
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"no connection within {round(CONNECT_SECONDS)} s"
    if isinstance(error, requests.exceptions.Timeout):
        return f"no answer within {round(patience)} s"
    if isinstance(error, requests.exceptions.SSLError):
        return "the encrypted connection was cut"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy does not connect"
    for sign, told in (
        ("refused", "connection refused"),
        ("resolve", "its name is not known"),
        ("getaddrinfo", "its name is not known"),
        ("unreachable", "it can not be reached"),
    ):
        if sign in text.lower():
            return told
    return "the connection was cut"
