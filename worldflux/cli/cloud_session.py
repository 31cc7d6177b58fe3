"""The signed-in session of a project, for every command that needs or shows it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from worldflux.errors import AccessError, TemporaryError, WorldFluxError

if TYPE_CHECKING:
    from worldflux.sync.credentials import Choice, Credential
    from worldflux.sync.known_servers import KnownServer

#: A key that expires within so many days is told about.
SOON_DAYS = 14


def choose(typed: str | None) -> Choice | None:
    """The server that a command is about, None when nothing names one.

    Raises:
        UsageError: what names it is not an address, or several are possible.
        ConfigError: the project file has faults.
    """
    from worldflux.sync import credentials

    return credentials.choose_server(typed, project_server())


def project_server() -> str | None:
    from worldflux.config.project import load_project

    return load_project().server


def require(typed: str | None = None) -> Credential:
    """The key for the server that a command is about.

    Raises:
        AccessError: no server is named, or there is no key for it; says how to sign in.
        As `choose`, and as `credentials.find`.
    """
    from worldflux.sync import credentials

    choice = choose(typed)
    if choice is None:
        raise AccessError(
            "no server is named, and you are not signed in to one", LOGIN.format("URL"), code="not-signed-in"
        )
    credential = credentials.find(choice.origin, project_server=project_server())
    if credential is None:
        raise AccessError(
            f"you are not signed in to {choice.origin} ({choice.reason})", _hint(choice), code="not-signed-in"
        )
    return credential


LOGIN = "worldflux auth login --server {}"


def _hint(choice: Choice) -> str:
    from worldflux.sync import credentials

    hint = LOGIN.format(choice.origin)
    if os.environ.get(credentials.VARIABLE):
        hint += f"\n{credentials.VARIABLE} is the key of another server: see {credentials.SERVER_VARIABLE}"
    return hint


@dataclass(frozen=True)
class Session:
    """What is known of the key of one server.

    Attributes:
        server: origin.
        state: `valid` and `rejected` as the server said just now; `unreachable` when it could not say;
            `unchecked` when it was not asked; `absent` when there is no key.
        chosen_by: where the server was named, None when it is one of all that are known.
        source: `environment`, `keyring` or `file`; None without a key.
        problem: why it is not valid, in a sentence.
        days_left: until the key expires: by the server's clock when it was asked, else by this machine's.
    """

    server: str
    state: str
    chosen_by: str | None = None
    source: str | None = None
    last4: str | None = None
    workspace: str | None = None
    key_name: str | None = None
    scopes: tuple[str, ...] = ()
    expires_at: str | None = None
    checked_at: str | None = None
    days_left: float | None = None
    problem: str = ""
    hint: str = ""

    @property
    def signed_in(self) -> bool:
        return self.state in ("valid", "unreachable", "unchecked")

    def row(self) -> dict[str, Any]:
        """As `--json` shows it."""
        left = self.days_left
        return {
            "server": self.server,
            "state": self.state,
            "chosen_by": self.chosen_by,
            "source": self.source,
            "last4": self.last4,
            "workspace": self.workspace,
            "key_name": self.key_name,
            "scopes": list(self.scopes),
            "expires_at": self.expires_at,
            "days_left": None if left is None else round(left, 2),
            "checked_at": self.checked_at,
            "problem": self.problem,
        }


def look(server: str, chosen_by: str | None, *, online: bool, seconds: float = 20.0) -> Session:
    """Look the key of a server up, and ask the server about it.

    Args:
        online: ask; what it says is noted for later.
        seconds: how long the server may take.

    Raises:
        As `credentials.find`; what the server does wrong is part of the session.
    """
    from worldflux.sync import credentials, known_servers

    credential = credentials.find(server, project_server=project_server())
    if credential is None:
        return Session(
            server, "absent", chosen_by, problem="you are not signed in", hint=LOGIN.format(server)
        )
    session = Session(server, "unchecked", chosen_by, credential.source, credential.last4)
    session = _with_notes(session, known_servers.load().get(server))
    if not online:
        return session
    try:
        return _asked(session, credential, seconds)
    except AccessError as error:
        return replace(session, state="rejected", problem=error.problem, hint=error.hint)
    except WorldFluxError as error:
        state = "unreachable" if isinstance(error, TemporaryError) else "rejected"
        return replace(session, state=state, problem=error.problem, hint=error.hint)


def _with_notes(session: Session, known: KnownServer | None) -> Session:
    """The session with what was noted when the server was asked last, if it was about the same key."""
    if known is None or known.last4 != session.last4:
        return session
    return replace(
        session,
        workspace=known.workspace,
        key_name=known.key_name,
        scopes=known.scopes,
        expires_at=known.expires_at,
        checked_at=known.checked_at,
        days_left=_days_until(known.expires_at),
    )


def _days_until(moment: str | None) -> float | None:
    """Days from now, by this machine's clock."""
    if moment is None:
        return None
    try:
        return (datetime.fromisoformat(moment) - datetime.now(timezone.utc)).total_seconds() / 86400
    except (ValueError, TypeError):
        return None


