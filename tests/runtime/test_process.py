"""RUN: one command, its limits, and everything that descends from it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from nightly import WHOLE
from process_lab import Lab, eventually, python, state

from worldflux.runtime.process import CommandProcess, Limits

MEGABYTE = 2**20

#: Two daemons, each forked twice, in sessions of their own, deaf to SIGTERM, without descriptors.
DAEMONS = """
import os, signal, sys, time
for name in ("one", "two"):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.closerange(0, 3)
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
            time.sleep(60)
        os._exit(0)
    os.wait()
while not (os.path.exists("one") and os.path.exists("two")):
    time.sleep(0.005)
time.sleep(float(sys.argv[1]))
"""

#: Processes that live for about a millisecond each, always in a new session, and have one child.
#: Each writes a byte, for no look at /proc is quick enough to see them. They give up by themselves.
CHURN = """
import os, time
beats = os.open("beats", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
until = time.monotonic() + 6
for _ in range(8):
    if os.fork() == 0:
        while time.monotonic() < until:
            time.sleep(0.0005)
            if os.fork():
                os._exit(0)
            os.setsid()
            os.write(beats, b".")
        os._exit(0)
time.sleep(0.05)
open("up", "w").close()
time.sleep(60)
"""


@pytest.fixture(params=[False, True], ids=["spawned", "forked"])
def lab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(tmp_path, forked=request.param) as lab:
        yield lab


def test_a_grandchild_that_holds_the_output_does_not_hold_the_run(lab: Lab) -> None:
    """RUN-01: when the leader has exited, the run ends within the drain time plus a second."""
    began = time.monotonic()
    ended = lab.run(["sh", "-c", "sleep 60 & echo done"], drain=0.2)
    assert time.monotonic() - began < 1.2
    assert (ended.exit_code, ended.reason, ended.orphans_killed) == (0, "exited", 1)
    assert lab.text() == "done\n"
    assert lab.alive() == []


def test_what_a_grandchild_writes_while_draining_is_kept(lab: Lab) -> None:
    """RUN-01: a background writer that finishes within the drain time is neither cut nor counted."""
    ended = lab.run(["sh", "-c", "(sleep 1; echo late) & echo early"], drain=30)
    assert lab.text() == "early\nlate\n"
    assert (ended.exit_code, ended.orphans_killed) == (0, 0)
    assert ended.duration_seconds < 0.9


@pytest.mark.parametrize("leader_sleeps", [0, 60], ids=["leader exits", "until it is stopped"])
def test_daemons_that_left_the_group_are_ended(lab: Lab, leader_sleeps: int) -> None:
    """RUN-02: a double fork, a new session, closed descriptors and a deaf ear do not save a process."""
    process = lab.start(python(DAEMONS, str(leader_sleeps)), grace=0.2)
    lab.waits_for("two")
    began = time.monotonic()
    if leader_sleeps:
        process.stop()
    ended = process.wait()
    assert time.monotonic() - began < 2
    assert ended.reason == ("cancelled" if leader_sleeps else "exited")
    assert ended.orphans_killed == 2
    assert ended.subreaper
    assert lab.alive() == []


@pytest.mark.parametrize(
    ("command", "size"),
    [
        (["head", "-c", "500000000", "/dev/zero"], 500_000_000),
        (python("import sys\nfor i in range(1000000): sys.stdout.write('\\r%6d%%' % i)"), 8_000_000),
    ],
    ids=["one line of 500 MB", "a million carriage returns"],
)
def test_a_flood_is_cut_and_drained(lab: Lab, command: list[str], size: int) -> None:
    """RUN-06: output beyond the cap is read and counted, takes no memory and blocks nobody."""
    ended = lab.run(command, log_cap=MEGABYTE, timeout=60)
    assert ended.exit_code == 0
    assert (ended.bytes_seen, ended.bytes_logged, ended.truncated) == (size, MEGABYTE, True)
    assert lab.log.stat().st_size == MEGABYTE
    assert ended.shim_rss_kb is not None and ended.shim_rss_kb < 40 * 1024


@pytest.mark.slow
def test_two_gigabytes_of_lines(lab: Lab) -> None:
    """RUN-06: a flood of 2 GB keeps the shim under 40 MB and the log at its default cap.

    A forked shim is the same program: it gets a flood just above the cap here, and the whole one nightly.
    """
    flood = 300_000_000 if lab.forker and not WHOLE else 2_000_000_000
    ended = lab.run(["sh", "-c", f"yes | head -c {flood}"], log_cap=Limits().log_cap, timeout=120)
    assert ended.exit_code == 0
    assert ended.bytes_seen == flood
    assert ended.bytes_logged == lab.log.stat().st_size == 256 * MEGABYTE
    assert ended.shim_rss_kb is not None and ended.shim_rss_kb < 40 * 1024
    lab.log.unlink()


def test_every_byte_reaches_the_log_as_it_is(lab: Lab) -> None:
    """RUN-07: no byte is decoded, whatever the encoding and wherever a chunk ends."""
    borders = b"".join(b"x" * (size - 1) + "\u20ac".encode() for size in (65536, 262144 - 65538, 4096))
    payload = (
        bytes(range(256)) + borders + "\u20ac\n".encode("utf-16") + b"\xed\xa0\x80\xff\xc3" + b"\r\r\n\0"
    )
    (lab.work / "payload").write_bytes(payload)
    ended = lab.run(["sh", "-c", "cat payload; cat payload >&2"])
    assert lab.log.read_bytes() == payload * 2
    assert (ended.bytes_seen, ended.truncated) == (2 * len(payload), False)
    assert json.loads(lab.exit.read_text())["bytes_logged"] == 2 * len(payload)


@pytest.mark.parametrize("code", [0, 1, 126, 127, 137, 255])
def test_the_exit_code_is_exact(lab: Lab, code: int) -> None:
    """RUN-09: each exit code is reported as it is, also those that shells give a meaning."""
    ended = lab.run(["sh", "-c", f"exit {code}"])
    assert (ended.exit_code, ended.signal, ended.reason, ended.code) == (code, None, "exited", code)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_signal_is_exact(lab: Lab, number: signal.Signals) -> None:
    """RUN-09: a signal from outside is told apart from an exit code."""
    process = lab.start(["sleep", "60"])
    os.kill(process.pid, number)
    ended = process.wait()
    assert (ended.exit_code, ended.signal, ended.reason, ended.code) == (None, number, "signalled", -number)
    assert ended.oom_kills == 0


def test_a_timeout_ends_the_command(lab: Lab) -> None:
    """RUN-10: at the timeout the command gets its soft signal, and the run ends."""
    began = time.monotonic()
    ended = lab.run(["sleep", "60"], timeout=0.3, grace=5)
    assert 0.3 <= time.monotonic() - began < 2
    assert (ended.signal, ended.reason) == (signal.SIGINT, "timeout")
    assert 0.3 <= ended.duration_seconds < 2


def test_a_stopped_command_can_still_save_its_work(lab: Lab) -> None:
    """RUN-10: a command that is stopped by SIGSTOP is woken for its soft signal."""
    code = """
import os, signal, sys, time
def save(*_):
    print("saved", flush=True)
    sys.exit(5)
signal.signal(signal.SIGINT, save)
os.kill(os.getpid(), signal.SIGSTOP)
time.sleep(60)
"""
    process = lab.start(python(code), grace=3)
    assert eventually(lambda: state(process.pid) == "T")
    began = time.monotonic()
    process.stop()
    ended = process.wait()
    assert time.monotonic() - began < 2
    assert (ended.exit_code, ended.reason) == (5, "cancelled")
    assert lab.text() == "saved\n"


def test_a_command_that_is_deaf_ends_after_the_grace(lab: Lab) -> None:
    """RUN-10: a leader that blocks all signals and a stopped child end when the grace is over."""
    code = """
import os, signal, time
if os.fork() == 0:
    os.kill(os.getpid(), signal.SIGSTOP)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
open("deaf", "w").close()
time.sleep(60)
"""
    process = lab.start(python(code), grace=0.3)
    lab.waits_for("deaf")
    began = time.monotonic()
    process.stop()
    ended = process.wait()
    assert 0.3 <= time.monotonic() - began < 1.3
    assert ended.signal == signal.SIGKILL
    assert lab.alive() == []


def test_processes_that_keep_forking_are_all_ended(lab: Lab) -> None:
    """RUN-11: thousands of new processes a second, each in its own session, leave no survivor."""
    process = lab.start(python(CHURN), grace=0.1)
    lab.waits_for("up")
    process.stop()
    ended = process.wait()
    beats = (lab.work / "beats").stat().st_size
    assert (ended.reason, ended.survivors) == ("cancelled", 0)
    assert ended.orphans_killed >= 8
    assert beats > 8
    time.sleep(0.15)
    assert (lab.work / "beats").stat().st_size == beats
    assert lab.alive() == []


def test_lines_before_a_sudden_death_are_kept(lab: Lab) -> None:
    """RUN-13: what an unbuffered program printed before SIGKILL is in the log."""
    lab.env["PYTHONUNBUFFERED"] = "1"
    code = "import os\nfor i in range(100): print('line', i)\nos.kill(os.getpid(), 9)"
    command = python(code)
    command.remove("-I")  # it makes Python ignore its variables
    ended = lab.run(command)
    assert ended.signal == signal.SIGKILL
    assert lab.text().splitlines() == [f"line {i}" for i in range(100)]


def test_fifty_at_once_leave_nothing(lab: Lab) -> None:
    """RUN-15: parallel runs that are cancelled at random leak no process, zombie or descriptor."""
    choice = random.Random(15)
    plans = [(index, choice.choice(["stop", "kill", "exit", "timeout"])) for index in range(50)]

    shims: list[int] = []

    def one(plan: tuple[int, str]) -> str:
        index, how = plan
        script = "sleep 60 & sleep 60 & sleep 60 & " + ("exit 0" if how == "exit" else "wait")
        process = CommandProcess.start(
            ["sh", "-c", script],
            cwd=lab.work,
            env=lab.env,
            log_path=lab.folder / f"{index}.log",
            exit_path=lab.folder / f"{index}.json",
            limits=Limits(timeout=0.05 if how == "timeout" else 20, grace=0.2, drain=0.05),
        )
        shims.append(process.shim_pid)
        if how in ("stop", "kill"):
            getattr(process, how)()
        return process.wait().reason

    before = set(os.listdir("/proc/self/fd"))
    with ThreadPoolExecutor(50) as pool:
        reasons = list(pool.map(one, plans))
    expected = {"stop": "cancelled", "kill": "cancelled", "exit": "exited", "timeout": "timeout"}
    assert reasons == [expected[how] for _, how in plans]
    assert lab.alive() == []
    lab.leave()
    assert set(os.listdir("/proc/self/fd")) <= before
    for pid in shims:
        with pytest.raises(ChildProcessError):  # not even a zombie
            os.waitpid(pid, os.WNOHANG)


def test_input_ends_at_once(lab: Lab) -> None:
    """RUN-16: a command that reads its input gets the end of file, and no terminal to ask on."""
    ended = lab.run(["sh", "-c", "cat; read -r line || echo eof; (: </dev/tty) 2>&- || echo none"], timeout=5)
    assert (ended.exit_code, ended.reason) == (0, "exited")
    assert lab.text() == "eof\nnone\n"


def test_stop_from_another_thread(lab: Lab) -> None:
    """stop() ends a run that another thread waits for, with the soft signal first."""
    process = lab.start(
        ["sh", "-c", 'trap "sleep 0.1; echo bye; exit 3" INT; echo up; sleep 60 & wait'], grace=5
    )
    assert eventually(lambda: lab.text() == "up\n")
    threading.Timer(0.05, process.stop).start()
    ended = process.wait()
    assert (ended.exit_code, ended.reason) == (3, "cancelled")
    assert lab.text() == "up\nbye\n"
    assert lab.alive() == []


def test_the_end_is_stable(lab: Lab) -> None:
    """After its end a run tells the same again, and stop() and kill() are silent."""
    process = lab.start(["true"])
    first = process.wait()
    process.stop()
    process.kill()
    assert process.wait() is first
    lab.leave()
    assert eventually(lambda: state(process.shim_pid) == "Z")


def test_a_request_after_the_end_changes_nothing(lab: Lab) -> None:
    """A command that ended by itself is not called cancelled; what it left is ended without delay."""
    process = lab.start(["sh", "-c", "sleep 60 & exit 3"], drain=20)
    assert eventually(lambda: state(process.pid) == "Z")
    began = time.monotonic()
    process.stop()
    ended = process.wait()
    assert time.monotonic() - began < 2
    assert (ended.reason, ended.exit_code, ended.orphans_killed) == ("exited", 3, 1)


@pytest.mark.parametrize("timeout", [None, 1e9, float("inf")])
def test_any_timeout_can_be_asked_for(lab: Lab, timeout: float | None) -> None:
    """A timeout longer than poll(2) can count is a timeout, not a crash."""
    assert lab.run(["sh", "-c", "sleep 0.05"], timeout=timeout).reason == "exited"


def test_a_shim_that_is_asked_to_end_ends_its_command(lab: Lab) -> None:
    """SIGTERM to the shim, as at shutdown, stops the command and is recorded as an interruption."""
    process = lab.start(["sh", "-c", "sleep 60 & touch up; wait"])
    lab.waits_for("up")
    os.kill(process.shim_pid, signal.SIGTERM)
    ended = process.wait()
    assert (ended.reason, ended.signal) == ("interrupted", signal.SIGINT)
    assert lab.alive() == []


def test_a_terminal_only_when_asked_for(lab: Lab) -> None:
    """With pty=True output goes to a terminal, but input and /dev/tty still do not exist."""
    script = "test -t 1 && test ! -t 0 && stty size <&1; (: </dev/tty) 2>&- || echo none"
    assert lab.run(["sh", "-c", script], pty=True).exit_code == 0
    assert lab.log.read_bytes() == b"24 80\r\nnone\r\n"
    lab.log.unlink()
    assert lab.run(["sh", "-c", "test -t 1"]).exit_code == 1


def pipes(pid: int) -> set[str]:
    """The pipes that a process has open."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # the folder's own descriptor
            found.add(os.readlink(link))
    return {target for target in found if target.startswith("pipe:")}


def test_other_programs_do_not_inherit_the_pipes(lab: Lab) -> None:
    """A program that another thread starts at the same moment can not hide the client's death."""
    sleepers: list[subprocess.Popen[bytes]] = []

    def start_program() -> None:
        sleepers.append(subprocess.Popen(["sleep", "30"], stdin=subprocess.DEVNULL, close_fds=False))

    before = pipes(os.getpid())
    try:
        with ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(start_program) for _ in range(20)]
            ends = [lab.run(["true"]).exit_code for _ in range(10)]
            for job in jobs:
                job.result()
        assert ends == [0] * 10
        assert set().union(*(pipes(sleeper.pid) for sleeper in sleepers)) <= before
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()
