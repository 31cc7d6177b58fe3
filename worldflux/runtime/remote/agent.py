"""Runs on the foreign machine: carries out one command and packs what it left behind.

It travels as a single file and so imports nothing but the standard library. `run` starts the
command described by a job file and ends with its exit code; `pack` writes a tar of the results
to standard output; `end` asks that command to end, from beside it. A job file is JSON:

    root        folder of the run; `artifacts/` below it is the command's working directory
    command     words, no shell; `python` is found on the command's PATH
    timeout     seconds; null is no limit
    grace       seconds between the polite signal and the hard one
    mark        value of WORLDFLUX_RUN_MARK, which finds processes that the command left behind
    log         file that gets a copy of the output; null: standard output only
    wanted      patterns of files to bring home first
    cap         bytes that may be brought home
"""

from __future__ import annotations

import contextlib
import fnmatch
import io
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from typing import IO, Any

AGENT_PID = "agent.pid"
NOT_FOUND = 127
NOT_STARTED = 126


def run(job: dict[str, Any], environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Carry out the command and return its record, which is also written to `root/exit.json`."""
    root = job["root"]
    os.makedirs(os.path.join(root, "artifacts"), exist_ok=True)
    found = _facts_meanwhile()
    began = time.monotonic()
    try:
        process = _start(job, dict(os.environ) if environment is None else environment)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        _say(job, f"worldflux: {job['command'][0]}: {error.strerror}\n")
        record = {"code": NOT_FOUND if missing else NOT_STARTED, "reason": "not_started"}
    else:
        pump = _pump(job, process)
        record = _wait(job, process)
        record["orphans_killed"] = _end_marked(job["mark"])
        if pump is not None:
            pump.join(5)
    record["seconds"] = round(time.monotonic() - began, 6)
    record["facts"] = found()
    path = os.path.join(root, "exit.json")
    with open(path + ".new", "w", encoding="utf-8") as stream:
        json.dump(record, stream)
    os.replace(path + ".new", path)
    return record


def _facts_meanwhile() -> Callable[[], dict[str, Any]]:
    """Look at the machine while the command runs; the result waits for it."""
    result: dict[str, Any] = {}
    thread = threading.Thread(target=lambda: result.update(facts()), daemon=True)
    thread.start()

    def wait() -> dict[str, Any]:
        thread.join(30)
        return dict(result)

    return wait


def _start(job: dict[str, Any], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        _resolved(job["command"], environment.get("PATH", os.defpath)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if job.get("log") else None,
        stderr=subprocess.STDOUT,
        cwd=os.path.join(job["root"], "artifacts"),
        env=environment,
        start_new_session=True,
    )


def _resolved(command: list[str], path: str) -> list[str]:
    """Popen looks a bare name up in the agent's own PATH, not in the command's."""
    if "/" in command[0]:
        return command
    for folder in path.split(os.pathsep):
        found = os.path.join(folder, command[0])
        if os.access(found, os.X_OK) and os.path.isfile(found):
            return [found, *command[1:]]
    raise FileNotFoundError(2, "there is no such program", command[0])


def _pump(job: dict[str, Any], process: subprocess.Popen[bytes]) -> threading.Thread | None:
    """Copy the output to the log file and to our own standard output."""
    if process.stdout is None:
        return None
    source = process.stdout

    def copy() -> None:
        with open(job["log"], "wb", buffering=0) as log:
            while chunk := os.read(source.fileno(), 65536):
                log.write(chunk)
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()

    thread = threading.Thread(target=copy, daemon=True)
    thread.start()
    return thread


def _say(job: dict[str, Any], text: str) -> None:
    if job.get("log"):
        with open(job["log"], "wb") as log:
            log.write(text.encode())
    sys.stdout.write(text)
    sys.stdout.flush()


def _wait(job: dict[str, Any], process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Wait for the command, end it at its limit or when this process is asked to end."""
    asked: list[int] = []

    def on_terminate(number: int, frame: object) -> None:
        asked.append(number)
        _signal_group(process, signal.SIGINT if len(asked) == 1 else signal.SIGKILL)
        if len(asked) == 1:
            hard = threading.Timer(job["grace"], _signal_group, (process, signal.SIGKILL))
            hard.daemon = True
            hard.start()

    ours = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, on_terminate) if ours else None
    timed_out = False
    try:
        process.wait(job["timeout"])
    except subprocess.TimeoutExpired:
        timed_out = True
        _signal_group(process, signal.SIGINT)
        try:
            process.wait(job["grace"])
        except subprocess.TimeoutExpired:
            _signal_group(process, signal.SIGKILL)
            process.wait()
    except BaseException:
        # A host that cancels by raising in this thread must not leave the command behind.
        _signal_group(process, signal.SIGKILL)
        _end_marked(job["mark"])
        raise
    finally:
        if ours:
            signal.signal(signal.SIGTERM, previous)
    _signal_group(process, signal.SIGKILL)
    reason = (
        "timeout"
        if timed_out
        else "cancelled"
        if asked
        else "exited"
        if process.returncode >= 0
        else "signalled"
    )
    return {"code": process.returncode, "reason": reason}


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(process.pid, number)


def _end_marked(mark: str) -> int:
    """End every process that carries the run's mark, however it was detached; returns how many."""
    if not mark or not sys.platform.startswith("linux"):
        return 0
    needle = b"WORLDFLUX_RUN_MARK=" + mark.encode()
    ended: set[int] = set()
    for _ in range(500):
        left = [pid for pid in _others() if _carries(pid, needle)]
        if not left:
            break
        for pid in left:
            ended.add(pid)
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    return len(ended)


