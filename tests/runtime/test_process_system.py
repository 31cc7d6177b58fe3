"""RUN: full disks, reused process ids, wrong clocks, lack of memory, and other people's processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from process_lab import ROOT, Lab, python

MEGABYTE = 2**20

#: Jumps ten years ahead in calendar time as soon as a file exists; leaves the monotonic clock alone.
WRONG_CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long jump(void) { return access(JUMPED, F_OK) == 0 ? 315360000L : 0; }
int clock_gettime(clockid_t clock, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec += jump();
    return result;
}
int gettimeofday(struct timeval *now, void *zone) {
    int (*real)(struct timeval *, void *) = dlsym(RTLD_NEXT, "gettimeofday");
    int result = real(now, zone);
    now->tv_sec += jump();
    return result;
}
time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path) as lab:
        yield lab


def unshared(*kinds: str) -> list[str]:
    """Command that enters new namespaces; skips the test where the system does not allow it."""
    for command in (["unshare", *kinds], ["unshare", "--user", "--map-root-user", *kinds]):
        if (
            shutil.which("unshare")
            and subprocess.run([*command, "true"], capture_output=True).returncode == 0
        ):
            return command
    pytest.skip(f"namespaces can not be made here: unshare {' '.join(kinds)}")


def test_a_full_disk_under_the_log_does_not_stop_the_command(lab: Lab) -> None:
    """RUN-08: with the log's disk full the command ends by itself and its exit code is known.

    The record has no room either: it is not half there, and the client knows the end all the same.
    """
    disk = lab.folder / "disk"
    disk.mkdir()
    lab.log, lab.exit = disk / "run.log", disk / "exit.json"
    script = f'mount -t tmpfs -o size=1m none {disk} && "$@"; stat -c %s {lab.log}; ls {disk}'
    prefix = [*unshared("--mount"), "sh", "-c", script, "sh"]
    program = lab.client(["sh", "-c", "head -c 3000000 /dev/zero; exit 7"], prefix=prefix, captured=True)
    ended = lab.client_said("ended")
    assert (ended["exit_code"], ended["reason"], ended["log_error"]) == (7, "exited", "ENOSPC")
    assert (ended["bytes_seen"], ended["truncated"]) == (3_000_000, True)
    assert ended["record_error"] == "ENOSPC"
    size, *names = program.communicate(timeout=60)[0].decode().split()
    assert int(size) == ended["bytes_logged"] == MEGABYTE
    assert names == ["run.log"]


def test_a_log_that_takes_nothing_does_not_stop_the_command(lab: Lab) -> None:
    """RUN-08: when not one byte can be logged, the command still ends with its own code."""
    lab.log = Path("/dev/full")
    ended = lab.run(["sh", "-c", "head -c 3000000 /dev/zero; exit 7"])
    assert (ended.exit_code, ended.log_error, ended.bytes_logged, ended.truncated) == (7, "ENOSPC", 0, True)
    assert ended.bytes_seen == 3_000_000


def test_a_process_with_a_reused_id_is_never_signalled(lab: Lab) -> None:
    """RUN-12: while the group may be signalled, nobody can get the leader's pid.

    In a pid namespace of its own a bystander asks for exactly that pid once the leader has ended
    and an orphan is still to be killed. It must get another one.
    """
    if not Path("/proc/sys/kernel/ns_last_pid").exists():
        pytest.skip("this kernel lets nobody choose the next process id")
    prefix = unshared("--pid", "--fork", "--mount-proc")
    orphan = "trap '' TERM; setsid sleep 60 & exec 2>&-; exit 0"
    lab.client(["sh", "-c", orphan], prefix=prefix, steal=True, limits={"drain": 0.6})
    ended = lab.client_said("ended")
    pid = lab.client_said("pid")
    got = lab.client_said("got")
    assert got and min(got) in range(pid + 1, pid + 20), f"the namespace gave {got[:3]} for {pid}"
    assert lab.client_said("bystander") == 0
    assert (ended["exit_code"], ended["orphans_killed"]) == (0, 1)


def test_a_clock_that_jumps_is_no_timeout(lab: Lab) -> None:
    """RUN-14: ten years of calendar time in the middle of a run are not ten years of running."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build a wrong clock with")
    jumped = lab.work / "jumped"
    source, library, wrapper = lab.folder / "clock.c", lab.folder / "clock.so", lab.folder / "python"
    source.write_text(WRONG_CLOCK)
    build = [compiler, "-shared", "-fPIC", f'-DJUMPED="{jumped}"', "-o", str(library), str(source), "-ldl"]
    subprocess.run(build, check=True)
    wrapper.write_text(f'#!/bin/sh\nLD_PRELOAD={library} exec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    lab.client(["sh", "-c", "touch jumped; sleep 0.3; echo done"], python=str(wrapper), limits={"timeout": 5})
    ended = lab.client_said("ended")
    assert (ended["exit_code"], ended["reason"]) == (0, "exited")
    assert 0.3 <= ended["duration_seconds"] < 3
    told = subprocess.run([wrapper, "-c", "import time; print(time.time())"], capture_output=True, check=True)
    assert float(told.stdout) > time.time() + 3e8, "the clock was right all the time"


@pytest.fixture
def small_memory(lab: Lab) -> Iterator[Path]:
    """A control group with 100 MiB of memory, of either version."""
    root = Path("/sys/fs/cgroup")
    group = (root / "memory" if (root / "memory").is_dir() else root) / f"worldflux-test-{lab.mark}"
    limit = "memory.limit_in_bytes" if (root / "memory").is_dir() else "memory.max"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"control groups can not be made here: {error.strerror}")
    try:
        (group / limit).write_text(str(100 * MEGABYTE))
    except OSError as error:
        group.rmdir()
        pytest.skip(f"the memory controller can not be used here: {error.strerror}")
    yield group
    for program in lab.programs:
        program.wait()
    group.rmdir()


