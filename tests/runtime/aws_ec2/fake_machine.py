"""Machines that really boot their user data, each in namespaces of its own, and die as a whole.

A machine is a PID namespace (its end kills every process) and a mount namespace with its own
/var/lib/worldflux, /run, /etc/systemd/system and with `shutdown`, `poweroff`, `systemctl` that
mean what they mean on EC2. It has an IMDSv2 service of its own. Without root it is root of a user
namespace besides. Where neither is possible there are no machines: the real commands must never
be reached.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from fake_aws import REGION, ROLE_KEY, SECRET, FakeAws

SHIM = r"""#!/bin/bash
# shutdown, poweroff and systemctl of a machine. It writes down what was asked; the hypervisor acts.
ctl=@CTL@
# `no-sleeper`: no switch but the timer works. `deaf`: nothing but the fuses reaches the hypervisor,
# which is so because the test stops the agent.
[ -e "$ctl/no-sleeper" ] && [ "${0##*/} $1" != "systemctl enable" ] && [ "${0##*/}" != systemctl ] && exit 1
[ -e "$ctl/broken" ] && { echo "Failed to connect to bus" >&2; exit 1; }
case "${0##*/}" in
  poweroff) : > "$ctl/off" ;;
  shutdown)
    for word in "$@"; do case "$word" in
      now) : > "$ctl/off" ;;
      +*) [ -e "$ctl/no-logind" ] || echo "${word#+}" > "$ctl/minutes" ;;
      -c) rm -f "$ctl/minutes" ;;
    esac; done ;;
  systemctl)
    case "$1" in
      poweroff) : > "$ctl/off" ;;
      enable) [ -e "$ctl/no-timer" ] && exit 1; cp "/etc/systemd/system/$3" "$ctl/timer" ;;
    esac ;;
esac
exit 0
"""
BOOT = """
set -e
mkdir -p /var/lib/worldflux 2>/dev/null || {{ mount -t tmpfs none /var/lib; mkdir /var/lib/worldflux; }}
mkdir -p /etc/systemd/system 2>/dev/null || {{ mount -t tmpfs none /etc/systemd; mkdir /etc/systemd/system; }}
mount --bind {dir}/state /var/lib/worldflux
mount --bind {dir}/run /run
mount --bind {dir}/units /etc/systemd/system
for name in shutdown poweroff systemctl halt reboot; do
  for place in /usr/sbin /usr/bin /sbin /bin; do
    [ -e "$place/$name" ] && mount --bind {dir}/bin/$name "$(readlink -f "$place/$name")"
  done
