"""The read side of the Hub, on loopback: enough of it that the official client is satisfied too.

Two listeners, as the real Hub has two hosts: large files are redirected to the second one, which
must never see the token. Repos live in memory or on disk (sparse files stay sparse).
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlencode, urlsplit

TOKEN = "hf_standin_good_token"
LARGE = (".safetensors", ".parquet", ".mp4")


class Blob:
    """A file of a repo: bytes in memory, or a file on disk."""

    def __init__(self, content: bytes | Path, large: bool) -> None:
        self.content, self.large = content, large
        self.size = len(content) if isinstance(content, bytes) else content.stat().st_size
        whole, git = hashlib.sha256(), hashlib.sha1(f"blob {self.size}\0".encode())
        for chunk in self.chunks(0):
            whole.update(chunk)
            git.update(chunk)
        self.sha256 = whole.hexdigest()
        spec = "version https://git-lfs.github.com/spec/v1"
        pointer = f"{spec}\noid sha256:{self.sha256}\nsize {self.size}\n".encode()
        self.pointer_size = len(pointer)
        self.oid = (
            hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest() if large else git.hexdigest()
        )

    def chunks(self, start: int, end: int | None = None) -> Iterator[bytes]:
        end = self.size if end is None else end
        if isinstance(self.content, bytes):
            yield self.content[start:end]
            return
        with open(self.content, "rb") as handle:
            handle.seek(start)
            left = end - start
            while left and (chunk := handle.read(min(left, 1 << 18))):
                left -= len(chunk)
                yield chunk


@dataclass
class Repo:
    """One repo.

    Attributes:
        gated: only with the token may files be read.
        renamed_to: answers API calls with a redirect to that name.
        cut: path -> how many bytes to send before the connection is closed, once per entry.
        corrupt: paths whose bytes are changed on their way.
    """

    id: str
    kind: str = "model"
    files: dict[str, Blob] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    branches: tuple[str, ...] = ("main",)
    gated: bool = False
    private: bool = False
    renamed_to: str | None = None
    card: dict[str, Any] = field(default_factory=dict)
    cut: dict[str, list[int]] = field(default_factory=dict)
    corrupt: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        lines = "".join(f"{path}\0{blob.oid}\n" for path, blob in sorted(self.files.items()))
        self.commit = hashlib.sha1(lines.encode()).hexdigest()

    def knows(self, revision: str) -> bool:
        return revision == self.commit or revision in self.branches or revision in self.refs


@dataclass
class Request:
    """What arrived at a listener."""

    host: str
    method: str
    path: str
    authorization: str | None
    range: str | None


class StandInHub:
    """Two listeners and the repos behind them.

    Attributes:
        url: the Hub's address, for HF_ENDPOINT.
        requests: everything that arrived, in order.
        busy: answers to give before any other: (status, headers), used up one by one.
        page: files in one page of a listing.
        before: called with each request; may wait, to hold a transfer.
        throttle: bytes in one write of a file's body, and the seconds after it; (0, 0) sends at once.
        ignore_range: answer 200 with the whole file to a ranged request.
    """

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.requests: list[Request] = []
        self.busy: list[tuple[int, dict[str, str]]] = []
        self.page = 1000
        self.before: Callable[[Request], None] | None = None
        self.throttle: tuple[int, float] = (0, 0.0)
        self.ignore_range = False
        self.lock = threading.Lock()
        self._main, self._store = self._listen("hub"), self._listen("store")
        self.url = f"http://127.0.0.1:{self._main.server_port}"
        # Another host name, not only another port: some clients compare host names alone.
        self.store_url = f"http://localhost:{self._store.server_port}"

    def _listen(self, name: str) -> ThreadingHTTPServer:
        handler = type("Handler", (_Handler,), {"hub": self, "listener": name})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    def close(self) -> None:
        for server in (self._main, self._store):
            server.shutdown()
            server.server_close()

    def add(self, repo_id: str, files: dict[str, bytes | Path], kind: str = "model", **options: Any) -> Repo:
        blobs = {path: Blob(content, path.endswith(LARGE)) for path, content in files.items()}
        repo = Repo(repo_id, kind, blobs, **options)
        self.repos[(kind, repo_id)] = repo
        return repo

    def asked(self, part: str) -> list[Request]:
        """The requests whose path holds `part`."""
        return [request for request in self.requests if part in request.path]


@contextmanager
def standing_hub() -> Iterator[StandInHub]:
    hub = StandInHub()
    try:
        yield hub
    finally:
        hub.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    hub: StandInHub
    listener: str

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def _route(self) -> None:
        request = Request(
            self.listener,
            self.command,
            self.path,
            self.headers.get("Authorization"),
            self.headers.get("Range"),
        )
        with self.hub.lock:
            self.hub.requests.append(request)
            busy = self.hub.busy.pop(0) if self.hub.busy else None
        if self.hub.before is not None:
            self.hub.before(request)
        if busy is not None:
            return self._answer(busy[0], b"", **busy[1])
        parts = urlsplit(self.path)
        if self.listener == "store":
            return self._from_store(parts.path)
        api = re.fullmatch(
            r"/api/(model|dataset)s/([^/]+(?:/[^/]+)?)/(revision|tree|refs)(?:/([^/]+))?", parts.path
        ) or re.fullmatch(r"/api/(model|dataset)s/([^/]+/[^/]+)()()", parts.path)
        if api:
            return self._api(*(unquote(part or "") for part in api.groups()), query=parts.query)
        file = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", parts.path)
        if file:
            kind = "dataset" if file[1] else "model"
            return self._resolve(kind, file[2], unquote(file[3]), unquote(file[4]))
        self._answer(404, b'{"error": "no such page"}')

    def _api(self, kind: str, name: str, verb: str, revision: str, query: str) -> None:
        repo = self._repo(kind, name)
        if repo is None:
            return
        if repo.renamed_to is not None:
            new = self.path.replace(quote(name), quote(repo.renamed_to), 1)
            return self._answer(307, b"", Location=new)
        if verb == "refs":
            branches = [self._ref(name, "heads", repo) for name in repo.branches]
            tags = [self._ref(name, "tags", repo) for name in repo.refs]
            return self._json({"branches": branches, "converts": [], "tags": tags})
        if not repo.knows(revision or "main"):
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if verb == "tree":
            return self._tree(repo, query)
        self._json(self._info(repo, query))

    @staticmethod
    def _ref(name: str, group: str, repo: Repo) -> dict[str, str]:
        return {"name": name, "ref": f"refs/{group}/{name}", "targetCommit": repo.commit}

    def _info(self, repo: Repo, query: str) -> dict[str, Any]:
        asked = parse_qs(query)
        whole = {
            "author": repo.id.split("/")[0],
            "sha": repo.commit,
            "private": repo.private,
            "gated": "auto" if repo.gated else False,
            "disabled": False,
            "downloads": 1,
            "likes": 0,
            "tags": [f"license:{repo.card['license']}"] if "license" in repo.card else [],
            "cardData": repo.card,
            "lastModified": "2026-08-20T10:00:00.000Z",
            "createdAt": "2026-08-20T10:00:00.000Z",
            "siblings": [{"rfilename": path} for path in sorted(repo.files)],
        }
        kept = {key: value for key, value in whole.items() if "expand" not in asked or key in asked["expand"]}
        return {"_id": repo.commit[:24], "id": repo.id, **kept}

    def _tree(self, repo: Repo, query: str) -> None:
        asked = dict(parse_qsl(query))
        start = int(asked.get("cursor", 0))
        paths = sorted(repo.files)
        items = [_item(path, repo.files[path]) for path in paths[start : start + self.hub.page]]
        extra = {}
        if start + self.hub.page < len(paths):
            following = urlencode({**asked, "cursor": start + self.hub.page})
            extra["Link"] = f'<{self.hub.url}{urlsplit(self.path).path}?{following}>; rel="next"'
        self._json(items, **extra)

    def _resolve(self, kind: str, name: str, revision: str, path: str) -> None:
        repo = self._repo(kind, name)
        if repo is None:
            return
        if repo.gated and not self._let_in():
            status = 403 if self.headers.get("Authorization") else 401
            return self._error(status, "GatedRepo", f"Access to model {name} is restricted.")
        if not repo.knows(revision):
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        blob = repo.files.get(path)
        if blob is None:
            return self._error(404, "EntryNotFound", "Entry not found")
        if blob.large:
            return self._answer(
                302,
                b"",
                Location=f"{self.hub.store_url}/{kind}/{quote(name)}/{blob.sha256}/{quote(path)}",
                X_Repo_Commit=repo.commit,
                X_Linked_Size=str(blob.size),
                X_Linked_Etag=f'"{blob.sha256}"',
                Accept_Ranges="bytes",
            )
        self._send(repo, path, blob, ETag=f'"{blob.oid}"', X_Repo_Commit=repo.commit)

    def _from_store(self, path: str) -> None:
        match = re.fullmatch(r"/(model|dataset)/([^/]+/[^/]+)/([0-9a-f]{64})/(.+)", path)
        if match is None:
            return self._answer(404, b"")
        repo = self.hub.repos[(match[1], unquote(match[2]))]
        name = unquote(match[4])
        self._send(repo, name, repo.files[name], ETag=f'"{match[3]}"')

    def _send(self, repo: Repo, path: str, blob: Blob, **headers: str) -> None:
        status, start, end = 200, 0, blob.size
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and not self.hub.ignore_range:
            start = int(asked[1])
            if start >= blob.size:
                return self._answer(416, b"", Content_Range=f"bytes */{blob.size}")
            end = min(blob.size, int(asked[2]) + 1) if asked[2] else blob.size
            status, headers["Content_Range"] = 206, f"bytes {start}-{end - 1}/{blob.size}"
        with self.hub.lock:
            cuts = repo.cut.get(path) or []
            limit = cuts.pop(0) if cuts and self.command == "GET" else None
        self._head(status, end - start, Accept_Ranges="bytes", **headers)
        if self.command == "HEAD":
            return
        try:
            self._body(repo, path, blob.chunks(start, end), limit)
        except OSError:
            self.close_connection = True

    def _body(self, repo: Repo, path: str, chunks: Iterator[bytes], limit: int | None) -> None:
        import time

        piece, pause = self.hub.throttle
        sent = 0
        for chunk in chunks:
            if path in repo.corrupt:
                chunk = bytes([chunk[0] ^ 1]) + chunk[1:]
            if limit is not None and sent + len(chunk) > limit:
                self.wfile.write(chunk[: limit - sent])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            for at in range(0, len(chunk), piece or len(chunk) or 1):
                self.wfile.write(chunk[at : at + (piece or len(chunk))])
                if pause:
                    self.wfile.flush()
                    time.sleep(pause)
            sent += len(chunk)

    def _repo(self, kind: str, name: str) -> Repo | None:
        repo = self.hub.repos.get((kind, name))
        if repo is None or (repo.private and not self._let_in()):
            known = self.headers.get("Authorization")
            self._error(404 if known else 401, "RepoNotFound", "Repository not found")
            return None
        return repo

    def _let_in(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _json(self, value: Any, **headers: str) -> None:
        self._answer(200, json.dumps(value).encode(), **headers)

    def _error(self, status: int, code: str, message: str) -> None:
        body = json.dumps({"error": message}).encode()
        self._answer(status, body, X_Error_Code=code, X_Error_Message=message)

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self._head(status, len(body), Content_Type="application/json", **headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()


def _item(path: str, blob: Blob) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "file", "path": path, "size": blob.size, "oid": blob.oid}
    if blob.large:
        item["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
    return item
