"""`worldflux auth` as people type it, against a server on loopback."""

from __future__ import annotations

import os
import pty
import select
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import warm_python
from conftest_cli import BIN, Ended, Run
from published import form

sys.path.append(str(Path(__file__).parents[1] / "sync"))
from key_lab import Gatekeeper, gatekeeper, greeting, make_key
from keyring_lab import configure_backend, dbus_session

#: A keyring in a file of this test, under the name of an allowed backend.
KEYRING = """
from keyring.backends.SecretService import Keyring
import pathlib
Keyring.priority = 5
file = pathlib.Path.home() / "ring"
Keyring.get_password = lambda self, s, u: file.read_text() if file.exists() else None
Keyring.set_password = lambda self, s, u, p: file.write_text(p) and None
Keyring.delete_password = lambda self, s, u: file.unlink()
"""

WORLDFLUX = [str(BIN / "worldflux")]

Login = Callable[..., Ended]


@pytest.fixture
def server() -> Iterator[Gatekeeper]:
    with gatekeeper() as running:
        yield running


@pytest.fixture
def key(server: Gatekeeper) -> str:
    """A key that the server knows."""
    server.keys.add(key := make_key())
    return key


@pytest.fixture
def login(project: Path, server: Gatekeeper) -> Login:
    """Run `worldflux auth login --with-token` with a key on standard input."""

    def run(key: str, *words: str, **env: str) -> Ended:
        named = () if "--server" in words else ("--server", server.url)
        return typed(project, "auth", "login", "--with-token", *named, *words, text=key, **env)

    return run


def typed(where: Path, *words: str, text: str = "", **env: str) -> Ended:
    """Run `worldflux WORDS` with a text on standard input."""
    ended = warm_python.run(
        [*WORLDFLUX, *words], cwd=where, env={**os.environ, **env}, input=text, capture_output=True, text=True,
        timeout=100,
    )  # fmt: skip
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture
def plain(login: Login, key: str) -> None:
    """Signed in, with the key in the file."""
    assert login(key, "--allow-plaintext").code == 0


def fits(ended: Ended, command: str) -> dict[str, Any]:
    """The data of an envelope, which fits its schema."""
    form("cli").validate(ended.envelope)
    assert ended.envelope["command"] == command
    data: dict[str, Any] = ended.envelope["data"]
    return data


def sessions(ended: Ended) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fits(ended, "auth status")["servers"]
    return found


