"""`worldflux server`: a server of your own, and what its keeper does with it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from worldflux.cli.answer import Answer

if TYPE_CHECKING:
    from worldflux.server.db import Database
    from worldflux.server.keys import NewKey
    from worldflux.server.settings import Settings

DATA = "worldflux-server"


def register(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    start = actions.add_parser(
        "start",
        help="answer requests",
        description="Answer requests until Ctrl-C. The first start prints a key.",
    )
    add_place(start)
    start.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (127.0.0.1)")
    start.add_argument("--port", type=int, default=8080, metavar="N", help="0 is any free one (8080)")
    start.add_argument("--workers", type=int, default=1, metavar="N", help="processes that answer (1)")
    start.add_argument("--tls-certificate", metavar="FILE", help="PEM file with the certificate chain")
    start.add_argument("--tls-key", metavar="FILE", help="PEM file with its private key")
    start.add_argument(
        "--insecure-listen", action="store_true", help="listen beyond this machine without TLS"
    )
    start.set_defaults(function=start_server)


def add_place(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which server's data a command works on."""
    parser.add_argument(
        "--data", type=Path, default=Path(DATA), metavar="DIR", help=f"folder of the server's data ({DATA})"
    )
    parser.add_argument("--database", metavar="URL", help="PostgreSQL instead of SQLite in the data folder")


def settings_of(args: argparse.Namespace) -> Settings:
    """The server's settings; makes the data folder, for its owner alone."""
    from worldflux.errors import WorldFluxError

    try:
        from worldflux.server.settings import Settings

        args.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise WorldFluxError(
            f"{args.data}: {error.strerror}", "choose another folder: --data DIR", code="storage"
        ) from None
    return Settings(
        data_dir=str(args.data.resolve()),
        database=args.database or os.environ.get("WORLDFLUX_SERVER_DATABASE"),
    )


def open_database(settings: Settings) -> Database:
    """The server's database with its tables up to date.

    Raises:
        WorldFluxError: the extra is not installed, or the database is of a newer server.
    """
    from worldflux.errors import WorldFluxError

    try:
        from worldflux.server import db, migrations
    except ModuleNotFoundError as error:
        raise WorldFluxError(
            f"the server needs {error.name}, which is not installed",
            "pip install 'worldflux[server]'",
            code="extra",
        ) from None
    opened = db.connect(settings.folder, settings.database)
    migrations.upgrade(opened)
    return opened


def start_server(args: argparse.Namespace) -> Answer:
    from worldflux.server import serve

    listen = serve.Listen(
        args.host, args.port, args.tls_certificate, args.tls_key, args.insecure_listen, args.workers
    )
    serve.check(listen)
    settings = settings_of(args)
    database = open_database(settings)
    from worldflux.server import first

    listener = serve.bind(listen)
    key = first.open_once(database)
    kind = database.engine.dialect.name
    database.close()
    url = serve.url_of(listen, listener)

    def announce() -> None:
        from worldflux.cli import render

        data = {
            "url": url,
            "database": kind,
            "workers": args.workers,
            "first_key": key.token if key else None,
        }
        render.show(Answer(data, _announcement(url, key, settings)), "server start", args.json)

    raise SystemExit(serve.run(settings, listen, listener, announce))


def _announcement(url: str, key: NewKey | None, settings: Settings) -> str:
    lines = [f"WorldFlux server on {url}", f"data in {settings.data_dir}"]
    if key is not None:
        lines += [
            "",
            f"first admin key (shown this once, keep it): {key.token}",
            f"next: worldflux auth login {url}",
        ]
    return "\n".join(lines)
