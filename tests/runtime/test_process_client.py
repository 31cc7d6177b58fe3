"""RUN: what becomes of a command when its client or its shim is killed, or Ctrl-C is pressed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from process_lab import Lab, eventually, python, state

from worldflux.runtime.process import ProcessExit, end_survivors, read_exit, survivors

#: A tree of a leader, a child in its group and a daemon in a session of its own.
TREE = ["sh", "-c", "sleep 60 & setsid sleep 60 & touch up; wait"]

#: Writes a line for each SIGINT, also for two in a row; some time after the given one it ends.
COUNTS = """
import os, select, signal, sys, time
read, write = os.pipe()
os.set_blocking(write, False)
signal.signal(signal.SIGINT, lambda *_: None)
signal.set_wakeup_fd(write)
open("up", "w").close()
left, until = int(sys.argv[1]), time.monotonic() + 60
while time.monotonic() < until:
    if select.select([read], [], [], max(0, until - time.monotonic()))[0]:
        for _ in os.read(read, 1):
            os.write(1, b"INT\\n")
            left -= 1
            if not left:
                until = time.monotonic() + 0.15
sys.exit(4)
"""


@pytest.fixture(params=[False, True], ids=["spawned", "forked"])
def lab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(tmp_path, forked=request.param) as lab:
        yield lab


def test_killing_the_client_ends_the_command(lab: Lab) -> None:
    """RUN-03: SIGKILL to the client ends the whole tree within the grace and is on record."""
    client = lab.client(TREE)
    lab.waits_for("up")
    assert len(lab.alive()) == 3
    client.kill()
    client.wait()
    assert eventually(lambda: lab.alive() == [], 1.3)
    ended = eventually(lambda: read_exit(lab.exit), 1)
    assert isinstance(ended, ProcessExit)
    assert (ended.reason, ended.exit_code, ended.signal) == ("client_gone", None, signal.SIGINT)


def test_a_fork_of_the_client_does_not_hide_its_death(lab: Lab) -> None:
    """RUN-03: a worker forked by the client holds no control pipe open."""
    client = lab.client(TREE, forks=True)
    lab.strays.append(lab.client_said("fork"))
    lab.waits_for("up")
    client.kill()
    client.wait()
    assert eventually(lambda: lab.alive() == [], 1.3)
    assert state(lab.strays[-1]) == "S"


def test_killing_the_shim_is_an_interruption(lab: Lab) -> None:
    """RUN-04: without its shim a run is interrupted, whatever the command wrote as its record."""
    forged = {
        "exit_code": 0, "signal": None, "reason": "exited", "duration_seconds": 1.0, "bytes_seen": 0,
        "bytes_logged": 0, "truncated": False, "log_error": None, "orphans_killed": 0, "core": False,
    }  # fmt: skip
    (lab.work / "forged").write_text(json.dumps(forged))
    process = lab.start(["sh", "-c", f"cp forged {lab.exit}; setsid sleep 60 & touch up; wait"])
    lab.waits_for("up")
    believed = read_exit(lab.exit)
    assert believed is not None and believed.exit_code == 0
    os.kill(process.shim_pid, signal.SIGKILL)
    ended = process.wait()
    assert (ended.reason, ended.exit_code, ended.code) == ("interrupted", None, -signal.SIGKILL)
    assert lab.alive() == []
    assert read_exit(lab.exit) == ended


def test_survivors_of_client_and_shim_are_found_by_their_mark(lab: Lab) -> None:
    """RUN-04: when both were killed, the next start finds no record, and what is left by its mark."""
    client = lab.client(["sh", "-c", "trap '' TERM; setsid sleep 60 & touch up; wait"])
    lab.waits_for("up")
    shim = lab.client_said("shim")
    client.kill()
    os.kill(shim, signal.SIGKILL)
    client.wait()
    assert eventually(lambda: len(lab.alive()) == 1)  # the leader died with its shim
    assert read_exit(lab.exit) is None
    assert survivors(lab.mark) == lab.alive()
    assert survivors("another") == []
    began = time.monotonic()
    assert end_survivors(lab.mark, grace=0.2) == 1
    assert time.monotonic() - began < 1.2
    assert lab.alive() == []


def test_an_empty_mark_matches_nobody() -> None:
    """Without a mark no process is signalled: every process without one would match."""
    with pytest.raises(ValueError, match="must not be empty"):
        survivors("")
    with pytest.raises(ValueError, match="must not be empty"):
        end_survivors("")


def press(terminal: int, times: int) -> None:
    """Press Ctrl-C, as often as the client lives to see it."""
    with suppress(OSError):
        for _ in range(times):
            os.write(terminal, b"\x03")
            time.sleep(0.02)


def exit_code(pid: int, terminal: int, seconds: float = 5.0) -> int:
    """Exit code of the leader of a terminal, whose output is read away meanwhile.

    Raises:
        AssertionError: it does not end.
    """
    os.set_blocking(terminal, False)

    def ended() -> tuple[int] | None:
        with suppress(OSError):
            os.read(terminal, 4096)
        done, status = os.waitpid(pid, os.WNOHANG)
        return (os.waitstatus_to_exitcode(status),) if done else None

    result = eventually(ended, seconds)
    os.close(terminal)
    assert result, "the client did not end"
    return int(result[0])


def test_one_ctrl_c_is_one_soft_signal(lab: Lab) -> None:
    """RUN-05: the command sees exactly one SIGINT, has its grace, and the client says cancelled.

    The one comes from the client, not from the terminal: while the client is stopped, none comes.
    """
    pid, terminal = lab.client_on_terminal(python(COUNTS, "1"), limits={"grace": 5})
    lab.waits_for("up")
    os.kill(pid, signal.SIGSTOP)
    assert eventually(lambda: state(pid) == "T")
    press(terminal, 1)
    time.sleep(0.1)
    assert lab.text() == ""
    os.kill(pid, signal.SIGCONT)
    assert exit_code(pid, terminal) == 130
    assert lab.text() == "INT\n"
    ended = lab.client_said("ended")
    assert (ended["reason"], ended["exit_code"]) == ("cancelled", 4)


def test_the_second_ctrl_c_kills(lab: Lab) -> None:
    """RUN-05: a second Ctrl-C does not wait for the grace."""
    pid, terminal = lab.client_on_terminal(python(COUNTS, "100"), limits={"grace": 60, "timeout": None})
    lab.waits_for("up")
    press(terminal, 1)
    assert eventually(lambda: lab.text() == "INT\n")
    press(terminal, 1)
    assert exit_code(pid, terminal) == 130
    ended = lab.client_said("ended")
    assert (ended["reason"], ended["signal"]) == ("cancelled", signal.SIGKILL)
    assert lab.text() == "INT\n"


def test_a_held_ctrl_c_still_ends_in_order(lab: Lab) -> None:
    """RUN-05: a key that repeats until the end gives one record, no traceback and no survivor."""
    pid, terminal = lab.client_on_terminal(python(COUNTS, "100"), limits={"grace": 60, "timeout": None})
    lab.waits_for("up")
    press(terminal, 40)
    assert exit_code(pid, terminal) == 130
    assert lab.client_said("ended")["reason"] == "cancelled"
    assert lab.text() in ("", "INT\n")
    assert lab.alive() == []


def test_the_terminal_of_the_client_is_out_of_reach(lab: Lab) -> None:
    """RUN-16: a command of a client on a terminal can neither read from it nor open /dev/tty."""
    script = "cat; (: </dev/tty) 2>&- || echo none"
    pid, terminal = lab.client_on_terminal(["sh", "-c", script], limits={"timeout": 3})
    assert exit_code(pid, terminal) == 0
    assert lab.text() == "none\n"
    assert lab.client_said("ended")["reason"] == "exited"


def test_the_input_of_the_client_is_not_the_command_s(lab: Lab) -> None:
    """RUN-16: a command that reads ends at once although the client's own input stays open."""
    client = lab.client(["cat"], limits={"timeout": 3})
    ended = lab.client_said("ended")
    assert (ended["reason"], ended["exit_code"]) == ("exited", 0)
    assert client.stdin is not None
    client.stdin.close()
    assert client.wait() == 0


