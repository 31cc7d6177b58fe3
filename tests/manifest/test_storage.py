"""Replacing a file whole: under kill, failing disks, full disks, other people's umask and links."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from worldflux.errors import WorldFluxError
from worldflux.manifest.storage import sweep, write_bytes_atomic

ROOT = Path(__file__).parents[2]
OLD, NEW = b"o" * 5000, b"n" * 70_000

#: Replaces the file and says how it went; sched_yield marks where the writing begins and ends.
CHILD = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from worldflux.errors import WorldFluxError
from worldflux.manifest.storage import write_bytes_atomic
if len(sys.argv) > 2:
    os.setuid(int(sys.argv[2]))
os.sched_yield()
try:
    write_bytes_atomic(Path(sys.argv[1]), b"n" * {len(NEW)})
except WorldFluxError as error:
    print(error.code, error.problem, error.hint, sep="|")
os.sched_yield()
"""

STRACE = shutil.which("strace")
CALLS = (
    "openat", "write", "fsync", "fdatasync", "rename", "renameat", "renameat2", "close", "unlink", "unlinkat",
    "sched_yield",
)  # fmt: skip
needs_strace = pytest.mark.skipif(STRACE is None, reason="strace is not installed")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount or to change user")


def traced(file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the child on a file that holds the old bytes, under strace."""
    file.write_bytes(OLD)
    trace = file.parent.parent / "trace"
    command = [str(STRACE), "-qq", "-y", "-o", str(trace), "-e", f"trace={','.join(CALLS)}"]
    return subprocess.run(
        [*command, *options, sys.executable, "-I", "-S", "-B", "-c", CHILD, str(file)],
        capture_output=True, text=True, check=False, env={"PYTHONHASHSEED": "0"},
    )  # fmt: skip


def calls_while_writing(file: Path) -> list[tuple[str, int, str]]:
    """System calls between the two marks: name, its number among its like, and its line."""
    assert traced(file).returncode == 0
    counts: dict[str, int] = {}
    found, marks = [], 0
    for line in (file.parent.parent / "trace").read_text().splitlines():
        name = line.partition("(")[0]
        counts[name] = counts.get(name, 0) + 1
        if name == "sched_yield":
            marks += 1
        elif marks == 1:
            found.append((name, counts[name], line))
    assert marks == 2
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A path in a folder of its own."""
    folder = tmp_path / "run"
    folder.mkdir()
    return folder / "manifest.json"


@needs_strace
def test_bytes_are_on_disk_before_the_name_and_the_name_before_the_end(file: Path) -> None:
    """New file, its bytes, fsync of it, rename, fsync of the folder: in this order, nothing in place."""
    steps = []
    for name, _, line in calls_while_writing(file):
        if name == "openat" and "O_CREAT" in line:
            assert "O_EXCL" in line and f'{file}"' not in line and f"{file.parent}/" in line
            steps.append("create")
        elif name == "write":
            steps.append("write")
        elif name in ("fsync", "fdatasync"):
            steps.append("sync folder" if f"<{file.parent}>" in line else "sync file")
        elif name.startswith("rename"):
            assert line.rstrip().endswith("= 0") and f'"{file}"' in line
            steps.append("rename")
    assert steps == ["create", "write", "sync file", "rename", "sync folder"]


@needs_strace
def test_a_kill_at_any_system_call_leaves_the_old_file_or_the_new_one(file: Path) -> None:
    """SIGKILL at each call of the writing, one after the other: never a part, never nothing."""
    seen = set()
    for name, number, _ in calls_while_writing(file):
        done = traced(file, "-e", f"inject={name}:signal=KILL:when={number}")
        assert done.returncode == -9 or done.returncode == 137
        seen.add(file.read_bytes())
        for left in set(file.parent.iterdir()) - {file}:
            assert re.fullmatch(r"\.worldflux-[0-9a-f]{12}\.tmp", left.name)
            left.unlink()
    assert seen == {OLD, NEW}


@needs_strace
@pytest.mark.parametrize("code", ["ENOSPC", "EIO"])
def test_an_error_at_any_system_call_is_told_and_leaves_no_litter(file: Path, code: str) -> None:
    """Each failing call gives one error with a hint; the file is old or new, and alone in its folder."""
    for name, number, line in calls_while_writing(file):
        if name == "close":
            continue  # a failed close of a file that is synced already loses nothing
        done = traced(file, "-e", f"inject={name}:error={code}:when={number}")
        assert done.returncode == 0, done.stderr
        kind, problem, hint = done.stdout.strip().split("|")
        assert kind == "storage" and str(file) in problem and "disk" in hint
        assert list(file.parent.iterdir()) == [file]
        after_rename = f"<{file.parent}>" in line if name == "fsync" else "O_DIRECTORY" in line
        assert file.read_bytes() == (NEW if after_rename else OLD)


@needs_strace
def test_a_folder_that_can_not_be_synced_is_no_error(file: Path) -> None:
    """Network file systems answer EINVAL to fsync of a folder; the file is written all the same."""
    number = [number for name, number, _ in calls_while_writing(file) if name == "fsync"][1]
    done = traced(file, "-e", f"inject=fsync:error=EINVAL:when={number}")
    assert (done.stdout, file.read_bytes()) == ("", NEW)


@needs_root
@pytest.mark.parametrize(
    ("mount", "hint"),
    [("mount -t tmpfs -o size=64k tmpfs", "disk is full"), ("mount -t tmpfs -o ro tmpfs", "read-only")],
)
def test_a_full_and_a_read_only_disk_are_named(file: Path, mount: str, hint: str) -> None:
    """A real file system without room, or without writing: one clear error, nothing half there."""
    script = f'{mount} "$0" || exit 77; "$@"; ls -A "$0"'
    child = [sys.executable, "-I", "-B", "-c", CHILD, str(file)]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, str(file.parent), *child],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()[:80]}")
    kind, _, told = done.stdout.strip().split("|")
    assert kind == "storage" and hint in told and "\n" not in told