class TestLogin:
    def test_into_a_keyring_and_out(
        self, login: Login, key: str, server: Gatekeeper, wf: Run, clean_environment: Path
    ) -> None:
        """Signed in with a real key, seen, signed out; the file is never written."""
        configure_backend(clean_environment, "planted.Keyring", KEYRING)
        ended = login(key + "\n")
        assert ended.code == 0, ended.err
        assert f"signed in to {server.url} as workspace lab" in ended.out
        assert f"key ...{key[-4:]} is kept in the keyring (Secret Service)" in ended.out
        assert (clean_environment / "ring").read_text() == key
        told = wf("auth", "status")
        assert told.code == 0 and "from the keyring" in told.out and "the server accepts the key" in told.out
        assert "runs:read runs:write" in told.out and "expires 2027-02-19" in told.out
        assert wf("auth", "logout").out == f"removed the key of {server.url} from the keyring\n"
        assert not (clean_environment / "ring").exists()
        assert not (clean_environment / ".worldflux" / "credentials.toml").exists()
        assert wf("auth", "logout").code == 0 and wf("auth", "status").code == 5

    def test_the_envelopes(
        self, login: Login, key: str, server: Gatekeeper, wf: Run, clean_environment: Path
    ) -> None:
        """Each command's data fits its schema, before and behind the command, and has no key in it."""
        ended = login(key, "--allow-plaintext", "--json")
        data = fits(ended, "auth login")
        file = str(clean_environment / ".worldflux" / "credentials.toml")
        assert (data["server"], data["store"], data["place"]) == (server.url, "file", file)
        assert (data["workspace"], data["state"], data["source"]) == ("lab", "valid", "file")
        assert any("the keyring was not used" in each for each in ended.envelope["warnings"])
        for words in (
            ["--json", "auth", "status"],
            ["auth", "status", "--json"],
            ["auth", "status", "--offline", "--json"],
        ):
            (row,) = sessions(told := wf(*words))
            assert row["last4"] == key[-4:] and row["chosen_by"] == "signed in" and key not in told.out
            assert row["state"] == ("unchecked" if "--offline" in words else "valid")
        gone = fits(wf("--json", "auth", "logout"), "auth logout")
        assert gone == {"servers": [{"server": server.url, "removed": [file]}]}
        fits(wf("--json", "auth", "status"), "auth status")

    def test_a_rejected_key_is_not_kept(
        self, login: Login, server: Gatekeeper, clean_environment: Path
    ) -> None:
        """The server does not know it, or may not: exit code 5, and nothing is written."""
        for manner in ("well", "403"):
            server.manner = manner
            ended = login(make_key(), "--allow-plaintext")
            assert ended.code == 5 and server.url in ended.err and ended.err.count("error:") == 1
        assert not (clean_environment / ".worldflux").exists()

    @pytest.mark.parametrize("manner", ["500", "429", "cut"])
    def test_a_server_that_can_not_answer(
        self, login: Login, key: str, server: Gatekeeper, manner: str, clean_environment: Path
    ) -> None:
        """Exit code 3 and nothing kept; with --no-verify it is kept without a question, and that is said."""
        server.manner = manner
        ended = login(key, "--allow-plaintext")
        assert ended.code == 3 and "the key was not kept" in ended.err and "--no-verify" in ended.err
        assert not (clean_environment / ".worldflux").exists()
        asked = len(server.seen)
        ended = login(key, "--allow-plaintext", "--no-verify")
        assert ended.code == 0 and "was not asked" in ended.err and len(server.seen) == asked

    def test_a_server_that_is_none(
        self, login: Login, key: str, server: Gatekeeper, clean_environment: Path
    ) -> None:
        """A page that is no WorldFlux server is wrong usage; nothing is kept."""
        server.manner = "html"
        ended = login(key, "--allow-plaintext")
        assert ended.code == 2 and "there is no WorldFlux server" in ended.err
        assert not (clean_environment / ".worldflux").exists()

    def test_without_a_keyring_nothing_is_kept_by_itself(
        self, login: Login, key: str, clean_environment: Path
    ) -> None:
        """It is refused with the two remedies, and the home is as it was."""
        ended = login(key)
        assert ended.code == 4 and "there is no keyring to keep a key in" in ended.err
        assert "--allow-plaintext" in ended.err and "WORLDFLUX_API_KEY" in ended.err
        assert not (clean_environment / ".worldflux").exists()

    def test_a_keyring_that_hangs(self, login: Login, key: str) -> None:
        """A Secret Service that does not answer: after ten seconds the command says so, and the file is the way out."""
        with dbus_session() as session, session.silent_service():
            address = {"DBUS_SESSION_BUS_ADDRESS": session.address}
            started = time.monotonic()
            ended = login(key, **address)
            assert ended.code == 3 and time.monotonic() - started < 30
            assert "did not answer within 10 seconds; the key was not kept" in ended.err
            ended = login(key, "--allow-plaintext", **address)
            assert ended.code == 0 and "did not answer within 10 seconds" in ended.err
            started = time.monotonic()
            found = warm_python.run(
                [BIN / "worldflux", "auth", "status"],
                env={**os.environ, **address},
                capture_output=True,
                timeout=60,
            )
            assert found.returncode == 0 and time.monotonic() - started < 5, (
                "the hanging keyring was asked again"
            )

    def test_a_new_key_replaces_the_old_one(
        self, login: Login, key: str, server: Gatekeeper, plain: None, wf: Run
    ) -> None:
        """Signing in again is enough; the newer key is used."""
        server.keys.add(newer := make_key())
        assert login(newer, "--allow-plaintext").code == 0
        (row,) = sessions(wf("auth", "status", "--json"))
        assert row["last4"] == newer[-4:] and server.authorizations[-1] == f"Bearer {newer}"

    def test_soon_expired(self, login: Login, key: str, server: Gatekeeper) -> None:
        """A key that ends within two weeks by the server's clock is told about, whatever the clock here says."""
        server.document = greeting(
            key__expires_at="2001-01-06T00:00:00.000+00:00", server__time="2001-01-01T00:00:00.000+00:00"
        )
        ended = login(key, "--allow-plaintext")
        assert ended.code == 0 and "the key expires 2001-01-06, in 5 days" in ended.err


