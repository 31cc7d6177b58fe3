"""`worldflux auth`: sign in to a server, see the key that is used, sign out."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, NoReturn

from worldflux.cli.answer import Answer
from worldflux.errors import TemporaryError, UsageError, WorldFluxError

if TYPE_CHECKING:
    from worldflux.cli.cloud_session import Session
    from worldflux.sync.credentials import Choice, Kept

#: A key has 43 characters; more than this is not one that was pasted badly but another file.
_MOST_INPUT = 4096


def register(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "A key goes only to the server it was given for. WORLDFLUX_API_KEY comes before a stored key; it belongs "
        "to WORLDFLUX_SERVER, else to the project's server."
    )
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=_discreet(type(parser))
    )
    _register_login(actions)
    status_ = _action(actions, "status", "the key that is used, and what the server says of it")
    status_.add_argument("--offline", action="store_true", help="do not ask the server")
    status_.set_defaults(function=status)
    logout_ = _action(actions, "logout", "remove the key from keyring and file of this machine")
    logout_.add_argument("--all", action="store_true", help="of every server that is known here")
    logout_.set_defaults(function=logout)


def _discreet(base: type[argparse.ArgumentParser]) -> type[argparse.ArgumentParser]:
    """A parser that does not repeat a key behind an option that takes no value, `--with-token=KEY`."""

    class Discreet(base):  # type: ignore[valid-type,misc]
        def error(self, message: str) -> NoReturn:
            if "explicit argument" in message:
                raise _typed()
            super().error(message)
            raise AssertionError("a parser's error does not return")

    return Discreet


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, purpose: str
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=purpose, description=purpose[:1].upper() + purpose[1:] + ".")
    parser.add_argument(
        "--server",
        metavar="URL",
        help="the server; by default WORLDFLUX_SERVER, the project's `server:`, or the only one that is known",
    )
    return parser


def _register_login(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _action(actions, "login", "keep the key of a server, after asking it and the server")
    parser.add_argument(
        "--with-token",
        action="store_true",
        help="read the key from standard input instead of asking for it",
    )
    parser.add_argument(
        "--allow-plaintext",
        action="store_true",
        help="keep the key in ~/.worldflux/credentials.toml when there is no keyring",
    )
    parser.add_argument("--no-verify", action="store_true", help="keep the key without asking the server")
    # The server may stand by itself. A key that is typed here is refused without being repeated.
    parser.add_argument("typed", nargs="*", help=argparse.SUPPRESS)
    for name in ("--token", "--key", "--api-key"):
        parser.add_argument(name, dest="optional", nargs="?", const=True, help=argparse.SUPPRESS)
    parser.set_defaults(function=login)


def login(args: argparse.Namespace) -> Answer:
    from worldflux.cli import cloud_session
    from worldflux.sync import credentials

    if args.server is None and len(args.typed) == 1 and args.typed[0].startswith(("https://", "http://")):
        args.server = args.typed.pop()
    if args.typed or args.optional is not None:
        raise _typed()
    choice = cloud_session.choose(args.server)
    if choice is None:
        raise UsageError(
            "no server is named",
            "worldflux auth login --server https://..., or `server: https://...` in worldflux.yaml",
            code="server",
        )
    token = _read_token(choice.origin, from_input=args.with_token)
    session = _verified(choice, token, asked=not args.no_verify)
    try:
        kept = credentials.keep(choice.origin, token, allow_plaintext=args.allow_plaintext)
    except TemporaryError as error:
        raise TemporaryError(f"{error.problem}; the key was not kept", error.hint, code=error.code) from None
    cloud_session.note(session, kept.store, kept.place if kept.store == "keyring" else "")
    return _signed_in(session, kept)


def _typed() -> UsageError:
    return UsageError(
        "a key is never typed as an argument: everybody on this machine can see it, and your shell wrote it down",
        "if it was a key, take it back on its server (worldflux server key revoke) and use a new one\n"
        "to be asked for it: worldflux auth login\n"
        "from a file or another program: worldflux auth login --with-token < FILE",
        code="key",
    )


def _read_token(origin: str, *, from_input: bool) -> str:
    """The key, from a prompt that does not show it or from standard input; its checksum is right.

    Raises:
        UsageError: it is not a key, or there is nobody to ask.
    """
    from worldflux.sync.credentials import check_token

    if from_input and not sys.stdin.isatty():
        data = sys.stdin.buffer.read(_MOST_INPUT + 1)
        if not data.strip():
            raise UsageError(
                "standard input is empty", "worldflux auth login --with-token < FILE", code="key"
            )
        token = data.decode("utf-8-sig", errors="replace").strip()
        check_token(token, "standard input")
        return token
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask for the key at",
            "worldflux auth login --with-token < FILE, or set WORLDFLUX_API_KEY",
            code="key",
        )
    token = _prompt(origin).strip()
    check_token(token, "what was typed")
    return token


def _prompt(origin: str) -> str:
    import getpass
    import warnings

    with warnings.catch_warnings():
        # It would go on and show what is typed.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(f"Key for {origin} (is not shown): ")
        except getpass.GetPassWarning:
            problem = "this terminal can not hide what is typed"
        except EOFError:
            problem = "no key was typed"
    raise UsageError(problem, "worldflux auth login --with-token < FILE", code="key")


def _verified(choice: Choice, token: str, *, asked: bool) -> Session:
    """What the server says of the key, before it is kept anywhere.

    Raises:
        AccessError, TemporaryError, UsageError: the server refuses it, or can not be asked.
    """
    from worldflux.cli.cloud_session import Session
    from worldflux.sync.credentials import Credential
    from worldflux.sync.greeting import greet

    session = Session(choice.origin, "unchecked", choice.reason, last4=token[-4:])
    if not asked:
        return session
    try:
        said = greet(Credential(token, "prompt", choice.origin))
    except TemporaryError as error:
        hint = f"{error.hint}\nto keep the key without asking: worldflux auth login --no-verify"
        raise TemporaryError(f"{error.problem}; the key was not kept", hint, code=error.code) from None
    return Session(
        choice.origin,
        "valid",
        choice.reason,
        last4=token[-4:],
        workspace=said.workspace,
        key_name=said.key_name,
        scopes=said.scopes,
        expires_at=said.expires_at,
        checked_at=said.server_time,
        days_left=said.days_left(),
    )


def _signed_in(session: Session, kept: Kept) -> Answer:
    from dataclasses import replace

    from worldflux.cli.cloud_session import SOON_DAYS, expiry

    shown = replace(session, source=kept.store)
    data = {**shown.row(), "store": kept.store, "place": kept.place}
    who = f" as workspace {session.workspace}" if session.workspace else ""
    lines = [f"signed in to {session.server}{who}", f"key ...{session.last4} is kept in {_place(kept)}"]
    warnings = []
    if kept.store == "file":
        lines.append("whoever can read that file can use the key")
        warnings.append(f"the keyring was not used: {kept.problem}")
    elif kept.problem:
        warnings.append(f"an older key may still be in the file: {kept.problem}")
    if session.state == "unchecked":
        warnings.append("the server was not asked whether it knows the key")
    if session.days_left is not None and session.days_left <= SOON_DAYS:
        warnings.append(f"the key {expiry(session)}")
    if shadow := _shadow(session.server):
        warnings.append(f"{shadow} and comes before the key that was kept")
    lines.append("next: worldflux sync")
    return Answer(data, "\n".join(lines), warnings=warnings)


def _shadow(server: str) -> str:
    """Why the environment's key comes before a stored one of this server; empty when it does not."""
    from worldflux.cli.cloud_session import project_server
    from worldflux.sync import credentials

    try:
        found = credentials.from_environment(server, project_server())
    except UsageError as error:
        return error.problem  # what was done is done; the variable is told about and not an error of it
    return f"{credentials.VARIABLE} is set" if found else ""


