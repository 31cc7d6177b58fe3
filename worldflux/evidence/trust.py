"""Whose word counts: other people's signing keys, and the keys of ledgers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from worldflux.errors import RefusedError, UsageError
from worldflux.evidence import keys
from worldflux.evidence.keys import NAME, PublicKey
from worldflux.evidence.note import NoteError, Verifier

FOLDER = "trusted"
_SIGNER, _LEDGER = ".pub", ".vkey"
_LONGEST = 64 * 1024


@dataclass
class Trust:
    """What a verification may rely on.

    Attributes:
        signers: keys whose signatures count.
        ledgers: keys whose checkpoints count.
        identities: keyless signers: (identity, issuer) pairs.
    """

    signers: list[PublicKey] = field(default_factory=list)
    ledgers: list[Verifier] = field(default_factory=list)
    identities: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Entry:
    """One trusted key: its name, `signer` or `ledger`, and its id or origin."""

    name: str
    kind: str
    key_id: str
    text: str


def store(folder: Path, name: str, data: str, *, replace: bool = False) -> Entry:
    """Trust a key from now on; the same key again changes nothing.

    Args:
        folder: the folder of this person's keys.
        data: PEM of a P-256 public key, or a ledger's key as a C2SP signed note writes it
            (`NAME+HASH+BASE64`).
        replace: put it in the place of another key that has this name.

    Raises:
        UsageError: the name or the key is of no known form.
        RefusedError: another key has this name and is not to be replaced.
    """
    if not NAME.match(name):
        raise UsageError(
            f"`{name}` can not be the name of a key", "lower case letters, digits and . _ -, at most 64"
        )
    entry = _entry(name, data)
    held = next((known for known in entries(folder) if known.name == name), None)
    if held is not None and held.key_id == entry.key_id:
        return held
    if held is not None and not replace:
        raise RefusedError(
            f"another key is trusted as `{name}`: {held.key_id}",
            f"worldflux evidence key trust {name} KEY --replace puts this one in its place; or choose "
            "another name",
            code="key-exists",
        )
    if held is not None and held.kind != entry.kind:
        _path(folder, held).unlink()
    (folder / FOLDER).mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / FOLDER).chmod(0o700)
    _write(_path(folder, entry), entry.text)
    return entry


def remove(folder: Path, name: str) -> Entry:
    """Trust a key no longer.

    Raises:
        UsageError: none of this name is trusted.
    """
    for entry in entries(folder):
        if entry.name == name:
            _path(folder, entry).unlink()
            return entry
    known = ", ".join(entry.name for entry in entries(folder)) or "none"
    raise UsageError(f"no key is trusted as `{name}`", f"trusted: {known}", code="key-missing")


def entries(folder: Path) -> list[Entry]:
    """The trusted keys, by name; a broken file is passed over."""
    found = []
    place = folder / FOLDER
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        if path.suffix not in (_SIGNER, _LEDGER) or not NAME.match(path.stem):
            continue
        try:
            found.append(_entry(path.stem, path.read_bytes()[:_LONGEST].decode("utf-8", "replace")))
        except (UsageError, OSError):
            continue
    return found


def trust_of(folder: Path, more: Iterable[PublicKey] = ()) -> Trust:
    """This person's own keys, those they trust, and `more`."""
    trust = Trust(signers=[*more, *keys.own(folder)])
    for entry in entries(folder):
        if entry.kind == "signer":
            trust.signers.append(PublicKey(entry.key_id, entry.text, entry.name))
        else:
            trust.ledgers.append(Verifier.parse(entry.text))
    return trust


def _path(folder: Path, entry: Entry) -> Path:
    return folder / FOLDER / (entry.name + (_SIGNER if entry.kind == "signer" else _LEDGER))


def _write(path: Path, text: str) -> None:
    """Make a file that is whole at every moment, whatever it held before."""
    draft = path.with_name(path.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as stream:
        stream.write(text.encode())
        stream.flush()
        os.fsync(descriptor)
    draft.replace(path)


def _entry(name: str, data: str) -> Entry:
    if "-----BEGIN" in data:
        public = keys.public_of(data.encode(), name)
        return Entry(name, "signer", public.key_id, public.pem)
    try:
        verifier = Verifier.parse(data.strip())
    except NoteError as error:
        raise UsageError(
            f"this is neither a public key in PEM form nor a ledger's key: {error}",
            "worldflux evidence key show prints a public key; a ledger's key is shown by the server",
        ) from None
    return Entry(name, "ledger", str(verifier), str(verifier))
