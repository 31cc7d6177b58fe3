"""Writes ZIP archives whose bytes depend on nothing but the names and the contents of their files.

Nothing is compressed (what a compressor writes depends on its version), every time is 1980-01-01,
every mode 0644. Sizes and checksums are known beforehand, so an archive is written in one pass and
in constant memory, also beyond 4 GiB (ZIP64).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import BinaryIO

_LIMIT = 0xFFFFFFFF
_MANY = 0xFFFF
_DATE = 0x21
_UTF8 = 0x800
_FILE_MODE = 0o100644 << 16
_UNIX = 3


class ArchiveWriter:
    """A new archive in an open file. Call `add` for each file, then `close`."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._at = 0
        self._central: list[bytes] = []

    def add(self, name: str, size: int, crc: int, write: Callable[[BinaryIO], None]) -> None:
        """Put a file into the archive.

        Args:
            size: bytes that `write` will write.
            crc: CRC-32 of them.
            write: writes the contents to the file it is given; wrong contents are the caller's fault.
        """
        raw = name.encode()
        flags = 0 if name.isascii() else _UTF8
        offset = self._at
        large = size >= _LIMIT
        needed = 45 if large or offset >= _LIMIT else 20
        extra = struct.pack("<HHQQ", 1, 16, size, size) if large else b""
        short = _LIMIT if large else size
        common = struct.pack("<HHHHHIII", needed, flags, 0, 0, _DATE, crc, short, short)
        self._put(b"PK\x03\x04" + common + struct.pack("<HH", len(raw), len(extra)) + raw + extra)
        write(self._out)
        self._at += size
        numbers = [size, size] if large else []
        numbers += [offset] if offset >= _LIMIT else []
        extra = struct.pack(f"<HH{len(numbers)}Q", 1, 8 * len(numbers), *numbers) if numbers else b""
        self._central.append(
            b"PK\x01\x02"
            + struct.pack("<BB", needed, _UNIX)
            + common
            + struct.pack("<HHHHHII", len(raw), len(extra), 0, 0, 0, _FILE_MODE, min(offset, _LIMIT))
            + raw
            + extra
        )

    def close(self) -> None:
        """Write the directory at the archive's end; the file stays open."""
        start, count = self._at, len(self._central)
        for entry in self._central:
            self._put(entry)
        size = self._at - start
        if start >= _LIMIT or size >= _LIMIT or count >= _MANY:
            end = self._at
            self._put(
                b"PK\x06\x06" + struct.pack("<QBBHIIQQQQ", 44, 45, _UNIX, 45, 0, 0, count, count, size, start)
            )
            self._put(b"PK\x06\x07" + struct.pack("<IQI", 0, end, 1))
        short = min(count, _MANY)
        self._put(
            b"PK\x05\x06"
            + struct.pack("<HHHHIIH", 0, 0, short, short, min(size, _LIMIT), min(start, _LIMIT), 0)
        )

    def _put(self, data: bytes) -> None:
        self._out.write(data)
        self._at += len(data)
