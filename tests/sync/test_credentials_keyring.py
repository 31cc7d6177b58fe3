"""The keyring keeps a key or says why not: never in plain text, never without end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from key_lab import make_key
from keyring_lab import Session, configure_backend, dbus_session

from worldflux.sync import keyring_store
from worldflux.sync.keyring_store import KeyringStuck, NoKeyring

USUAL_SECONDS = keyring_store.LIMIT_SECONDS
A, B = "https://a.example", "https://b.example:8443"

#: An allowed backend whose service behaves as `behave` says; the class stays the allowed one.
PATCHED = """
from keyring.backends.SecretService import Keyring
from keyring.errors import KeyringLocked, PasswordSetError
import os, sys, time
Keyring.priority = 5
{behave}
"""
#: What keyrings.alt does: a working backend that nobody chose, writing plain text beside everything else.
PLAINTEXT = """
from keyring.backend import KeyringBackend
import pathlib
class PlaintextKeyring(KeyringBackend):
    priority = {priority}
    file = pathlib.Path.home() / "keyring_pass.cfg"
    def get_password(self, service, user):
        return self.file.read_text() if self.file.exists() else None
    def set_password(self, service, user, password):
        self.file.write_text(password)
    def delete_password(self, service, user):
        self.file.unlink()
"""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may need its time to import a keyring; what is about the limit sets one of its own."""
    monkeypatch.setattr(keyring_store, "LIMIT_SECONDS", 60.0)


@pytest.fixture
def home(clean_environment: Path) -> Path:
    """The person's HOME of this test."""
    return clean_environment


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A D-Bus session that this process is part of, with no service on it."""
    with dbus_session() as session:
        for name, value in session.env.items():
            monkeypatch.setenv(name, value)
        yield session


def children() -> list[int]:
    """Processes of this test's person that still ask a keyring, zombies not counted."""
    found = []
    me = f"HOME={os.environ['HOME']}".encode()
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit() or b"keyring_child.py" not in (entry / "cmdline").read_bytes():
                continue
            if me in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


class TestGnomeKeyring:
    def test_a_key_is_kept_found_replaced_and_removed(self, bus: Session) -> None:
        """Per server, in a real keyring; the folder of the keyring has no readable byte of it."""
        first, second, newer = make_key(), make_key(), make_key()
        with bus.gnome_keyring("secret"):
            assert keyring_store.read(A) is None
            assert keyring_store.write(A, first) == "Secret Service"
            keyring_store.write(B, second)
            keyring_store.write(A, newer)
            assert keyring_store.read(A) == newer and keyring_store.read(B) == second
            assert keyring_store.remove(A) and not keyring_store.remove(A)
            assert keyring_store.read(A) is None and keyring_store.read(B) == second
        stored = [each.read_bytes() for each in bus.folder.rglob("*") if each.is_file()]
        assert any(b"GnomeKeyring" in each for each in stored)
        assert not any(key.encode() in each for each in stored for key in (first, second, newer))

    def test_a_locked_keyring_is_named(self, bus: Session) -> None:
        """Without anybody who could unlock it, the call ends and says so; unlocked later, the key is there."""
        key = make_key()
        with bus.gnome_keyring("secret"):
            keyring_store.write(A, key)
        with bus.gnome_keyring(None):
            for act in (lambda: keyring_store.read(A), lambda: keyring_store.write(A, make_key())):
                with pytest.raises(KeyringStuck, match=r"is locked|did not answer") as caught:
                    act()
                assert "unlock it" in caught.value.hint and "--allow-plaintext" in caught.value.hint
        with bus.gnome_keyring("secret"):
            assert keyring_store.read(A) == key

    @pytest.mark.parametrize("priority", [0.5, 20])
    def test_a_plaintext_backend_beside_it_gets_nothing(self, bus: Session, priority: float) -> None:
        """Of a chain, only the real keyring is used, even where the other one wants to go first."""
        plant(bus.folder, PLAINTEXT.format(priority=priority))
        key = make_key()
        with bus.gnome_keyring("secret"):
            assert keyring_store.write(A, key) == "Secret Service"
            assert keyring_store.read(A) == key
        assert not (bus.folder / "keyring_pass.cfg").exists()


def plant(home: Path, code: str) -> None:
    """Install a backend as a package does: found by its entry point, chosen by nobody."""
    configure_backend(home, "", code)
    settings = home / ".config" / "python_keyring" / "keyringrc.cfg"
    settings.write_text(f"[backend]\nkeyring-path={home / 'planted'}\n")
    info = home / "planted" / "planted-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[keyring.backends]\nplanted = planted\n")


