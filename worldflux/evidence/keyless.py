"""Signatures without a key of one's own: an identity that Sigstore's authority has seen, in the same bundles.

Needs `pip install 'worldflux[keyless]'`, and for signing the network: a sign-in in the browser or the token
of a CI system, a short-lived certificate, an entry in the public log. Verification works on what the
package holds and the trust root that Sigstore's client has stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from worldflux.errors import AccessError, TemporaryError, UsageError
from worldflux.evidence import dsse
from worldflux.manifest import io

_INSTALL = "pip install 'worldflux[keyless]'"


class NotAvailable(Exception):
    """A keyless signature can not be judged here; the message says why."""


class KeylessSigner:
    """Signs as whoever the token says, with one certificate for both statements.

    Raises:
        UsageError: the extra is not installed.
        AccessError: nobody is signed in, and nobody could be asked.
        TemporaryError: Sigstore could not be reached.
    """

    #: There is no key that would verify it by itself.
    pem = ""

    def __init__(self, *, interactive: bool) -> None:
        try:
            from sigstore.models import ClientTrustConfig
            from sigstore.oidc import IdentityError, IdentityToken, Issuer, detect_credential
            from sigstore.sign import SigningContext
        except ImportError:
            raise UsageError("keyless signatures need sigstore", _INSTALL, code="extra") from None
        try:
            config = ClientTrustConfig.production()
            token = detect_credential()
            if token is None and not interactive:
                raise AccessError(
                    "there is no identity to sign with: no CI token, and no terminal to sign in from",
                    "give the job `id-token: write`, or sign with a key: --sign NAME",
                    code="identity",
                )
            identity = (
                IdentityToken(token)
                if token is not None
                else Issuer(config.signing_config.get_oidc_url()).identity_token()
            )
        except IdentityError as error:
            raise AccessError(
                f"the sign-in failed: {str(error)[:200]}", "sign in again", code="identity"
            ) from None
        except AccessError:
            raise
        except Exception as error:
            raise TemporaryError(
                f"Sigstore could not be reached: {type(error).__name__}", "sign with a key: --sign NAME"
            ) from error
        self.label: str = identity.identity
        self._context = SigningContext.from_trust_config(config)
        self._identity = identity

    def bundle(self, payload: bytes) -> bytes:
        """A bundle over these very bytes.

        Raises:
            TemporaryError: the authority or the log did not answer.
        """
        from sigstore.dsse import Statement

        try:
            with self._context.signer(self._identity) as signer:
                text: str = signer.sign_dsse(Statement(payload)).to_json()
        except Exception as error:
            raise TemporaryError(
                f"Sigstore did not sign: {type(error).__name__}", "try again, or sign with a key: --sign NAME"
            ) from error
        return io.canonical(io.parse(text.encode(), "the bundle"))


def identity_of(bundle: dsse.Bundle) -> str:
    """The name in a bundle's certificate, not checked; empty when there is none."""
    from cryptography import x509

    try:
        certificate = x509.load_der_x509_certificate(bundle.certificate)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return ""
    return next((str(name.value) for name in names), "")


def verify(bundle: dsse.Bundle, identities: Sequence[tuple[str, str]]) -> str:
    """What is wrong with a keyless signature; empty when one of the identities made it.

    Args:
        identities: (identity, issuer) pairs that count.

    Raises:
        NotAvailable: no identity is named, the extra is not installed, or there is no stored trust root.
    """
    import json

    if not identities:
        name = identity_of(bundle) or "nobody"
        raise NotAvailable(f"signed without a key, it says by {name}: name whom you expect with --identity")
    try:
        from sigstore.errors import VerificationError
        from sigstore.models import Bundle, InvalidBundle
        from sigstore.verify import Verifier, policy
    except ImportError:
        raise NotAvailable(f"signed without a key; to check it: {_INSTALL}") from None
    try:
        verifier = Verifier.production(offline=True)
    except Exception as error:
        raise NotAvailable(
            f"signed without a key, and there is no trust root: {type(error).__name__}"
        ) from None
    wanted: list[Any] = [policy.Identity(identity=name, issuer=issuer) for name, issuer in identities]
    try:
        kind, payload = verifier.verify_dsse(Bundle.from_json(json.dumps(bundle.raw)), policy.AnyOf(wanted))
    except (VerificationError, InvalidBundle, ValueError) as error:
        return f"the keyless signature does not hold: {str(error)[:200]}"
    return "" if (kind, payload) == (dsse.IN_TOTO, bundle.payload) else "the signature is of other bytes"
