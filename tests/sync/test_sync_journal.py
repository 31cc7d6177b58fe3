"""The journal is a cache: whatever happens to it, only time is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from worldflux.sync import journal
from worldflux.sync.journal import Entry, Journal
from worldflux.sync.locks import RunLocks
from worldflux.sync.snapshot import Stamp
from worldflux.sync.wire import Held

RUN = "01a1fe9c-874f-7539-b5a0-74d096c43491"
OTHER = "01a1fe9c-874f-7539-b5a0-74d096c43492"
ORIGIN = "https://lab.example"
ENTRY = Entry("a" * 64, Stamp(10, 20, 30), True, {"metrics": Held(5, "b" * 64)}, ("logs",))


def test_what_is_noted_is_read_again(tmp_path: Path) -> None:
    """Entries come back as they were, the last one of a run counts, and other servers do not see them."""
    first = Journal(tmp_path, ORIGIN, "team")
    first.note(RUN, Entry("c" * 64, Stamp(1, 2, 3), False))
    first.note(RUN, ENTRY)
    first.flush()
    assert Journal(tmp_path, ORIGIN, "team").entries == {RUN: ENTRY}
    assert journal.known(tmp_path, ORIGIN) == {RUN: ENTRY}
    assert Journal(tmp_path, ORIGIN, "another").entries == {}
    assert journal.known(tmp_path, "https://other.example") == {}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(os.urandom(2000)),
        lambda path: path.write_bytes(b'{"run": 1}\n[]\n{"run": "' + RUN.encode() + b'"}\nnull\n'),
        lambda path: path.write_bytes(b""),
        lambda path: (path.unlink(), path.symlink_to("/etc/passwd")),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), os.mkfifo(path)),
    ],
    ids=["gone", "torn", "noise", "other", "empty", "link", "folder", "pipe"],
)
def test_a_spoilt_journal_is_no_journal(tmp_path: Path, spoil: object) -> None:
    """Deleted, torn, foreign: reading gives what can be read, and writing tells at most a warning."""
    first = Journal(tmp_path, ORIGIN, "team")
    first.note(RUN, ENTRY)
    first.flush()
    spoil(first.path)  # type: ignore[operator]
    again = Journal(tmp_path, ORIGIN, "team")
    assert again.entries == {}
    again.note(OTHER, ENTRY)
    again.flush()
    if not again.problem:
        assert Journal(tmp_path, ORIGIN, "team").entries == {OTHER: ENTRY}
    assert Path("/etc/passwd").read_bytes().count(b"journal") == 0


def test_a_line_that_a_full_disk_tore_does_not_spoil_the_next(tmp_path: Path) -> None:
    """What is appended after a torn line is read."""
    first = Journal(tmp_path, ORIGIN, "team")
    first.note(RUN, ENTRY)
    first.flush()
    first.path.write_bytes(first.path.read_bytes() + b'{"run": "01a1fe9c')
    second = Journal(tmp_path, ORIGIN, "team")
    second.note(OTHER, ENTRY)
    second.flush()
    assert set(Journal(tmp_path, ORIGIN, "team").entries) == {RUN, OTHER}


def test_an_unwritable_place_is_a_warning(tmp_path: Path) -> None:
    """Where no folder can be made, notes are kept for this process only."""
    (tmp_path / "sync").write_text("a file where the folder belongs")
    first = Journal(tmp_path, ORIGIN, "team")
    first.note(RUN, ENTRY)
    first.flush()
    assert first.entries == {RUN: ENTRY} and "only takes longer" in first.problem
    assert RunLocks(tmp_path, ORIGIN).take(RUN)


def test_a_long_journal_is_shortened(tmp_path: Path) -> None:
    """Lines that later ones replaced do not pile up for ever."""
    first = Journal(tmp_path, ORIGIN, "team")
    for number in range(1200):
        first.note(RUN, Entry(f"{number:064x}", Stamp(1, 2, number), False))
        first.flush()
    again = Journal(tmp_path, ORIGIN, "team")
    again.compact()
    assert again.path.read_bytes().count(b"\n") == 2
    assert Journal(tmp_path, ORIGIN, "team").entries[RUN].manifest_sha256 == f"{1199:064x}"


def test_a_lock_is_seen_by_other_processes_and_ends_with_its_own(tmp_path: Path) -> None:
    """Another process gets no run that is locked here; other runs and other servers are free."""
    locks = RunLocks(tmp_path, ORIGIN)
    assert locks.take(RUN)

    def elsewhere() -> tuple[bool, bool, bool]:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            mine, other = RunLocks(tmp_path, ORIGIN), RunLocks(tmp_path, "https://other.example")
            os.write(writer, bytes([mine.take(RUN), mine.take(OTHER), other.take(RUN)]))
            os._exit(0)
        os.close(writer)
        with open(reader, "rb") as pipe:
            answers = pipe.read()
        os.waitpid(child, 0)
        return bool(answers[0]), bool(answers[1]), bool(answers[2])

    assert elsewhere() == (False, True, True)
    locks.release(RUN)
    assert elsewhere() == (True, True, True)
    locks.close()
