"""A stand-in for Replicate: the HTTP API on loopback, with models that are local commands.

    with ReplicateServer([python_model("me/hello", "print('hi')")]) as server:
        plugin = ReplicatePlugin(model=..., api_url=server.url, output_hosts=[server.delivery_host])

Every request is kept in `log` and `delivery_log`, with its headers and body. Output files are
served by a second server, as Replicate does, so that a token sent there is seen.
"""

from __future__ import annotations

import email
import json
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, cast
from urllib.parse import urlsplit

from worldflux.testing.replicate_models import Model
from worldflux.testing.replicate_prediction import Prediction

TOKEN = "r8_stand_in_token"


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Throttle:
    """Answers the next `left` matching requests with 429.

    Attributes:
        header: say the pause in `Retry-After`; else only in the text.
    """

    method: str
    path: str
    left: int
    after: float = 1
    header: bool = True


@dataclass
class ReplicateServer:
    """The stand-in. A context manager; predictions that still run are ended with it.

    Attributes:
        throttles: see `Throttle`.
        swallow: this many answers to a create are never sent, though it was carried out.
        fail: this many requests are answered with 500.
    """

    models: Sequence[Model] = ()
    token: str = TOKEN
    log: list[Request] = field(default_factory=list)
    delivery_log: list[Request] = field(default_factory=list)
    throttles: list[Throttle] = field(default_factory=list)
    swallow: int = 0
    fail: int = 0
    predictions: dict[str, Prediction] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def __enter__(self) -> ReplicateServer:
        self._folder = Path(tempfile.mkdtemp(prefix="replicate-"))
        self._servers = [_serve(_Api, self), _serve(_Delivery, self)]
        self.url = f"http://127.0.0.1:{self._servers[0].server_address[1]}"
        self.delivery_host = f"127.0.0.1:{self._servers[1].server_address[1]}"
        return self

    def __exit__(self, *problem: object) -> None:
        for prediction in self.predictions.values():
            prediction.cancel()
            prediction.done.wait(10)
        for server in self._servers:
            server.shutdown()
            server.server_close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def model(self, version: str) -> Model | None:
        return next((each for each in self.models if each.version == version), None)

    def sent(self) -> bytes:
        """Everything that clients have sent to both servers: request lines, headers and bodies."""
        requests = [*self.log, *self.delivery_log]
        return b"\n".join(
            f"{r.method} {r.path} {json.dumps(r.headers)}\n".encode() + r.body for r in requests
        )

    def start(self, model: Model, inputs: dict[str, Any], cancel_after: float | None) -> Prediction:
        prediction = Prediction(
            model, inputs, self.url, f"http://{self.delivery_host}", self._folder, cancel_after
        )
        self.predictions[prediction.id] = prediction
        return prediction


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: ClassVar[ReplicateServer]

    def log_message(self, format: str, *args: Any) -> None:
        return None

    def read_request(self, log: list[Request]) -> Request:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, urlsplit(self.path).path, headers, body)
        log.append(request)
        return request

    def answer(self, code: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def problem(self, code: int, title: str, detail: str, headers: dict[str, str] | None = None) -> None:
        self.answer(code, {"title": title, "detail": detail, "status": code}, headers)


class _Delivery(_Handler):
    """Serves output files."""

    def do_GET(self) -> None:
        self.read_request(self.server_of.delivery_log)
        found = re.fullmatch(r"/(\w+)/([^/]+)", urlsplit(self.path).path)
        prediction = self.server_of.predictions.get(found[1]) if found else None
        path = prediction.out / found[2] if prediction and found else None
        if path is None or not path.is_file():
            return self.problem(404, "Not found", self.path)
        return self.answer(200, path.read_bytes())


class _Api(_Handler):
    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def _handle(self) -> None:
        world = self.server_of
        self.request_read = request = self.read_request(world.log)
        known = request.headers.get("authorization") == f"Bearer {world.token}"
        if not known and not request.path.startswith("/v1/files/"):
            return self.problem(401, "Unauthenticated", "You did not pass an authentication token")
        if world.fail > 0:
            world.fail -= 1
            return self.problem(500, "Internal server error", "try again")
        for each in world.throttles:
            if each.left > 0 and each.method == request.method and re.fullmatch(each.path, request.path):
                each.left -= 1
                detail = f"Request was throttled. Your rate limit resets in ~{each.after}s."
                headers = {"Retry-After": str(each.after)} if each.header else {}
                return self.problem(429, "Too many requests", detail, headers)
        for method, pattern, handler in _ROUTES:
            found = re.fullmatch(pattern, request.path)
            if method == request.method and found:
                return handler(self, *found.groups())
        return self.problem(404, "Not found", f"{request.method} {request.path}")

    def account(self) -> None:
        self.answer(200, {"type": "user", "username": "stand-in", "name": "Stand-in", "github_url": ""})

    def version(self, name: str, version: str) -> None:
        model = self.server_of.model(version)
        if model is None or model.name != name:
            return self.problem(404, "Not found", "The requested resource could not be found.")
        return self.answer(200, model.document())

    def create(self) -> None:
        world, body = self.server_of, json.loads(self.request_read.body)
        model = world.model(body.get("version", ""))
        if model is None:
            detail = "The specified version does not exist (or perhaps you don't have permission to use it?)"
            return self.problem(422, "Invalid version or not permitted", detail)
        given = body.get("input", {})
        missing = [name for name in model.required if name not in given]
        if missing:
            return self.problem(422, "Input validation failed", f"- input: {missing[0]} is required\n")
        after = re.fullmatch(r"(\d+)s", self.request_read.headers.get("cancel-after", ""))
        prediction = world.start(model, given, float(after[1]) if after else None)
        if world.swallow > 0:
            world.swallow -= 1
            self.close_connection = True
            self.connection.close()
            return None
        return self.answer(201, prediction.document())

    def listing(self) -> None:
        found = [each.document() for each in reversed(self.server_of.predictions.values())]
        self.answer(200, {"next": None, "previous": None, "results": found})

    def get(self, identity: str) -> None:
        found = self.server_of.predictions.get(identity)
        self.answer(200, found.document()) if found else self.problem(404, "Not found", identity)

    def cancel(self, identity: str) -> None:
        found = self.server_of.predictions.get(identity)
        if found is None:
            return self.problem(404, "Not found", identity)
        found.cancel()
        return self.answer(200, found.document())

    def upload(self) -> None:
        head = b"Content-Type: " + self.request_read.headers["content-type"].encode() + b"\r\n\r\n"
        parts = email.message_from_bytes(head + self.request_read.body).get_payload()
        assert isinstance(parts, list) and all(isinstance(each, Message) for each in parts)
        messages = cast("list[Message]", parts)
        part = next(
            each for each in messages if each.get_param("name", header="content-disposition") == "content"
        )
        data, identity = part.get_payload(decode=True), secrets.token_hex(8)
        assert isinstance(data, bytes)
        self.server_of.files[identity] = data
        address = f"{self.server_of.url}/v1/files/{identity}/download"
        self.answer(
            201, {"id": identity, "name": part.get_filename(), "size": len(data), "urls": {"get": address}}
        )

    def download(self, identity: str) -> None:
        data = self.server_of.files.get(identity)
        self.answer(200, data) if data is not None else self.problem(404, "Not found", identity)


_ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", "/v1/account", _Api.account),
    ("GET", "/v1/models/([^/]+/[^/]+)/versions/([0-9a-f]+)", _Api.version),
    ("POST", "/v1/predictions", _Api.create),
    ("GET", "/v1/predictions", _Api.listing),
    ("GET", r"/v1/predictions/(\w+)", _Api.get),
    ("POST", r"/v1/predictions/(\w+)/cancel", _Api.cancel),
    ("POST", "/v1/files", _Api.upload),
    ("GET", r"/v1/files/(\w+)/download", _Api.download),
]


def _serve(handler: type[_Handler], world: ReplicateServer) -> ThreadingHTTPServer:
    bound = type(handler.__name__, (handler,), {"server_of": world})
    server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server
