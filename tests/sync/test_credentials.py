"""Which server is meant, and which key it gets: its own, or none."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from key_lab import make_key
from keyring_lab import configure_backend

from worldflux.errors import RefusedError, UsageError
from worldflux.manifest.secret_vendors import worldflux_checksum
from worldflux.sync import credential_file, credentials, keyring_store, known_servers
from worldflux.sync.credentials import Choice, Credential, check_token, choose_server, find
from worldflux.sync.known_servers import KnownServer

A, B = "https://a.example", "https://b.example:8443"

#: A keyring in a file of this test, under the name of an allowed backend.
KEYRING = """
from keyring.backends.SecretService import Keyring
from keyring.errors import KeyringLocked
import json, pathlib
Keyring.priority = 5
store = pathlib.Path.home() / "store.json"
def held():
    return json.loads(store.read_text()) if store.exists() else {}
def get(self, service, user):
    if (store.parent / "locked").exists():
        raise KeyringLocked("locked")
    return held().get(f"{service} {user}")
def put(self, service, user, secret):
    if (store.parent / "locked").exists():
        raise KeyringLocked("locked")
    store.write_text(json.dumps({**held(), f"{service} {user}": secret}))
def delete(self, service, user):
    store.write_text(json.dumps({k: v for k, v in held().items() if k != f"{service} {user}"}))
Keyring.get_password, Keyring.set_password, Keyring.delete_password = get, put, delete
"""


@pytest.fixture
def keyring(clean_environment: Path) -> Path:
    """A working keyring; the returned path locks it when it exists."""
    configure_backend(clean_environment, "planted.Keyring", KEYRING)
    return clean_environment / "locked"


def keep(origin: str, token: str, *, allow_plaintext: bool = False) -> str:
    """Sign in as `auth login` does, and note it."""
    kept = credentials.keep(origin, token, allow_plaintext=allow_plaintext)
    known_servers.remember(origin, KnownServer(kept.store, token[-4:]))
    return kept.store


class TestOrder:
    def test_nothing(self) -> None:
        """Without a key anywhere there is none, and nothing is written."""
        assert find(A) is None and not credential_file.home().exists()

    def test_the_environment_goes_first(self, keyring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """WORLDFLUX_API_KEY, then the keyring, then the file."""
        mine, ringed, filed = make_key(), make_key(), make_key()
        credential_file.store(A, filed)
        assert find(A) == Credential(filed, "file", A)
        keyring_store.write(A, ringed)
        assert find(A) == Credential(ringed, "keyring", A)
        monkeypatch.setenv("WORLDFLUX_API_KEY", f" {mine}\n")
        assert find(A) == Credential(mine, "environment", A)
        monkeypatch.setenv("WORLDFLUX_API_KEY", "")
        assert find(A) == Credential(ringed, "keyring", A)

    def test_a_key_is_found_for_its_own_server_only(self, keyring: Path) -> None:
        """Neither store gives a key to another origin, be it another port or scheme of the same host."""
        keep(A, make_key())
        credential_file.store(B, make_key())
        for other in (
            "https://a.example:8443",
            "http://a.example",
            "https://b.example",
            "https://x.a.example",
        ):
            assert find(other) is None

    def test_where_login_put_it_goes_first(self, keyring: Path) -> None:
        """A key that went to the file because the keyring was locked is not shadowed by an older one there."""
        old, new = make_key(), make_key()
        assert keep(A, old) == "keyring"
        keyring.touch()
        assert keep(A, new, allow_plaintext=True) == "file"
        keyring.unlink()
        assert find(A) == Credential(new, "file", A)

    def test_a_locked_keyring_does_not_hide_the_file(self, keyring: Path) -> None:
        """What is in the file is used, without a note of where it was put."""
        credential_file.store(A, key := make_key())
        keyring.touch()
        assert find(A) == Credential(key, "file", A)

    def test_a_locked_keyring_is_not_taken_for_signed_out(self, keyring: Path) -> None:
        """Saying "not signed in" would send the person to make a second key."""
        keep(A, make_key())
        keyring.touch()
        with pytest.raises(keyring_store.KeyringStuck, match="locked"):
            find(A)

    def test_a_keyring_of_another_session_is_told(self, keyring: Path, clean_environment: Path) -> None:
        """Signed in on the desktop and now over ssh: the error says that there is no keyring here."""
        keep(A, make_key())
        (clean_environment / ".config/python_keyring/keyringrc.cfg").unlink()
        with pytest.raises(keyring_store.NoKeyring):
            find(A)
        assert find(B) is None

    def test_an_unsafe_file_does_not_disturb_who_uses_the_keyring(self, keyring: Path) -> None:
        """It matters when it is needed, and then it is refused."""
        keep(A, key := make_key())
        credential_file.store(B, make_key())
        credential_file.path().chmod(0o644)
        assert find(A) == Credential(key, "keyring", A)
        with pytest.raises(RefusedError, match="mode 0644"):
            find(B)


class TestBinding:
    """WORLDFLUX_API_KEY belongs to WORLDFLUX_SERVER, else to the project's server."""

    @pytest.fixture(autouse=True)
    def key(self, monkeypatch: pytest.MonkeyPatch) -> str:
        monkeypatch.setenv("WORLDFLUX_API_KEY", key := make_key())
        return key

    @pytest.mark.parametrize(
        ("variable", "project", "given_to"),
        [
            (None, None, {A, B}),
            (A, None, {A}),
            (None, A, {A}),
            (A, B, {A}),
            (B, A, {B}),
            ("HTTPS://A.example:443/", None, {A}),
            (None, "https://A.example/", {A}),
        ],
    )
    def test_who_gets_it(
        self, monkeypatch: pytest.MonkeyPatch, variable: str | None, project: str | None, given_to: set[str]
    ) -> None:
        """Only the origin that it belongs to, whatever server a command is about."""
        if variable:
            monkeypatch.setenv("WORLDFLUX_SERVER", variable)
        assert {o for o in (A, B) if find(o, project_server=project)} == given_to

    def test_a_project_from_elsewhere_does_not_get_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever names WORLDFLUX_SERVER is safe from a cloned project that names a server of its own."""
        monkeypatch.setenv("WORLDFLUX_SERVER", A)
        assert find("https://evil.example", project_server="https://evil.example") is None

    def test_a_wrong_server_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A variable or a project file that names no server is an error with its name."""
        with pytest.raises(UsageError, match=r"^worldflux\.yaml: the server's address"):
            find(A, project_server="a.example")
        monkeypatch.setenv("WORLDFLUX_SERVER", "http://a.example")
        with pytest.raises(UsageError, match=r"^WORLDFLUX_SERVER: the server's address"):
            find(A)

    @pytest.mark.parametrize("length", [10, 42, 43, 44])
    def test_a_damaged_key_is_named_and_not_shown(
        self, monkeypatch: pytest.MonkeyPatch, key: str, length: int
    ) -> None:
        """Cut off, too long, or with one wrong character: the variable is named."""
        wrong = (
            (key + "x")[:length] if length != 43 else key[:20] + ("a" if key[20] != "a" else "b") + key[21:]
        )
        monkeypatch.setenv("WORLDFLUX_API_KEY", wrong)
        with pytest.raises(UsageError, match=r"^WORLDFLUX_API_KEY holds") as caught:
            find(A)
        assert wrong not in str(caught.value) and wrong[4:] not in str(caught.value)