def _place(kept: Kept) -> str:
    return f"the keyring ({kept.place})" if kept.store == "keyring" else kept.place


def status(args: argparse.Namespace) -> Answer:
    from worldflux.cli import cloud_session
    from worldflux.sync import credentials

    stored = credentials.stored_servers() if not args.server else []
    try:
        choice = cloud_session.choose(args.server)
    except UsageError:
        if len(stored) < 2:
            raise
        choice = None  # nothing names one of several: all are shown
    names = [(choice.origin, choice.reason)] if choice else [(each, None) for each in stored]
    sessions = [cloud_session.look(name, reason, online=not args.offline) for name, reason in names]
    data = {"servers": [session.row() for session in sessions]}
    if not sessions:
        error = {
            "code": "not-signed-in",
            "message": "no server is named, and you are not signed in to one",
            "hint": cloud_session.LOGIN.format("URL"),
            "details": {},
        }
        text = f"{error['message']}\nnext: {error['hint']}"
        return Answer(data, text, exit_code=5, error=error)
    bad = next((each for each in sessions if not each.signed_in), None)
    told = (
        {"code": bad.state, "message": f"{bad.server}: {bad.problem}", "hint": bad.hint, "details": {}}
        if bad
        else None
    )
    return Answer(data, "\n\n".join(map(_told, sessions)), exit_code=5 if bad else 0, error=told)


