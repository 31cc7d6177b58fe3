"""The server's word for a ledger's head: a C2SP checkpoint, signed with an Ed25519 key of the server's own.

The key is `ledger-key.json` in the data folder, readable by its owner only, made when it is first needed.
Whoever has it can sign a rewritten history, so it belongs into the backup and nowhere else. Several
servers of one database need the same file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
import stat
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.errors import WorldFluxError
from worldflux.server.blobs import sync_folder, write_synced

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from worldflux.server.settings import Settings

FILE = "ledger-key.json"
_ED25519 = b"\x01"


class CheckpointKey:
    """Signs checkpoints of this server's ledgers. Its value is never shown."""

    def __init__(self, server: str, private: Ed25519PrivateKey) -> None:
        self.server, self._private = server, private

    def __repr__(self) -> str:
        return f"<CheckpointKey of {self.server}>"

    def origin(self, workspace: str, project: str) -> str:
        """The name of one project's ledger: an address without a scheme."""
        return f"{self.server}/{workspace}/{project}"

    def verifier(self, origin: str) -> str:
        """What a client checks a ledger's checkpoints with: `NAME+HASH+BASE64`."""
        data = base64.b64encode(_ED25519 + self._public()).decode()
        return f"{origin}+{self._hash(origin).hex()}+{data}"

    def sign(self, origin: str, size: int, root: bytes) -> str:
        """The checkpoint as a signed note."""
        text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
        signature = base64.b64encode(self._hash(origin) + self._private.sign(text.encode())).decode()
        return f"{text}\n\u2014 {origin} {signature}\n"

    def _hash(self, origin: str) -> bytes:
        return hashlib.sha256(origin.encode() + b"\n" + _ED25519 + self._public()).digest()[:4]

    def _public(self) -> bytes:
        from cryptography.hazmat.primitives import serialization

        return self._private.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )


@cache
def checkpoint_key(settings: Settings) -> CheckpointKey:
    """The key of this server, made if there is none.

    Raises:
        WorldFluxError: the file is damaged, or others may read it.
    """
    path = settings.folder / FILE
    if not path.exists():
        _make(path, settings.public_url)
    return _read(path)


def _make(path: Path, public_url: str | None) -> None:
    """Write a new key; of several processes that try, one wins and the others read its key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    seed = private.private_bytes(
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    name = re.sub(r"[^A-Za-z0-9.:/-]", "-", (public_url or "").partition("://")[2].rstrip("/"))
    document = {
        # The name outlives a change of address: clients know the ledger by it.
        "server": name or f"worldflux-{os.urandom(6).hex()}",
        "ed25519": base64.b64encode(seed).decode(),
    }
    temporary = path.parent / f".{FILE}.{os.urandom(6).hex()}"
    write_synced(temporary, json.dumps(document).encode() + b"\n")
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _read(path: Path) -> CheckpointKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise WorldFluxError(
            f"{path}: others may read the ledger's key", f"chmod 600 {path}", code="key-permissions"
        )
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        seed = base64.b64decode(document["ed25519"], validate=True)
        return CheckpointKey(str(document["server"]), Ed25519PrivateKey.from_private_bytes(seed))
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise WorldFluxError(
            f"{path}: the ledger's key is damaged", "bring it back from a backup", code="key-damaged"
        ) from None
