"""Replicate's HTTP API: the few calls a run needs, with its own patience for throttling.

Plain HTTP is used instead of a client library: a run needs the status `aborted`, the header
`Cancel-After`, and a say in which host sees the token.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from worldflux import __version__
from worldflux.errors import AccessError, TemporaryError, UsageError, WorldFluxError
from worldflux.runtime.remote.patience import Patience

TOKEN = "REPLICATE_API_TOKEN"
TERMINAL = frozenset(("succeeded", "failed", "canceled", "aborted"))
CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0
MAX_ATTEMPTS = 6
LONGEST_PAUSE = 60.0
_RESETS = re.compile(r"resets in ~?(\d+(?:\.\d+)?)\s*s", re.IGNORECASE)
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Unanswered(TemporaryError):
    """A request was sent and no answer came: nobody knows whether it was carried out."""

    code = "unanswered"


class Api:
    """One account's view of the API.

    Args:
        base_url: https, or http on this machine; without `/v1`.
        token: sent to this host only.
        patience: ends pauses when the run is cancelled.

    Raises:
        UsageError: the address would send the token in the clear.
    """

    def __init__(self, base_url: str, token: str, patience: Patience) -> None:
        parts = urlsplit(base_url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise UsageError(
                f"runtime.api_url: {base_url} would send the token in the clear", "use an https address"
            )
        self.base = base_url.rstrip("/").removesuffix("/v1") + "/v1"
        self._token, self.patience = token, patience
        self._session = plain_session()

    def account(self) -> dict[str, Any]:
        return self._call("GET", "/account", attempts=1)

    def version(self, owner: str, name: str, version: str) -> dict[str, Any]:
        return self._call("GET", f"/models/{owner}/{name}/versions/{version}")

    def create(self, version: str, inputs: Mapping[str, Any], cancel_after: float) -> dict[str, Any]:
        """Start a prediction. A throttled request is repeated; one without an answer never is.

        Args:
            cancel_after: seconds from now after which Replicate ends it by itself.

        Raises:
            Unanswered: it may or may not have been started.
        """
        headers = {"Cancel-After": f"{max(5, int(cancel_after))}s"}
        body = {"version": version, "input": dict(inputs)}
        return self._call("POST", "/predictions", json=body, headers=headers, repeatable=False)

    def get(self, prediction: str) -> dict[str, Any]:
        return self._call("GET", f"/predictions/{prediction}")

    def cancel(self, prediction: str) -> dict[str, Any]:
        return self._call("POST", f"/predictions/{prediction}/cancel")

    def recent(self) -> list[dict[str, Any]]:
        """The newest predictions of the account: one page of about a hundred."""
        results = self._call("GET", "/predictions").get("results")
        return [each for each in results if isinstance(each, dict)] if isinstance(results, list) else []

    def upload(self, path: Path) -> str:
        """Store a file for a prediction's input and return the address to put there."""
        with path.open("rb") as stream:
            data = stream.read()
        answer = self._call("POST", "/files", files={"content": (path.name, data)})
        return str(answer["urls"]["get"])

    def _call(
        self,
        method: str,
        path: str,
        *,
        attempts: int = MAX_ATTEMPTS,
        repeatable: bool = True,
        headers: Mapping[str, str] | None = None,
        **content: Any,
    ) -> dict[str, Any]:
        """One request with retries where they are safe."""
        own = {"Authorization": f"Bearer {self._token}", "User-Agent": f"worldflux/{__version__}"}
        pause = 1.0
        for attempt in range(1, attempts + 1):
            last = attempt == attempts
            try:
                response = self._session.request(
                    method,
                    self.base + path,
                    headers={**own, **(headers or {})},
                    timeout=(CONNECT_SECONDS, READ_SECONDS),
                    allow_redirects=False,
                    proxies=requests.utils.get_environ_proxies(self.base),
                    **content,
                )
            except requests.RequestException as error:
                if not repeatable and not isinstance(error, requests.ConnectTimeout):
                    raise Unanswered(_unreachable(self.base, error), "worldflux runs reap") from None
                if last:
                    raise TemporaryError(
                        _unreachable(self.base, error), "try again; worldflux runtime doctor replicate"
                    ) from None
            else:
                throttled = response.status_code == 429
                if not throttled and not (response.status_code >= 500 and repeatable):
                    return _document(response, method, path)
                if last:
                    _document(response, method, path)
                pause = pause_of(response, pause)
            self.patience.sleep(min(pause, LONGEST_PAUSE))
            pause *= 2
        raise AssertionError("the last attempt returns or raises")


def plain_session() -> requests.Session:
    """A session that takes certificates and proxies from the environment, but never a .netrc password."""
    session = requests.Session()
    session.trust_env = False
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if os.environ.get(name):
            session.verify = os.environ[name]
            break
    return session


def pause_of(response: requests.Response, otherwise: float) -> float:
    """Seconds that a throttled answer asks to wait, from its header or else its text."""
    header = response.headers.get("Retry-After", "")
    if re.fullmatch(r"\d+(\.\d+)?", header):
        return float(header)
    found = _RESETS.search(response.text[:2000])
    return float(found[1]) if found else otherwise


def _unreachable(base: str, error: Exception) -> str:
    return f"{urlsplit(base).netloc} does not answer: {type(error).__name__}"


def _document(response: requests.Response, method: str, path: str) -> dict[str, Any]:
    """The answer as a document.

    Raises:
        AccessError: the token is wrong, or may not do this.
        UsageError: the request was wrong.
        TemporaryError: throttled, or the server failed.
    """
    status = response.status_code
    try:
        document = response.json()
    except ValueError:
        document = {}
    if not isinstance(document, dict):
        document = {}
    if status < 300:
        return document
    detail = " ".join(str(document.get("detail") or document.get("title") or response.reason).split())[:500]
    what = f"replicate answered {status} to {method} {path}: {detail}"
    if status in (401, 403):
        raise AccessError(what, f"check {TOKEN}; tokens: replicate.com/account/api-tokens")
    if status == 402:
        raise AccessError(what, "the account has no credit or no billing set up")
    if status == 429:
        raise TemporaryError(what, "try again later; accounts with little credit are throttled more")
    if status >= 500:
        raise TemporaryError(what, "try again later")
    if status < 400:
        raise WorldFluxError(
            f"replicate sent a redirect ({status}) to {method} {path}", "check runtime.api_url"
        )
    raise UsageError(what, "check runtime.model and the inputs", code="request")
