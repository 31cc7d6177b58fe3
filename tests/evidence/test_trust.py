"""Keys and whose word counts: files, forms, names, and what is refused."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from evidence_lab import make_key

from worldflux.errors import RefusedError, UsageError
from worldflux.evidence import keys, trust
from worldflux.evidence.build import refuse_inside_runs
from worldflux.evidence.note import NoteError, Verifier

LEDGER = str(Verifier.of("runs.example.org/lab/demo", bytes(range(32))))


def test_a_new_key_is_its_owners_alone(tmp_path: Path) -> None:
    """0600 in a 0700 folder whatever the umask says; the public half is for everybody."""
    before = os.umask(0)
    try:
        keys.create(tmp_path / "keys", "mine")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").iterdir()}
    assert modes == {"mine.pem": 0o600, "mine.pub": 0o644}
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    """A second key of the name is refused, also when only the private half is there, or a link to nowhere."""
    keys.create(tmp_path, "mine")
    data = (tmp_path / "mine.pem").read_bytes()
    (tmp_path / "mine.pub").unlink()
    with pytest.raises(RefusedError, match="not overwritten"):
        keys.create(tmp_path, "mine")
    assert (tmp_path / "mine.pem").read_bytes() == data
    (tmp_path / "link.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedError):
        keys.create(tmp_path, "link")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["", ".", "../x", "a/b", "A", "x" * 65, "-x", "a b", "a\n"])
def test_names_that_are_no_names(name: str, tmp_path: Path) -> None:
    """A key's name is a plain file name."""
    with pytest.raises(UsageError, match="can not be the name"):
        keys.create(tmp_path, name)
    with pytest.raises(UsageError, match="can not be the name"):
        trust.store(tmp_path, name, LEDGER)


def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    """As ssh does: the mode is refused with the command that mends it."""
    make_key(tmp_path)
    (tmp_path / "lab.pem").chmod(0o644)
    with pytest.raises(RefusedError) as caught:
        keys.load(tmp_path, "lab")
    assert caught.value.hint.startswith("chmod 600")


def test_what_is_no_p256_key_is_not_used(tmp_path: Path) -> None:
    """Another curve, an RSA key, an encrypted key, a public key and a text are told apart from a signing key."""
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    def pem(key: object, how: s.KeySerializationEncryption) -> bytes:
        data: bytes = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, how)  # type: ignore[attr-defined]
        return data

    plain = s.NoEncryption()
    cases = {
        "curve": (pem(ec.generate_private_key(ec.SECP384R1()), plain), "no ECDSA P-256"),
        "ed": (pem(ed25519.Ed25519PrivateKey.generate(), plain), "no ECDSA P-256"),
        "locked": (
            pem(ec.generate_private_key(ec.SECP256R1()), s.BestAvailableEncryption(b"word")),
            "encrypted",
        ),
        "text": (b"hello", "no private key"),
    }
    for name, (data, reason) in cases.items():
        path = tmp_path / f"{name}.pem"
        path.write_bytes(data)
        path.chmod(0o600)
        with pytest.raises(UsageError, match=reason):
            keys.load(tmp_path, name)
    with pytest.raises(UsageError, match="no signing key"):
        keys.load(tmp_path, "nothing")
    with pytest.raises(UsageError, match="no public key"):
        keys.public_of(b"hello")