def test_signals_are_as_in_a_fresh_login(lab: Lab) -> None:
    """RUN-10: what the client ignores or blocks, the command neither ignores nor blocks."""
    ignored = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1]
    lab.client(["grep", "^Sig[BI]", "/proc/self/status"], ignore=ignored, block=True)
    assert lab.client_said("ended")["exit_code"] == 0
    masks = {line.split(":")[0]: int(line.split()[1], 16) for line in lab.text().splitlines()}
    internal = 1 << 31 | 1 << 32  # the C library's own two, which posix_spawn leaves ignored
    assert (masks["SigBlk"], masks["SigIgn"] & ~internal) == (0, 0)


def test_a_client_that_blocks_signals_can_still_stop(lab: Lab) -> None:
    """RUN-10: a timeout works when the client was started with SIGTERM and SIGHUP blocked or ignored."""
    began = time.monotonic()
    lab.client(TREE, ignore=[signal.SIGTERM, signal.SIGHUP], block=True, limits={"timeout": 0.3})
    ended = lab.client_said("ended")
    assert time.monotonic() - began < 3
    assert (ended["reason"], ended["signal"]) == ("timeout", signal.SIGINT)
    assert lab.alive() == []


def test_leaked_descriptors_end_at_the_shim(lab: Lab) -> None:
    """The command has descriptors 0, 1 and 2 and nothing else, also when its client leaks some."""
    lab.client(["ls", "/proc/self/fd"], leak=True)
    assert lab.client_said("ended")["exit_code"] == 0
    assert lab.text().split() == ["0", "1", "2", "3"]  # 3 is the folder that ls itself reads
