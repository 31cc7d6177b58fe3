"""DSSE envelopes in Sigstore bundles: what is signed, and the file that carries the signature.

Formats: DSSE 1.0, in-toto Statement v1, Sigstore bundle v0.3.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from worldflux.manifest import io

IN_TOTO = "application/vnd.in-toto+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
STATEMENT = "https://in-toto.io/Statement/v1"


class Signer(Protocol):
    """Signs statements: a `SigningKey`, or an identity without a key."""

    @property
    def label(self) -> str:
        """Who it is: a key's id, or an identity."""

    @property
    def pem(self) -> str:
        """The public key; empty when a certificate in the bundle takes its place."""

    def bundle(self, payload: bytes) -> bytes:
        """A Sigstore bundle, as a file, over an in-toto statement."""


class BundleError(ValueError):
    """A file is no bundle of the form that is written here; the message says what is wrong."""


@dataclass(frozen=True)
class Bundle:
    """One signed statement.

    Attributes:
        payload: the very bytes that are signed, behind `pae`.
        key_id: names the key: the sha256 of its PEM form. Empty with a certificate.
        certificate: DER of a keyless signer's certificate.
        raw: the whole document.
    """

    payload: bytes
    signature: bytes
    key_id: str
    certificate: bytes
    raw: Mapping[str, Any]


def pae(payload: bytes) -> bytes:
    """What a signature covers: type and payload with their lengths, so that neither can run into the other."""
    return b"DSSEv1 %d %s %d %s" % (len(IN_TOTO), IN_TOTO.encode(), len(payload), payload)


def encode(payload: bytes, signature: bytes, key_id: str) -> bytes:
    """The bundle's file: canonical JSON, so that equal signatures are equal files."""
    return io.canonical(
        {
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": key_id}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": IN_TOTO,
                "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": key_id}],
            },
        }
    )


def decode(document: Mapping[str, Any]) -> Bundle:
    """The parts of a bundle.

    Raises:
        BundleError: another media type, no DSSE envelope, or not exactly one signature.
    """
    try:
        if document["mediaType"] != BUNDLE:
            raise BundleError("it is no Sigstore bundle v0.3")
        envelope = document["dsseEnvelope"]
        if envelope["payloadType"] != IN_TOTO:
            raise BundleError("what it signs is no in-toto statement")
        signatures = envelope["signatures"]
        if not isinstance(signatures, list) or len(signatures) != 1:
            raise BundleError("it does not have exactly one signature")
        material = document["verificationMaterial"]
        certificate = material.get("certificate")
        key_id = "" if certificate else material["publicKey"]["hint"]
        if not isinstance(key_id, str):
            raise BundleError("its key has no name")
        return Bundle(
            _base64(envelope["payload"]),
            _base64(signatures[0]["sig"]),
            key_id,
            _base64(certificate["rawBytes"]) if certificate else b"",
            document,
        )
    except (KeyError, TypeError, AttributeError):
        raise BundleError("a part of the bundle is missing") from None


def statement_of(bundle: Bundle, source: str) -> dict[str, Any]:
    """The in-toto statement that a bundle signs.

    Raises:
        BundleError: the payload is none.
    """
    from worldflux.errors import WorldFluxError

    try:
        document = io.parse(bundle.payload, source)
    except WorldFluxError as error:
        raise BundleError(error.problem) from None
    if document.get("_type") != STATEMENT or not isinstance(document.get("predicate"), dict):
        raise BundleError("what it signs is no in-toto statement v1")
    return document


def _base64(text: object) -> bytes:
    if not isinstance(text, str):
        raise BundleError("a field that holds base64 is no text")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BundleError("a field that holds base64 does not decode") from None
