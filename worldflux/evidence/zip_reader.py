"""Reads the archives that are written here, and refuses every other form of ZIP.

Nothing is unpacked. Files must be stored, so none can grow while it is read; they must fill the archive
without gap or overlap in the directory's order, so every reader sees the same files in it.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from worldflux.evidence import layout
from worldflux.evidence.package import Refused

_END, _END64, _LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_LOCAL, _CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
_LIMIT, _MANY = 0xFFFFFFFF, 0xFFFF
_MAX_DIRECTORY = 64 * 1024 * 1024
_UTF8 = 0x800
_BAD_PATH = re.compile(r"[\x00-\x1f\x7f\\]|(^|/)(\.{0,2})(/|$)|^[A-Za-z]:")


@dataclass(frozen=True)
class _Entry:
    name: str
    raw: bytes
    flags: int
    crc: int
    size: int
    offset: int


class ZipPackage:
    """A package in an archive.

    Args:
        source: the archive; a file object must allow seeking.

    Raises:
        Refused: it is no archive of this form: compressed or encrypted files, links, names that lead out
            or stand twice, overlapping files, bytes that belong to none, too many files.
    """

    kind = "zip"

    def __init__(self, source: Path | BinaryIO, where: str = "") -> None:
        self.where = where or str(source)
        try:
            self._file: BinaryIO = source.open("rb") if isinstance(source, Path) else source
            self._size = self._file.seek(0, os.SEEK_END)
        except OSError as error:
            raise Refused(self.where, f"it can not be read: {error.strerror or error}") from None
        try:
            self._entries = self._read()
        except BaseException:
            self.close()
            raise
        self.sizes = {name: entry.size for name, entry in self._entries.items()}

    def open(self, path: str) -> BinaryIO:
        entry = self._entries[path]
        return io.BufferedReader(_Member(self._file, self._start(entry), entry), layout.CHUNK)  # type: ignore[return-value,unused-ignore]

    def crc(self, path: str) -> int:
        """The CRC-32 that the directory states for a file."""
        return self._entries[path].crc

    def close(self) -> None:
        self._file.close()

    def _read(self) -> dict[str, _Entry]:
        count, size, start = self._end()
        if count > layout.MAX_FILES or size > _MAX_DIRECTORY:
            raise self._no(f"it has more than {layout.MAX_FILES} files")
        entries = self._directory(self._at(start, size), count)
        self._check_layout(entries, start)
        tops = {entry.name.partition("/")[0] for entry in entries}
        if len(tops) != 1 or any("/" not in entry.name for entry in entries):
            raise self._no("its files do not lie in one folder")
        #: The folder that all files lie in.
        self.top = tops.pop()
        found: dict[str, _Entry] = {}
        for entry in entries:
            path = entry.name.partition("/")[2]
            if path in found:
                raise self._no(f"{path!r} stands in it twice")
            found[path] = entry
        return found

    def _end(self) -> tuple[int, int, int]:
        """Number of entries, bytes and place of the directory; nothing may follow the end record."""
        at = self._size - 22
        record = self._at(at, 22) if at >= 0 else b""
        if record[:4] != _END:
            raise self._no("it is no ZIP archive, or something follows its end")
        disk, first, here, count, size, start, comment = struct.unpack("<4xHHHHIIH", record)
        if disk or first or comment or here != count:
            raise self._no("it is split, or has a comment")
        end = at
        if count == _MANY or _LIMIT in (size, start):
            count, size, start, end = self._end64(at)
        if start + size != end:
            raise self._no("bytes that belong to no file stand before its end")
        return count, size, start

    def _end64(self, at: int) -> tuple[int, int, int, int]:
        locator = self._at(at - 20, 20) if at >= 76 else b""
        if locator[:4] != _LOCATOR:
            raise self._no("its end record is damaged")
        disk, place, disks = struct.unpack("<4xIQI", locator)
        if disk or disks != 1 or place != at - 76:
            raise self._no("its end record is damaged")
        record = self._at(place, 56)
        if record[:4] != _END64:
            raise self._no("its end record is damaged")
        length, here, count, size, start = struct.unpack("<4xQ12xQQQQ", record)
        if length != 44 or here != count:
            raise self._no("its end record is damaged")
        return count, size, start, place

    def _directory(self, data: bytes, count: int) -> list[_Entry]:
        entries, at = [], 0
        for _ in range(count):
            if data[at : at + 4] != _CENTRAL or at + 46 > len(data):
                raise self._no("its directory is damaged")
            fields = struct.unpack_from("<4xHHHHHHIIIHHHHHII", data, at)
            name_length, extra_length, comment = fields[9:12]
            raw = data[at + 46 : at + 46 + name_length]
            extra = data[at + 46 + name_length : at + 46 + name_length + extra_length]
            if comment or len(raw) + len(extra) != name_length + extra_length:
                raise self._no("its directory is damaged")
            entries.append(self._entry(fields, raw, extra))
            at += 46 + name_length + extra_length
        if at != len(data):
            raise self._no("its directory is damaged")
        return entries

    def _entry(self, fields: tuple[int, ...], raw: bytes, extra: bytes) -> _Entry:
        flags, method, crc, packed, size = fields[2], fields[3], *fields[6:9]
        offset = fields[15]
        name = self._name(raw)
        if flags & 0x2041:
            raise self._no(f"{name!r} is encrypted")
        if flags & ~_UTF8:
            raise self._no(f"{name!r} has a form that is not written here (flags {flags:#x})")
        if method:
            raise self._no(f"{name!r} is compressed; unpack it and verify the folder")
        mode = fields[14] >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG) or name.endswith("/"):
            raise self._no(f"{name!r} is a link, a folder or a special file")
        size, packed, offset = self._large(extra, size, packed, offset)
        if packed != size:
            raise self._no(f"{name!r} states two sizes")
        return _Entry(name, raw, flags, crc, size, offset)

    def _large(self, extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
        """The numbers of an entry, taken from its ZIP64 field where they did not fit."""
        numbers = [size, packed, offset]
        wide = [index for index, number in enumerate(numbers) if number == _LIMIT]
        expected = struct.pack("<HH", 1, 8 * len(wide)) if wide else b""
        if extra[:4] != expected or len(extra) != len(expected) + 8 * len(wide):
            raise self._no("an entry has extra fields that are not written here")
        for place, index in enumerate(wide):
            numbers[index] = struct.unpack_from("<Q", extra, 4 + 8 * place)[0]
        return numbers[0], numbers[1], numbers[2]

    def _name(self, raw: bytes) -> str:
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self._no("a name is not UTF-8") from None
        if len(name) > 4096 or name.startswith("/") or _BAD_PATH.search(name.rstrip("/")):
            raise self._no(f"the name {name[:200]!r} leads out of the archive")
        return name

    def _check_layout(self, entries: list[_Entry], end: int) -> None:
        """The files stand one behind the other from the first byte to the directory."""
        at = 0
        for entry in entries:
            if entry.offset != at:
                raise self._no(f"{entry.name!r} overlaps another file, or bytes stand before it")
            at = self._start(entry) + entry.size
        if at != end:
            raise self._no("bytes that belong to no file stand before its directory")

    def _start(self, entry: _Entry) -> int:
        """Where a file's bytes begin; its local header must say what the directory says."""
        header = self._at(entry.offset, 30)
        if header[:4] != _LOCAL:
            raise self._no(f"{entry.name!r} has no header")
        _, flags, method, crc, packed, size, names, extras = struct.unpack("<4xHHH4xIIIHH", header)
        rest = self._at(entry.offset + 30, names + extras)
        raw, extra = rest[:names], rest[names:]
        size, packed, _ = self._large(extra, size, packed, 0)
        if (raw, flags, method, crc, size, packed) != (
            entry.raw, entry.flags, 0, entry.crc, entry.size, entry.size,
        ):  # fmt: skip
            raise self._no(f"{entry.name!r} is described in two ways")
        return entry.offset + 30 + int(names) + int(extras)

    def _at(self, offset: int, count: int) -> bytes:
        try:
            self._file.seek(offset)
            data = self._file.read(count)
        except (OSError, OverflowError, ValueError):
            data = b""
        if len(data) != count:
            raise self._no("it is cut off")
        return data

    def _no(self, problem: str) -> Refused:
        return Refused(self.where, problem)


class _Member(io.RawIOBase):
    """One stored file; its CRC is held against the directory's when the end is reached."""

    def __init__(self, file: BinaryIO, start: int, entry: _Entry) -> None:
        self._file, self._at, self._left = file, start, entry.size
        self._crc, self._entry = 0, entry

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._file.seek(self._at)
        data = self._file.read(min(len(buffer), self._left))
        if not data:
            if self._left:
                raise OSError("it is cut off")
            if self._crc != self._entry.crc:
                raise OSError("its checksum in the archive is wrong")
            return 0
        buffer[: len(data)] = data
        self._crc = zlib.crc32(data, self._crc)
        self._at += len(data)
        self._left -= len(data)
        return len(data)
