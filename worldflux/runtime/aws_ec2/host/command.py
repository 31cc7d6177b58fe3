"""The recipe's command on the machine: its output byte exact, its limits, and everything it left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

DRAIN_SECONDS = 0.5


class Command:
    """One command with its own session. Ends as `exited`, `time_limit`, `deadline` or by `stop`.

    Args:
        until: seconds since the epoch at which it is ended because the machine's time is over.
        timeout: seconds it may run; None is no limit.
        grace: seconds between the polite signal and the hard one.
        cap: bytes of output that are kept; the rest is read and counted.
    """

    def __init__(self, until: float, timeout: float | None, grace: float, cap: int) -> None:
        self._until, self._timeout, self._grace, self._cap = until, timeout, grace, cap
        self._stop = threading.Event()
        self._stopped_for = ""
        self.ending = "exited"
        self.code = 127
        self.seconds = 0.0
        self.bytes_seen = 0

    def stop(self, reason: str) -> None:
        """Ask it to end, from another thread; the first reason is kept."""
        self._stopped_for = self._stopped_for or reason
        self._stop.set()

    def run(self, words: list[str], cwd: Path, env: dict[str, str], log: Path) -> None:
        """Run it to its end; `ending`, `code` (minus the signal), `seconds` say how that was."""
        begun = time.monotonic()
        try:
            process = subprocess.Popen(
                words,
                cwd=str(cwd),
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            log.write_bytes(f"{words[0]}: {error.strerror}\n".encode("utf-8", "surrogateescape"))
            self.bytes_seen = log.stat().st_size
            self.code = 127 if isinstance(error, FileNotFoundError) else 126
            return
        pump = threading.Thread(target=self._pump, args=(process, log), daemon=True)
        pump.start()
        self._wait(process, begun)
        self.code = process.wait()
        self.seconds = time.monotonic() - begun
        pump.join(DRAIN_SECONDS)
        end_marked(env.get("WORLDFLUX_RUN_MARK", ""))
        pump.join(DRAIN_SECONDS * 4)

    def _wait(self, process: subprocess.Popen[bytes], begun: float) -> None:
        while True:
            try:
                process.wait(0.05)
                return
            except subprocess.TimeoutExpired:
                pass
            if self._stop.is_set():
                self.ending = self._stopped_for
            elif self._timeout is not None and time.monotonic() - begun >= self._timeout:
                self.ending = "time_limit"
            elif time.time() >= self._until:
                self.ending = "deadline"
            else:
                continue
            return self._end(process)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        _signal_group(process.pid, signal.SIGTERM)
        try:
            process.wait(self._grace)
        except subprocess.TimeoutExpired:
            _signal_group(process.pid, signal.SIGKILL)

    def _pump(self, process: subprocess.Popen[bytes], log: Path) -> None:
        assert process.stdout is not None
        with log.open("wb", buffering=0) as file:
            while True:
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    return
                room = self._cap - self.bytes_seen
                if room > 0:
                    file.write(chunk[:room])
                self.bytes_seen += len(chunk)


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def end_marked(mark: str) -> None:
    """Kill every process that carries the run's mark in its environment, until none is left."""
    wanted = b"WORLDFLUX_RUN_MARK=" + mark.encode()
    for _ in range(20 if mark else 0):
        found = [int(name) for name in os.listdir("/proc") if name.isdigit() and _carries(name, wanted)]
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)


def _carries(pid: str, wanted: bytes) -> bool:
    try:
        return wanted in Path("/proc", pid, "environ").read_bytes().split(b"\0")
    except OSError:
        return False
