"""Servers that misbehave on purpose, one socket each."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

HELLO = b'{"api":1,"workspace":"lab","key":{},"limits":{},"heartbeat_seconds":15,"server":{"version":"1","time":""}}'

Answer = Callable[["Request"], bytes | None]


@dataclass
class Request:
    """One request as it came: the first line and headers as text, the body as bytes."""

    head: str
    body: bytes
    connection: socket.socket
    number: int

    def header(self, name: str) -> str | None:
        for line in self.head.split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return None


def reply(status: int, body: bytes = b"{}", **headers: str) -> bytes:
    """The bytes of a plain answer; `_` in a header's name stands for `-`."""
    lines = [f"HTTP/1.1 {status} Because", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Odd:
    """A server on loopback whose every answer is what a function returns; None closes the connection."""

    answer: Answer
    seen: list[Request] = field(default_factory=list)
    url: str = ""

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            buffer = b""
            while True:
                while b"\r\n\r\n" not in buffer:
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    buffer += piece
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                request = Request(head.decode("latin-1"), b"", connection, len(self.seen))
                size = int(request.header("Content-Length") or 0)
                while len(buffer) < size:
                    buffer += connection.recv(65536)
                request.body, buffer = buffer[:size], buffer[size:]
                self.seen.append(request)
                data = self.answer(request)
                if data is None:
                    return
                connection.sendall(data)


@contextmanager
def odd_server(answer: Answer) -> Iterator[Odd]:
    """A misbehaving server for the time of the block."""
    listener = socket.create_server(("127.0.0.1", 0))
    odd = Odd(answer)
    odd.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread = threading.Thread(target=odd.serve, args=(listener,), daemon=True)
    thread.start()
    try:
        yield odd
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def drip(connection: socket.socket, data: bytes, every: float) -> None:
    """Send one byte at a time."""
    for index in range(len(data)):
        connection.sendall(data[index : index + 1])
        time.sleep(every)