class TestAsking:
    def ask(self, project: Path, *words: str, typed: bytes) -> tuple[int, str]:
        """Run the command at a terminal of its own, type there, and see what it shows."""
        pid, terminal = pty.fork()
        if pid == 0:  # pragma: no cover
            os.chdir(project)
            os.execv(BIN / "worldflux", ["worldflux", "auth", "login", *words])
        shown = b""
        try:
            while b"(is not shown): " not in shown:
                shown += os.read(terminal, 1000)
            os.write(terminal, typed)
            # Python loses a Ctrl-C that comes right before it waits for input: one presses it again.
            while typed == b"\x03" and not select.select([terminal], [], [], 2)[0]:
                os.write(terminal, typed)
            while data := os.read(terminal, 1000):
                shown += data
        except OSError:
            pass  # how Linux says that nobody is at the other end any more
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()

    def test_at_a_terminal_it_asks_and_shows_nothing(
        self, project: Path, server: Gatekeeper, key: str
    ) -> None:
        """The key is typed unseen."""
        words = ["--server", server.url, "--allow-plaintext"]
        code, shown = self.ask(project, *words, typed=key.encode() + b"\n")
        assert code == 0 and f"Key for {server.url}" in shown and "signed in" in shown
        assert key not in shown and shown.count(key[-4:]) == 1

    def test_with_token_at_a_terminal_asks_too(self, project: Path, server: Gatekeeper, key: str) -> None:
        """Standard input that is a terminal would show what is typed."""
        words = ["--server", server.url, "--allow-plaintext", "--with-token"]
        code, shown = self.ask(project, *words, typed=key.encode() + b"\n")
        assert code == 0 and key not in shown

    @pytest.mark.parametrize(
        ("typed", "code"), [(b"wfx_nonsense\n", 2), (b"\n", 2), (b"\x04", 2), (b"\x03", 130)]
    )
    def test_what_else_may_be_typed(self, project: Path, server: Gatekeeper, typed: bytes, code: int) -> None:
        """Nonsense, nothing, the end of input, Ctrl-C: one clear end, and the server is not asked."""
        ended, shown = self.ask(project, "--server", server.url, typed=typed)
        assert ended == code and "Traceback" not in shown and "nonsense" not in shown and server.seen == []

    def test_without_a_terminal_it_does_not_wait(self, wf: Run, server: Gatekeeper) -> None:
        """In a script it says how to hand the key over."""
        ended = wf("auth", "login", "--server", server.url)
        assert ended.code == 2 and "no terminal to ask" in ended.err and "--with-token < FILE" in ended.err


TYPED = [
    ["auth", "login", "{key}"],
    ["auth", "login", "--with-token", "{key}"],
    ["auth", "login", "--with-token={key}"],
    ["auth", "login", "--token", "{key}"],
    ["auth", "login", "--token={key}"],
    ["auth", "login", "--api-key={key}"],
    ["auth", "login", "--server", "https://x.example", "{key}"],
    ["auth", "login", "https://x.example", "{key}"],
]
MISPLACED = [
    ["auth", "login", "--server", "{key}"],
    ["auth", "login", "--server", "https://{key}/x"],
    ["auth", "login", "https://x.example/{key}"],
    ["auth", "login", "--pasword={key}"],
    ["auth", "status", "{key}"],
    ["auth", "status", "--offline={key}"],
    ["auth", "logout", "--server", "{key}"],
    ["auth", "{key}"],
    ["{key}"],
    ["runs", "show", "--key={key}"],
]


