"""Only regular files beneath the run's folder are ever opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from worldflux.sync.beneath import Missing, Unreadable, open_beneath, read_at


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("not yours")
    run = tmp_path / "run"
    (run / "a" / "b").mkdir(parents=True)
    (run / "a" / "b" / "file").write_text("mine")
    return run


def test_a_file_of_the_run_is_read(folder: Path) -> None:
    """What lies in the folder is read, any number of folders down, and not beyond its end."""
    with open_beneath(folder, "a/b/file") as file:
        assert read_at(file, 1, 100) == b"ine"


@pytest.mark.parametrize(
    "path", ["../secret", "a/../../secret", "/etc/hostname", "", "a//b", "./a", "a/b/\0"]
)
def test_no_path_leads_out(folder: Path, path: str) -> None:
    """Dots, empty and absolute paths are refused before the disk is asked."""
    with pytest.raises(Unreadable, match="leads out"), open_beneath(folder, path):
        pass


def test_links_are_not_followed(folder: Path) -> None:
    """Neither a link at the end of a path nor one on the way, wherever it points."""
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "inside").symlink_to(folder / "a" / "b" / "file")
    (folder / "way").symlink_to(folder / "a")
    for path in ("link", "inside", "way/b/file"):
        with pytest.raises(Unreadable, match="link"), open_beneath(folder, path):
            pass


def test_what_is_no_regular_file_is_refused_at_once(folder: Path) -> None:
    """A pipe without a writer does not keep anybody waiting; folders and devices are no files."""
    os.mkfifo(folder / "pipe")
    for path in ("pipe", "a"):
        with pytest.raises(Unreadable, match="regular file"), open_beneath(folder, path):
            pass


def test_a_missing_file_is_told_from_others(folder: Path) -> None:
    """A file that is not there has a type of its own."""
    with pytest.raises(Missing), open_beneath(folder, "a/none"):
        pass
