"""The Hub's read side over plain HTTP: what a repo is, what is in it, and bytes from an offset.

Own client instead of the official one, because LeRobot pins an older version of that than others
need, and because it no longer resumes a transfer in a new process. The token goes to the endpoint
it was given for and to no other host: large files are redirected to one.
"""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

from worldflux.catalog import hub_errors
from worldflux.errors import TemporaryError, UsageError, WorldFluxError

if TYPE_CHECKING:
    import requests

DEFAULT_ENDPOINT = "https://huggingface.co"

#: Tries of one request, and the longest wait between two of them, in seconds.
TRIES = 5
LONGEST_WAIT = 60.0

_MAX_JSON = 64 * 2**20
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')


@dataclass(frozen=True)
class RepoInfo:
    """What the Hub says about a repo at one revision; `commit` is its 40-digit id."""

    commit: str
    gated: str | bool
    private: bool
    tags: tuple[str, ...]
    card: Mapping[str, Any]


@dataclass(frozen=True)
class RemoteFile:
    """One file of a commit. `sha256` is known for large files, `git_oid` always: it is the git blob
    id of the file, or of the pointer to a large file."""

    path: str
    size: int
    git_oid: str
    sha256: str | None = None


@dataclass(frozen=True)
class Refs:
    branches: Mapping[str, str]
    tags: Mapping[str, str]