@pytest.mark.parametrize("words", [*TYPED, *MISPLACED], ids=[" ".join(each) for each in [*TYPED, *MISPLACED]])
@pytest.mark.parametrize("cut", [43, 30])
def test_a_key_on_the_command_line(
    words: list[str], cut: int, project: Path, clean_environment: Path
) -> None:
    """It is refused without being repeated, whole or cut off; where it is plain what was meant, it is said."""
    key = make_key()[:cut]
    line = [word.format(key=key) for word in words]
    ended, told = typed(project, *line), typed(project, "--json", *line)
    assert ended.code == told.code == 2 and told.err == ""
    for text in (ended.out, ended.err, told.out):
        assert key not in text and key[4:] not in text
    if words in TYPED:
        assert "never typed as an argument" in ended.err and "server key revoke" in ended.err
    assert ended.err.count("error:") == 1 and not (clean_environment / ".worldflux").exists()


WRONG_INPUT = [
    (b"", "standard input is empty"),
    (b"\n \n", "standard input is empty"),
    (b"wfx_", "holds 4 characters"),
    (b"{key}x", "holds 44 characters"),
    (b"{key}\n{key}", "characters of an API key"),
    (b"wfs_" + b"a" * 39, "the token of a share"),
    (b"\xff\xfew\x00f\x00x\x00", "does not hold an API key"),
    (b"\x00" * 100_000, "does not hold an API key"),
    (b"export WORLDFLUX_API_KEY={key}", "does not hold an API key"),
]


@pytest.mark.parametrize(("data", "told"), WRONG_INPUT, ids=range(len(WRONG_INPUT)))
def test_wrong_input(data: bytes, told: str, server: Gatekeeper, clean_environment: Path) -> None:
    """What is not a key is refused before anybody is asked, and is not repeated."""
    key = make_key()
    ended = warm_python.run(
        [BIN / "worldflux", "auth", "login", "--with-token", "--server", server.url, "--allow-plaintext"],
        input=data.replace(b"{key}", key.encode()), capture_output=True, timeout=60, cwd=clean_environment,
    )  # fmt: skip
    err = ended.stderr.decode()
    assert ended.returncode == 2 and told in err and key not in err and err.count("error:") == 1
    assert server.seen == []


@pytest.mark.parametrize("form", ["{}", "{}\r\n", "  {}\n\n", "\ufeff{}\n"])
def test_how_files_end(form: str, login: Login, key: str) -> None:
    """Line ends, blanks around it and a byte order mark belong to the file and not to the key."""
    assert login(form.format(key), "--allow-plaintext").code == 0


