"""Archives from strangers: only the one form that is written here is read, everything else is refused."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nightly import times

from worldflux.evidence import layout
from worldflux.evidence.archive import ArchiveWriter
from worldflux.evidence.package import FolderPackage, Refused, digest
from worldflux.evidence.trust import Trust
from worldflux.evidence.verify import verify_path
from worldflux.evidence.zip_reader import ZipPackage


def info(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    made.create_system, made.external_attr = 3, mode << 16
    return made


def zipped(*files: tuple[zipfile.ZipInfo, bytes]) -> bytearray:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for each, data in files:
            archive.writestr(each, data)
    return bytearray(out.getvalue())


def plain() -> bytearray:
    """An archive of the right form with two files."""
    return zipped((info("top/a"), b"1111"), (info("top/b"), b"bbbb"))


def opened(data: bytes) -> ZipPackage:
    return ZipPackage(io.BytesIO(bytes(data)), "the archive")


def test_the_right_form_is_read() -> None:
    """Names without their folder, sizes, and bytes."""
    package = opened(plain())
    assert package.sizes == {"a": 4, "b": 4} and package.top == "top"
    assert package.open("b").read() == b"bbbb"


def compressed() -> bytes:
    each = info("top/bomb")
    each.compress_type = zipfile.ZIP_DEFLATED
    return bytes(zipped((each, bytes(10_000_000))))


def encrypted() -> bytes:
    data = plain()
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    return bytes(data)


def overlapping() -> bytes:
    """The second entry points at the first one's bytes, as in a bomb without compression."""
    data = plain()
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    data[second + 42 : second + 46] = struct.pack("<I", 0)
    return bytes(data)


def two_names() -> bytes:
    """The local header says another name than the directory."""
    data = plain()
    at = data.index(b"top/b")
    data[at : at + 5] = b"top/c"
    return bytes(data)


def two_sizes() -> bytes:
    data = plain()
    data[18:22] = struct.pack("<I", 3)
    return bytes(data)


def with_comment() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info("top/a"), b"a")
        archive.comment = b"PK\x05\x06" + bytes(18)
    return out.getvalue()


def with_gap() -> bytes:
    """Bytes between the files and the directory, where another directory could hide."""
    data = plain()
    at = data.index(b"PK\x01\x02")
    gap = bytearray(data[:at] + b"hidden" + data[at:])
    end = gap.index(b"PK\x05\x06")
    gap[end + 16 : end + 20] = struct.pack("<I", at + 6)
    return bytes(gap)


def many() -> bytes:
    data = plain()
    end = data.index(b"PK\x05\x06")
    data[end + 8 : end + 12] = struct.pack("<HH", 60000, 60000)
    return bytes(data)