def test_a_key_in_the_folder_of_runs_is_refused(tmp_path: Path) -> None:
    """What lies there is packed and synced; links do not hide it."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    for place in (tmp_path / "runs" / "key.pem", tmp_path / "link" / "keys"):
        with pytest.raises(RefusedError, match="folder of runs"):
            refuse_inside_runs(place, tmp_path / "runs")
    refuse_inside_runs(tmp_path / "keys", tmp_path / "runs")


def test_signatures_are_deterministic_and_bind_the_message(tmp_path: Path) -> None:
    """Equal messages have equal signatures (RFC 6979); another message, key or byte does not verify."""
    key = make_key(tmp_path)
    signature = key.sign(b"message")
    assert signature == key.sign(b"message") != key.sign(b"messagf")
    assert key.public.verifies(signature, b"message")
    assert not key.public.verifies(signature, b"messagf")
    assert not key.public.verifies(signature[:-1] + b"\0", b"message")
    assert not key.public.verifies(b"", b"message")
    keys.create(tmp_path, "other")
    assert not keys.load(tmp_path, "other").public.verifies(signature, b"message")


def test_one_key_has_one_id(tmp_path: Path) -> None:
    """Line ends and spaces around the PEM do not make another key of it."""
    key = make_key(tmp_path)
    windows = key.pem.replace("\n", "\r\n") + "\n\n"
    assert keys.public_of(windows.encode()).key_id == key.public.key_id


def test_trust_is_given_and_taken_back(tmp_path: Path) -> None:
    """Signers and ledgers by name; the same again changes nothing, another key of the name is refused."""
    key = make_key(tmp_path / "theirs")
    keys.create(tmp_path / "mine", "own")
    signer = trust.store(tmp_path / "mine", "lab", key.pem)
    assert trust.store(tmp_path / "mine", "lab", key.pem) == signer
    trust.store(tmp_path / "mine", "server", LEDGER + "\n")
    found = trust.trust_of(tmp_path / "mine")
    assert [each.name for each in found.signers] == ["own", "lab"]
    assert [str(each) for each in found.ledgers] == [LEDGER]
    with pytest.raises(RefusedError, match="another key") as caught:
        trust.store(tmp_path / "mine", "lab", LEDGER)
    assert "worldflux evidence key trust lab KEY --replace" in caught.value.hint
    trust.remove(tmp_path / "mine", "lab")
    assert [each.name for each in trust.entries(tmp_path / "mine")] == ["server"]
    with pytest.raises(UsageError, match="no key is trusted"):
        trust.remove(tmp_path / "mine", "lab")


@pytest.mark.parametrize(
    "text",
    ["", "hello", "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----\n", LEDGER[:-2],
     LEDGER.replace("+", "-"), LEDGER.replace("lab", "lob")],
)  # fmt: skip
def test_what_is_no_key_is_not_trusted(text: str, tmp_path: Path) -> None:
    """Damaged and foreign texts are refused, also a ledger's key whose hash is of another name."""
    with pytest.raises(UsageError):
        trust.store(tmp_path, "x", text)


def test_a_broken_file_does_not_stop_the_others(tmp_path: Path) -> None:
    """A damaged key is passed over, not trusted, and not fatal."""
    make_key(tmp_path)
    trust.store(tmp_path, "server", LEDGER)
    (tmp_path / "trusted" / "bad.pub").write_text("hello")
    (tmp_path / "lab.pub").write_text("hello")
    found = trust.trust_of(tmp_path)
    assert found.signers == [] and len(found.ledgers) == 1


def test_without_cryptography_it_says_what_to_install(tmp_path: Path) -> None:
    """Unsigned packages and everything else work; a key does not, and the extra is named."""
    script = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from pathlib import Path\n"
        "from worldflux.errors import UsageError\n"
        "from worldflux.evidence import build, keys, merkle, note, verify\n"
        "try: keys.create(Path(sys.argv[1]))\n"
        "except UsageError as error: print(error.hint)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert ended.stdout == "pip install 'worldflux[evidence]'\n"


def test_notes_that_are_none() -> None:
    """Texts that only look like signed notes are refused."""
    from worldflux.evidence.note import Checkpoint, split

    for text in ("", "text\n", "text\n\n", "text\n\n— name\n", "text\n\n- name AAAAAAAA\n", "te\rxt\n\n— n AAAAAAAA\n",
                 "text\n\n— n !!!!\n", "text\n\n— n AAAA\n"):  # fmt: skip
        with pytest.raises(NoteError):
            split(text)
    for body in ("o\n1\n", "o\nx\nAAAA\n", "o\n01\nAAAA\n", "o\n1\nAAAA\n", "\n1\nAAAA\n"):
        with pytest.raises(NoteError):
            Checkpoint.parse(f"{body}\n— n AAAAAAAA\n")


def test_another_key_takes_a_names_place_when_told_to(tmp_path: Path) -> None:
    """Of the same kind or of the other: the new one alone counts, and no draft of an earlier try is in the way."""
    first, second = keys.create(tmp_path / "theirs", "first"), keys.create(tmp_path / "theirs", "second")
    trust.store(tmp_path, "lab", first.pem)
    (tmp_path / "trusted" / "lab.pub.new").write_text("half a k")
    trust.store(tmp_path, "lab", second.pem, replace=True)
    assert [each.key_id for each in trust.entries(tmp_path)] == [second.key_id] != [first.key_id]
    trust.store(tmp_path, "lab", LEDGER, replace=True)
    assert [(each.name, each.kind) for each in trust.entries(tmp_path)] == [("lab", "ledger")]
    assert [path.name for path in (tmp_path / "trusted").iterdir()] == ["lab.vkey"]
    trust.store(tmp_path, "new", first.pem, replace=True)
    assert len(trust.entries(tmp_path)) == 2
