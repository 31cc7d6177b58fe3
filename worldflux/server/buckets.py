"""Rate limits that all workers of a machine share, in one small mapped file.

The generic cell rate algorithm: of each name only the time is kept at which its bucket would be full
again. A slot is found by the hash of the name; when its neighbourhood is taken, the one that was full
first is given up, which can only be too lenient.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
import threading
import time
from pathlib import Path

#: Hash of the name, and the monotonic time at which the bucket is full again.
_SLOT = struct.Struct("=Qd")
SLOTS = 16384
_NEIGHBOURS = 8


class Buckets:
    """Token buckets by name. Time is the machine's monotonic clock, the same in every process."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / "limits.bin", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._descriptor, SLOTS * _SLOT.size)
        self._map = mmap.mmap(self._descriptor, SLOTS * _SLOT.size)
        self._lock = threading.Lock()

    def take(self, name: str, rate: float, burst: float, *, cost: float = 1.0) -> float:
        """Take from a bucket; 0 when there was enough, else the seconds after which there will be.

        Args:
            rate: what flows into the bucket in a second.
            burst: what it holds.
            cost: what is taken; 0 only asks.
        """
        key, first = _place(name)
        now = time.monotonic()
        with self._lock:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX, _NEIGHBOURS * _SLOT.size, first * _SLOT.size)
            try:
                slot, full_at = self._find(key, first, now)
                full_at = max(full_at, now) + cost / rate
                wait = full_at - now - burst / rate
                if cost and wait <= 0:
                    _SLOT.pack_into(self._map, slot * _SLOT.size, key, full_at)
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, _NEIGHBOURS * _SLOT.size, first * _SLOT.size)
        return max(0.0, wait)

    def _find(self, key: int, first: int, now: float) -> tuple[int, float]:
        """The slot of a name and its time; a time far off is of before a reboot."""
        oldest, oldest_time = first, float("inf")
        for slot in range(first, first + _NEIGHBOURS):
            found, full_at = _SLOT.unpack_from(self._map, slot * _SLOT.size)
            if full_at > now + 86400 or full_at != full_at:
                full_at = 0.0
            if found == key:
                return slot, full_at
            if full_at < oldest_time:
                oldest, oldest_time = slot, full_at
        return oldest, 0.0

    def close(self) -> None:
        """Give the file back."""
        self._map.close()
        os.close(self._descriptor)


def _place(name: str) -> tuple[int, int]:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    key, place = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
    return key or 1, place % (SLOTS // _NEIGHBOURS) * _NEIGHBOURS
