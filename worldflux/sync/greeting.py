"""The first question to a server: who am I to you?"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from worldflux.errors import AccessError, TemporaryError, UsageError, WorldFluxError

if TYPE_CHECKING:
    import requests

    from worldflux.sync.credentials import Credential

PATH = "/api/sync"
API = 1
CONNECT_SECONDS, READ_SECONDS = 5.0, 15.0
#: Of the whole question; a server that trickles bytes resets the limits above with each of them.
WHOLE_SECONDS = 20.0
_MOST_BYTES = 1 << 20
_TRY_AGAIN = frozenset((408, 425, 429, 500, 502, 503, 504, 507))


@dataclass(frozen=True)
class Greeting:
    """What a server says of a key.

    Attributes:
        workspace: slug of the one workspace that the key belongs to.
        key_name: what the key was called when it was made.
        scopes: what it may do.
        expires_at: in the manifest's form; None for never.
        server_time: the server's clock; only this one decides about expiry.
        server_version: of WorldFlux there.
    """

    workspace: str
    key_name: str
    scopes: tuple[str, ...]
    expires_at: str | None
    server_time: str
    server_version: str

    def days_left(self) -> float | None:
        """Days until the key expires, by the server's clock; None for never."""
        if self.expires_at is None:
            return None
        left = datetime.fromisoformat(self.expires_at) - datetime.fromisoformat(self.server_time)
        return left.total_seconds() / 86400


def greet(credential: Credential, *, seconds: float = WHOLE_SECONDS) -> Greeting:
    """Ask a server about a key.

    Args:
        seconds: for the whole question, from the name's look-up to the last byte.

    Raises:
        AccessError: the key is not known there, has expired, was revoked, or may not sync.
        TemporaryError: the server can not be reached, or can not answer now.
        UsageError: what answers is not a WorldFlux server of this version.
        RefusedError: it wants to send the key elsewhere.
    """
    answers: list[tuple[int, bytes]] = []
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            answers.append(_get(credential, seconds))
        except BaseException as error:
            failures.append(error)

    # A daemon: a server that never ends its answer can not keep the command from ending.
    thread = threading.Thread(target=ask, name="greeting", daemon=True)
    thread.start()
    thread.join(seconds)
    if failures:
        raise _unreachable(credential.origin, failures[0])
    if not answers:
        raise TemporaryError(
            f"{credential.origin} did not answer within {seconds:.0f} seconds", _LATER, code="unreachable"
        )
    return _judge(credential.origin, *answers[0])


_LATER = "check the address and the network, then try again"
_CERTIFICATE = (
    "with an authority of your own: export SSL_CERT_FILE=CA.pem; otherwise ask whoever runs the server"
)


def _get(credential: Credential, seconds: float) -> tuple[int, bytes]:
    from worldflux.sync.bearer import session

    timeout = (min(CONNECT_SECONDS, seconds), min(READ_SECONDS, seconds))
    with (
        session(credential) as http,
        http.get(
            credential.origin + PATH, timeout=timeout, stream=True, headers={"Accept": "application/json"}
        ) as response,
    ):
        return response.status_code, _body(response)


def _body(response: requests.Response) -> bytes:
    body = b""
    for chunk in response.iter_content(65536):
        body += chunk
        if len(body) > _MOST_BYTES:
            return b""  # nothing of ours is as long
    return body


def _unreachable(origin: str, error: BaseException) -> WorldFluxError:
    import requests

    if isinstance(error, WorldFluxError):
        return error
    if isinstance(error, requests.exceptions.SSLError):
        problem, hint = f"the certificate of {origin} is not trusted here", _CERTIFICATE
    elif isinstance(error, requests.exceptions.ProxyError):
        problem, hint = f"the proxy on the way to {origin} refused", "look at HTTPS_PROXY and NO_PROXY"
    elif isinstance(error, requests.Timeout):
        problem, hint = f"{origin} does not answer in time", _LATER
    elif isinstance(error, requests.RequestException | OSError):
        problem, hint = f"{origin} can not be reached: {_cause(error)}", _LATER
    else:
        raise error
    return TemporaryError(problem, hint, code="unreachable")


def _cause(error: BaseException) -> str:
    """The innermost reason in words, such as `Connection refused`."""
    reason: Any = error
    for _ in range(8):
        inner = getattr(reason, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next(
                (each for each in getattr(reason, "args", ()) if isinstance(each, BaseException)), None
            )
        if inner is None:
            break
        reason = inner
    text = re.sub(r"^(?:<[^>]*>|\w+\([^)]*\)): ", "", str(getattr(reason, "strerror", None) or reason))
    text = re.sub(r"\[Errno -?\d+\] |^Failed to establish a new connection: ", "", text)
    return text[:200] or type(reason).__name__


def _judge(origin: str, status: int, body: bytes) -> Greeting:
    document = _document(body)
    if status == 200:
        return _greeting(origin, document)
    title, code = _text(document.get("title")), _text(document.get("code"))
    if status == 401:
        raise AccessError(
            f"{origin} does not accept the key: it is not known there, was revoked, or has expired",
            "ask whoever runs the server for a key (worldflux server key create), then: worldflux auth login",
            code="key-rejected",
        )
    if status == 403:
        raise AccessError(
            f"{origin} does not allow this key to sync" + (f": {title}" if title else ""),
            "the key needs the scopes runs:write and artifacts:write: worldflux server key create",
            code=code or "forbidden",
        )
    if status in _TRY_AGAIN:
        said = f" ({title})" if title else ""
        raise TemporaryError(f"{origin} answered with status {status}{said}", "try again", code="unreachable")
    raise _not_ours(origin, f"it answered with status {status}")


def _document(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _text(value: object) -> str:
    """A server's word as one short line without control characters."""
    return "".join(c for c in value if c.isprintable())[:200] if isinstance(value, str) else ""


def _greeting(origin: str, document: Mapping[str, Any]) -> Greeting:
    if isinstance(document.get("api"), int) and document["api"] != API:
        raise UsageError(
            f"{origin} speaks version {document['api']} of the sync API, this WorldFlux speaks {API}",
            "bring the older one of the two up to date",
            code="server",
        )
    try:
        key, server = document["key"], document["server"]
        greeting = Greeting(
            workspace=_word(document["workspace"]),
            key_name=_text(key["name"]),
            scopes=_words(key["scopes"]),
            expires_at=None if key["expires_at"] is None else _time(key["expires_at"]),
            server_time=_time(server["time"]),
            server_version=_text(server["version"]),
        )
    except (KeyError, TypeError, ValueError):
        raise _not_ours(origin, "what it answered is not what one says") from None
    return greeting


def _word(value: object) -> str:
    text = _text(value)
    if not text or text != value:
        raise ValueError("not a word")
    return text


def _words(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("not a list")
    return tuple(_word(each) for each in value)


def _time(value: object) -> str:
    text = _word(value)
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time without a zone")
    return text


def _not_ours(origin: str, problem: str) -> UsageError:
    return UsageError(
        f"there is no WorldFlux server at {origin}: {problem}",
        "check the address; it is what `worldflux server start` printed, or what stands before /api",
        code="server",
    )