def _others() -> list[int]:
    spared = {os.getpid()}
    parent = os.getppid()
    while parent > 0 and parent not in spared:
        spared.add(parent)
        parent = _parent(parent)
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in spared]


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            return int(stream.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def _carries(pid: int, needle: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            return needle in stream.read().split(b"\0")
    except OSError:
        return False


def end(job: dict[str, Any], more: float = 5.0) -> None:
    """Let the agent that carries out this job end its command, and wait until it has, or not much longer."""
    record = os.path.join(job["root"], "exit.json")
    try:
        with open(os.path.join(job["root"], AGENT_PID), encoding="ascii") as stream:
            os.kill(int(stream.read()), signal.SIGTERM)
    except (OSError, ValueError):
        return
    until = time.monotonic() + job["grace"] + more
    while not os.path.exists(record) and time.monotonic() < until:
        time.sleep(0.02)


def pack(job: dict[str, Any], stream: IO[bytes]) -> None:
    """Write what the run left as a tar: the record, metrics, the log, then files, wanted ones first.

    Regular files only. What does not fit under the cap is named in the last member, `left-out.json`.
    """
    root = job["root"]
    room = int(job["cap"])
    left_out: list[dict[str, Any]] = []
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name in ("exit.json", "metrics.jsonl", "output.log"):
            room -= _add(tar, os.path.join(root, name), name)
        files, links = _files(os.path.join(root, "artifacts"))
        patterns = job["wanted"]
        files.sort(key=lambda each: (not any(matches(each[0], p) for p in patterns), each[0]))
        for name, size in files:
            if size > room:
                left_out.append({"path": name, "bytes": size})
                continue
            room -= _add(tar, os.path.join(root, "artifacts", name), "artifacts/" + name)
        data = json.dumps({"left_out": left_out[:1000], "count": len(left_out), "links": links}).encode()
        entry = tarfile.TarInfo("left-out.json")
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))


def _add(tar: tarfile.TarFile, path: str, name: str) -> int:
    """Add one regular file with plain modes and no owner; returns its size, 0 when it is not there."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return 0
    with os.fdopen(handle, "rb") as source:
        entry = tarfile.TarInfo(name)
        entry.size = os.fstat(handle).st_size
        entry.mtime = int(os.fstat(handle).st_mtime)
        tar.addfile(entry, source)
    return entry.size


def _files(work: str) -> tuple[list[tuple[str, int]], int]:
    """Regular files below a folder with their sizes, and the number of links and special files."""
    found, other = [], 0
    for folder, folders, names in os.walk(work):
        other += sum(os.path.islink(os.path.join(folder, name)) for name in folders)
        for name in names:
            path = os.path.join(folder, name)
            if os.path.islink(path) or not os.path.isfile(path):
                other += 1
                continue
            found.append((os.path.relpath(path, work), os.path.getsize(path)))
    return found, other


def matches(name: str, pattern: str) -> bool:
    """Whether a path fits a pattern in which `*` stays within a folder and `**` crosses them."""
    return _parts_match(name.split("/"), pattern.split("/"))


def _parts_match(parts: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        skips = range(len(parts) + 1)
        return len(pattern) == 1 or any(_parts_match(parts[skip:], pattern[1:]) for skip in skips)
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _parts_match(parts[1:], pattern[1:])


def facts() -> dict[str, Any]:
    """Operating system, Python, packages and hardware of this machine, for the manifest."""
    import importlib.metadata

    packages: dict[str, str] = {}
    for each in importlib.metadata.distributions():
        name = each.metadata["Name"]
        if name:
            packages.setdefault(re.sub(r"[-_.]+", "-", name).lower(), str(each.version))
    return {
        "os": platform.system(),
        "platform": platform.platform(),
        "python": {"implementation": platform.python_implementation(), "version": platform.python_version()},
        "packages": dict(sorted(packages.items())),
        "cpu": {"model": _cpu_model(), "logical": os.cpu_count()},
        "memory_bytes": _memory(),
        "gpus": _gpus(),
    }


def _cpu_model() -> str | None:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            return next(
                (line.split(":", 1)[1].strip() for line in stream if line.startswith("model name")), None
            )
    except OSError:
        return None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _gpus() -> list[dict[str, Any]]:
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    return [
        {"model": row[0], "memory_bytes": int(row[1]) * 2**20 if row[1].isdigit() else None, "driver": row[2]}
        for row in rows
        if len(row) == 3
    ]


def main(arguments: list[str]) -> int:
    """`run JOB [SECONDS]`, `end JOB` or `pack JOB`; the seconds replace the job's timeout."""
    # Where a launcher ignores SIGINT the command would, too, and could not be asked politely.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    action, path, *timeout = arguments
    with open(path, encoding="utf-8") as stream:
        job = json.load(stream)
    if action == "pack":
        pack(job, sys.stdout.buffer)
        return 0
    if action == "end":
        end(job)
        return 0
    if timeout:
        job["timeout"] = float(timeout[0])
    os.makedirs(job["root"], exist_ok=True)
    with open(os.path.join(job["root"], AGENT_PID), "w", encoding="ascii") as stream:
        stream.write(str(os.getpid()))
    code: int = run(job)["code"]
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
