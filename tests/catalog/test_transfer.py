"""Files on their way: resumed by range, checked by digest, noted in a journal."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from worldflux.catalog.journal import Item, Journal, digest_of
from worldflux.catalog.transfer import Silent, Transfer
from worldflux.errors import TemporaryError, WorldFluxError


class Source:
    """Content by path; cuts a transfer after so many bytes, as often as told."""

    def __init__(self, content: dict[str, bytes]) -> None:
        self.content = content
        self.offsets: list[tuple[str, int]] = []
        self.cuts: list[int] = []
        self.ranges = True

    @contextmanager
    def open(self, path: str, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        self.offsets.append((path, offset))
        start = offset if self.ranges else 0
        data = self.content[path][start:]
        if self.cuts:
            data = data[: self.cuts.pop(0)]
        yield start, (data[at : at + 100] for at in range(0, len(data), 100))

    def item(self, path: str) -> Item:
        data = self.content[path]
        return Item(path, len(data), sha256=hashlib.sha256(data).hexdigest(), git_oid="0" * 40)

    def items(self) -> list[Item]:
        return [self.item(path) for path in self.content]


class Counting(Silent):
    def __init__(self) -> None:
        self.bytes = 0
        self.files: list[str] = []

    def advance(self, count: int) -> None:
        self.bytes += count

    def finished(self, path: str) -> None:
        self.files.append(path)


def run(
    tmp_path: Path, source: Source, progress: Silent | None = None, items: list[Item] | None = None
) -> Journal:
    journal = Journal(tmp_path / "done.jsonl")
    transfer = Transfer(tmp_path / "files", tmp_path / "parts", journal, source.open, progress or Silent(), 1)
    transfer.run(source.items() if items is None else items)
    return journal


DATA = bytes(range(256)) * 40


def test_brings_files_whole(tmp_path: Path) -> None:
    """Every file arrives under its name with its bytes, and the journal has digest and size."""
    source = Source({"a/b.bin": DATA, "c.txt": b"", "d": b"x"})
    progress = Counting()
    done = {file.path: file for file in run(tmp_path, source, progress).read()}
    assert (tmp_path / "files/a/b.bin").read_bytes() == DATA
    assert (tmp_path / "files/c.txt").read_bytes() == b""
    assert done["a/b.bin"].sha256 == hashlib.sha256(DATA).hexdigest() and done["d"].size == 1
    assert progress.bytes == len(DATA) + 1 and sorted(progress.files) == ["a/b.bin", "c.txt", "d"]
    assert list((tmp_path / "parts").iterdir()) == []


def test_a_cut_transfer_goes_on_where_it_was(tmp_path: Path) -> None:
    """After a cut only the missing bytes are asked for, by offset."""
    source = Source({"w": DATA})
    source.cuts = [1000, 2500]
    progress = Counting()
    run(tmp_path, source, progress)
    assert [offset for _, offset in source.offsets] == [0, 1000, 3500]
    assert (tmp_path / "files/w").read_bytes() == DATA
    assert progress.bytes == len(DATA)


def test_a_later_process_goes_on_where_an_earlier_one_was(tmp_path: Path) -> None:
    """A part file left behind is completed, not thrown away, and its bytes are checked too."""
    source = Source({"w": DATA})
    source.cuts = [3000, 0, 0, 0, 0]
    with pytest.raises(TemporaryError) as caught:
        run(tmp_path, source)
    assert caught.value.code == "cut" and "3000 of 10240" in caught.value.problem
    assert not (tmp_path / "files/w").exists()
    again = Source({"w": DATA})
    run(tmp_path, again)
    assert again.offsets == [("w", 3000)]
    assert (tmp_path / "files/w").read_bytes() == DATA


def test_a_source_without_ranges_starts_over(tmp_path: Path) -> None:
    """When the source ignores the offset the bytes are not glued together wrongly."""
    source = Source({"w": DATA})
    source.cuts = [1000]
    source.ranges = False
    progress = Counting()
    run(tmp_path, source, progress)
    assert (tmp_path / "files/w").read_bytes() == DATA
    assert progress.bytes == len(DATA)


def test_a_wrong_digest_is_refused_and_thrown_away(tmp_path: Path) -> None:
    """Bytes that are not what the source published never get the file's name."""
    source = Source({"w": DATA})
    item = Item("w", len(DATA), sha256="f" * 64)
    with pytest.raises(WorldFluxError) as caught:
        run(tmp_path, source, items=[item])
    assert caught.value.code == "digest_mismatch" and caught.value.details["expected"] == "f" * 64
    assert not (tmp_path / "files/w").exists() and list((tmp_path / "parts").iterdir()) == []
    assert list(Journal(tmp_path / "done.jsonl").read()) == []