def _asked(session: Session, credential: Credential, seconds: float) -> Session:
    from worldflux.sync import known_servers
    from worldflux.sync.greeting import greet

    said = greet(credential, seconds=seconds)
    checked = replace(
        session,
        state="valid",
        workspace=said.workspace,
        key_name=said.key_name,
        scopes=said.scopes,
        expires_at=said.expires_at,
        checked_at=said.server_time,
        days_left=said.days_left(),
    )
    known = known_servers.load().get(session.server)
    if credential.source != "environment" and known is not None:
        note(checked, known.store, known.keyring)
    return checked


def note(session: Session, store: str, keyring: str) -> None:
    """Keep what is known of a session for commands that do not ask; a disk that refuses is not worth a word."""
    from contextlib import suppress

    from worldflux.sync import known_servers

    known = known_servers.KnownServer(
        store=store,
        last4=session.last4 or "",
        keyring=keyring,
        workspace=session.workspace,
        key_name=session.key_name,
        scopes=session.scopes,
        expires_at=session.expires_at,
        checked_at=session.checked_at,
    )
    with suppress(WorldFluxError, OSError):
        known_servers.remember(session.server, known)


def glance() -> Session | None:
    """The session as far as it is known without asking the keyring or the server; None without a server.

    Raises:
        As `choose`.
    """
    from worldflux.sync import credential_file, credentials, known_servers

    choice = choose(None)
    if choice is None:
        return None
    credential = credentials.from_environment(choice.origin, project_server())
    known = known_servers.load().get(choice.origin)
    session = Session(choice.origin, "absent", choice.reason)
    if credential is not None:
        session = replace(session, state="unchecked", source="environment", last4=credential.last4)
    elif known is not None:
        session = replace(session, state="unchecked", source=known.store, last4=known.last4)
    elif token := credential_file.read().get(choice.origin):
        session = replace(session, state="unchecked", source="file", last4=token[-4:])
    return _with_notes(session, known)


def expiry(session: Session) -> str:
    """When the key expires, in words; empty when that is not known or never."""
    if session.expires_at is None or session.days_left is None:
        return ""
    day, left = session.expires_at[:10], session.days_left
    if left <= 0:
        return f"expired {day}"
    if left <= SOON_DAYS:
        return (
            f"expires {day}, in {left:.0f} days" if left >= 2 else f"expires {day}, in {left * 24:.0f} hours"
        )
    return f"expires {day}"


def for_status(*, online: bool) -> tuple[Session | None, str]:
    """The session for `worldflux status`, with a line for people; what is wrong is told and does not stop it.

    Args:
        online: ask the keyring and the server too.
    """
    try:
        session = glance()
        if session is not None and online:
            session = look(session.server, session.chosen_by, online=True)
    except WorldFluxError as error:
        return None, error.problem
    if session is None:
        return None, f"no server; next: {LOGIN.format('URL')}"
    if session.state == "absent":
        return (
            session,
            f"{session.server}  not signed in; next: {session.hint or LOGIN.format(session.server)}",
        )
    parts = [session.server]
    if session.workspace:
        parts.append(f"workspace {session.workspace}")
    parts += [f"key ...{session.last4} ({session.source})", expiry(session), session.problem]
    return session, "  ".join(filter(None, parts))


def doctor_lines() -> list[str]:
    """The session as `worldflux doctor` tells it. A server is not needed to run, so nothing here is an error."""
    try:
        choice = choose(None)
        if choice is None:
            return ["no server is named: runs stay on this machine until worldflux auth login --server URL"]
        session = look(choice.origin, choice.reason, online=True, seconds=5.0)
    except WorldFluxError as error:
        return [f"warning: {error.problem}", *(f"  {line}" for line in error.hint.splitlines())]
    server = f"server {session.server} ({session.chosen_by})"
    if session.state == "absent":
        return [server, f"warning: not signed in: {session.hint}"]
    key = f"key ...{session.last4} from {session.source}"
    if session.state != "valid":
        return [server, key, f"warning: {session.problem}"]
    left = session.days_left
    soon = "warning: " if left is not None and left <= SOON_DAYS else ""
    told = ", ".join(filter(None, [f"workspace {session.workspace}", expiry(session) or "does not expire"]))
    return [f"{server} answers", f"{soon}{key}: {told}"]
