"""`worldflux evidence key`: this person's signing keys, and whose signatures count."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from worldflux.cli import render
from worldflux.cli.answer import Answer


def register(actions: argparse._SubParsersAction[Any]) -> None:
    parser = actions.add_parser(
        "key",
        help="make keys, and say whose count",
        description="Keys that sign evidence, kept in ~/.worldflux/keys, and other people's that you trust.",
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    creating = verbs.add_parser("create", help="make a key", description="Make a key that signs evidence.")
    creating.add_argument("name", nargs="?", default="default", metavar="NAME", help="default: default")
    creating.set_defaults(function=create)
    showing = verbs.add_parser(
        "show", help="print a public key, to give away", description="Print a public key, to give away."
    )
    showing.add_argument("name", nargs="?", default="default", metavar="NAME", help="default: default")
    showing.set_defaults(function=show)
    listing = verbs.add_parser("list", help="all keys", description="Your keys, and those you trust.")
    listing.set_defaults(function=list_keys)
    trusting = verbs.add_parser(
        "trust",
        help="let somebody's signatures count",
        description="Let somebody's signatures count, or the checkpoints of a server's ledger. Make sure by "
        "another way that the key is theirs.",
    )
    trusting.add_argument("name", metavar="NAME", help="what you call it")
    trusting.add_argument(
        "key", metavar="FILE|VKEY", help="a public key in PEM form, or a ledger's key as text"
    )
    trusting.add_argument(
        "--replace", action="store_true", help="put it in the place of another key that has this name"
    )
    trusting.set_defaults(function=trust)
    untrusting = verbs.add_parser("untrust", help="no longer", description="Let them count no longer.")
    untrusting.add_argument("name", metavar="NAME")
    untrusting.set_defaults(function=untrust)


def keys_dir() -> Path:
    """`$WORLDFLUX_HOME/keys`, by default `~/.worldflux/keys`."""
    from worldflux.cli.session import home_dir

    return home_dir() / "keys"


def create(args: argparse.Namespace) -> Answer:
    from worldflux.config.project import load_project
    from worldflux.evidence import keys
    from worldflux.evidence.build import refuse_inside_runs

    folder = keys_dir()
    refuse_inside_runs(folder, load_project().runs_dir)
    key = keys.create(folder, args.name)
    path = keys.private_path(folder, args.name)
    data = {
        "name": key.name,
        "key_id": key.key_id,
        "private": str(path),
        "public": str(path.with_suffix(".pub")),
    }
    text = f"{path}\n  id {key.key_id}\n  give away {path.with_suffix('.pub')}; keep a copy of the other"
    return Answer(data, text)


def show(args: argparse.Namespace) -> Answer:
    from worldflux.errors import UsageError
    from worldflux.evidence import keys, trust

    folder = keys_dir()
    for key in keys.own(folder):
        if key.name == args.name:
            data = {"name": key.name, "kind": "own", "key_id": key.key_id, "key": key.pem}
            return Answer(data, key.pem.rstrip("\n"))
    for entry in trust.entries(folder):
        if entry.name == args.name:
            data = {"name": entry.name, "kind": entry.kind, "key_id": entry.key_id, "key": entry.text}
            return Answer(data, entry.text.rstrip("\n"))
    raise UsageError(f"there is no key `{args.name}`", "worldflux evidence key list", code="key-missing")


def list_keys(args: argparse.Namespace) -> Answer:
    from worldflux.evidence import keys, trust

    folder = keys_dir()
    rows = [{"name": key.name, "kind": "own", "key_id": key.key_id} for key in keys.own(folder)]
    rows += [
        {"name": entry.name, "kind": entry.kind, "key_id": entry.key_id} for entry in trust.entries(folder)
    ]
    if not rows:
        return Answer({"keys": rows}, f"no keys in {folder}\nnext: worldflux evidence key create")
    shown = [[row["name"], row["kind"], row["key_id"]] for row in rows]
    return Answer({"keys": rows}, render.table(shown, ["name", "kind", "id"]))


def trust(args: argparse.Namespace) -> Answer:
    from worldflux.errors import UsageError
    from worldflux.evidence import trust as trusting

    path, text = Path(args.key), args.key
    if "+" not in text or path.is_file():
        try:
            text = path.read_bytes()[:65536].decode("utf-8", "replace")
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}", "name a file with a public key") from None
    entry = trusting.store(keys_dir(), args.name, text, replace=args.replace)
    data = {"name": entry.name, "kind": entry.kind, "key_id": entry.key_id}
    return Answer(data, f"trusted as {entry.name}: {entry.kind} {entry.key_id}")


def untrust(args: argparse.Namespace) -> Answer:
    from worldflux.evidence import trust as trusting

    entry = trusting.remove(keys_dir(), args.name)
    data = {"name": entry.name, "kind": entry.kind, "key_id": entry.key_id}
    return Answer(data, f"no longer trusted: {entry.name}")