class TestServer:
    def test_the_address_alone(self, project: Path, server: Gatekeeper, key: str) -> None:
        """`auth login URL`, as a server prints it when it starts, is `--server URL`."""
        words = [BIN / "worldflux", "auth", "login", server.url, "--with-token", "--allow-plaintext"]
        ended = warm_python.run(words, cwd=project, input=key, text=True, capture_output=True, timeout=60)
        assert ended.returncode == 0 and f"signed in to {server.url}" in ended.stdout

    def test_the_projects_server(
        self, login: Login, key: str, server: Gatekeeper, project: Path, wf: Run
    ) -> None:
        """`server:` in worldflux.yaml is enough for every command, and each says where the server comes from."""
        (project / "worldflux.yaml").write_text(f"project: demo\nserver: {server.url}/\n")
        ended = wf("auth", "status")
        assert ended.code == 5 and "you are not signed in" in ended.out and "(worldflux.yaml)" in ended.out
        assert "key" not in ended.out.split("next:")[0]
        words = [BIN / "worldflux", "auth", "login", "--with-token", "--allow-plaintext"]
        assert (
            warm_python.run(
                words, cwd=project, input=key, text=True, capture_output=True, timeout=60
            ).returncode
            == 0
        )
        assert wf("auth", "status").code == 0

    def test_several(self, login: Login, key: str, server: Gatekeeper, plain: None, wf: Run) -> None:
        """With keys of two servers, status shows both, logout wants to know which, and --all takes both."""
        with gatekeeper() as other:
            other.keys.add(second := make_key())
            assert login(second, "--allow-plaintext", "--server", other.url).code == 0
            rows = sessions(wf("auth", "status", "--json"))
            assert {row["server"]: row["last4"] for row in rows} == {
                server.url: key[-4:],
                other.url: second[-4:],
            }
            assert (
                f"Bearer {key}" not in other.authorizations
                and f"Bearer {second}" not in server.authorizations
            )
            ended = wf("auth", "logout")
            assert ended.code == 2 and server.url in ended.err and other.url in ended.err
            assert wf("auth", "logout", "--all", "--server", other.url).code == 2
            assert wf("auth", "logout", "--all").out.count("removed the key of") == 2
            assert wf("auth", "status").code == 5

    def test_the_environments_key(self, server: Gatekeeper, key: str, wf: Run, project: Path) -> None:
        """In CI two variables are all it takes; nothing is written, and logout says what is still set."""
        env = {"WORLDFLUX_API_KEY": key, "WORLDFLUX_SERVER": server.url}
        (row,) = sessions(wf("auth", "status", "--json", **env))
        assert (row["source"], row["state"], row["chosen_by"]) == ("environment", "valid", "WORLDFLUX_SERVER")
        ended = wf("auth", "logout", **env)
        assert ended.code == 0 and "WORLDFLUX_API_KEY is set and will be used" in ended.err
        with gatekeeper() as other:
            ended = wf("auth", "status", "--server", other.url, **env)
            assert ended.code == 5 and other.seen == []
            ended = wf("sync", "--server", other.url, **env)
            assert ended.code == 5 and "WORLDFLUX_API_KEY is the key of another server" in ended.err
            assert other.seen == []

    def test_the_stored_key_stands_behind_the_environments(
        self, login: Login, key: str, plain: None, server: Gatekeeper, wf: Run
    ) -> None:
        """It is told at login, and the variable's key is the one that is sent."""
        server.keys.add(second := make_key())
        assert "comes before" in login(key, "--allow-plaintext", WORLDFLUX_API_KEY=second).err
        (row,) = sessions(wf("auth", "status", "--json", WORLDFLUX_API_KEY=second))
        assert row["last4"] == second[-4:] and server.authorizations[-1] == f"Bearer {second}"

    def test_a_damaged_key_in_the_environment(
        self, login: Login, key: str, server: Gatekeeper, wf: Run
    ) -> None:
        """It does not turn a login or a logout that was done into a failure, and is named."""
        ended = login(key, "--allow-plaintext", WORLDFLUX_API_KEY=key[:-1])
        assert ended.code == 0 and "WORLDFLUX_API_KEY holds 42 characters" in ended.err
        assert wf("auth", "status", WORLDFLUX_API_KEY=key[:-1]).code == 2
        ended = wf("auth", "logout", WORLDFLUX_API_KEY=key[:-1])
        assert ended.code == 0 and "removed the key" in ended.out