class TestNoKeyring:
    def test_without_a_session(self) -> None:
        """No D-Bus at all, as over ssh or in a container."""
        with pytest.raises(NoKeyring, match="no keyring service answers") as caught:
            keyring_store.write(A, make_key())
        assert "WORLDFLUX_API_KEY" in caught.value.hint and "--allow-plaintext" in caught.value.hint
        assert caught.value.exit_code == 4

    def test_with_a_stale_address(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A D-Bus address of a session that has ended, as in tmux."""
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path}/gone")
        with pytest.raises(NoKeyring, match="no keyring service answers"):
            keyring_store.read(A)

    def test_with_a_bus_and_no_service(self, bus: Session) -> None:
        """A session without a keyring."""
        with pytest.raises(NoKeyring, match="no keyring service answers"):
            keyring_store.read(A)

    def test_the_null_backend_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A backend that takes everything and keeps nothing is named and not used."""
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
        with pytest.raises(NoKeyring, match=r"keyring\.backends\.null\.Keyring does not keep a key safe"):
            keyring_store.write(A, make_key())

    @pytest.mark.parametrize(
        "name", ["keyring.backends.SecretSrvice.Keyring", "nonsense", "keyring.backends.null.Nope"]
    )
    def test_a_misspelt_backend_is_named(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """The variable that can not be used is in the message."""
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", name)
        with pytest.raises(NoKeyring, match=f"PYTHON_KEYRING_BACKEND={name} can not be used"):
            keyring_store.read(A)

    def test_a_plaintext_backend_is_not_used(self, home: Path) -> None:
        """Installed without anybody's choice, as with keyrings.alt, it is named and gets nothing."""
        plant(home, PLAINTEXT.format(priority=0.5))
        with pytest.raises(NoKeyring, match=r"planted\.PlaintextKeyring does not keep a key safe"):
            keyring_store.write(A, make_key())
        assert not (home / "keyring_pass.cfg").exists()

    def test_a_chosen_plaintext_backend_is_not_used(self, home: Path) -> None:
        """Not even when the keyring library was told to use it: --allow-plaintext is the one way to plain text."""
        configure_backend(home, "planted.PlaintextKeyring", PLAINTEXT.format(priority=5))
        with pytest.raises(NoKeyring, match=r"planted\.PlaintextKeyring does not keep"):
            keyring_store.write(A, make_key())
        assert not (home / "keyring_pass.cfg").exists()

    def test_a_subclass_of_an_allowed_backend_is_another_backend(self, home: Path) -> None:
        """The list names classes; what is derived from one may keep secrets elsewhere."""
        code = PATCHED.format(behave="class Mine(Keyring): pass")
        configure_backend(home, "planted.Mine", code)
        with pytest.raises(NoKeyring, match=r"planted\.Mine does not keep"):
            keyring_store.read(A)

    def test_without_the_library(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """An interpreter without the keyring package is no keyring, not a traceback."""
        fake = tmp_path / "python"
        fake.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
        fake.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(fake))
        with pytest.raises(NoKeyring, match="the keyring library is missing"):
            keyring_store.read(A)


class TestStuck:
    @pytest.fixture(autouse=True)
    def short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert USUAL_SECONDS == 10
        monkeypatch.setattr(keyring_store, "LIMIT_SECONDS", 1.5)

    def bounded(self, message: str) -> None:
        """Each call ends in time with the message, and leaves no process."""
        started = time.monotonic()
        with pytest.raises(KeyringStuck, match=message) as caught:
            keyring_store.write(A, make_key())
        assert time.monotonic() - started < 10
        assert caught.value.exit_code == 3 and "WORLDFLUX_API_KEY" in caught.value.hint
        assert children() == []

    def test_a_service_that_does_not_answer(self, bus: Session) -> None:
        """A real D-Bus service that takes the call and is silent, like a prompt that nobody sees."""
        with bus.silent_service():
            self.bounded("did not answer within")

    def test_a_bus_that_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A socket that takes the connection and is silent is no keyring, in time too."""
        import socket
        import tempfile

        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/bus")
            listener.listen()
            monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={folder}/bus")
            started = time.monotonic()
            with pytest.raises((NoKeyring, KeyringStuck)):
                keyring_store.write(A, make_key())
            assert time.monotonic() - started < 10 and children() == []

    @pytest.mark.parametrize(
        "code",
        ["import time; time.sleep(3600)",
         "import os, time; os.fork(); time.sleep(3600)",
         "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"],
        ids=["import", "fork", "ignores-term"],
    )  # fmt: skip
    def test_a_backend_that_hangs_while_it_is_loaded(self, home: Path, code: str) -> None:
        """Neither it nor what it started outlives the limit."""
        configure_backend(home, "planted.Keyring", code)
        self.bounded("did not answer within")

    def test_ctrl_c_while_it_hangs(self, home: Path, tmp_path: Path) -> None:
        """Ctrl-C ends the command at once, and the process that asks the keyring with it."""
        configure_backend(
            home, "planted.Keyring", f"open({str(tmp_path / 'up')!r}, 'w'); import time; time.sleep(3600)"
        )
        code = "from worldflux.sync import keyring_store; keyring_store.read('https://a.example')"
        process = subprocess.Popen(
            [sys.executable, "-c", code], stderr=subprocess.PIPE, start_new_session=True
        )
        while not (tmp_path / "up").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=8)
        assert b"KeyboardInterrupt" in err and children() == []


class TestReadBack:
    def behave(self, home: Path, behave: str) -> None:
        configure_backend(home, "planted.Keyring", PATCHED.format(behave=behave))

    @pytest.mark.parametrize(
        "get", ["None", "''", "'wfx_' + 'A' * 39", "'é'"], ids=["nothing", "empty", "another", "not-ascii"]
    )
    def test_what_does_not_come_back_is_not_kept(self, home: Path, get: str) -> None:
        """A keyring that takes a key and has another one, or none, afterwards is told on."""
        self.behave(home, f"Keyring.set_password = lambda *a: None\nKeyring.get_password = lambda *a: {get}")
        with pytest.raises(KeyringStuck, match="did not give it back"):
            keyring_store.write(A, make_key())

    def test_a_locked_one_is_told(self, home: Path) -> None:
        """The library's own exception for it."""
        self.behave(
            home,
            "def locked(*a): raise KeyringLocked('no')\nKeyring.get_password = Keyring.set_password = locked",
        )
        with pytest.raises(KeyringStuck, match="is locked"):
            keyring_store.write(A, make_key())

    def test_a_failure_is_told_without_the_key(self, home: Path) -> None:
        """A backend's error may hold what it was given; the message does not."""
        self.behave(
            home,
            "def fail(self, s, u, p): raise PasswordSetError('can not keep ' + p)\nKeyring.set_password = fail",
        )
        key = make_key()
        with pytest.raises(KeyringStuck, match=r"failed: PasswordSetError: can not keep \*\*\*") as caught:
            keyring_store.write(A, key)
        assert key not in repr(caught.getrepr())

    def test_a_backend_that_ends_the_process(self, home: Path) -> None:
        """No answer is an error, not a key."""
        self.behave(home, "Keyring.get_password = lambda *a: os._exit(0)")
        with pytest.raises(KeyringStuck, match="ended without an answer"):
            keyring_store.read(A)

    def test_a_backend_that_prints_does_not_spoil_the_answer(self, home: Path) -> None:
        """Text on standard output, also from below Python, is not taken for an answer."""
        key = make_key()
        self.behave(home, f"print('hello'); os.write(1, b'{{\"outcome\": \"ok\", \"secret\": \"x\"}}')\n"
                          f"Keyring.get_password = lambda *a: {key!r}")  # fmt: skip
        assert keyring_store.read(A) == key


def test_the_key_is_on_no_command_line_and_in_no_environment(home: Path, tmp_path: Path) -> None:
    """While a keyring is being asked, no process of this machine shows the key."""
    go = tmp_path / "go"
    configure_backend(
        home, "planted.Keyring",
        PATCHED.format(behave=f"""
def slow(self, service, user, secret):
    open({str(tmp_path / 'up')!r}, "w").close()
    while not os.path.exists({str(go)!r}): time.sleep(0.02)
Keyring.set_password = slow
Keyring.get_password = lambda *a: None
"""),
    )  # fmt: skip
    key = make_key()
    code = "import sys; from worldflux.sync.keyring_store import write; write('https://a.example', sys.stdin.read())"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.write(key.encode())
    process.stdin.close()
    try:
        while not (tmp_path / "up").exists():
            assert process.poll() is None
            time.sleep(0.02)
        assert len(children()) == 1
        shown = []
        for pid in [process.pid, *children()]:
            shown += [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
        assert len(shown) == 4 and not any(key.encode() in each for each in shown)
    finally:
        go.touch()
        process.wait(60)


def test_the_environments_key_does_not_reach_backends(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backends are other people's code: the child that loads them has no WORLDFLUX_API_KEY."""
    configure_backend(
        home,
        "planted.Keyring",
        PATCHED.format(behave="Keyring.get_password = lambda *a: str(os.environ.get('WORLDFLUX_API_KEY'))"),
    )
    monkeypatch.setenv("WORLDFLUX_API_KEY", make_key())
    assert keyring_store.read(A) == "None"


def test_a_keyring_module_in_the_current_folder_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project that brings its own `keyring.py` can not ask for the key."""
    for name in ("keyring.py", "json.py", "sitecustomize.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'loaded')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(NoKeyring, match="no keyring service answers"):
        keyring_store.read(A)
    assert not (tmp_path / "loaded").exists()
