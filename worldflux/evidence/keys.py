"""Signing keys of this person, outside of every project and run.

ECDSA P-256 is the one kind of key that every verifier of these packages takes. A private key is a
PKCS #8 PEM file that only its owner can read (0600, in a folder 0700).
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from worldflux.errors import RefusedError, UsageError, WorldFluxError
from worldflux.evidence import dsse

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

#: The key that signs when none is named.
DEFAULT = "default"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_MAX_KEY_FILE = 64 * 1024
_MISSING = "signing and checking signatures need the package cryptography"
_INSTALL = "pip install 'worldflux[evidence]'"


@dataclass(frozen=True)
class PublicKey:
    """Who may have signed.

    Attributes:
        key_id: sha256 of the PEM form, in hexadecimal digits; bundles name keys by it.
        pem: SubjectPublicKeyInfo, ends with a newline.
        name: what this person calls it; empty for a stranger's.
    """

    key_id: str
    pem: str
    name: str = ""

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether this key made an ECDSA SHA-256 signature of the message."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        try:
            _load_public(self.pem.encode()).verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class SigningKey:
    """A private key, ready to sign. Its value is never shown."""

    public: PublicKey
    _private: EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f"<SigningKey {self.public.name or self.public.key_id[:16]}>"

    @property
    def label(self) -> str:
        """How a package names its signer: the key's id."""
        return self.public.key_id

    @property
    def pem(self) -> str:
        return self.public.pem

    def bundle(self, payload: bytes) -> bytes:
        """A Sigstore bundle over an in-toto statement; equal statements, equal bytes."""
        return dsse.encode(payload, self.sign(dsse.pae(payload)), self.public.key_id)

    def sign(self, message: bytes) -> bytes:
        """An ECDSA SHA-256 signature with the nonce of RFC 6979: equal messages, equal bytes."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        return self._private.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def create(folder: Path, name: str = DEFAULT) -> PublicKey:
    """Make a key pair `NAME.pem` and `NAME.pub` in a folder that only the owner may enter.

    Raises:
        UsageError: the name can not be a file's name.
        RefusedError: there is such a key already; a key is never overwritten.
        WorldFluxError: the files can not be written.
    """
    _require()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    path = private_path(folder, name)
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = public_of(_public_pem(private.public_key()), name)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        _write_new(path, pem, 0o600)
        _write_new(path.with_suffix(".pub"), public.pem.encode(), 0o644)
    except FileExistsError:
        raise RefusedError(
            f"there is a key `{name}` in {folder} already, and keys are not overwritten",
            "worldflux evidence key create OTHER-NAME",
            code="key-exists",
        ) from None
    except OSError as error:
        raise WorldFluxError(
            f"{path}: the key can not be written: {error.strerror}", "choose another WORLDFLUX_HOME"
        ) from None
    return public


def private_path(folder: Path, name: str) -> Path:
    """Where a key of this name is kept.

    Raises:
        UsageError: the name can not be a file's name.
    """
    if not NAME.match(name):
        raise UsageError(
            f"`{name}` can not be the name of a key", "lower case letters, digits and . _ -, at most 64"
        )
    return folder / f"{name}.pem"


def names(folder: Path) -> list[str]:
    """The keys that can sign."""
    try:
        return sorted(path.stem for path in folder.glob("*.pem") if NAME.match(path.stem))
    except OSError:
        return []


def load(folder: Path, wanted: str) -> SigningKey:
    """The private key of a name, or in a PEM file.

    Raises:
        UsageError: there is none, or it is no P-256 key, or it is encrypted.
        RefusedError: others may read the file.
    """
    _require()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    is_file = "/" in wanted or wanted.endswith(".pem")
    path = Path(wanted) if is_file else private_path(folder, wanted)
    try:
        mode = path.stat().st_mode
        data = _read(path)
    except FileNotFoundError:
        known = ", ".join(names(folder))
        hint = f"keys: {known}" if known else "worldflux evidence key create"
        raise UsageError(f"there is no signing key `{wanted}`", hint, code="key-missing") from None
    except OSError as error:
        raise UsageError(f"{path}: the key can not be read: {error.strerror}", f"ls -l {path}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise RefusedError(
            f"{path}: others may read this private key", f"chmod 600 {path}", code="key-permissions"
        )
    try:
        private = serialization.load_pem_private_key(data, None)
    except TypeError:
        raise UsageError(f"{path}: the key is encrypted", "decrypt it, or use another key") from None
    except ValueError:
        raise UsageError(
            f"{path}: this is no private key in PEM form", "worldflux evidence key create"
        ) from None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
        raise UsageError(f"{path}: the key is no ECDSA P-256 key", "worldflux evidence key create")
    return SigningKey(public_of(_public_pem(private.public_key()), "" if is_file else wanted), private)


def public_of(pem: bytes, name: str = "") -> PublicKey:
    """A public key from its PEM form; every form of one key has the same id.

    Raises:
        UsageError: it is none, or no ECDSA P-256 key.
    """
    _require()
    normal = _public_pem(_load_public(pem))
    return PublicKey(hashlib.sha256(normal).hexdigest(), normal.decode(), name)


def read_public(path: Path, name: str = "") -> PublicKey:
    """The public key in a file.

    Raises:
        UsageError: the file can not be read, or holds no P-256 public key.
    """
    try:
        return public_of(_read(path), name)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "worldflux evidence key list") from None
    except UsageError as error:
        raise UsageError(f"{path}: {error.problem}", error.hint) from None


def own(folder: Path) -> list[PublicKey]:
    """The public halves of the keys that can sign here; a file that is broken is passed over."""
    found = []
    for name in names(folder):
        try:
            found.append(read_public(folder / f"{name}.pub", name))
        except UsageError:
            continue
    return found


def _load_public(pem: bytes) -> EllipticCurvePublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(
            "this is no public key in PEM form", "a file that begins with -----BEGIN PUBLIC KEY-----"
        ) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise UsageError("this is no ECDSA P-256 key", "worldflux evidence key show prints one")
    return key


def _public_pem(key: EllipticCurvePublicKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _require() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise UsageError(_MISSING, _INSTALL, code="extra") from None


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_MAX_KEY_FILE)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), mode)
    with open(descriptor, "wb") as stream:
        os.fchmod(descriptor, mode)
        stream.write(data)
        stream.flush()
        os.fsync(descriptor)
