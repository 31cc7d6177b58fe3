"""The second stage on the machine: fetch, set up, run, stream, upload, report, power off.

Whatever happens it reports and powers off; should it be killed, the first stage powers off, and
should that be killed too, the fuses do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import results
from .command import Command
from .environment import SetupError, set_up
from .transfer import Role, Store, TransferError, Urls, metadata, metadata_token


class Agent:
    """One run on this machine, in `work`."""

    def __init__(self, job: Mapping[str, Any], work: Path) -> None:
        self.job, self.work = job, work
        self.phase = "boot"
        self.begun = time.time()
        self.ending, self.note = "agent_failed", ""
        self.code: int | None = None
        self.host_log = (work / "host.log").open("ab", buffering=0)
        store = job["store"]
        role = store["kind"] == "role"
        signer = Role(store["base"], store["region"], store["keys"]) if role else Urls(store["urls"])
        self.store = Store(signer, self.say)
        self.command = Command(job["command_until"], job["timeout"], job["grace"], job["log_cap"])
        self._sent: dict[str, Any] = {}
        self._uploading = threading.Lock()
        self._ended = threading.Event()

    def say(self, text: str) -> None:
        """One line for the host's log and the console."""
        line = f"worldflux: {text}\n"
        self.host_log.write(line.encode("utf-8", "replace"))
        sys.stderr.write(line)

    def carry_out(self) -> None:
        """From the first heartbeat to the report. Raises nothing."""
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(each, lambda number, frame: self.command.stop("terminated"))
        try:
            self._forget()
            threading.Thread(target=self._beat, daemon=True).start()
            if self.job["spot"]:
                threading.Thread(target=self._watch_spot, daemon=True).start()
            self._prepare()
            self._run()
        except SetupError as error:
            self.ending, self.note, self.code = "setup_failed", str(error), error.code
        except TransferError as error:
            self.ending, self.note = "source_failed", str(error)
        except Exception as error:
            self.note = f"{type(error).__name__}: {error}"
        self.say(f"{self.ending} in {self.phase}" + (f": {self.note}" if self.note else ""))
        try:
            self._report()
        except Exception as error:
            self.say(f"the report failed: {type(error).__name__}: {error}")

    def _forget(self) -> None:
        """Take away the file that this program came in: it holds the command's variables."""
        try:
            self.store.delete("bundle")
        except TransferError as error:
            self.say(str(error))

    def _prepare(self) -> None:
        self.phase = "source"
        archive = self.work / "source.tar.gz"
        self.store.fetch("source", archive, self.job["source_sha256"])
        source = self.work / "source"
        source.mkdir()
        with tarfile.open(str(archive)) as packed:
            # The client packed it and the digest was checked; a filter is newer than some Pythons.
            packed.extraction_filter = getattr(tarfile, "data_filter", None)
            packed.extractall(str(source))
        archive.unlink()
        (self.work / "run" / "artifacts").mkdir(parents=True)
        self.phase = "setup"
        set_up(self.job, self.work, self.store, self.say, self.host_log)

    def _run(self) -> None:
        self.phase = "run"
        run = self.work / "run"
        variables = {
            **self.job["variables"],
            "PYTHONPATH": str(self.work / "source"),
            "WORLDFLUX_SOURCE_DIR": str(self.work / "source"),
            "WORLDFLUX_OUTPUT_DIR": str(run / "artifacts"),
            "WORLDFLUX_METRICS": str(run / "metrics.jsonl"),
        }
        path = os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")
        variables.setdefault("PATH", f"{self.work / 'env' / 'bin'}:{path}")
        self.command.run(self.job["command"], run / "artifacts", variables, run / "output.log")
        self.ending, self.code = self.command.ending, self.command.code

    def _watch_spot(self) -> None:
        while not self._ended.wait(self.job["spot_poll_seconds"]):
            token = metadata_token()
            if token and metadata("/latest/meta-data/spot/instance-action", token=token):
                self.say("AWS takes this Spot machine back")
                self.command.stop("spot_interruption")
                return

    def _beat(self) -> None:
        while True:
            try:
                self._stream()
                beat = {"phase": self.phase, "now": time.time(), "attempt": self.job["attempt"]}
                self.store.put("heartbeat.json", json.dumps(beat).encode())
            except (TransferError, OSError) as error:
                self.say(str(error))
            if self._ended.wait(self.job["beat_seconds"]):
                return

    def _stream(self, until: float = 0.0) -> None:
        """Send what was added to the log and the metrics since the last time."""
        with self._uploading:
            run, size = self.work / "run", self.job["segment_bytes"]
            log = run / "output.log"
            total = log.stat().st_size if log.exists() else 0
            sent = self._sent.get("log", 0)
            for start, length in results.slices(total, size):
                if start + length > sent:
                    self.store.put_part(f"log.{start // size:03d}", log, start, length, until=until)
            self._sent["log"] = total
            for name, path in (
                ("metrics.jsonl", run / "metrics.jsonl"),
                ("host.log", self.work / "host.log"),
            ):
                length = path.stat().st_size if path.is_file() and not path.is_symlink() else 0
                if length and length != self._sent.get(name):
                    self.store.put_part(name, path, 0, length, until=until)
                    self._sent[name] = length

    def _report(self) -> None:
        """Artifacts, log, and last of all the status: it says that everything else is there."""
        self.phase = "upload"
        until = self.job["deadline"] - 2
        artifacts, parts, left_out = self._upload_artifacts(until)
        self._ended.set()
        log = self.work / "run" / "output.log"
        kept = log.stat().st_size if log.exists() else 0
        status = {
            "run_id": self.job["run_id"],
            "attempt": self.job["attempt"],
            "ending": self.ending,
            "note": self.note,
            "exit_code": self.code,
            "seconds": self.command.seconds,
            "begun": self.begun,
            "ended": time.time(),
            "log": {
                "bytes": kept,
                "seen": self.command.bytes_seen,
                "sha256": results.digest(log, 0, kept) if kept else None,
            },
            "artifacts": artifacts,
            "parts": parts,
            "left_out": left_out,
        }
        try:
            self._stream(until)
        except (TransferError, OSError) as error:
            status["note"] = f"{self.note}; log: {error}".lstrip("; ")
        self.store.put("status.json", json.dumps(status).encode(), until=until)

    def _upload_artifacts(self, until: float) -> Any:
        folder, archive = self.work / "run" / "artifacts", self.work / "artifacts.tar"
        files = results.files_below(folder) if folder.is_dir() else []
        chosen, left_out = results.choose(files, self.job["artifacts"], self.job["artifacts_max_bytes"])
        if not chosen:
            return [], [], left_out
        try:
            packed = results.pack(folder, chosen, archive)
            parts: list[dict[str, Any]] = []
            for index, (start, length) in enumerate(
                results.slices(archive.stat().st_size, self.job["part_bytes"])
            ):
                name = f"artifacts.{index:03d}"
                self.store.put_part(name, archive, start, length, until=until)
                parts.append(
                    {"name": name, "bytes": length, "sha256": results.digest(archive, start, length)}
                )
        except (TransferError, OSError) as error:
            self.note = f"{self.note}; artifacts: {error}".lstrip("; ")
            self.say(f"artifacts: {error}")
            return [], [], [name for name, _ in files]
        return packed, parts, left_out


def power_off() -> None:
    """Switch the machine off; the shutdown behaviour makes that its end."""
    for words in (["shutdown", "-P", "now"], ["systemctl", "poweroff"], ["poweroff"]):
        try:
            if subprocess.run(words, stdin=subprocess.DEVNULL).returncode == 0:
                return
        except OSError:
            continue


def main(job: Mapping[str, Any]) -> None:
    """Carry out the job in the current folder and power off."""
    try:
        Agent(job, Path.cwd()).carry_out()
    finally:
        power_off()
