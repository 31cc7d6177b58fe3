"""One process that forks the shims of many commands: nothing depends on its life, and it outlives nobody."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from process_lab import ROOT, Lab, eventually, state

from worldflux.runtime.process import CommandProcess, Limits, read_exit
from worldflux.runtime.shim.tree import children_of
from worldflux.runtime.spawning import Forker


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path, forked=True) as lab:
        yield lab


def forker_of(lab: Lab) -> Forker:
    assert lab.forker is not None and lab.forker.pid
    return lab.forker


def test_shims_come_from_the_forker(lab: Lab) -> None:
    """The shim is a child of the forker and no child of the client, which so has nothing to reap."""
    process = lab.start(["sleep", "60"])
    assert process.shim_pid in children_of(forker_of(lab).pid)
    assert process.shim_pid not in children_of(os.getpid())
    process.kill()
    process.wait()
    lab.leave()
    assert state(process.shim_pid) == "Z"


def test_a_shim_is_used_again(lab: Lab) -> None:
    """Commands one after the other have one shim, and each its own arguments, log, record and session."""
    shims, sessions = [], []
    for index in range(3):
        (lab.folder / "run.log").unlink(missing_ok=True)
        process = lab.start(["sh", "-c", f"ps -o sid= $$; exit {index}"])
        ended = process.wait()
        assert (ended.exit_code, ended.leader_pid) == (index, process.pid) == (index, int(lab.text()))
        assert read_exit(lab.exit) == ended
        shims.append(process.shim_pid)
        sessions.append(process.pid)
    assert len(set(shims)) == 1 and len(set(sessions)) == 3
    assert len(children_of(forker_of(lab).pid)) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_free_shim_that_ends_is_done_without(lab: Lab, number: int) -> None:
    """Between two commands a shim dies of a signal; the next command gets another one."""
    first = lab.start(["true"])
    first.wait()
    os.kill(first.shim_pid, number)
    assert eventually(lambda: first.shim_pid not in children_of(forker_of(lab).pid))  # no zombie either
    other = lab.start(["true"])
    assert other.wait().exit_code == 0 and other.shim_pid != first.shim_pid


def test_a_late_request_does_not_reach_the_next_command(lab: Lab) -> None:
    """What was meant for a command that had just ended is not taken for a request to the next one."""
    lab.run(["true"])
    (seat,) = forker_of(lab)._free
    seat.sendall(b"SK")
    ended = lab.run(["sh", "-c", "sleep 0.05; exit 3"])
    assert (ended.exit_code, ended.reason) == (3, "exited")


def test_a_client_that_dies_leaves_no_free_shim(lab: Lab) -> None:
    """A shim that waits for its next command ends with its client."""
    client = lab.client(["true"], forks=False)
    shim = lab.client_said("shim")
    client.kill()
    client.wait()
    assert eventually(lambda: state(shim) == "Z", 2)


def test_the_death_of_the_forker_ends_no_run(lab: Lab) -> None:
    """SIGKILL to the forker: what runs goes on to its own end, and what comes next starts without it."""
    process = lab.start(["sh", "-c", "touch up; while ! test -e go; do sleep 0.01; done; echo done; exit 5"])
    lab.waits_for("up")
    os.kill(forker_of(lab).pid, signal.SIGKILL)
    assert eventually(lambda: state(forker_of(lab).pid) == "Z")
    other = CommandProcess.start(
        ["true"], cwd=lab.work, env=lab.env, log_path=lab.folder / "other.log",
        exit_path=lab.folder / "other.json", limits=Limits(),
    )  # fmt: skip
    assert other.shim_pid in children_of(os.getpid())
    assert other.wait().exit_code == 0
    (lab.work / "go").touch()
    ended = process.wait()
    assert (ended.exit_code, ended.reason, lab.text()) == (5, "exited", "done\n")


def test_a_killed_shim_is_noticed_without_being_a_child(lab: Lab) -> None:
    """SIGKILL to a forked shim ends its run as interrupted and leaves no process, also no daemon."""
    process = lab.start(["sh", "-c", "setsid sleep 60 & touch up; wait"])
    lab.waits_for("up")
    os.kill(process.shim_pid, signal.SIGKILL)
    assert process.wait().reason == "interrupted"
    assert lab.alive() == []


@pytest.mark.parametrize("forks", [False, True])
def test_the_forker_ends_with_its_client(lab: Lab, forks: bool) -> None:
    """SIGKILL to the client ends the forker, too, also when a fork of the client lives on."""
    client = lab.client(["sleep", "60"], forks=forks)
    if forks:
        lab.strays.append(lab.client_said("fork"))
    forker = lab.client_said("forker")
    lab.client_said("shim")
    client.kill()
    client.wait()
    assert eventually(lambda: state(forker) == "Z", 2)
    assert eventually(lambda: lab.alive() == [], 2)


def test_leaving_ends_the_forker_and_no_run(lab: Lab) -> None:
    """At the end of the block the forker is gone, a run that still goes on is not."""
    forker = forker_of(lab)
    process = lab.start(["sh", "-c", "touch up; while ! test -e go; do sleep 0.01; done"])
    lab.waits_for("up")
    forker.__exit__()
    assert state(forker.pid) == "Z" and Forker.current is None
    (lab.work / "go").touch()
    assert process.wait().exit_code == 0


def test_many_threads_ask_at_once(lab: Lab) -> None:
    """Requests of threads are not mixed up: each command gets its own log, arguments and exit code."""

    def one(index: int) -> tuple[int | None, str]:
        log = lab.folder / f"{index}.log"
        ended = CommandProcess.start(
            ["sh", "-c", f"echo {index}; exit {index}"], cwd=lab.work, env=lab.env, log_path=log,
            exit_path=lab.folder / f"{index}.json", limits=Limits(),
        ).wait()  # fmt: skip
        return ended.exit_code, log.read_text()

    before = set(os.listdir("/proc/self/fd"))
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(one, range(64))) == [(index, f"{index}\n") for index in range(64)]
    assert len(children_of(forker_of(lab).pid)) <= 16
    assert len(os.listdir(f"/proc/{forker_of(lab).pid}/fd")) == 6
    lab.leave()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_the_forker_is_as_bare_as_a_shim(lab: Lab) -> None:
    """Session, environment and command line of the forker tell and hold nothing of its client."""
    forker = forker_of(lab)
    assert eventually(lambda: os.getsid(forker.pid) == forker.pid)
    assert eventually(lambda: b"worldflux-shim" in Path(f"/proc/{forker.pid}/cmdline").read_bytes())
    names = {
        entry.partition(b"=")[0] for entry in Path(f"/proc/{forker.pid}/environ").read_bytes().split(b"\0")
    }
    assert names <= {b"", b"LD_LIBRARY_PATH"}


def test_a_forker_that_can_not_start_is_done_without(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the forker's interpreter does not run, commands start as they do without it."""
    forker_of(lab).__exit__()
    lab.forker = Forker()
    with monkeypatch.context() as change:
        change.setattr("sys.executable", "/bin/false")
        lab.forker.__enter__()
    assert eventually(lambda: state(lab.forker.pid) == "Z")  # type: ignore[union-attr]
    assert lab.run(["true"]).exit_code == 0


def test_a_forked_start_is_quicker() -> None:
    """What it is for: a start and an end take less time than when an interpreter is started for each."""
    import subprocess
    import sys

    code = """
import sys, time
from pathlib import Path
from contextlib import nullcontext
from worldflux.runtime.process import CommandProcess, Limits
from worldflux.runtime.spawning import Forker
folder = Path(sys.argv[1])
def one():
    began = time.perf_counter()
    CommandProcess.start(["true"], cwd=folder, env={"PATH": "/usr/bin:/bin"}, log_path=folder / "log",
                         exit_path=folder / "exit.json", limits=Limits()).wait()
    return time.perf_counter() - began
times = {}
for around in (Forker, nullcontext) * 3:
    with around():
        one()
        times.setdefault(around, []).extend(one() for _ in range(10))
print(min(times[Forker]) / min(times[nullcontext]))
"""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True,
            env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        )  # fmt: skip
    assert float(done.stdout) < 0.85
