"""Names and digests of source files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worldflux.run import source
from worldflux.run.source import digest_file, readable, source_digest

#: What anybody can type in the folder to get the same digest.
BY_HAND = (
    "find . -type f | sed 's,^./,,' | LC_ALL=C sort | tr '\\n' '\\0' | xargs -0 -r sha256sum | sha256sum"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recipe's source with files on several levels."""
    place = tmp_path / "recipe"
    for name in ("run.py", "a/b/c.txt", "a.txt", "a/Z", "ä b'\"$.txt", ".hidden"):
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name * 3)
    return place


def test_anybody_can_recompute_the_digest(folder: Path) -> None:
    """`sha256sum` of the sorted list that `sha256sum` prints: the digest needs no WorldFlux to check."""
    by_hand = subprocess.run(["sh", "-c", BY_HAND], cwd=folder, capture_output=True, text=True, check=True)
    assert source_digest(folder) == by_hand.stdout.split()[0]


def test_names_with_line_ends_and_backslashes_count_as_sha256sum_writes_them(folder: Path) -> None:
    """Escaped the same way, so no two folders with different names share a digest."""
    (folder / "line\nend").write_text("x")
    (folder / "back\\slash").write_text("y")
    names = sorted(os.fsencode(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    listing = subprocess.run(["sha256sum", "--", *names], cwd=folder, capture_output=True, check=True).stdout
    digest = subprocess.run(["sha256sum"], input=listing, capture_output=True, check=True).stdout.decode()
    assert source_digest(folder) == digest.split()[0]


def test_runs_in_the_source_do_not_count(folder: Path) -> None:
    """A project whose own folder is the source has the same digest before and after a run, wherever runs lie."""
    before = source_digest(folder)
    for runs in ("runs", "out/deep/runs"):
        left = folder / runs / "018f" / "artifacts" / "model.bin"
        left.parent.mkdir(parents=True)
        left.write_text("x")
        assert source_digest(folder, folder / runs) == before
        assert source_digest(folder) != before
        assert source_digest(folder / "a", folder / runs) == source_digest(folder / "a")
        shutil.rmtree(folder / runs.split("/")[0])


def test_what_is_made_from_source_does_not_count(folder: Path) -> None:
    """Caches, compiled files, version control and environments do not count; nor do times and modes."""
    before = source_digest(folder)
    for name in (
        "__pycache__/run.cpython-311.pyc", "a/__pycache__/x", "old.pyc", ".git/HEAD", ".venv/bin/python",
        "my-env/pyvenv.cfg", "my-env/lib/x.py", ".worldflux/index",
    ):  # fmt: skip
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe")
    os.utime(folder / "run.py", (1, 1))
    (folder / "run.py").chmod(0o755)
    assert source_digest(folder) == before


def test_every_change_of_source_counts(folder: Path) -> None:
    """Content, a new file, a name, a place: each gives another digest."""
    seen = {source_digest(folder)}
    for change in (
        lambda: (folder / "run.py").write_text("other"),
        lambda: (folder / "new").touch(),
        lambda: (folder / "new").rename(folder / "newer"),
        lambda: (folder / "newer").rename(folder / "a" / "newer"),
        lambda: (folder / "a" / "newer").unlink(),
        lambda: (folder / "link").symlink_to("run.py"),
        lambda: ((folder / "link").unlink(), (folder / "link").symlink_to("a.txt")),
    ):
        change()
        seen.add(source_digest(folder))
    assert len(seen) == 8 - 1 and None not in seen  # taking "newer" away gives an earlier state again


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    """A link to a folder outside, or to itself, neither hangs nor lets foreign files in."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "out").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    before = source_digest(folder)
    (outside / "file").write_text("x")
    assert before is not None and source_digest(folder) == before


def test_too_large_a_source_has_no_digest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limits the answer is None, not a digest of a part."""
    monkeypatch.setattr(source, "MAX_BYTES", 20)
    assert source_digest(folder) is None
    monkeypatch.setattr(source, "MAX_BYTES", 10**9)
    monkeypatch.setattr(source, "MAX_FILES", 5)
    assert source_digest(folder) is None
    monkeypatch.setattr(source, "MAX_FILES", 6)
    assert source_digest(folder) is not None


def test_a_missing_source_has_no_digest(tmp_path: Path) -> None:
    """A folder that is not there, or is a file, is None."""
    (tmp_path / "file").touch()
    assert source_digest(tmp_path / "gone") is None
    assert source_digest(tmp_path / "file") is None


@example(b"\\x41")
@example(b"\xc3\\xbc")
@given(st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name))
def test_readable_names_are_plain_and_reversible(name: bytes) -> None:
    """Any bytes: one line of harmless text, from which the bytes can be had again."""
    text = readable(name)
    assert all(each.isprintable() or ord(each) > 0x9F for each in text)
    back = re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes.fromhex(match[1].decode()), text.encode())
    assert back == name


def test_a_file_is_read_only_up_to_the_limit(tmp_path: Path) -> None:
    """Above the limit there is a size but no digest; what is no file has neither."""
    (tmp_path / "file").write_bytes(b"x" * 10)
    assert digest_file(tmp_path / "file", 9) == (10, None)
    assert digest_file(tmp_path, 9) is None
    assert digest_file(tmp_path / "gone", 9) is None
    assert digest_file(Path("/dev/zero"), 9) is None
