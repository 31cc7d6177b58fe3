"""A stand-in for Modal that the real SDK talks to: both gRPC services on one loopback port.

    with ModalServer() as server:
        os.environ.update(server.variables())
        ...                               # modal.App.lookup, modal.Sandbox.create, sb.exec

Commands really run, in namespaces of their own with nothing of this process's environment, and
end when this process does, however it ends. Handlers are found by the names in the protocol's
own descriptors; what nobody wrote answers UNIMPLEMENTED and is listed in `unknown`. Every call is
kept in `log` with its metadata and message.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from google.protobuf.message_factory import GetMessageClass
from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.server import Server
from modal_proto import api_pb2, task_command_router_pb2

from worldflux.testing.modal_box import Box
from worldflux.testing.modal_control import Control
from worldflux.testing.modal_image import Image
from worldflux.testing.modal_router import Router

TOKEN_ID, TOKEN_SECRET = "ak-stand-in", "as-stand-in-secret"
_CARDINALITY = {
    (False, False): Cardinality.UNARY_UNARY,
    (False, True): Cardinality.UNARY_STREAM,
    (True, False): Cardinality.STREAM_UNARY,
    (True, True): Cardinality.STREAM_STREAM,
}


@dataclass(frozen=True)
class Call:
    """One RPC as it arrived."""

    name: str
    metadata: dict[str, str]
    message: bytes


@dataclass
class ModalServer:
    """The stand-in. A context manager; sandboxes that still run are ended with it.

    Attributes:
        cache: where environments of images are kept.
        late_create: seconds between the start of a sandbox and the answer to its creator.
        cut_streams: this many output streams break after `cut_after` bytes.
        refuse_terminate: this many requests to terminate fail.
        on_call: told the name of each call, before it is worked on.
    """

    cache: Path
    late_create: float = 0.0
    cut_streams: int = 0
    cut_after: int = 100_000
    refuse_terminate: int = 0
    on_call: Callable[[str], None] = lambda name: None
    log: list[Call] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    apps: dict[str, str] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)
    context_files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    mounts: dict[str, list[Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    boxes: dict[str, Box] = field(default_factory=dict)
    tasks: dict[str, Box] = field(default_factory=dict)

    def __enter__(self) -> ModalServer:
        self.home = Path(tempfile.mkdtemp(prefix="modal-"))
        self._blobs = _serve_blobs(self)
        self.blob_url = f"http://127.0.0.1:{self._blobs.server_address[1]}"
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), daemon=True)
        self._thread.start()
        if not started.wait(30):
            raise RuntimeError("the stand-in did not start")
        return self

    def __exit__(self, *problem: object) -> None:
        self.stop()
        self._blobs.shutdown()
        self._blobs.server_close()
        for box in self.boxes.values():
            box.remove()
        shutil.rmtree(self.home, ignore_errors=True)

    def stop(self) -> None:
        """End every sandbox and stop answering. Silent when that was done."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(30)

    def variables(self) -> dict[str, str]:
        """What makes the SDK talk to this server and to no other."""
        return {
            "MODAL_SERVER_URL": self.url,
            "MODAL_TOKEN_ID": TOKEN_ID,
            "MODAL_TOKEN_SECRET": TOKEN_SECRET,
            "MODAL_DISABLE_API_PROXY": "1",
            "MODAL_SANDBOX_V2": "1",
        }

    def names(self) -> list[str]:
        """Names of the calls so far, each once, in order."""
        return list(dict.fromkeys(call.name for call in self.log))

    def sent(self) -> bytes:
        """Everything that clients have sent: metadata, messages, files and blobs."""
        calls = [str(call.metadata).encode() + call.message for call in self.log]
        return b"\n".join([*calls, *self.files.values(), *self.blobs.values()])

    def running(self) -> list[Box]:
        """Sandboxes that are alive."""
        return [box for box in self.boxes.values() if box.result is None]

    def secret_values(self, identities: Iterable[str], sources: Iterable[Any]) -> dict[str, str]:
        """Variables of stored secrets and of those that came with the request."""
        values: dict[str, str] = {}
        for identity in identities:
            values.update(self.secrets[identity])
        for source in sources:
            stored = source.WhichOneof("source") == "secret_id"
            values.update(self.secrets[source.secret_id] if stored else dict(source.env.contents))
        return values

    def mounted(self, mounts: Sequence[str], path: str) -> bytes | None:
        """A file of a build context."""
        for mount in mounts:
            for each in self.mounts[mount]:
                if each.filename == path:
                    return self.files[each.sha256_hex]
        return None

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        control, worker = Control(self), Router(self)
        services = [
            _Service(api_pb2.DESCRIPTOR.services_by_name["ModalClient"], control, self),
            _Service(task_command_router_pb2.DESCRIPTOR.services_by_name["TaskCommandRouter"], worker, self),
        ]
        server = _Server(services)
        door = socket.create_server(("127.0.0.1", 0))
        await server.start(sock=door)
        self.url = f"http://127.0.0.1:{door.getsockname()[1]}"
        started.set()
        await self._stopping.wait()
        for box in self.boxes.values():
            box.finish(api_pb2.GenericResult.GENERIC_STATUS_TERMINATED, 137)
        for box in self.boxes.values():
            for process in (box.main, *box.processes.values()):
                if process is not None:
                    await process.wait(10)
        server.close()
        await server.wait_closed()
        for connection in server.connections:
            connection.processor.close("the server stops")
        await asyncio.sleep(0.05)


