"""A command in a box of the Modal stand-in: its output is kept, so that a reader may start anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence

from worldflux.testing import warden

CHUNK = 32 * 1024


class Process:
    """A local process, owned by a warden: it and all its children end with `end`, or with this process."""

    def __init__(self) -> None:
        self.output: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        self.closed: set[int] = set()
        self.code: int | None = None
        self.changed = asyncio.Condition()
        self._handed = -1
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def start(
        cls, words: Sequence[str], environment: Mapping[str, str], limit: float | None = None
    ) -> Process:
        """Start it; `limit` is in seconds."""
        self = cls()
        held, self._handed = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-IS",
                warden.__file__,
                str(held),
                *words,
                env=dict(environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(held,),
            )
        finally:
            os.close(held)
        assert process.stdout is not None and process.stderr is not None
        pumps = [
            asyncio.create_task(self._pump(1, process.stdout)),
            asyncio.create_task(self._pump(2, process.stderr)),
        ]
        self._tasks = [*pumps, asyncio.create_task(self._reap(process, pumps, limit))]
        return self

    async def _pump(self, stream: int, source: asyncio.StreamReader) -> None:
        while data := await source.read(65536):
            async with self.changed:
                self.output[stream] += data
                self.changed.notify_all()
        async with self.changed:
            self.closed.add(stream)
            self.changed.notify_all()

    async def _reap(
        self, process: asyncio.subprocess.Process, pumps: list[asyncio.Task[None]], limit: float | None
    ) -> None:
        try:
            await asyncio.wait_for(process.wait(), limit)
        except asyncio.TimeoutError:
            self.end()
            await process.wait()
        await asyncio.gather(*pumps)
        async with self.changed:
            self.code = process.returncode
            self.changed.notify_all()
        self.end()

    def end(self) -> None:
        """Kill it with everything it started. Silent when it has ended."""
        if self._handed >= 0:
            with contextlib.suppress(OSError):
                os.close(self._handed)
            self._handed = -1

    async def read(self, stream: int, offset: int) -> AsyncIterator[bytes]:
        """Output from an offset to the end; never an empty piece."""
        while True:
            async with self.changed:
                while len(self.output[stream]) <= offset and stream not in self.closed:
                    await self.changed.wait()
                data = bytes(self.output[stream][offset : offset + CHUNK])
            if not data:
                return
            yield data
            offset += len(data)

    async def wait(self, limit: float | None = None) -> int:
        """Its exit code, minus the signal.

        Raises:
            asyncio.TimeoutError: it still runs after `limit` seconds.
        """
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(lambda: self.code is not None), limit)
        assert self.code is not None
        return self.code