class TestToken:
    def test_every_single_slip_is_found(self) -> None:
        """Each character replaced, left out, doubled or swapped with its neighbour."""
        key = make_key()
        slips = set()
        for i, c in enumerate(key):
            slips |= {
                key[:i] + ("q" if c != "q" else "r") + key[i + 1 :],
                key[:i] + key[i + 1 :],
                key[:i] + c + key[i:],
            }
            slips.add(key[:i] + key[i : i + 2][::-1] + key[i + 2 :])
        slips.discard(key)
        check_token(key, "it")
        for slip in slips:
            with pytest.raises(UsageError):
                check_token(slip, "it")

    @pytest.mark.parametrize(
        ("token", "told"),
        [
            ("wfs_" + "a" * 39, "the token of a share"),
            ("", "does not hold an API key"),
            ("Bearer x", "does not hold an API key"),
            ("ghp_" + "a" * 36, "does not hold an API key"),
            ("wfx_short", "holds 9 characters"),
            ("wfx_" + "a" * 39, "a wrong character"),
            ("wfx_" + "é" * 39, "a wrong character"),
            ("wfx_" + "\udc80" * 39, "a wrong character"),
            ("wfx_" + " " * 33 + worldflux_checksum("wfx_" + " " * 33), "a wrong character"),
            ("wfx_" + "\r\nX: y" * 6 + "abc", "a wrong character"),
        ],
        ids=range(10),
    )
    def test_what_is_wrong_is_said(self, token: str, told: str) -> None:
        """In words, with how to get a new one."""
        with pytest.raises(UsageError, match=told) as caught:
            check_token(token, "it")
        assert "worldflux server key create" in caught.value.hint

    def test_a_credential_does_not_show_its_key(self) -> None:
        """Neither in repr nor in str nor in a traceback's words; the last four characters may be shown."""
        credential = Credential(make_key(), "file", A)
        assert credential.token not in f"{credential!r} {credential} {credential!s}"
        assert credential.last4 == credential.token[-4:]
        assert credential.token in str(dataclasses.asdict(credential))  # so that nobody takes it for masked


