"""`credentials.toml`: nobody else reads it at any moment, and no accident costs a key that was in it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from key_lab import make_key

from worldflux.errors import RefusedError, TemporaryError, UsageError, WorldFluxError
from worldflux.sync import credential_file

ROOT = Path(__file__).parents[2]
A, B = "https://a.example", "https://b.example:8443"
STRACE = shutil.which("strace")
needs_strace = pytest.mark.skipif(STRACE is None, reason="strace is not installed")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount or to change owners")

#: Keeps a key and says how it went; sched_yield marks where the writing begins and ends.
CHILD = f"""
import os, sys, tempfile, fcntl
sys.path.insert(0, {str(ROOT)!r})
from worldflux.errors import WorldFluxError
from worldflux.manifest import storage
from worldflux.sync import credential_file
os.sched_yield()
try:
    credential_file.store(sys.argv[1], sys.argv[2])
    print("kept")
except WorldFluxError as error:
    print(error.code, error.problem, error.hint, sep="|")
os.sched_yield()
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def child(*words: str, prefix: tuple[str, ...] = (), **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, sys.executable, "-I", "-B", "-c", CHILD, *words],
        capture_output=True, text=True, check=False, timeout=60,
        env={"WORLDFLUX_HOME": os.environ["WORLDFLUX_HOME"], "PYTHONHASHSEED": "0", **env},
    )  # fmt: skip


def test_what_was_kept_is_found() -> None:
    """Keys of several servers live side by side, a newer one replaces the older, and TOML's readers agree."""
    first, second, newer = make_key(), make_key(), make_key()
    credential_file.store(A, first)
    credential_file.store(B, second)
    credential_file.store(A, newer)
    assert credential_file.read() == {A: newer, B: second}
    toml = pytest.importorskip("tomllib", reason="part of Python from 3.11 on")
    document = toml.loads(credential_file.path().read_text())
    assert document == {A: {"token": newer}, B: {"token": second}}


def test_removing() -> None:
    """Removing takes one key, then the file with the last one; removing what is not there is no error."""
    credential_file.store(A, make_key())
    credential_file.store(B, make_key())
    assert credential_file.remove(A) and not credential_file.remove(A)
    assert set(credential_file.read()) == {B}
    assert credential_file.remove(B) and not credential_file.path().exists()
    assert not credential_file.remove(B) and credential_file.read() == {}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777], ids=oct)
def test_nobody_else_may_read_it_under_any_umask(umask: int) -> None:
    """File 0600 and folder 0700, whatever the umask says; what was already there is kept."""
    before = os.umask(umask)
    try:
        credential_file.store(A, key := make_key())
        credential_file.store(B, make_key())
    finally:
        os.umask(before)
    assert mode(credential_file.path()) == 0o600
    assert mode(credential_file.home()) == 0o700
    assert credential_file.read()[A] == key


def test_a_folder_that_others_could_look_into_is_closed() -> None:
    """A folder that other parts of WorldFlux made with the usual umask becomes 0700."""
    credential_file.home().mkdir(mode=0o755)
    credential_file.store(A, make_key())
    assert mode(credential_file.home()) == 0o700


@pytest.mark.parametrize("bits", [0o020, 0o002, 0o777], ids=oct)
def test_a_folder_that_others_can_write_gets_no_key(bits: int) -> None:
    """Others could put a file of theirs in its place: refused, with what to do."""
    credential_file.home().mkdir()
    credential_file.home().chmod(0o700 | bits)
    with pytest.raises(RefusedError, match="can be written by others") as caught:
        credential_file.store(A, make_key())
    assert "chmod 700" in caught.value.hint and not credential_file.path().exists()


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o644, 0o610, 0o601], ids=oct)
def test_a_file_that_others_may_know_is_not_read(bits: int) -> None:
    """Not read, not written over, not removed: the person must see that the key may be known."""
    credential_file.store(A, make_key())
    credential_file.path().chmod(bits)
    before = credential_file.path().read_bytes()
    for act in (
        credential_file.read,
        lambda: credential_file.store(B, make_key()),
        lambda: credential_file.remove(A),
    ):
        with pytest.raises(RefusedError, match=f"mode {bits:04o}") as caught:
            act()
        assert "chmod 600" in caught.value.hint
    assert credential_file.path().read_bytes() == before


@needs_root
def test_a_file_of_another_user_is_not_read() -> None:
    """A planted file would make us send our runs with somebody else's key."""
    credential_file.store(A, make_key())
    os.chown(credential_file.path(), 12345, 12345)
    with pytest.raises(RefusedError, match="belongs to another user"):
        credential_file.read()
    shutil.rmtree(credential_file.home())
    credential_file.home().mkdir(mode=0o700)
    os.chown(credential_file.home(), 12345, 12345)
    with pytest.raises(RefusedError, match="belongs to another user"):
        credential_file.store(A, make_key())


