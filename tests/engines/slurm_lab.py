"""A real Slurm on loopback: munged, slurmctld and slurmd, run by whoever runs the tests."""

from __future__ import annotations

import getpass
import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

CPUS = 4
CONF = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmctldTimeout=60
SlurmdTimeout=60
KillWait=20
InactiveLimit=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1024 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=high Nodes=ALL Default=NO MaxTime=INFINITE State=UP PriorityTier=10
"""


@dataclass(frozen=True)
class Slurm:
    """A running cluster of one node."""

    folder: Path
    node: str

    @property
    def env(self) -> dict[str, str]:
        """What makes Slurm's commands talk to this cluster."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def tell(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One of Slurm's commands, whatever becomes of it."""
        env = {**os.environ, **self.env}
        return subprocess.run(
            words, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )

    def command(self, *words: str) -> str:
        """What one of Slurm's commands prints; it must succeed."""
        done = self.tell(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def jobs(self, *states: str) -> list[str]:
        """Jobs in the queue, elements of arrays one by one, in given states."""
        chosen = [f"--states={','.join(states)}"] if states else []
        return self.command("squeue", "--noheader", "--array", "--format=%i", *chosen).split()

    def node_state(self) -> str:
        return self.command("sinfo", "--noheader", "--nodes", self.node, "--partition=low", "--format=%T")

    def set_node(self, state: str) -> None:
        reason = ["reason=test"] if state == "drain" else []
        self.command("scontrol", "update", f"nodename={self.node}", f"state={state}", *reason)

    def clear(self) -> None:
        """No job left, the node ready: what the next test begins with."""
        if "drain" in self.node_state():
            self.set_node("resume")
        # A job that ends meanwhile can not be cancelled; whether one is left is asked below.
        if running := self.jobs("RUNNING"):
            self.tell("scancel", "--signal=KILL", *running)
        self.tell("scancel", f"--user={getpass.getuser()}")
        deadline = time.monotonic() + 60
        while self.jobs() or self.node_state() != "idle":
            assert time.monotonic() < deadline, self.command("squeue") + self.node_state()
            time.sleep(0.2)


@contextmanager
def running_slurm() -> Iterator[Slurm]:
    """Start the three daemons, wait until the node is idle, and end exactly those processes."""
    host = platform.node().partition(".")[0]
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: a socket's path has 107 characters
    env = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "SLURM_CONF": str(folder / "slurm.conf")}
    controller, daemon = _free_ports()
    values = {
        "host": host, "controller": controller, "daemon": daemon, "user": getpass.getuser(),
        "folder": folder, "cpus": CPUS,
    }  # fmt: skip
    (folder / "slurm.conf").write_text(CONF.format(**values))
    for name in ("state", "spool"):
        (folder / name).mkdir(mode=0o700)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    munged = ["munged", "--foreground", "--force", "--num-threads=1"]
    munged += [f"--{option}={folder}/munge.{name}" for option, name in files.items()]
    slurm = Slurm(folder, host)
    started: list[subprocess.Popen[bytes]] = []
    with (folder / "output").open("wb") as output:
        try:
            for command in (munged, ["slurmctld", "-D", "-c"], ["slurmd", "-D", "-c"]):
                started.append(
                    subprocess.Popen(
                        command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder
                    )
                )
                _wait_until_up(slurm, len(started), started[-1])
            yield slurm
        finally:
            for process in reversed(started):
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            _end_steps(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _end_steps(folder: Path) -> None:
    """End what jobs have left: their guards wait for a controller that does not come back."""
    mark = f"SLURM_CONF={folder}/slurm.conf".encode()
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (place / "environ").read_bytes().split(b"\0"):
                os.kill(int(place.name), signal.SIGKILL)


def _wait_until_up(slurm: Slurm, count: int, process: subprocess.Popen[bytes]) -> None:
    """The munge socket exists; the controller answers; the node is idle."""
    deadline = time.monotonic() + 40
    while True:
        try:
            up = [
                (slurm.folder / "munge.socket").exists,
                lambda: "UP" in slurm.command("scontrol", "ping"),
                lambda: slurm.node_state() == "idle",
            ][count - 1]()
        except AssertionError:
            up = False
        if up:
            return
        assert process.poll() is None and time.monotonic() < deadline, "\n".join(
            path.read_text(errors="replace")[-3000:]
            for path in (*slurm.folder.glob("*.log"), slurm.folder / "output")
        )
        time.sleep(0.1)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]