class TestChoice:
    def test_the_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Typed, WORLDFLUX_SERVER, the project, the only one that is known; each says which it was."""
        assert choose_server(None, None) is None
        credential_file.store(A, make_key())
        assert choose_server(None, None) == Choice(A, "signed in")
        assert choose_server(None, "https://P.example") == Choice("https://p.example", "worldflux.yaml")
        monkeypatch.setenv("WORLDFLUX_SERVER", "https://V.example")
        assert choose_server(None, "https://p.example") == Choice("https://v.example", "WORLDFLUX_SERVER")
        assert choose_server("https://T.example", "x") == Choice("https://t.example", "--server")

    def test_several_known_ones_are_named(self) -> None:
        """None is guessed."""
        credential_file.store(A, make_key())
        known_servers.remember(B, KnownServer("keyring", "abcd"))
        with pytest.raises(UsageError, match=f"keys of 2 servers: {A}, {B}") as caught:
            choose_server(None, None)
        assert f"--server {A}" in caught.value.hint

    @pytest.mark.parametrize("text", ["", "[]", "{", '{"servers": []}', '{"servers": {"a": {}}}', "[" * 100_000,
                                      '{"servers": {"a": 1}}', "\x00", '{"version": 1, "servers": {}}'])  # fmt: skip
    def test_damaged_notes_are_no_notes(self, text: str) -> None:
        """They are a cache: broken ones are ignored, and the next sign-in writes new ones."""
        credential_file.store(A, make_key())
        known_servers.path().write_text(text)
        assert choose_server(None, None) == Choice(A, "signed in")
        known_servers.remember(B, KnownServer("file", "abcd"))
        assert set(known_servers.load()) == {B}

    def test_notes_hold_no_key(self, keyring: Path) -> None:
        """They may be read by whoever helps; they are 0600 all the same."""
        keep(A, key := make_key())
        text = known_servers.path().read_text()
        assert key not in text and key[:-4] not in text and key[-4:] in text
        assert known_servers.path().stat().st_mode & 0o777 == 0o600


class TestKeepAndDiscard:
    def test_the_keyring_when_there_is_one(self, keyring: Path) -> None:
        """Leave to write plain text is not a wish for it; an older key in the file goes."""
        credential_file.store(A, make_key())
        kept = credentials.keep(A, key := make_key(), allow_plaintext=True)
        assert (kept.store, kept.place, kept.problem) == ("keyring", "Secret Service", "")
        assert not credential_file.path().exists() and keyring_store.read(A) == key

    def test_nothing_is_written_without_leave(self) -> None:
        """No keyring and no leave: refused, and no file is there."""
        with pytest.raises(keyring_store.NoKeyring):
            credentials.keep(A, make_key(), allow_plaintext=False)
        assert not credential_file.path().exists()

    def test_the_file_says_why(self) -> None:
        """With leave, the file, its path, and why it is not the keyring."""
        kept = credentials.keep(A, make_key(), allow_plaintext=True)
        assert kept.store == "file" and kept.place == str(credential_file.path())
        assert "no keyring service answers" in kept.problem

    def test_everything_goes(self, keyring: Path) -> None:
        """From both places, with what was noted; again is no error."""
        keep(A, make_key())
        credential_file.store(A, make_key())
        done = credentials.discard(A)
        assert done.removed == (str(credential_file.path()), "keyring") and not done.failures
        assert find(A) is None and known_servers.load() == {}
        assert credentials.discard(A) == credentials.Discarded(())

    def test_a_place_that_fails_does_not_save_the_other(self, keyring: Path) -> None:
        """A locked keyring is told, and the file is cleared; an unsafe file is told, and the keyring is cleared."""
        keep(A, make_key())
        credential_file.store(A, make_key())
        keyring.touch()
        done = credentials.discard(A)
        assert done.removed == (str(credential_file.path()),) and "locked" in done.failures[0].problem
        assert A in known_servers.load()  # so that the next logout still knows what it is about
        keyring.unlink()
        credential_file.store(A, make_key())
        os.chmod(credential_file.path(), 0o640)
        done = credentials.discard(A)
        assert done.removed == ("keyring",) and "mode 0640" in done.failures[0].problem
        assert keyring_store.read(A) is None
