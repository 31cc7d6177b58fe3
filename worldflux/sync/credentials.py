"""The key of a server: where it is kept, and to which origin alone it goes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from worldflux.errors import UsageError, WorldFluxError
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
    return from_environment(origin, project_server) or _from_stores(origin)


def from_environment(origin: str, project_server: str | None) -> Credential | None:
    """The key in WORLDFLUX_API_KEY, when it is the key of this server.

    Raises:
        UsageError: the variable does not hold a key.
    """
    token = os.environ.get(VARIABLE, "").strip()
    if not token:
        return None
    choice = _named(project_server)
    if choice is not None and choice.origin != origin:
        return None
    check_token(token, VARIABLE)
    return Credential(token, "environment", origin)


def _from_stores(origin: str) -> Credential | None:
    """The key in the keyring or the file; where `auth login` put it comes first, else the keyring."""
    from worldflux.sync import keyring_store, known_servers

    known = known_servers.load().get(origin)
    if known and known.store == "file" and (held := _from_file(origin)):
        return held
    try:
        token = keyring_store.read(origin)
    except (keyring_store.NoKeyring, keyring_store.KeyringStuck) as error:
        if held := _from_file(origin):
            return held
        if isinstance(error, keyring_store.NoKeyring) and not (known and known.store == "keyring"):
            return None
        raise
    if not token:
        return _from_file(origin)
    check_token(token, "the keyring")
    return Credential(token, "keyring", origin)


def _from_file(origin: str) -> Credential | None:
    from worldflux.sync import credential_file

    token = credential_file.read().get(origin)
    if token is None:
        return None
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

    if token[4:].isalnum() and token.isascii() and is_worldflux_key(token):
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


@dataclass(frozen=True)
class Choice:
    """The server that a command talks to.

    Attributes:
        origin: as `check_origin` gives it.
        reason: where it was named: `--server`, `WORLDFLUX_SERVER`, `worldflux.yaml` or `signed in`.
    """

    origin: str
    reason: str


def choose_server(typed: str | None, project_server: str | None) -> Choice | None:
    """The server that is meant: typed, else WORLDFLUX_SERVER, else the project's, else the only known one.

    Raises:
        UsageError: what names it is not an address, or nothing names one of several known servers.
    """
    if typed:
        return Choice(_named_origin(typed, "--server"), "--server")
    if choice := _named(project_server):
        return choice
    known = stored_servers()
    if len(known) > 1:
        raise UsageError(
            f"there are keys of {len(known)} servers: {', '.join(known)}",
            f"say which one is meant, such as --server {known[0]}",
            code="server",
        )
    return Choice(known[0], "signed in") if known else None


def _named(project_server: str | None) -> Choice | None:
    """The server that the environment or the project names."""
    for named, reason in (
        (os.environ.get(SERVER_VARIABLE), SERVER_VARIABLE),
        (project_server, "worldflux.yaml"),
    ):
        if named:
            return Choice(_named_origin(named, reason), reason)
    return None


def stored_servers() -> list[str]:
    """Origins that a key is kept for, as far as that is known without asking the keyring.

    Raises:
        RefusedError, UsageError: the credentials file is not safe to use, or damaged.
    """
    from worldflux.sync import credential_file, known_servers

    return sorted({*known_servers.load(), *credential_file.read()})


def _named_origin(url: str, where: str) -> str:
    try:
        return check_origin(url)
    except UsageError as error:
        raise UsageError(f"{where}: {error.problem}", error.hint, code="server") from None


@dataclass(frozen=True)
class Kept:
    """Where a key was put.

    Attributes:
        store: `keyring` or `file`.
        place: name of the keyring, or path of the file.
        problem: why the keyring was not used, or why the file could not be cleared of an older key; else empty.
    """

    store: str
    place: str
    problem: str = ""


def keep(origin: str, token: str, *, allow_plaintext: bool) -> Kept:
    """Put a key where it stays, in the keyring when there is one.

    An older key of the same server in the file is removed when the keyring has the new one.

    Args:
        allow_plaintext: the file may be used when the keyring can not.

    Raises:
        RefusedError: no keyring, and no file allowed; or the file's folder is not safe.
        TemporaryError: the keyring is stuck, and no file allowed.
        WorldFluxError: the disk refused.
    """
    from worldflux.sync import credential_file, keyring_store

    try:
        kept = Kept("keyring", keyring_store.write(origin, token))
    except (keyring_store.NoKeyring, keyring_store.KeyringStuck) as error:
        if not allow_plaintext:
            raise
        return Kept("file", str(credential_file.store(origin, token)), error.problem)
    try:
        credential_file.remove(origin)
    except WorldFluxError as error:
        return Kept(kept.store, kept.place, error.problem)
    return kept


@dataclass(frozen=True)
class Discarded:
    """What was removed of a server's key, and what could not be.

    Attributes:
        removed: places the key was in.
        failures: why a place may still hold one; empty when none does.
    """

    removed: tuple[str, ...]
    failures: tuple[WorldFluxError, ...] = ()


def discard(origin: str) -> Discarded:
    """Remove the key of a server from the keyring and the file, and what was noted about it.

    A place that fails does not keep the other one from being cleared.
    """
    from worldflux.sync import credential_file, keyring_store, known_servers

    removed: list[str] = []
    failures: list[WorldFluxError] = []
    known = known_servers.load().get(origin)
    try:
        if credential_file.remove(origin):
            removed.append(str(credential_file.path()))
    except WorldFluxError as error:
        failures.append(error)
    try:
        if keyring_store.remove(origin):
            removed.append("keyring")
    except keyring_store.NoKeyring as error:
        # Where there is no keyring there is nothing in it, unless the key was put there in another session.
        if known and known.store == "keyring":
            failures.append(error)
    except keyring_store.KeyringStuck as error:
        if not (known and known.store == "file"):
            failures.append(error)
    if not failures:
        known_servers.forget(origin)
    return Discarded(tuple(removed), tuple(failures))
