"""This machine and the owner of a run, compared with what the system's own tools say."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from worldflux.manifest import io, validator
from worldflux.run import machine
from worldflux.run.machine import hardware, owner, owner_alive

ROOT = Path(__file__).parents[2]
FULL = ROOT / "tests" / "fixtures" / "manifests" / "valid" / "succeeded-full.json"
HAS_NVIDIA = Path("/dev/nvidiactl").exists() and shutil.which("nvidia-smi") is not None
needs_nvidia = pytest.mark.skipif(not HAS_NVIDIA, reason="no NVIDIA driver on this machine")


def say(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_hardware_is_what_the_system_says() -> None:
    """Processors and memory equal those of nproc and getconf, and the part is valid."""
    found = hardware()
    assert found["cpu"]["logical"] == int(say("nproc", "--all"))
    assert found["memory_bytes"] == int(say("getconf", "_PHYS_PAGES")) * int(say("getconf", "PAGE_SIZE"))
    physical = found["cpu"]["physical"]
    assert physical is None or 1 <= physical <= (found["cpu"]["logical"] or 0)
    record = io.read(FULL)
    record.hardware = found
    assert validator.validate(record.to_json()) == []


@pytest.mark.skipif(HAS_NVIDIA, reason="this machine has an NVIDIA driver")
def test_without_a_driver_there_are_no_accelerators() -> None:
    """No driver: an empty list, no version; nothing is guessed, and NVIDIA's library is not even loaded."""
    found = hardware()
    assert (found["accelerators"], found["driver"], found["cuda"]) == ([], None, None)
    code = (
        "import sys; from worldflux.run.machine import hardware; hardware(); print('pynvml' in sys.modules)"
    )
    assert say(sys.executable, "-c", code) == "False"


@needs_nvidia
def test_accelerators_are_those_of_the_driver() -> None:
    """Model, memory, capability and driver equal what nvidia-smi prints; no serial number or UUID."""
    found = hardware()
    wanted = [line.split(", ") for line in say(*smi("name,compute_cap,driver_version")).splitlines()]
    assert [
        [each["model"], each["compute_capability"], found["driver"]] for each in found["accelerators"]
    ] == wanted
    for entry, mebibytes in zip(found["accelerators"], say(*smi("memory.total")).splitlines(), strict=True):
        assert entry["memory_bytes"] is not None
        assert abs(entry["memory_bytes"] / 2**20 - int(mebibytes)) < 0.03 * int(mebibytes)
    identifiers = say(*smi("uuid,serial")).replace(",", " ").split()
    assert not any(each in repr(found) for each in identifiers if len(each) > 5)
    record = io.read(FULL)
    record.hardware = found
    assert validator.validate(record.to_json()) == []


@needs_nvidia
def test_the_library_and_the_program_agree() -> None:
    """Without NVIDIA's Python library the driver's own program gives the same devices."""
    pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    by_library, by_program = machine._nvidia(), machine._nvidia_smi()
    assert by_library[1] == by_program[1]
    for one, other in zip(by_library[0], by_program[0], strict=True):
        assert one["memory_bytes"] is not None and other["memory_bytes"] is not None
        assert abs(one["memory_bytes"] - other["memory_bytes"]) < 0.03 * one["memory_bytes"]
        assert {**one, "memory_bytes": 0} == {**other, "memory_bytes": 0}


def smi(fields: str) -> list[str]:
    return ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]


@pytest.fixture
def other() -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """Another process and what it says of itself as an owner."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    code += "import json; from worldflux.run.machine import owner\n"
    code += "print(json.dumps(owner()), flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, io.parse(process.stdout.readline().encode(), "owner")
        process.kill()


def test_this_process_is_alive() -> None:
    """An owner knows itself, also from another thread's point of view, and is valid."""
    me = owner()
    assert owner_alive(me) is True
    assert me["pid"] == os.getpid()
    record = io.read(FULL)
    record.run["owner"] = me
    assert validator.validate(record.to_json()) == []


def test_a_process_is_alive_until_it_is_killed(other: tuple[subprocess.Popen[str], Any]) -> None:
    """Alive while it runs; dead as soon as it was killed, although nobody has waited for it yet."""
    process, described = other
    assert owner_alive(described) is True
    process.send_signal(signal.SIGSTOP)
    assert owner_alive(described) is True
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert owner_alive(described) is False
    process.wait()
    assert owner_alive(described) is False


def test_a_pid_that_was_given_to_another_process_is_not_the_owner() -> None:
    """The same number with another start time is somebody else."""
    me = owner()
    assert me["pid_started"] is not None
    assert owner_alive({**me, "pid_started": me["pid_started"] - 1}) is False


def test_after_a_reboot_nobody_is_alive() -> None:
    """Another boot of this machine: dead, whatever has the number now, also in another container."""
    me = owner()
    assert owner_alive({**me, "boot_id": "0" * 8}) is False
    assert owner_alive({**me, "boot_id": "0" * 8, "pid_namespace": 1}) is False


def test_what_can_not_be_known_is_said_to_be_unknown() -> None:
    """Another host, another container, no start time: None, so that nobody ends a living run."""
    me = owner()
    assert owner_alive({**me, "host": "0" * 16}) is None
    assert owner_alive({**me, "host": "0" * 16, "boot_id": "0" * 8}) is None
    assert owner_alive({**me, "pid_namespace": 1}) is None
    assert owner_alive({**me, "pid_started": None}) is None
    assert owner_alive({**me, "pid": 2**40}) in (None, False)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a pid namespace")
def test_inside_a_container_the_outside_is_unknown() -> None:
    """From another pid namespace on the same machine the owner's number means nothing."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    code += f"from worldflux.run.machine import owner_alive; print(owner_alive({owner()!r}))"
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "unshare" in done.stderr:
        pytest.skip(f"no pid namespace here: {done.stderr.strip()[:80]}")
    assert done.stdout.strip() == "None"


def test_the_owner_names_no_machine() -> None:
    """The host is a short digest, of which neither its name nor its machine id can be read."""
    me = owner()
    assert re.fullmatch("[0-9a-f]{16}", me["host"])
    machine_id = Path("/etc/machine-id")
    assert not machine_id.exists() or me["host"] not in machine_id.read_text()


def test_a_name_with_brackets_and_spaces_does_not_hide_the_start_time(tmp_path: Path) -> None:
    """The kernel prints a program's name as it is; `x) R 1 (` as a name moves no field."""
    program = tmp_path / "x) R 1 ("
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as process:
        try:
            plain = machine._started(process.pid)
            assert plain is not None and abs(plain - (machine._started(os.getpid()) or 0)) < 10**7
            assert plain > 10
        finally:
            process.kill()