def test_a_spoilt_part_file_is_fetched_again(tmp_path: Path) -> None:
    """Bytes of an earlier process that are wrong cost one more transfer, not the import."""
    source = Source({"w": DATA})
    (tmp_path / "parts").mkdir()
    part = tmp_path / "parts" / hashlib.sha256(b"w").hexdigest()[:32]
    part.write_bytes(b"spoilt" * 100)
    run(tmp_path, source)
    assert [offset for _, offset in source.offsets] == [600, 0]
    assert (tmp_path / "files/w").read_bytes() == DATA


def test_a_part_longer_than_the_file_is_dropped(tmp_path: Path) -> None:
    """A part file that can not be right is not resumed."""
    source = Source({"w": DATA})
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / hashlib.sha256(b"w").hexdigest()[:32]).write_bytes(b"x" * 99999)
    run(tmp_path, source)
    assert source.offsets == [("w", 0)]


def test_git_blob_ids_are_checked_too(tmp_path: Path) -> None:
    """Small files are published by their git id; it is checked over the same bytes."""
    source = Source({"a": b"hello"})
    good = Item("a", 5, git_oid="b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0")
    assert digest_of(write(tmp_path / "x", b"hello"), 5)[1] == good.git_oid
    run(tmp_path, source, items=[good])
    with pytest.raises(WorldFluxError, match="digest"):
        run(tmp_path, Source({"b": b"hellO"}), items=[Item("b", 5, git_oid=good.git_oid)])


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_what_is_here_is_not_fetched_again(tmp_path: Path) -> None:
    """A second run asks for nothing, and reads nothing either when the files are untouched."""
    run(tmp_path, Source({"a": DATA, "b": b"b"}))
    again = Source({"a": DATA, "b": b"b"})
    progress = Counting()
    run(tmp_path, again, progress)
    assert again.offsets == [] and progress.bytes == len(DATA) + 1


def test_a_file_that_was_changed_is_brought_back(tmp_path: Path) -> None:
    """Same size, other bytes: the change is seen and the file fetched again."""
    run(tmp_path, Source({"a": b"good"}))
    (tmp_path / "files/a").write_bytes(b"evil")
    again = Source({"a": b"good"})
    run(tmp_path, again)
    assert again.offsets == [("a", 0)] and (tmp_path / "files/a").read_bytes() == b"good"


def test_a_file_in_place_that_the_journal_lost_is_checked_not_fetched(tmp_path: Path) -> None:
    """Killed between rename and journal: the file is digested and noted."""
    run(tmp_path, Source({"a": DATA}))
    (tmp_path / "done.jsonl").unlink()
    again = Source({"a": DATA})
    journal = run(tmp_path, again)
    assert again.offsets == [] and [file.path for file in journal.read()] == ["a"]


@pytest.mark.parametrize("torn", ['{"path": "a", "size"', "nonsense", '{"path": "a"}'])
def test_a_torn_journal_line_is_a_file_not_done(tmp_path: Path, torn: str) -> None:
    """What a kill left half-written in the journal does no harm, to it or to later lines."""
    journal = Journal(tmp_path / "done.jsonl")
    journal.path.write_text(torn)
    run(tmp_path, Source({"a": b"a", "b": b"b"}))
    assert sorted(file.path for file in journal.read()) == ["a", "b"]


def test_the_first_failure_stops_the_rest(tmp_path: Path) -> None:
    """One wrong file ends the import; files after it are not begun."""
    source = Source({f"f{number}": b"x" * 10 for number in range(200)})
    bad = Item("f0", 10, sha256="0" * 64)
    with pytest.raises(WorldFluxError, match="f0"):
        run(tmp_path, source, items=[bad, *source.items()[1:]])
    assert len(source.offsets) < 100


def test_files_are_on_disk_before_they_are_called_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is synced before it gets its name, so that a power cut leaves no empty one."""
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(descriptor), real(descriptor))[1])
    run(tmp_path, Source({"a": DATA, "b": b"b"}))
    assert len(synced) >= 2
