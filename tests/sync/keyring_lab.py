"""Real keyrings: GNOME Keyring on a D-Bus of its own, services that do not answer, backends nobody asked for."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

#: Owns the name of the Secret Service and never answers a call: a prompt that nobody sees looks the same.
_SILENT = """
import sys, time
from jeepney import DBusAddress, new_method_call
from jeepney.io.blocking import open_dbus_connection
link = open_dbus_connection(bus=sys.argv[1])
bus = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
link.send_and_get_reply(new_method_call(bus, "RequestName", "su", ("org.freedesktop.secrets", 0)))
print("ready", flush=True)
while True:
    link.receive()
"""


def need(*programs: str) -> None:
    """Skip without these programs; fail where everything is required."""
    missing = [each for each in programs if not shutil.which(each) and not importlib.util.find_spec(each)]
    if missing and os.environ.get("WORLDFLUX_TEST_REQUIRE_ALL") == "1":
        pytest.fail(f"not installed: {', '.join(missing)}; see tests/missing-packages")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@dataclass(frozen=True)
class Session:
    """A D-Bus session without anybody on it yet."""

    address: str
    folder: Path

    @property
    def env(self) -> dict[str, str]:
        """What makes a program part of this session."""
        return {
            "DBUS_SESSION_BUS_ADDRESS": self.address,
            "XDG_RUNTIME_DIR": str(self.folder),
            "XDG_DATA_HOME": str(self.folder / "data"),
            "HOME": str(self.folder),
        }

    @contextmanager
    def gnome_keyring(self, password: str | None) -> Iterator[None]:
        """GNOME Keyring, unlocked with a password, or left as it is found (None)."""
        unlock = ["--unlock"] if password is not None else []
        daemon = subprocess.Popen(
            ["gnome-keyring-daemon", "--foreground", "--components=secrets", *unlock],
            env={**os.environ, **self.env},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            assert daemon.stdin is not None
            daemon.stdin.write((password or "").encode())
            daemon.stdin.close()
            self._await("org.freedesktop.secrets")
            yield
        finally:
            daemon.kill()
            daemon.wait(10)

    @contextmanager
    def silent_service(self) -> Iterator[None]:
        """A Secret Service that takes calls and never answers."""
        process = subprocess.Popen(
            [sys.executable, "-c", _SILENT, self.address], stdout=subprocess.PIPE, start_new_session=True
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.kill()
            process.communicate()

    def _await(self, name: str) -> None:
        import time

        from jeepney import DBusAddress, new_method_call
        from jeepney.io.blocking import open_dbus_connection

        bus = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
        link = open_dbus_connection(bus=self.address)
        try:
            for _ in range(1200):
                reply = link.send_and_get_reply(new_method_call(bus, "NameHasOwner", "s", (name,)))
                if reply.body == (True,):
                    return
                time.sleep(0.05)
            pytest.fail(f"{name} did not come up")
        finally:
            link.close()


@contextmanager
def dbus_session() -> Iterator[Session]:
    """A D-Bus of its own; nothing of it is left."""
    need("dbus-daemon", "jeepney")
    folder = Path(tempfile.mkdtemp(prefix="wfbus-"))  # a socket's path must be short
    # Without services that can be started by name: the machine's own keyring must not come up here.
    (folder / "bus.conf").write_text(
        f"<busconfig><type>session</type><listen>unix:path={folder}/bus</listen>"
        '<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>'
        '<allow own="*"/><allow user="*"/></policy></busconfig>'
    )
    daemon = subprocess.Popen(
        ["dbus-daemon", f"--config-file={folder}/bus.conf", "--nofork", "--print-address"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert daemon.stdout is not None
        address = daemon.stdout.readline().decode().strip()
        assert address, "dbus-daemon did not start"
        yield Session(address, folder)
    finally:
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.communicate()
        shutil.rmtree(folder, ignore_errors=True)


def configure_backend(home: Path, name: str, code: str = "") -> None:
    """Make a class the person's chosen keyring, as `keyringrc.cfg` does; `code` is its module `planted`."""
    folder = home / ".config" / "python_keyring"
    folder.mkdir(parents=True, exist_ok=True)
    (home / "planted").mkdir(exist_ok=True)
    (home / "planted" / "planted.py").write_text(code)
    (folder / "keyringrc.cfg").write_text(
        f"[backend]\ndefault-keyring={name}\nkeyring-path={home / 'planted'}\n"
    )
