"""The key of a server: where it is kept, and to which origin alone it goes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from worldflux.errors import UsageError
from worldflux.sync.origin import check_origin, is_loopback

__all__ = ["Credential", "check_origin", "check_token", "find", "is_loopback"]

VARIABLE = "WORLDFLUX_API_KEY"
SERVER_VARIABLE = "WORLDFLUX_SERVER"


@dataclass(frozen=True)
class Credential:
    """A key and the one server it may be sent to.

    Attributes:
        token: the key itself; not part of `repr`, never to be printed, logged or put into an argument list.
        source: `environment`, `keyring` or `file`.
        origin: of the server, as `check_origin` gives it.
    """

    token: str = field(repr=False)
    source: str
    origin: str

    @property
    def last4(self) -> str:
        """What of the key may be shown."""
        return self.token[-4:]


def find(origin: str, *, project_server: str | None = None) -> Credential | None:
    """The key for a server, None when there is none.

    WORLDFLUX_API_KEY goes first. It is the key of WORLDFLUX_SERVER, else of the project's server, and is not
    given out for another one; when neither names a server it is that of `origin`. Then the keyring, then the
    file, the latter first when `auth login` put the key there.

    Args:
        origin: as `check_origin` gives it.
        project_server: `server:` of the project file; pass it whenever there is a project.

    Raises:
        UsageError: the variable or the file does not hold a key.
        RefusedError: the file is not safe to use.
        TemporaryError: the keyring does not answer, and the key is nowhere else.
    """
    return _from_environment(origin, project_server) or _from_stores(origin)


def _from_environment(origin: str, project_server: str | None) -> Credential | None:
    token = os.environ.get(VARIABLE, "").strip()
    if not token:
        return None
    owner = os.environ.get(SERVER_VARIABLE) or project_server
    if owner and check_origin(owner) != origin:
        return None
    check_token(token, VARIABLE)
    return Credential(token, "environment", origin)


def _from_stores(origin: str) -> Credential | None:
    """The key in the keyring or the file; where `auth login` put it comes first, else the keyring."""
    from worldflux.sync import credential_file, keyring_store, known_servers

    in_file = credential_file.read().get(origin)
    known = known_servers.load().get(origin)
    if in_file and known and known.store == "file":
        return _from_file(origin, in_file)
    try:
        token = keyring_store.read(origin)
    except (keyring_store.NoKeyring, keyring_store.KeyringStuck) as error:
        if in_file:
            return _from_file(origin, in_file)
        if isinstance(error, keyring_store.NoKeyring) and not (known and known.store == "keyring"):
            return None
        raise
    if token:
        check_token(token, "the keyring")
        return Credential(token, "keyring", origin)
    return _from_file(origin, in_file) if in_file else None


def _from_file(origin: str, token: str) -> Credential:
    from worldflux.sync import credential_file

    check_token(token, str(credential_file.path()))
    return Credential(token, "file", origin)


def check_token(token: str, where: str) -> None:
    """Pass a key whose form and checksum are right; that it is known to a server is another question.

    Args:
        where: what to call the place it came from.

    Raises:
        UsageError: it is not a key; the value is not in the message.
    """
    from worldflux.manifest.secret_vendors import is_worldflux_key

    if is_worldflux_key(token):
        return
    hint = "copy it again, whole; `worldflux server key create` makes a new one"
    if token.startswith("wfs_"):
        problem = "holds the token of a share; an API key starts with wfx_"
    elif not token.startswith("wfx_"):
        problem = "does not hold an API key: one starts with wfx_ and has 43 characters"
    elif len(token) != 43:
        problem = f"holds {len(token)} characters of an API key, which has 43"
    else:
        problem = "holds an API key with a wrong character: its checksum does not fit"
    raise UsageError(f"{where} {problem}", hint, code="key")