class HubClient:
    """Reads repos of one Hub.

    Args:
        endpoint: address of the Hub; None takes HF_ENDPOINT, else the public one.
        token: access token; None takes HF_TOKEN. It is never shown and never leaves for another host.
        sleep: how to wait between tries, in seconds.

    Raises:
        UsageError: the endpoint is not an http(s) address.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        token: str | None = None,
        *,
        timeout: tuple[float, float] = (10.0, 60.0),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
        parts = urlsplit(self.endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise UsageError(
                "HF_ENDPOINT is not the address of a Hub",
                f"write it as https://HOST, or unset it to use {DEFAULT_ENDPOINT}",
                code="bad_endpoint",
            )
        self._origin = _origin(self.endpoint)
        self._token = (token if token is not None else os.environ.get("HF_TOKEN", "")).strip()
        self._timeout = timeout
        self._sleep = sleep
        self._local = threading.local()
        self._reached = False

    @property
    def has_token(self) -> bool:
        return bool(self._token)

    def info(self, kind: str, repo: str, revision: str) -> RepoInfo:
        """The commit a revision stands for, and how the repo may be read.

        Args:
            kind: model or dataset.

        Raises:
            UsageError: no such repo or revision, or the repo was renamed.
            AccessError: it is private or gated.
            TemporaryError: the Hub can not be reached or asks to wait.
        """
        wanted = [("expand", name) for name in ("sha", "gated", "private", "tags", "cardData")]
        path = f"/api/{kind}s/{quote(repo)}/revision/{quote(revision, safe='')}?{urlencode(wanted)}"
        raw = self._json(path, kind, repo, revision)
        commit = raw.get("sha")
        if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise WorldFluxError(
                f"the Hub names no commit for {repo}@{revision}", "try again later", code="hub_answer"
            )
        card = raw.get("cardData")
        return RepoInfo(
            commit=commit,
            gated=raw.get("gated") or False,
            private=bool(raw.get("private")),
            tags=tuple(tag for tag in raw.get("tags") or () if isinstance(tag, str)),
            card=card if isinstance(card, dict) else {},
        )

    def refs(self, kind: str, repo: str) -> Refs:
        """Branches and tags with the commit each points to. Raises like `info`."""
        raw = self._json(f"/api/{kind}s/{quote(repo)}/refs", kind, repo, None)

        def named(group: str) -> dict[str, str]:
            found = (ref for ref in raw.get(group) or () if isinstance(ref, dict))
            return {str(ref.get("name")): str(ref.get("targetCommit")) for ref in found}

        return Refs(named("branches"), named("tags"))

    def tree(self, kind: str, repo: str, commit: str) -> Iterator[RemoteFile]:
        """Every file of a commit, a page at a time. Raises like `info`."""
        url: str | None = f"/api/{kind}s/{quote(repo)}/tree/{commit}?recursive=true&expand=false"
        while url is not None:
            page, following = self._page(url, kind, repo, commit)
            for item in page:
                if item.get("type") == "file":
                    yield _remote_file(item)
            url = following

    @contextmanager
    def open(
        self, kind: str, repo: str, commit: str, path: str, offset: int = 0
    ) -> Iterator[tuple[int, Iterator[bytes]]]:
        """The bytes of a file from `offset` on, as (where they really begin, chunks).

        They begin at 0 when the server does not do ranges. The chunks end early when the transfer
        is cut: the caller counts.

        Raises:
            UsageError: the commit has no such file.
            AccessError: the repo is gated or private.
            TemporaryError: not reachable, or asked to wait for longer than is reasonable.
        """
        prefix = "" if kind == "model" else f"{kind}s/"
        url = f"/{prefix}{quote(repo)}/resolve/{commit}/{quote(path)}"
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        response = self._get(url, headers, about=(kind, repo, commit, path))
        with response:
            start = _range_start(response) if response.status_code == 206 else 0
            if response.status_code == 416:
                yield 0, iter(())
            else:
                yield start, _chunks(response)

    def _json(self, path: str, kind: str, repo: str, revision: str | None) -> dict[str, Any]:
        raw, _ = self._ask(path, (kind, repo, revision, None))
        if not isinstance(raw, dict):
            raise hub_errors.not_a_hub(self.endpoint)
        return raw

    def _page(self, url: str, kind: str, repo: str, commit: str) -> tuple[list[dict[str, Any]], str | None]:
        raw, links = self._ask(url, (kind, repo, commit, None))
        if not isinstance(raw, list):
            raise hub_errors.not_a_hub(self.endpoint)
        link = _NEXT.search(links)
        following = None
        if link is not None:
            following = urljoin(self.endpoint + "/", link[1])
            if _origin(following) != self._origin:
                raise hub_errors.not_a_hub(self.endpoint)
        return [item for item in raw if isinstance(item, dict)], following

    def _ask(self, path: str, about: hub_errors.About) -> tuple[Any, str]:
        """The JSON of an answer, None when it is none, and its Link header; a cut one is asked again."""
        for attempt in range(1, TRIES + 1):
            with self._get(path, {}, about) as response:
                body = b"".join(_chunks(response, limit=_MAX_JSON))
                promised = int(response.headers.get("Content-Length") or len(body))
                if len(body) >= promised:
                    try:
                        return json.loads(body), response.headers.get("Link", "")
                    except ValueError:
                        return None, ""
            self._sleep(0.2 * attempt)
        raise hub_errors.unreachable(self.endpoint, ConnectionError("its answers are cut off"))

    def _get(self, path: str, headers: Mapping[str, str], about: hub_errors.About) -> requests.Response:
        """A response that is fine, after as many tries as are reasonable."""
        if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
            raise hub_errors.switched_off(self.endpoint)
        url = path if path.startswith(("http://", "https://")) else self.endpoint + path
        waited, attempt = 0.0, 0
        while True:
            attempt += 1
            answer, wait = self._try(url, headers, about)
            if not isinstance(answer, WorldFluxError):
                self._reached = True
                return answer
            pause = (
                wait if wait is not None else min(LONGEST_WAIT, 0.25 * 2**attempt) * random.uniform(0.5, 1.0)
            )
            waited += pause
            # Nobody wants to wait for a network that was never there.
            last = attempt == (TRIES if self._reached else 2)
            if last or waited > LONGEST_WAIT or not isinstance(answer, TemporaryError):
                raise answer
            self._sleep(pause)

    def _try(
        self, url: str, headers: Mapping[str, str], about: hub_errors.About
    ) -> tuple[requests.Response | WorldFluxError, float | None]:
        """One answer, or the error it stands for and how long the Hub asks to wait."""
        import requests

        try:
            response = self._follow(url, headers, about)
        except requests.exceptions.SSLError as error:
            return hub_errors.untrusted(self.endpoint, error), None
        except (requests.ConnectionError, requests.Timeout) as error:
            return hub_errors.unreachable(self.endpoint, error), None
        except requests.RequestException as error:
            return WorldFluxError(
                f"the Hub at {self.endpoint} gave a broken answer: {type(error).__name__}"
            ), None
        if response.status_code < 400 or response.status_code == 416:
            return response, None
        with response:
            return hub_errors.from_response(response, self.endpoint, about, self.has_token)

    def _follow(self, url: str, headers: Mapping[str, str], about: hub_errors.About) -> requests.Response:
        """Send, and follow redirects by hand so that the token stays with its own host."""
        for _ in range(6):
            response = self._session().get(
                url,
                headers={"Accept-Encoding": "identity", **headers},
                auth=self._bearer if _origin(url) == self._origin else _no_auth,
                stream=True,
                allow_redirects=False,
                timeout=self._timeout,
            )
            if not response.is_redirect:
                return response
            target = urljoin(url, response.headers["Location"])
            response.close()
            renamed = hub_errors.renamed_to(target, about)
            if renamed is not None:
                raise renamed
            if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
                raise WorldFluxError(
                    f"the Hub at {self.endpoint} sends on to an address without encryption",
                    "nothing was read from there; check HF_ENDPOINT",
                    code="insecure_redirect",
                )
            url = target
        raise WorldFluxError(
            f"the Hub at {self.endpoint} redirects in a circle", "check HF_ENDPOINT", code="hub_answer"
        )

    def _session(self) -> requests.Session:
        import requests

        from worldflux import __version__

        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.headers["User-Agent"] = f"worldflux/{__version__}"
        return session

    def _bearer(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Given instead of None, so that `.netrc` is not asked for credentials either."""
    request.headers.pop("Authorization", None)
    return request


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or default


def _remote_file(item: Mapping[str, Any]) -> RemoteFile:
    lfs = item.get("lfs")
    large = lfs if isinstance(lfs, dict) else {}
    sha256 = large.get("oid") or large.get("sha256")
    size = large.get("size", item.get("size", 0))
    return RemoteFile(str(item.get("path")), int(size), str(item.get("oid")), sha256)


def _chunks(response: requests.Response, size: int = 1 << 18, limit: int | None = None) -> Iterator[bytes]:
    """Raw chunks until the end or until the transfer is cut; a cut is not an error here."""
    import urllib3

    seen = 0
    while True:
        try:
            chunk = response.raw.read(size, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError):
            return
        if not chunk:
            return
        seen += len(chunk)
        if limit is not None and seen > limit:
            return
        yield chunk


def _range_start(response: requests.Response) -> int:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else 0