@pytest.mark.parametrize(
    ("code", "kills"),
    [("b'x' * 300000000", 1), ("import os; os.kill(os.getpid(), 9)", 0)],
    ids=["out of memory", "plain SIGKILL"],
)
def test_lack_of_memory_is_told_apart(lab: Lab, small_memory: Path, code: str, kills: int) -> None:
    """RUN-09: SIGKILL by the kernel for lack of memory is counted; SIGKILL by a person is not."""
    lab.client(python(code), cgroup=str(small_memory))
    ended = lab.client_said("ended")
    assert (ended["signal"], ended["oom_kills"]) == (9, kills)


def test_a_process_of_another_user_is_left_and_counted(tmp_path: Path) -> None:
    """A process that became another user can not be ended: the run does not wait for it, and says so."""
    system = "/usr/bin/python3"
    readable = all(folder.stat().st_mode & 0o001 for folder in (ROOT, *ROOT.parents))
    if os.geteuid() != 0 or not os.access(system, os.X_OK) or not readable:
        pytest.skip("needs root, and an interpreter and a package that everybody may read")
    folder = Path(tempfile.mkdtemp())
    try:
        with Lab(folder) as lab:
            for path in (folder, lab.work):
                path.chmod(0o777)
            powerful = shutil.copy(os.path.realpath(system), folder / "powerful")
            os.chmod(powerful, 0o4755)
            become_root = "import os, time; os.setresuid(0, 0, 0); open('up', 'w'); time.sleep(20)"
            script = f'{powerful} -I -S -c "{become_root}" & while ! test -e up; do sleep 0.01; done'
            lab.client(["sh", "-c", script], uid=65534, interpreter=system)
            ended = lab.client_said("ended")
            assert (ended["exit_code"], ended["reason"]) == (0, "exited")
            assert (ended["survivors"], ended["orphans_killed"]) == (1, 0)
            assert len(lab.alive()) == 1
    finally:
        shutil.rmtree(folder)