def test_a_link_is_neither_followed_nor_written_through(tmp_path: Path) -> None:
    """A link is refused on reading and on writing; what it points to stays as it was."""
    credential_file.store(A, make_key())
    target = tmp_path / "target"
    shutil.move(credential_file.path(), target)
    credential_file.path().symlink_to(target)
    before = target.read_bytes()
    for act in (credential_file.read, lambda: credential_file.store(B, make_key()),
                lambda: credential_file.remove(A)):  # fmt: skip
        with pytest.raises(RefusedError, match="is a link"):
            act()
    target.unlink()  # now it points nowhere
    with pytest.raises(RefusedError, match="is a link"):
        credential_file.store(B, make_key())
    assert not target.exists() and before


def test_what_is_no_file_is_not_waited_for() -> None:
    """A pipe or a folder in its place is refused at once; opening a pipe would wait for ever."""
    credential_file.home().mkdir(mode=0o700)
    os.mkfifo(credential_file.path(), 0o600)
    with pytest.raises(RefusedError, match="is not a file"):
        credential_file.read()
    credential_file.path().unlink()
    credential_file.path().mkdir(mode=0o700)
    with pytest.raises(RefusedError, match="is not a file"):
        credential_file.read()


BROKEN = [
    'token = "{key}"\n',
    '["{a}"]\ntoken = {key}\n',
    '["{a}"]\ntoken = "{key}\n',
    '["{a}"]\ntoken = "{key}"\ntoken = "{key}"\n',
    '["{a}"]\ntoken = "{key}"\n["{a}"]\ntoken = "{key}"\n',
    '["{a}"]\npassword = "{key}"\n',
    "machine a.example login me password {key}\n",
    "\x00\x01{key}\n",
    '["{a}"]\ntoken = "{key}"\n' + "# x\n" * (1 << 18),
]


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_a_damaged_file_is_named_with_its_line_and_not_shown(text: str) -> None:
    """What `auth login` did not write is refused; the line number is told, the key in it is not."""
    key = make_key()
    credential_file.home().mkdir(mode=0o700)
    credential_file.path().write_text(text.format(key=key, a=A))
    credential_file.path().chmod(0o600)
    with pytest.raises(UsageError, match=r"credentials\.toml:") as caught:
        credential_file.read()
    assert key not in str(caught.value) and key[4:20] not in str(caught.value)


def test_what_a_person_may_change_by_hand() -> None:
    """Comments, blank lines, spaces, CRLF and a table without a key are fine."""
    key = make_key()
    credential_file.home().mkdir(mode=0o700)
    text = f'# mine\r\n\r\n  ["{A}"] # lab\r\n\ttoken="{key}"   # old\r\n["{B}"]\r\n'
    credential_file.path().write_bytes(text.encode())
    credential_file.path().chmod(0o600)
    assert credential_file.read() == {A: key}


def test_two_logins_at_once_lose_no_key() -> None:
    """Sixteen writers for as many servers at the same time: every key is there afterwards."""
    keys = {f"https://s{i}.example": make_key() for i in range(16)}
    threads = [threading.Thread(target=credential_file.store, args=pair) for pair in keys.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert credential_file.read() == keys


def test_two_processes_at_once_lose_no_key() -> None:
    """The same across processes."""
    keys = {f"https://s{i}.example": make_key() for i in range(6)}
    running = [
        subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", CHILD, *pair],
            stdout=subprocess.PIPE,
            text=True,
            env={"WORLDFLUX_HOME": os.environ["WORLDFLUX_HOME"]},
        )
        for pair in keys.items()
    ]
    assert [each.communicate(timeout=60)[0] for each in running] == ["kept\n"] * 6
    assert credential_file.read() == keys


def test_another_login_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for a writer that hangs has an end, with the lock's name."""
    monkeypatch.setattr(credential_file, "_LOCK_SECONDS", 0.2)
    credential_file.store(A, make_key())
    with credential_file.exclusive(), pytest.raises(TemporaryError, match=r"credentials\.lock"):
        credential_file.store(B, make_key())


