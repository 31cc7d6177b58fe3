"""A proxy between client and server that breaks connections by a plan drawn from a seed.

Cuts fall inside bodies: a connection that is to be cut ends after a number of bytes drawn between
nothing and the length of the request's body, so that small bodies are cut as well.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Weather:
    """How likely each kind of trouble is, per request, and how much of it there was."""

    refuse: float = 0.05
    cut: float = 0.2
    drop: float = 0.12
    delay: float = 0.2
    longest_delay: float = 0.15
    had: dict[str, int] = field(default_factory=dict)

    def count(self, kind: str) -> None:
        self.had[kind] = self.had.get(kind, 0) + 1


class ChaosProxy:
    """Listens on a port of its own and passes on to the server, more or less."""

    def __init__(self, target: int, seed: int, weather: Weather) -> None:
        self.target, self.weather = target, weather
        self.port = 0
        self._random = random.Random(seed)
        # A loop holds its tasks weakly, and one whose client has gone may have nobody else.
        self._talks: set[asyncio.Task[None] | None] = set()

    async def _serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        while True:
            await asyncio.sleep(0.05)  # what was accepted last begins, so that it can be ended
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if not others:
                return
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = asyncio.current_task()
        self._talks.add(own)
        try:
            if self._random.random() < self.weather.refuse:
                self.weather.count("refuse")
            else:
                await self._pass_on(reader, writer)
        finally:
            writer.transport.abort()
            self._talks.discard(own)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target, limit=1 << 20)
        except OSError:
            return
        try:
            while await self._one_request(reader, writer, up_reader, up_writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            up_writer.transport.abort()

    async def _one_request(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> bool:
        """Pass one request and its answer on; False when the connection is at its end."""
        dice = self._random
        head = await reader.readuntil(b"\r\n\r\n")
        size = _length(head)
        if dice.random() < self.weather.delay:
            self.weather.count("delay")
            await asyncio.sleep(dice.random() * self.weather.longest_delay)
        cut = dice.random() < self.weather.cut
        most = dice.randrange(size) if cut and size else size
        up_writer.write(head)
        left = most
        while left:
            piece = await reader.read(min(left, 65536))
            if not piece:
                return False
            up_writer.write(piece)
            await up_writer.drain()
            left -= len(piece)
        if cut and size:
            self.weather.count("cut")
            await up_writer.drain()
            return False
        answer = await up_reader.readuntil(b"\r\n\r\n")
        body = await up_reader.readexactly(0 if head.startswith(b"HEAD") else _length(answer))
        if dice.random() < self.weather.drop:
            self.weather.count("drop")
            return False
        whole = answer + body
        if dice.random() < self.weather.cut / 3:
            self.weather.count("cut answer")
            writer.write(whole[: dice.randrange(len(whole))])
            await writer.drain()
            return False
        writer.write(whole)
        await writer.drain()
        return True


def _length(head: bytes) -> int:
    found = re.search(rb"(?im)^content-length:\s*(\d+)", head)
    return int(found[1]) if found else 0


@contextmanager
def chaos_proxy(target: int, seed: int, weather: Weather) -> Iterator[ChaosProxy]:
    """A proxy for the time of the block, in a thread with a loop of its own."""
    proxy, ready = ChaosProxy(target, seed, weather), threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        loop.run_until_complete(proxy._serve(ready, stop))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
