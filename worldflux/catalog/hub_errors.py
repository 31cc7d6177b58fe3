"""What the Hub's refusals mean to the person who asked: one clear block each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from worldflux.errors import AccessError, TemporaryError, UsageError, WorldFluxError

if TYPE_CHECKING:
    import requests

#: (kind, repo, revision, path): what was asked for.
About = tuple[str, str, str | None, str | None]

_SCHEMES = {"model": "lerobot", "dataset": "lerobot-dataset"}
_API_REPO = re.compile(r"/api/(model|dataset)s/([^/]+(?:/[^/]+)?)(?:/(?:revision|tree|refs)\b.*)?\Z")
_RATE_LIMIT = re.compile(r";\s*r\s*=\s*\d+\s*;\s*t\s*=\s*(\d+)")


def unreachable(endpoint: str, error: Exception) -> TemporaryError:
    """Offline, no such host, nobody answers."""
    host = urlsplit(endpoint).netloc
    reason = "it does not answer in time" if "timed out" in str(error).lower() else "there is no connection"
    return TemporaryError(
        f"the Hub at {host} can not be reached: {reason}",
        "check the network (or HF_ENDPOINT) and run the same command again: what has arrived is kept",
        code="offline",
        details={"endpoint": endpoint},
    )


def untrusted(endpoint: str, error: Exception) -> WorldFluxError:
    """The certificate of the Hub, or of a proxy before it, is not trusted here."""
    return WorldFluxError(
        f"the Hub at {urlsplit(endpoint).netloc} shows a certificate that is not trusted here",
        "behind a proxy, name its certificates with REQUESTS_CA_BUNDLE=FILE",
        code="certificate",
        details={"endpoint": endpoint, "error": type(error).__name__},
    )


def switched_off(endpoint: str) -> TemporaryError:
    """HF_HUB_OFFLINE forbids to ask."""
    return TemporaryError(
        f"HF_HUB_OFFLINE is set, so {urlsplit(endpoint).netloc} is not asked",
        "unset HF_HUB_OFFLINE and run the same command again; imports made before go on working",
        code="offline",
    )


def not_a_hub(endpoint: str) -> WorldFluxError:
    """Something answers, but not in the Hub's way."""
    return WorldFluxError(
        f"{endpoint} does not answer as a Hub does",
        "check HF_ENDPOINT, or a proxy in between",
        code="hub_answer",
    )


def renamed_to(location: str, about: About) -> UsageError | None:
    """The repo's new name, when an API call is sent on to one; None for any other redirect.

    It is not followed silently: the old name may belong to somebody else tomorrow.
    """
    kind, repo, revision, _ = about
    match = _API_REPO.match(unquote(urlsplit(location).path))
    if match is None or match[1] != kind or match[2] == repo:
        return None
    suffix = f"@{revision}" if revision not in (None, "main") else ""
    return UsageError(
        f"{repo} is now called {match[2]}",
        f"import it under its new name: worldflux import {_SCHEMES[kind]}:{match[2]}{suffix}",
        code="renamed",
        details={"repo": repo, "renamed_to": match[2]},
    )


def from_response(
    response: requests.Response, endpoint: str, about: About, has_token: bool
) -> tuple[WorldFluxError, float | None]:
    """The error an answer of 400 or more stands for, and how long to wait when it may pass."""
    kind, repo, revision, path = about
    code, status = response.headers.get("X-Error-Code", ""), response.status_code
    what = f"{kind} {repo}"
    if status == 429:
        return _throttled(response, endpoint, has_token)
    if status >= 500 or status == 408:
        problem = f"the Hub at {urlsplit(endpoint).netloc} has a failure of its own (HTTP {status})"
        hint = "run the same command again later: what has arrived is kept"
        return TemporaryError(problem, hint, code="hub_down"), None
    if code == "GatedRepo":
        return _gated(endpoint, kind, repo, has_token), None
    if code == "RevisionNotFound":
        hint = f"its branches and tags: {endpoint}/{_page(kind, repo)}/tree/main"
        return UsageError(f"the {what} has no revision `{revision}`", hint, code="revision_not_found"), None
    if code == "EntryNotFound" or (status == 404 and path):
        return UsageError(f"the {what} has no file `{path}` at {revision}", code="file_not_found"), None
    if status in (401, 403, 404):
        return _not_found(endpoint, what, status, has_token), None
    return WorldFluxError(f"the Hub refuses to give {what} (HTTP {status})", code="hub_answer"), None


def _page(kind: str, repo: str) -> str:
    return repo if kind == "model" else f"{kind}s/{repo}"


def _gated(endpoint: str, kind: str, repo: str, has_token: bool) -> AccessError:
    page = f"{endpoint}/{_page(kind, repo)}"
    if has_token:
        problem = f"{repo} is gated and the token in HF_TOKEN has not been let in"
        hint = f"accept the conditions at {page} with the same account, wait for approval, then try again"
    else:
        problem = f"{repo} is gated: its owner asks everyone to accept conditions first"
        hint = f"accept them at {page}, then set HF_TOKEN to a read token of that account and try again"
    return AccessError(problem, hint, code="gated", details={"repo": repo, "page": page})


def _not_found(endpoint: str, what: str, status: int, has_token: bool) -> WorldFluxError:
    host = urlsplit(endpoint).netloc
    if has_token and status in (401, 403):
        problem = f"{host} does not accept the token in HF_TOKEN for {what}"
        return AccessError(problem, "make a new read token there, or unset HF_TOKEN", code="token_refused")
    problem = f"{host} has no {what} that you may see"
    hint = "check the spelling OWNER/NAME"
    if not has_token:
        hint += "; if it is private, set HF_TOKEN to a read token of an account that may read it"
    return UsageError(problem, hint, code="repo_not_found")


def _throttled(
    response: requests.Response, endpoint: str, has_token: bool
) -> tuple[WorldFluxError, float | None]:
    wait = _seconds(response.headers.get("Retry-After", ""))
    if wait is None:
        reset = _RATE_LIMIT.search(response.headers.get("RateLimit", ""))
        wait = float(reset[1]) if reset else None
    when = f"in {wait:.0f} s" if wait is not None else "in a few minutes"
    hint = f"run the same command again {when}: what has arrived is kept"
    if not has_token:
        hint += "; with HF_TOKEN set the limit is higher"
    host = urlsplit(endpoint).netloc
    return TemporaryError(
        f"{host} limits how much is asked of it and says to wait", hint, code="rate_limit"
    ), wait


def _seconds(value: str) -> float | None:
    return float(value) if re.fullmatch(r"\d+(\.\d+)?", value.strip()) else None