def calls_while_writing(tmp_path: Path, old: str) -> list[tuple[str, int, str]]:
    """System calls between the two marks: name, its number among its like, and its line."""
    calls = "openat,write,fsync,rename,renameat,renameat2,unlink,unlinkat,fchmod,chmod,sched_yield"
    trace = tmp_path / "trace"
    prefix = (str(STRACE), "-qq", "-y", "-o", str(trace), "-e", f"trace={calls}")
    credential_file.store(A, old)
    done = child(B, make_key(), prefix=prefix)
    if done.returncode != 0 and "ptrace" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")
    assert done.stdout == "kept\n", done.stderr
    counts: dict[str, int] = {}
    found, marks = [], 0
    for line in trace.read_text().splitlines():
        name = line.partition("(")[0]
        counts[name] = counts.get(name, 0) + 1
        if name == "sched_yield":
            marks += 1
        elif marks == 1:
            found.append((name, counts[name], line))
    assert marks == 2
    return found


@needs_strace
def test_the_key_is_on_disk_before_its_name_and_private_from_birth(tmp_path: Path) -> None:
    """New file with 0600, bytes, fsync, rename, fsync of the folder; no chmod afterwards, nothing in place."""
    steps = []
    for name, _, line in calls_while_writing(tmp_path, make_key()):
        if name == "openat" and "O_CREAT" in line and "credentials.lock" not in line:
            assert "O_EXCL" in line and "0600" in line and "O_NOFOLLOW" in line
            steps.append("create")
        elif name in ("write", "fsync", "chmod", "fchmod"):
            steps.append(
                f"{name} folder" if line.partition("<")[2].startswith(f"{credential_file.home()}>") else name
            )
        elif name.startswith("rename"):
            steps.append("rename")
    assert steps == ["create", "write", "fsync", "rename", "fsync folder"]


@needs_strace
@pytest.mark.parametrize("fault", ["signal=KILL", "error=ENOSPC", "error=EIO"])
def test_an_accident_at_any_step_costs_no_key(tmp_path: Path, fault: str) -> None:
    """Killed, or refused by the disk, at each system call: the old key is there, the new one is whole or absent.

    What a killed writer left behind is gone after the next login.
    """
    old = make_key()
    steps = [
        step
        for step in calls_while_writing(tmp_path, old)
        if step[0] in ("openat", "write", "fsync", "rename")
    ]
    assert len(steps) >= 6
    for name, number, line in steps:
        if fault != "signal=KILL" and (name == "openat" and "O_CREAT" not in line):
            continue
        shutil.rmtree(credential_file.home())
        credential_file.store(A, old)
        new = make_key()
        inject = ("-e", f"trace={name}", "-e", f"inject={name}:{fault}:when={number}")
        done = child(B, new, prefix=(str(STRACE), "-qq", "-o", os.devnull, *inject))
        held = credential_file.read()
        assert held.pop(A) == old, line
        assert held in ({}, {B: new}), line
        assert old not in done.stdout + done.stderr and new not in done.stdout + done.stderr
        if done.stdout == "kept\n":
            assert held == {B: new}, line
        elif fault != "signal=KILL":
            assert "storage|" in done.stdout and "Traceback" not in done.stderr, (line, done.stderr)
        credential_file.store(A, old)
        left = [each.name for each in credential_file.home().iterdir()]
        assert sorted(left) == ["credentials.lock", "credentials.toml"], line


@needs_root
def test_a_full_disk_keeps_the_old_keys() -> None:
    """On a file system without room the login fails with what to do, and the keys that were there are read."""
    home = credential_file.home()
    home.mkdir(mode=0o700)
    script = (
        'mount -t tmpfs -o size=16k,mode=0700 none "$WORLDFLUX_HOME" && "$@" https://old.example "$OLD" '
        '&& head -c 100k /dev/zero > "$WORLDFLUX_HOME/filler"; '
        '"$@" https://new.example "$NEW"; cat "$WORLDFLUX_HOME/credentials.toml"; ls -A "$WORLDFLUX_HOME"'
    )
    old, new = make_key(), make_key()
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script, "-", sys.executable, "-I", "-B", "-c", CHILD],
        capture_output=True, text=True, timeout=60,
        env={**os.environ, "OLD": old, "NEW": new},
    )  # fmt: skip
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert "storage|" in done.stdout and "the disk is full" in done.stdout, done.stdout
    assert old in done.stdout and new not in done.stdout
    assert ".credentials-" not in done.stdout


def test_a_home_that_can_not_be_made_is_an_error_of_storage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file where the folder should be is named, without a traceback of Python's."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WORLDFLUX_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(WorldFluxError, match="can not be written"):
        credential_file.store(A, make_key())


def test_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without an account in a container is told which variable to set."""
    monkeypatch.delenv("WORLDFLUX_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # what is missing is the account, not our code
    with pytest.raises(UsageError, match="no home folder") as caught:
        credential_file.read()
    assert "WORLDFLUX_HOME" in caught.value.hint
