"""How a command is handed over: what it gets, what others can see, and what a failed start leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from process_lab import ROOT, Lab, eventually, python

from worldflux.errors import UsageError, WorldFluxError
from worldflux.runtime.process import read_exit
from worldflux.runtime.shim import tree


@pytest.fixture(params=[False, True], ids=["spawned", "forked"])
def lab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(tmp_path, forked=request.param) as lab:
        yield lab


def script(lab: Lab, text: str, mode: int = 0o755) -> str:
    path = lab.work / "script"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_the_environment_is_the_given_one(lab: Lab) -> None:
    """The command gets exactly the variables it was given, whatever their bytes."""
    lab.env |= {"EMPTY": "", "LINES_2": "a\nb=c", "BYTES": os.fsdecode(b"\xff\xe9"), "EURO": "\u20ac"}
    lab.run(["env", "-0"])
    got = sorted(lab.log.read_bytes().rstrip(b"\0").split(b"\0"))
    assert got == sorted(os.fsencode(f"{name}={value}") for name, value in lab.env.items())


def test_nothing_of_the_command_is_visible_at_the_shim(lab: Lab) -> None:
    """Neither arguments nor variables of the command can be read off the shim with ps."""
    lab.env["API_KEY"] = "hunter2-variable"
    process = lab.start(["sh", "-c", "sleep 60 # hunter2-argument"])
    visible = [Path(f"/proc/{process.shim_pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
    process.kill()
    process.wait()
    assert b"worldflux-shim" in visible[0]
    assert b"hunter2" not in b"".join(visible)


def test_log_and_record_are_private(lab: Lab) -> None:
    """The log and the record can be read by their owner only, whatever the umask allows."""
    before = os.umask(0)
    try:
        lab.run(["true"])
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (lab.log, lab.exit)] == [0o600, 0o600]


def test_the_log_is_appended_to(lab: Lab) -> None:
    """A log that exists is continued; its mode stays as it is."""
    lab.log.write_text("before\n")
    lab.log.chmod(0o644)
    assert lab.run(["echo", "after"]).bytes_logged == 6
    assert lab.text() == "before\nafter\n"
    assert lab.log.stat().st_mode & 0o777 == 0o644


def test_the_command_is_offered_to_the_oom_killer(lab: Lab) -> None:
    """When memory runs out, the kernel prefers the command to the rest of the machine."""
    lab.run(["cat", "/proc/self/oom_score_adj"])
    assert int(lab.text()) >= 500


def test_the_command_leads_its_own_session(lab: Lab) -> None:
    """Session and process group of the command are its own, and its parent is the shim."""
    process = lab.start(python("import os; print(os.getpid(), os.getsid(0), os.getpgrp(), os.getppid())"))
    process.wait()
    assert lab.text().split() == [str(process.pid)] * 3 + [str(process.shim_pid)]


FAULTS = {
    "not on the PATH": (["no-such-program"], "command not found: no-such-program"),
    "no such path": (["./no-such-program"], "command not found: ./no-such-program"),
    "a folder": (["/tmp"], "command not executable: /tmp: Permission denied"),
    "a file in the way": (["/etc/passwd/x"], "command not found: /etc/passwd/x"),
    "too long": (["echo", "x" * 3_000_000], "command not executable: echo: Argument list too long"),
    "nothing": ([], "the command is empty"),
    "a NUL byte": (["echo", "a\0b"], "holds a NUL byte"),
}


@pytest.mark.parametrize(("argv", "problem"), FAULTS.values(), ids=FAULTS)
def test_a_command_that_can_not_be_executed(lab: Lab, argv: list[str], problem: str) -> None:
    """RUN-09: a failed exec is the user's error with a hint, and leaves no file and no process."""
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(UsageError) as caught:
        lab.start(argv)
    assert problem in caught.value.problem
    assert caught.value.hint
    assert sorted(path.name for path in lab.folder.iterdir()) == ["work"]
    assert set(os.listdir("/proc/self/fd")) == before
    assert lab.alive() == []


def test_a_script_without_the_right_to_execute(lab: Lab) -> None:
    """A file that is not executable names the command that makes it so."""
    path = script(lab, "#!/bin/sh\n", 0o644)
    with pytest.raises(UsageError) as caught:
        lab.start([path])
    assert (caught.value.code, caught.value.hint) == (
        "command_not_executable",
        f"make it an executable file: chmod +x {path}",
    )


def test_a_script_without_an_interpreter(lab: Lab) -> None:
    """A script without #! is not guessed to be a shell script; a missing interpreter is told."""
    with pytest.raises(UsageError, match=r"not executable.*Exec format error"):
        lab.start([script(lab, "echo hello\n")])
    with pytest.raises(UsageError, match="command not found") as caught:
        lab.start([script(lab, "#!/no/such/interpreter\n")])
    assert "interpreter" in caught.value.hint