class TestStatus:
    def test_without_the_network(self, plain: None, key: str, server: Gatekeeper, wf: Run) -> None:
        """What the server said last is shown, with why it is not newer; that is no failure."""
        server.manner = "500"
        ended = wf("auth", "status")
        assert ended.code == 0 and "workspace  lab" in ended.out and "status 500" in ended.out
        before = len(server.seen)
        assert (
            "not asked; as of 2026-11-21" in wf("auth", "status", "--offline").out
            and len(server.seen) == before
        )

    def test_a_revoked_key(self, plain: None, key: str, server: Gatekeeper, wf: Run) -> None:
        """The server's no is exit code 5, with how to go on; the key stays until logout."""
        server.keys.clear()
        ended = wf("auth", "status", "--json")
        (row,) = sessions(ended)
        assert (
            ended.code == 5 and row["state"] == "rejected" and ended.envelope["error"]["code"] == "rejected"
        )
        assert "worldflux auth login" in ended.envelope["error"]["hint"]

    def test_in_status_and_doctor(
        self, plain: None, key: str, server: Gatekeeper, wf: Run, project: Path
    ) -> None:
        """`status` tells it without the network, `doctor` asks; a lost server never blocks runs."""
        asked = len(server.seen)
        told = wf("status")
        assert (
            f"cloud    {server.url}  workspace lab  key ...{key[-4:]} (file)  expires 2027-02-19" in told.out
        )
        assert len(server.seen) == asked
        assert fits(wf("--json", "status"), "status")["cloud"]["workspace"] == "lab"
        assert wf("status", "--online").code == 0 and len(server.seen) == asked + 1

        def checks() -> list[str]:
            ended = wf("--json", "doctor")
            assert ended.code == 0
            lines: list[str] = ended.envelope["data"]["checks"]["cloud session"]
            return lines

        assert checks() == [f"server {server.url} (signed in) answers",
                            f"key ...{key[-4:]} from file: workspace lab, expires 2027-02-19"]  # fmt: skip
        server.document = greeting(key__expires_at="2026-11-22T12:00:00.000+00:00")
        assert checks()[1].startswith("warning: key") and "in 24 hours" in checks()[1]
        server.keys.clear()
        assert checks()[2].startswith(f"warning: {server.url} does not accept the key")
        server.manner = "500"
        assert "warning:" in checks()[2] and "status 500" in checks()[2]

    def test_in_status_and_doctor_without_a_session(self, wf: Run, project: Path, server: Gatekeeper) -> None:
        """No server, a server without a key, and a broken address are told, and nothing is an error."""
        assert "no server; next: worldflux auth login --server URL" in wf("status").out
        assert fits(wf("--json", "status"), "status")["cloud"] is None
        (project / "worldflux.yaml").write_text(f"project: demo\nserver: {server.url}\n")
        assert f"{server.url}  not signed in; next: worldflux auth login" in wf("status").out
        (project / "worldflux.yaml").write_text("project: demo\nserver: http://x.example\n")
        for command in ("status", "doctor"):
            ended = wf(command)
            assert ended.code == 0 and "worldflux.yaml: the server's address" in ended.out

    def test_an_unsafe_file(self, plain: None, wf: Run, clean_environment: Path) -> None:
        """A file that others can read is refused with exit code 4 where the key is needed."""
        (clean_environment / ".worldflux" / "credentials.toml").chmod(0o644)
        ended = wf("auth", "status")
        assert (
            ended.code == 4 and "can be read or written by others" in ended.err and "chmod 600" in ended.err
        )
        assert wf("status").code == 0


class TestLogout:
    def test_a_locked_keyring_is_not_called_success(
        self, login: Login, key: str, server: Gatekeeper, wf: Run, clean_environment: Path
    ) -> None:
        """When the key may still be there the exit code is not 0, and the next logout finishes."""
        configure_backend(clean_environment, "planted.Keyring", KEYRING)
        assert login(key).code == 0
        locked = (
            KEYRING
            + "from keyring.errors import KeyringLocked\ndef no(*a): raise KeyringLocked('x')\n"
            + "Keyring.get_password = no\n"
        )
        configure_backend(clean_environment, "planted.Keyring", locked)
        ended = wf("auth", "logout", "--json")
        assert ended.code == 3 and "is locked" in ended.envelope["error"]["message"]
        fits(ended, "auth logout")
        configure_backend(clean_environment, "planted.Keyring", KEYRING)
        assert "from the keyring" in wf("auth", "logout").out and not (clean_environment / "ring").exists()

    def test_the_key_still_works(self, plain: None, wf: Run, server: Gatekeeper) -> None:
        """Signing out here takes nothing back on the server, and says how to."""
        assert "worldflux server key revoke" in wf("auth", "logout").err


def test_help_names_no_way_to_type_a_key(wf: Run) -> None:
    """The hidden options exist to refuse, not to be found."""
    text = wf("auth", "login", "--help").out
    assert "--with-token " in text and "--token" not in text.replace("--with-token", "")
    assert "--api-key" not in text