def _told(session: Session) -> str:
    """One server for people."""
    from worldflux.cli.cloud_session import expiry
    from worldflux.cli.render import safe_line

    rows = [("server", session.server + (f"  ({session.chosen_by})" if session.chosen_by else ""))]
    if session.source:
        rows.append(("key", f"...{session.last4}  from {_source(session.source)}"))
    if session.workspace:
        name = f"  (key {session.key_name})" if session.key_name else ""
        rows += [("workspace", session.workspace + name), ("scopes", " ".join(session.scopes) or "none")]
        rows.append(("expires", expiry(session) or "never"))
    state = {
        "valid": "the server accepts the key",
        "unchecked": f"not asked; as of {session.checked_at}" if session.checked_at else "not asked",
    }.get(session.state, session.problem)
    rows.append(("state", state))
    lines = [f"{name:<10} {safe_line(value)}" for name, value in rows]
    if session.hint and not session.signed_in:
        lines.append(f"next: {session.hint}")
    return "\n".join(lines)


def _source(source: str) -> str:
    from worldflux.sync import credential_file, credentials

    places = {
        "environment": credentials.VARIABLE,
        "keyring": "the keyring",
        "file": str(credential_file.path()),
    }
    return places[source]


def logout(args: argparse.Namespace) -> Answer:
    from worldflux.cli import cloud_session
    from worldflux.sync import credentials

    if args.all and args.server:
        raise UsageError("--all and --server exclude each other", "worldflux auth logout --all")
    if args.all:
        servers = credentials.stored_servers()
    else:
        choice = cloud_session.choose(args.server)
        servers = [choice.origin] if choice else []
    data: dict[str, list[dict[str, object]]] = {"servers": []}
    lines: list[str] = []
    failures: list[WorldFluxError] = []
    warnings: list[str] = []
    for server in servers:
        done = credentials.discard(server)
        failures += done.failures
        data["servers"].append({"server": server, "removed": list(done.removed)})
        where = " and ".join(_removed(place) for place in done.removed)
        lines.append(f"removed the key of {server} from {where}" if where else f"no key of {server} was kept")
        if shadow := _shadow(server):
            warnings.append(f"{shadow} and will be used for {server}")
        if done.removed:
            warnings.append(f"the key still works; take it back on {server}: worldflux server key revoke")
    text = "\n".join(lines or ["no key was kept"])
    if not failures:
        return Answer(data, text, warnings=warnings)
    first = failures[0]
    error = {"code": first.code, "message": first.problem, "hint": first.hint, "details": {}}
    warnings.append(f"a key may still be there: {first.problem}")
    return Answer(data, f"{text}", exit_code=first.exit_code, warnings=warnings, error=error)


def _removed(place: str) -> str:
    return "the keyring" if place == "keyring" else place