done
export PATH={dir}/bin:{tools}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
drop=-sys_boot,-sys_module,-sys_rawio,-sys_time
exec setpriv --bounding-set=$drop bash -c 'bash {dir}/user-data; while :; do sleep 3600 & wait $!; done'
"""


NAMESPACES = (
    *(("--user", "--map-root-user") if os.geteuid() != 0 else ()),
    "--pid", "--fork", "--kill-child=KILL", "--mount", "--mount-proc", "--propagation", "private",
)  # fmt: skip


def available() -> str:
    """Why machines can not be had here, or an empty text."""
    missing = [name for name in ("unshare", "setpriv", "mount", "curl") if shutil.which(name) is None]
    if missing:
        return f"machines need {', '.join(missing)}"
    probe = ["unshare", *NAMESPACES, "mount", "-t", "tmpfs", "none", "/var/lib"]
    done = subprocess.run(probe, capture_output=True, text=True)
    return "" if done.returncode == 0 else f"namespaces are not allowed here: {done.stderr.strip()}"


class Metadata(http.server.BaseHTTPRequestHandler):
    """IMDSv2 of one machine: nothing without a token."""

    def log_message(self, format: str, *args: Any) -> None:
        return

    def _answer(self, code: int, body: str = "") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def do_PUT(self) -> None:
        asked = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
        right = self.path == "/latest/api/token" and asked
        self._answer(200, "token-" + self.server.machine.id) if right else self._answer(400)  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        machine: Machine = self.server.machine  # type: ignore[attr-defined]
        if self.headers.get("X-aws-ec2-metadata-token") != f"token-{machine.id}":
            return self._answer(401)
        role = "/latest/meta-data/iam/security-credentials/"
        keys = {"AccessKeyId": ROLE_KEY, "SecretAccessKey": SECRET, "Token": "session", "Expiration": "2099"}
        known = {"/latest/meta-data/spot/instance-action": machine.notice}
        if machine.profile:
            known.update({role: "machine-role", f"{role}machine-role": json.dumps(keys)})
        found = known.get(self.path)
        return self._answer(200, found) if found else self._answer(404)


class Machine:
    """One running machine. `begun` and `gone` are seconds since the epoch."""

    def __init__(self, house: Hypervisor, instance_id: str, user_data: bytes, behavior: str) -> None:
        self.house, self.id, self.behavior = house, instance_id, behavior
        self.notice, self.gone = "", 0.0
        self.profile = bool(house.aws.instance(instance_id).iam_instance_profile)
        self.user_data = user_data
        self.begun = time.time()
        self.dir = house.root / instance_id
        self.ctl = self.dir / "ctl"
        for name in ("state", "run", "units", "bin", "ctl"):
            (self.dir / name).mkdir(parents=True)
        for flag in house.flags:
            (self.ctl / flag).touch()
        for name in ("shutdown", "poweroff", "systemctl", "halt", "reboot"):
            (self.dir / "bin" / name).write_text(SHIM.replace("@CTL@", str(self.ctl)))
            (self.dir / "bin" / name).chmod(0o755)
        (self.dir / "user-data").write_bytes(user_data)
        self.metadata = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
        self.metadata.machine = self  # type: ignore[attr-defined]
        threading.Thread(target=self.metadata.serve_forever, daemon=True).start()
        self.process = self._boot()
        threading.Thread(target=self._watch, daemon=True).start()

    def _boot(self) -> subprocess.Popen[bytes]:
        tools = f"{self.house.tools}:" if self.house.tools else ""
        script = BOOT.format(dir=self.dir, tools=tools)
        kept = {
            k: v for k, v in os.environ.items() if k.startswith(("SSL_", "PIP_", "UV_", "CURL_", "REQUESTS_"))
        }
        port = self.metadata.server_address[1]
        environment = {
            **kept,
            **self.house.environment,
            "HOME": str(self.dir / "state"),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{port}",
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        }
        with (self.dir / "console.log").open("wb") as console:
            return subprocess.Popen(
                ["unshare", *NAMESPACES, "bash", "-c", script],
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def console(self) -> str:
        return (self.dir / "console.log").read_text(errors="replace")

    def _watch(self) -> None:
        while not self.gone:
            state = self.house.aws.instance(self.id)._state.name
            if state in ("shutting-down", "terminated", "stopping", "stopped"):
                return self.cut(None)
            if self._due():
                state = "terminated" if self.behavior == "terminate" else "stopped"
                return self.cut(state, "Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
            time.sleep(0.03)

    def _due(self) -> bool:
        """Whether one of the ways to switch the machine off has come to its time."""
        if (self.ctl / "off").exists():
            return True
        try:
            calendar = re.search(r"OnCalendar=(.*) UTC", (self.ctl / "timer").read_text())
            minutes = float((self.ctl / "minutes").read_text()) if (self.ctl / "minutes").exists() else None
        except (OSError, ValueError):
            return False
        at = [self.begun + minutes * 60] if minutes is not None else []
        if calendar:
            moment = datetime.datetime.strptime(calendar[1], "%Y-%m-%d %H:%M:%S")
            at.append(moment.replace(tzinfo=datetime.timezone.utc).timestamp())
        return any(time.time() >= each for each in at)

    def cut(self, state: str | None, code: str = "", reason: str = "") -> None:
        """The power goes: every process of the machine is killed at once."""
        with self.house.aws.lock:
            if self.gone:
                return
            self.gone = time.time()
            if state:
                self.house.aws.set_state(self.id, state, code, reason)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.metadata.shutdown()
        self.metadata.server_close()

    def interrupt(self, notice_seconds: float = 0.0) -> None:
        """AWS takes a Spot machine back, after a notice of that many seconds, or none."""
        if notice_seconds:
            at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=notice_seconds)
            self.notice = json.dumps({"action": "terminate", "time": f"{at:%Y-%m-%dT%H:%M:%SZ}"})
            until = time.monotonic() + notice_seconds
            while time.monotonic() < until and not self.gone:
                time.sleep(0.02)
        self.cut("terminated", "Server.SpotInstanceTermination", "Spot instance termination")


class Hypervisor:
    """Boots every machine that becomes `pending`.

    Attributes:
        flags: what is broken on machines that boot from now on: `broken` (nothing can switch it
            off), `no-timer`, `no-logind`.
        boots: whether machines boot at all; those that do not stay silent and `running`.
    """

    def __init__(self, aws: FakeAws, root: Path) -> None:
        self.aws, self.root = aws, root
        self.flags: set[str] = set()
        self.boots = True
        self.tools = ""
        self.environment: dict[str, str] = {}
        self.machines: dict[str, Machine] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        while not self._ended.wait(0.05):
            with self.aws.lock:
                # A terminate while it is pending wins; nothing is resurrected.
                fresh = [each for each in self.aws.instances() if each._state.name == "pending"]
                for each in fresh:
                    self.aws.set_state(each.id, "running")
            for each in fresh:
                if self.boots:
                    text = base64.b64decode(str(each.user_data)) if each.user_data else b""
                    behavior = str(each.instance_initiated_shutdown_behavior or "stop")
                    self.machines[each.id] = Machine(self, each.id, text, behavior)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        for machine in self.machines.values():
            machine.cut(None)


__all__ = ["REGION", "Hypervisor", "Machine", "available"]
