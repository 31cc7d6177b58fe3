"""`worldflux server backup|restore|gc|migrate`: the keeper's work on the data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from worldflux.cli.answer import Answer


def register(actions: Any) -> None:
    from worldflux.cli.server import add_place

    backup = actions.add_parser(
        "backup", help="copy database and blobs into a new folder",
        description="Copy database and blobs into a new folder, while the server runs. PostgreSQL itself is "
        "backed up with pg_dump.",
    )  # fmt: skip
    backup.add_argument("target", type=Path, metavar="DIR", help="a new folder")
    backup.set_defaults(function=make_backup)
    restore = actions.add_parser(
        "restore",
        help="make a data folder from a backup",
        description="Make a new data folder from a backup.",
    )
    restore.add_argument("source", type=Path, metavar="DIR", help="a folder that `backup` made")
    restore.set_defaults(function=restore_backup)
    collect = actions.add_parser(
        "gc", help="purge old trash and free disk",
        description="Trash runs past their workspace's retention, purge old trash, remove blobs nobody refers to.",
    )  # fmt: skip
    collect.add_argument("--dry-run", action="store_true", help="only count")
    collect.set_defaults(function=collect_garbage)
    migrate = actions.add_parser(
        "migrate", help="bring the database up to date",
        description="Bring the database's tables up to date, as each start does.",
    )  # fmt: skip
    migrate.add_argument("--dry-run", action="store_true", help="print the SQL instead")
    migrate.set_defaults(function=migrate_database)
    for parser in (backup, restore, collect, migrate):
        add_place(parser)


def make_backup(args: argparse.Namespace) -> Answer:
    from worldflux.cli.server import open_database, settings_of
    from worldflux.server import blobs
    from worldflux.server.ops import backup

    settings = settings_of(args)
    database = open_database(settings)
    done = backup.backup(database, blobs.open_store(settings), args.target)
    database.close()
    data = {"folder": str(args.target), "database": done.database, "blobs": done.blobs, "bytes": done.bytes}
    what = "the database and" if done.database else "no database (use pg_dump), and"
    return Answer(data, f"{args.target}: {what} {done.blobs} blobs, {done.bytes} bytes")


def restore_backup(args: argparse.Namespace) -> Answer:
    from worldflux.cli.server import open_database, settings_of
    from worldflux.server.ops import backup

    done = backup.restore(args.source, args.data)
    open_database(settings_of(args)).close()
    data = {"folder": str(args.data), "blobs": done.blobs, "bytes": done.bytes}
    return Answer(data, f"{args.data} is restored\nnext: worldflux server start --data {args.data}")


def collect_garbage(args: argparse.Namespace) -> Answer:
    from worldflux.cli.server import open_database, settings_of
    from worldflux.server import blobs
    from worldflux.server.ops import gc

    settings = settings_of(args)
    database = open_database(settings)
    done = gc.collect(settings, database, blobs.open_store(settings), dry_run=args.dry_run)
    database.close()
    data = {**vars(done), "dry_run": args.dry_run}
    text = (
        f"{'would be ' if args.dry_run else ''}trashed: {done.expired} runs, purged: {done.purged} runs, "
        f"removed: {done.blobs} blobs and {done.leftovers} leftovers, {done.bytes} bytes"
    )
    return Answer(data, text)


def migrate_database(args: argparse.Namespace) -> Answer:
    from worldflux.cli.server import open_database, settings_of
    from worldflux.server import migrations

    database = open_database(settings_of(args), upgrade=False)
    before, sql = migrations.pending(database)
    if not args.dry_run:
        migrations.upgrade(database)
    database.close()
    data = {"before": before, "head": migrations.HEAD, "dry_run": args.dry_run, "sql": sql}
    if before == migrations.HEAD:
        return Answer(data, f"the database is up to date ({migrations.HEAD})")
    if args.dry_run:
        return Answer(data, sql)
    return Answer(data, f"the database went from {before or 'nothing'} to {migrations.HEAD}\n")