def test_only_the_command_s_own_path_is_searched(lab: Lab) -> None:
    """The PATH of the given environment counts; an empty entry in it is not the current folder."""
    script(lab, "#!/bin/sh\necho found\n")
    lab.env["PATH"] = f"::{lab.folder}/missing:/etc/passwd"
    with pytest.raises(UsageError, match="command not found: script"):
        lab.start(["script"])
    lab.env["PATH"] += f":{lab.work}"
    assert lab.run(["script"]).exit_code == 0
    assert lab.run(["./script"]).exit_code == 0


def test_a_missing_working_directory(lab: Lab) -> None:
    """A missing working directory is named as such, not as a missing command."""
    lab.work.rmdir()
    with pytest.raises(UsageError, match="can not enter the working directory") as caught:
        lab.start(["true"])
    assert caught.value.code == "command_cwd"
    assert not lab.log.exists()


def test_a_log_that_can_not_be_written(lab: Lab) -> None:
    """Without a place for log or record nothing is started."""
    lab.log = lab.folder / "missing" / "run.log"
    with pytest.raises(WorldFluxError, match="can not write the log"):
        lab.start(["true"])
    lab.log, lab.exit = lab.folder / "run.log", lab.folder / "missing" / "exit.json"
    with pytest.raises(WorldFluxError, match="can not write the exit record"):
        lab.start(["true"])
    assert not lab.log.exists()


def test_a_variable_that_can_not_be_named(lab: Lab) -> None:
    """A variable name with = in it is refused, for it would become another variable."""
    lab.env["A=B"] = "c"
    with pytest.raises(UsageError, match="can not be the name of a variable"):
        lab.start(["true"])


@pytest.mark.parametrize("lab", [False], indirect=True)
def test_an_interpreter_that_does_not_start(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the shim can not live, the start fails with a command to check, and waits for nothing."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(WorldFluxError, match="ended before it started it"):
        lab.start(["true"])
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(WorldFluxError, match="can not start a process"):
        lab.start(["true"])


def test_an_old_record_is_never_taken_for_a_new_one(lab: Lab) -> None:
    """A record from an earlier command is gone as soon as the next one runs."""
    lab.run(["sh", "-c", "exit 3"])
    process = lab.start(["sleep", "60"])
    during = read_exit(lab.exit)
    process.kill()
    process.wait()
    assert during is None
    after = read_exit(lab.exit)
    assert after is not None and after.reason == "cancelled"


@pytest.mark.parametrize(
    "change",
    [
        {"exit_code": "0"}, {"exit_code": None}, {"signal": 9}, {"reason": "fine"}, {"truncated": 0},
        {"bytes_seen": True}, {"core": None}, {"reason": ["exited"]},
    ],
    ids=str,
)  # fmt: skip
def test_a_record_that_makes_no_sense_is_no_record(lab: Lab, change: dict[str, object]) -> None:
    """A record is read as a whole and consistent, or not at all."""
    lab.run(["true"])
    record = json.loads(lab.exit.read_text())
    assert read_exit(lab.exit) is not None
    lab.exit.write_text(json.dumps({**record, "later": "field"}))
    assert read_exit(lab.exit) is not None
    lab.exit.write_text(json.dumps({**record, **change}))
    assert read_exit(lab.exit) is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 60000, b'"exited"'])
def test_a_record_that_is_garbage_is_no_record(lab: Lab, data: bytes) -> None:
    """A torn or foreign file is as good as none."""
    lab.exit.write_bytes(data)
    assert read_exit(lab.exit) is None


def test_the_shim_imports_next_to_nothing() -> None:
    """The shim starts without the package and without the slow modules of the standard library."""
    code = "import sys; sys.path.append(sys.argv[1]); import shim.forker; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", code, str(ROOT / "worldflux" / "runtime")]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    slow = {
        "worldflux",
        "json",
        "signal",
        "enum",
        "re",
        "typing",
        "ctypes",
        "subprocess",
        "contextlib",
        "logging",
    }
    assert loaded & slow == set()
    assert "shim.tree" in loaded


def test_children_are_found_without_the_kernel_s_list(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that do not list children give the same family, from a look at all processes."""
    process = lab.start(["sh", "-c", "(sleep 60 & sleep 60; :) & sleep 60; :"])
    assert eventually(lambda: len(lab.alive()) == 5)
    listed = tree.descendants(process.shim_pid)
    monkeypatch.setattr(tree, "CHILDREN_FILES", False)
    searched = tree.descendants(process.shim_pid)
    process.kill()
    process.wait()
    assert set(listed) == set(searched) and len(listed) == 5
    assert listed == searched


def test_importing_costs_next_to_nothing() -> None:
    """The client's side loads without subprocess, asyncio or psutil."""
    code = "import sys, worldflux.runtime.process; print(*sys.modules)"
    command = [sys.executable, "-S", "-c", code]
    environment = {"PYTHONPATH": str(ROOT)}
    began = time.monotonic()
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert time.monotonic() - began < 2
    assert set(result.stdout.split()) & {"subprocess", "asyncio", "psutil", "pydantic", "selectors"} == set()
