"""Keys, and a real HTTP server on loopback that answers as WorldFlux's does, or as badly as told."""

from __future__ import annotations

import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from worldflux.manifest.secret_vendors import BASE62, worldflux_checksum


def make_key() -> str:
    """A new key with a right checksum."""
    head = "wfx_" + "".join(secrets.choice(BASE62) for _ in range(33))
    return head + worldflux_checksum(head)


def greeting(**changes: Any) -> dict[str, Any]:
    """What a server answers to a key it knows."""
    key = {"id": "key_1", "name": "laptop", "scopes": ["runs:read", "runs:write"], "last4": "xxxx"}
    document: dict[str, Any] = {
        "api": 1,
        "workspace": "lab",
        "key": {**key, "expires_at": "2027-02-19T12:00:00.000+00:00"},
        "limits": {"bundle_bytes": 8388608},
        "heartbeat_seconds": 15,
        "server": {"version": "0.1.0", "time": "2026-11-21T12:00:00.000+00:00"},
    }
    for name, value in changes.items():
        holder, _, leaf = name.rpartition("__")
        (document[holder] if holder else document)[leaf] = value
    return document


@dataclass
class Gatekeeper:
    """A server that knows some keys and remembers every request.

    Attributes:
        keys: those it accepts.
        manner: how it answers: `well`, or a word of `_Handler`.
        seen: method, path and headers of each request.
    """

    url: str = ""
    keys: set[str] = field(default_factory=set)
    manner: str = "well"
    document: dict[str, Any] = field(default_factory=greeting)
    elsewhere: str = ""
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def authorizations(self) -> list[str | None]:
        return [headers.get("Authorization") for _, _, headers in self.seen]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gatekeeper: Gatekeeper

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        me = self.gatekeeper
        me.seen.append((self.command, self.path, dict(self.headers.items())))
        manner = me.manner
        if manner == "trickle":
            self._trickle()
        elif manner == "silent":
            me.done.wait(60)
        elif manner == "cut":
            self.close_connection = True
        elif manner.startswith("redirect"):
            self._answer(int(manner.removeprefix("redirect")), b"", Location=me.elsewhere)
        elif manner == "html":
            self._answer(200, b"<html>welcome</html>")
        elif manner == "huge":
            self._answer(200, b'{"a":"' + b"x" * (3 << 20) + b'"}')
        elif manner.isdigit():
            body = json.dumps({"title": "nicht \x1b[31mgut", "code": "reason"}).encode()
            self._answer(int(manner), body)
        else:
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            if token in me.keys:
                self._answer(200, json.dumps(me.document).encode())
            else:
                self._answer(401, b'{"title": "unknown key"}')

    do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = do_GET

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _trickle(self) -> None:
        """One byte now and then: no single read takes long, the whole never ends."""
        try:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
            while not self.gatekeeper.done.is_set():
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.1)
        except OSError:
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up is what some tests are about."""


@contextmanager
def gatekeeper(*keys: str, certificate: tuple[Path, Path] | None = None) -> Iterator[Gatekeeper]:
    """A running server; with a certificate and its key it speaks TLS."""
    me = Gatekeeper(keys=set(keys))
    handler = type("Handler", (_Handler,), {"gatekeeper": me})
    server = _Server(("127.0.0.1", 0), handler)
    scheme = "http"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    me.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield me
    finally:
        me.done.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