class _Server(Server):
    """Remembers its connections, so that all of them can be closed."""

    def __init__(self, handlers: Any) -> None:
        super().__init__(handlers)
        self.connections: list[Any] = []

    def _protocol_factory(self) -> Any:
        protocol = super()._protocol_factory()
        self.connections.append(protocol)
        return protocol


class _Service:
    """One gRPC service with a handler for every method of its descriptor."""

    def __init__(self, descriptor: Any, handlers: object, world: ModalServer) -> None:
        self._descriptor, self._handlers, self._world = descriptor, handlers, world

    def __mapping__(self) -> dict[str, Handler]:
        name = self._descriptor.full_name
        return {f"/{name}/{method.name}": self._handler(method) for method in self._descriptor.methods}

    def _handler(self, method: Any) -> Handler:
        return Handler(
            lambda stream: self._answer(method, stream),
            _CARDINALITY[bool(method.client_streaming), bool(method.server_streaming)],
            GetMessageClass(method.input_type),
            GetMessageClass(method.output_type),
        )

    async def _answer(self, method: Any, stream: Any) -> None:
        world, metadata = self._world, {k: str(v) for k, v in stream.metadata.items()}
        function = getattr(self._handlers, method.name, None)
        if function is None or method.client_streaming:
            world.unknown.append(method.name)
            raise GRPCError(Status.UNIMPLEMENTED, f"the stand-in has no {method.name}")
        message = await stream.recv_message()
        world.log.append(Call(method.name, metadata, message.SerializeToString()))
        world.on_call(method.name)
        _check(self._descriptor.name, method.name, metadata)
        try:
            if method.server_streaming:
                async for each in function(message):
                    await stream.send_message(each)
            else:
                await stream.send_message(await function(message))
        except GRPCError:
            raise
        except Exception as error:
            world.problems.append(f"{method.name}: {error!r}")
            raise GRPCError(Status.INTERNAL, f"the stand-in failed in {method.name}: {error!r}") from error


def _check(service: str, method: str, metadata: dict[str, str]) -> None:
    """Each kind of call shows who it is in its own way."""
    if service == "TaskCommandRouter":
        known = metadata.get("authorization", "").startswith("Bearer ")
    elif method.endswith("V2"):
        known = "x-modal-auth-token" in metadata
    else:
        given = metadata.get("x-modal-token-id"), metadata.get("x-modal-token-secret")
        known = given == (TOKEN_ID, TOKEN_SECRET)
    if not known:
        raise GRPCError(Status.UNAUTHENTICATED, "Token ID or secret is wrong")


def _serve_blobs(world: ModalServer) -> ThreadingHTTPServer:
    """Takes the content of large files, as an object store does."""

    class Blobs(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            return None

        def do_PUT(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            world.blobs[self.path.lstrip("/")] = data
            self.send_response(200)
            self.send_header("ETag", hashlib.md5(data, usedforsecurity=False).hexdigest())
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Blobs)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server