def wide_end() -> bytes:
    """An end record that promises a ZIP64 record which is not there."""
    data = plain()
    end = data.index(b"PK\x05\x06")
    data[end + 16 : end + 20] = b"\xff" * 4
    return bytes(data)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a name that climbs": (lambda: bytes(zipped((info("top/../../etc/cron"), b"x"))), "leads out"),
    "a name with a drive": (lambda: bytes(zipped((info("C:/top/x"), b"x"))), "leads out"),
    "an absolute name": (lambda: bytes(zipped((info("/top/x"), b"x"))), "leads out"),
    "a backslash": (lambda: bytes(zipped((info("top/a\\..\\b"), b"x"))), "leads out"),
    "an empty step": (lambda: bytes(zipped((info("top//x"), b"x"))), "leads out"),
    "a line break in a name": (lambda: bytes(zipped((info("top/a\nb"), b"x"))), "leads out"),
    "a link": (lambda: bytes(zipped((info("top/x", stat.S_IFLNK | 0o777), b"/etc/passwd"))), "link"),
    "a folder": (lambda: bytes(zipped((info("top/d/"), b""))), "folder"),
    "a device": (lambda: bytes(zipped((info("top/x", stat.S_IFCHR | 0o600), b""))), "special file"),
    "a compressed file": (compressed, "compressed"),
    "an encrypted file": (encrypted, "encrypted"),
    "overlapping files": (overlapping, "overlaps"),
    "two names of one file": (two_names, "two ways"),
    "two sizes of one file": (two_sizes, "two ways"),
    "a comment": (with_comment, "no ZIP archive|comment|belong"),
    "bytes that belong to nobody": (with_gap, "belong to no file"),
    "bytes before the first file": (lambda: b"#!/bin/sh\n" + bytes(plain()), "damaged|cut off|before|belong"),
    "bytes behind the end": (lambda: bytes(plain()) + b"more", "no ZIP archive|follows"),
    "more files than there are": (many, "damaged"),
    "an end that is too wide": (wide_end, "damaged"),
    "two top folders": (lambda: bytes(zipped((info("a/x"), b"x"), (info("b/x"), b"x"))), "one folder"),
    "no top folder": (lambda: bytes(zipped((info("x"), b"x"))), "one folder"),
    "nothing": (lambda: bytes(zipped()), "one folder"),
    "no archive": (lambda: b"hello", "no ZIP"),
    "an archive that is cut off": (lambda: bytes(plain())[:-30], "no ZIP"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused(name: str) -> None:
    """Nothing of it is read or written, and the reason is told."""
    make, reason = HOSTILE[name]
    with pytest.raises(Refused, match=reason):
        opened(make())


def test_duplicate_names_are_refused() -> None:
    """Two files of one name: readers would disagree about which one counts."""
    with pytest.warns(UserWarning, match="Duplicate"):
        data = zipped((info("top/a"), b"one"), (info("top/a"), b"two"))
    with pytest.raises(Refused, match="twice"):
        opened(data)


def test_a_name_that_is_not_text_is_refused() -> None:
    """Bytes that are no UTF-8 have no name that all readers agree on."""
    data = bytes(plain()).replace(b"top/a", b"top/\xff")
    with pytest.raises(Refused, match="UTF-8"):
        opened(data)


def test_flipped_bytes_are_noticed_by_the_checksum_of_the_archive() -> None:
    """Damage inside a file is reported when it is read to its end."""
    data = plain()
    data[data.index(b"1111")] ^= 1
    with pytest.raises(Refused, match="checksum"):
        digest(opened(data), "a")


@settings(max_examples=times(100, 300))
@given(data=st.data())
def test_damaged_archives_never_crash_the_reader(data: st.DataObject) -> None:
    """Whatever bytes change, the archive is refused or read as one of the right form."""
    raw = plain()
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        package = opened(raw)
        for path in package.sizes:
            digest(package, path)
    except Refused:
        return


def test_an_archive_is_judged_as_its_folder_is(archive: Path, package: Path, trust: Trust) -> None:
    """Both forms of a package have the same files and the same verdict."""
    with closing(ZipPackage(archive)) as opened_archive:
        assert opened_archive.sizes == FolderPackage(package).sizes
    one, other = verify_path(archive, trust), verify_path(package, trust)
    assert one.state == other.state == "verified"
    assert [layer.summary for layer in one.layers] == [layer.summary for layer in other.layers]


def test_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch, package: Path, archive: Path) -> None:
    """The number of files is bounded before any is read, in both forms."""
    monkeypatch.setattr(layout, "MAX_FILES", 3)
    with pytest.raises(Refused, match="more than 3"):
        ZipPackage(archive)
    with pytest.raises(Refused, match="more than 3"):
        FolderPackage(package)


def test_large_numbers_are_written_and_read(tmp_path: Path) -> None:
    """A file of 4 GiB and one behind it: sizes and offsets beyond 32 bits, in an archive with a hole."""
    size = 2**32 + 5
    path = tmp_path / "large.zip"

    def hole(out: object) -> None:
        out.seek(size, 1)  # type: ignore[attr-defined]

    with path.open("wb") as stream:
        writer = ArchiveWriter(stream)
        writer.add("top/large", size, 0, hole)
        writer.add("top/small", 5, 0x3610A686, lambda out: out.write(b"hello") and None)
        writer.close()
    with closing(ZipPackage(path)) as package:
        assert package.sizes == {"large": size, "small": 5}
        assert package.open("small").read() == b"hello"
    with zipfile.ZipFile(path) as other:
        assert [each.file_size for each in other.infolist()] == [size, 5]
        assert other.read("top/small") == b"hello"


def test_more_files_than_16_bits_count(tmp_path: Path) -> None:
    """70,000 files need the wide end record; both readers find them all."""
    path = tmp_path / "many.zip"
    with path.open("wb") as stream:
        writer = ArchiveWriter(stream)
        for index in range(70_000):
            writer.add(f"top/{index}", 0, 0, lambda out: None)
        writer.close()
    with closing(ZipPackage(path)) as package:
        assert len(package.sizes) == 70_000
    with zipfile.ZipFile(path) as other:
        assert len(other.namelist()) == 70_000