@needs_root
def test_a_folder_of_somebody_else_is_named(file: Path) -> None:
    """Without permission to write: the error says so and what to do."""
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", CHILD, str(file), "65534"],
        capture_output=True,
        text=True,
        check=True,
    )
    kind, problem, hint = done.stdout.strip().split("|")
    assert (kind, "Permission denied" in problem, "chmod" in hint) == ("storage", True, True)
    assert list(file.parent.iterdir()) == []


def test_a_missing_folder_is_an_error_not_a_new_folder(tmp_path: Path) -> None:
    """A run folder that was removed is not made again by the way."""
    with pytest.raises(WorldFluxError, match="No such file") as caught:
        write_bytes_atomic(tmp_path / "gone" / "manifest.json", b"x")
    assert "folder is gone" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_way_is_an_error_without_litter(file: Path) -> None:
    """A folder with the file's name stays, and no temporary file is left."""
    file.mkdir()
    (file / "x").touch()
    with pytest.raises(WorldFluxError, match="can not be written"):
        write_bytes_atomic(file, b"x")
    assert list(file.parent.iterdir()) == [file]


def test_long_names_fit(tmp_path: Path) -> None:
    """A name as long as the file system takes needs no longer one on the way."""
    path = tmp_path / ("n" * 255)
    write_bytes_atomic(path, b"x")
    assert path.read_bytes() == b"x"


def test_a_link_is_replaced_not_followed(file: Path, tmp_path: Path) -> None:
    """A planted link does not make the writer change a file elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    file.symlink_to(elsewhere)
    write_bytes_atomic(file, b"x")
    assert (elsewhere.read_bytes(), file.is_symlink(), file.read_bytes()) == (b"precious", False, b"x")


def test_permissions_follow_the_umask(file: Path) -> None:
    """A team's umask opens the file, a careful one closes it; a caller may ask for less."""
    for mask, mode, wanted in ((0o002, 0o666, 0o664), (0o077, 0o666, 0o600), (0o000, 0o600, 0o600)):
        before = os.umask(mask)
        try:
            write_bytes_atomic(file, b"x", mode=mode)
        finally:
            os.umask(before)
        assert stat.S_IMODE(file.stat().st_mode) == wanted


def test_readers_see_whole_files_while_writers_write(file: Path) -> None:
    """Four writers and a reader for many rounds: every read is one writer's bytes, complete."""

    def write(digit: bytes) -> None:
        for _ in range(25):
            write_bytes_atomic(file, digit * 10_000)

    write(b"0")
    writers = [threading.Thread(target=write, args=(digit,)) for digit in (b"1", b"2", b"3", b"4")]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        data = file.read_bytes()
        assert len(data) == 10_000 and len(set(data)) == 1
    assert list(file.parent.iterdir()) == [file]


def test_sweep_removes_only_old_litter_of_its_own(file: Path) -> None:
    """What a killed writer left goes after an hour; a writer at work and other people's files stay."""
    names = (".worldflux-00.tmp", ".worldflux-11.tmp", ".other-22.tmp", "worldflux-33.tmp")
    for name in names:
        (file.parent / name).touch()
        if name != ".worldflux-11.tmp":
            os.utime(file.parent / name, (1, 1))
    sweep(file.parent)
    assert {path.name for path in file.parent.iterdir()} == set(names[1:])
    sweep(file.parent / "gone")
