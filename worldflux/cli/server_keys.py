"""`worldflux server key ...` and `worldflux server user ...`: who may come in, decided beside the database."""

from __future__ import annotations

import argparse
import getpass
import sys
from typing import Any

from worldflux.cli.answer import Answer

WORKSPACE = "default"


def register(actions: Any) -> None:
    from worldflux.cli.server import add_place

    key = actions.add_parser(
        "key", help="make, list and revoke API keys", description="API keys of a workspace."
    )
    verbs = key.add_subparsers(dest="verb", metavar="VERB", required=True)
    create = _verb(verbs, "key create", "make a key; it is shown this once", create_key)
    create.add_argument("--name", default="made on the server", metavar="N", help="what it is for")
    create.add_argument(
        "--scopes", metavar="LIST", help="separated by commas; `all` is every one (runs:*, artifacts:*)"
    )
    create.add_argument("--days", type=int, metavar="N", help="how long it is good (90)")
    listing = _verb(verbs, "key list", "list the keys of a workspace", list_keys)
    ending = _verb(verbs, "key revoke", "make a key worthless", revoke_key)
    ending.add_argument("key", metavar="ID", help="id of the key, as `key list` shows it")
    user = actions.add_parser("user", help="let people sign in with a password", description="People.")
    people = user.add_subparsers(dest="verb", metavar="VERB", required=True)
    person = _verb(
        people, "user create", "let somebody sign in, or change their password; it is asked for", create_user
    )
    person.add_argument("login", metavar="LOGIN", help="what they type to sign in")
    person.add_argument("--name", default="", metavar="N", help="what they are called")
    person.add_argument("--scopes", metavar="LIST", help="as for a key")
    person.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    for parser in (create, listing, ending, person):
        add_place(parser)
        parser.add_argument("--workspace", default=WORKSPACE, metavar="W", help=f"whose ({WORKSPACE})")


def _verb(verbs: Any, name: str, text: str, function: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name.split()[1], help=text, description=text[:1].upper() + text[1:] + "."
    )
    parser.set_defaults(function=function)
    return parser


def create_key(args: argparse.Namespace) -> Answer:
    from worldflux.cli.server import open_database, settings_of
    from worldflux.errors import UsageError
    from worldflux.server import audit, keys

    days = keys.DEFAULT_DAYS if args.days is None else args.days
    if not 1 <= days <= keys.MAX_DAYS:
        raise UsageError(
            f"--days must be between 1 and {keys.MAX_DAYS}", "worldflux server key create --days 90"
        )
    if not 1 <= len(args.name) <= 100 or not args.name.isprintable():
        raise UsageError("--name must be one line of at most 100 characters", "--name laptop")
    scopes = _scopes(args.scopes)
    database = open_database(settings_of(args))
    with database.write() as connection:
        workspace = _workspace(connection, args.workspace)
        made = keys.create(
            connection, workspace, args.name, scopes, expires_at=keys.after_days(days), created_by="server"
        )
        audit.record(
            database, connection, workspace, "server", "key.create", made.public_id, name=args.name,
            scopes=list(made.scopes), expires_at=made.expires_at,
        )  # fmt: skip
    database.close()
    data = {
        "id": made.public_id, "name": made.name, "scopes": list(made.scopes), "expires_at": made.expires_at,
        "workspace": args.workspace, "token": made.token,
    }  # fmt: skip
    text = f"{made.token}\n\nshown this once; id {made.public_id}, good until {made.expires_at}"
    return Answer(data, text)


def list_keys(args: argparse.Namespace) -> Answer:
    from worldflux.cli import render
    from worldflux.cli.server import open_database, settings_of
    from worldflux.manifest.model import utc_now
    from worldflux.server import keys

    database = open_database(settings_of(args))
    with database.read() as connection:
        found = keys.of_workspace(connection, _workspace(connection, args.workspace))
    database.close()
    now = utc_now()
    rows = []
    for row in found:
        ends = keys.ends_at(row)
        state = (
            "good" if ends is None or ends > now else "revoked" if row["revoked_at"] == ends else "expired"
        )
        rows.append(
            {
                "id": row["public_id"], "name": row["name"], "last4": row["last4"], "scopes": row["scopes"].split(),
                "state": state, "ends_at": ends, "last_used_at": row["last_used_at"],
            }
        )  # fmt: skip
    shown = [
        [row["id"], row["name"], f"...{row['last4']}", row["state"], (row["ends_at"] or "")[:10],
         (row["last_used_at"] or "never")[:16], " ".join(row["scopes"])]
        for row in rows
    ]  # fmt: skip
    header = ["id", "name", "key", "state", "ends", "last used", "scopes"]
    return Answer({"workspace": args.workspace, "keys": rows}, render.table(shown, header))


def revoke_key(args: argparse.Namespace) -> Answer:
    from worldflux.cli.server import open_database, settings_of
    from worldflux.errors import UsageError
    from worldflux.manifest.model import utc_now
    from worldflux.server import audit, keys

    database = open_database(settings_of(args))
    with database.write() as connection:
        workspace = _workspace(connection, args.workspace)
        row = keys.named(connection, workspace, args.key)
        if row is None:
            raise UsageError("there is no such key in this workspace", "worldflux server key list")
        now = utc_now()
        keys.revoke(connection, row, now)
        if row["revoked_at"] is None or row["revoked_at"] > now:
            audit.record(database, connection, workspace, "server", "key.revoke", args.key, name=row["name"])
    database.close()
    return Answer({"id": args.key, "revoked": True}, f"{args.key} is worthless now")


def create_user(args: argparse.Namespace) -> Answer:
    from worldflux.cli.server import open_database, settings_of
    from worldflux.server import audit, sessions, users

    scopes = _scopes(args.scopes)
    login = users.check_login(args.login)
    hashed = users.hash_password(_password(args.password_stdin))
    database = open_database(settings_of(args))
    with database.write() as connection:
        workspace = _workspace(connection, args.workspace)
        pk = users.create(connection, login, args.name, hashed)
        # Of a login that there is already, the password becomes this one.
        users.set_password(connection, pk, hashed)
        sessions.close_others(connection, pk)
        users.join(connection, pk, workspace, scopes)
        audit.record(database, connection, workspace, "server", "user.create", login, scopes=scopes)
    database.close()
    data = {"login": login, "workspace": args.workspace, "scopes": scopes}
    return Answer(data, f"{login} can sign in to the workspace {args.workspace}")


def _password(from_stdin: bool) -> str:
    from worldflux.errors import UsageError

    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask for the password", "--password-stdin", code="usage")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise UsageError("the two passwords are not the same", "try again", code="usage")
    return first


def _scopes(text: str | None) -> list[str]:
    from worldflux.errors import UsageError
    from worldflux.server import keys

    if text is None:
        return list(keys.DEFAULT_SCOPES)
    if text == "all":
        return list(keys.SCOPES)
    scopes = [word.strip() for word in text.split(",")]
    if unknown := keys.unknown_scopes(scopes):
        raise UsageError(f"there is no scope `{unknown[0][:40]}`", f"one of {', '.join(keys.SCOPES)}")
    return scopes


def _workspace(connection: Any, slug: str) -> int:
    from worldflux.errors import UsageError
    from worldflux.server import keys

    found = keys.workspace_pk(connection, slug)
    if found is None:
        hint = "worldflux server start makes the first one" if slug == WORKSPACE else "check --workspace"
        raise UsageError(f"there is no workspace `{slug[:64]}`", hint)
    return found
