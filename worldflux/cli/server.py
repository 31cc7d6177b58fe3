"""`worldflux server`: a server of your own, and what its keeper does with it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.cli.answer import Answer

if TYPE_CHECKING:
    from worldflux.server.db import Database
    from worldflux.server.keys import NewKey
    from worldflux.server.serve import Listen
    from worldflux.server.settings import Settings

DATA = "worldflux-server"


def register(parser: argparse.ArgumentParser) -> None:
    from worldflux.cli import server_data, server_keys

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
    start.add_argument("--public-url", metavar="URL", help="the address that clients use")
    start.add_argument(
        "--allow-host", action="append", metavar="NAME", help="a Host header to answer to; * is any"
    )
    start.add_argument(
        "--trust-proxy", action="append", metavar="ADDRESS", help="a proxy whose X-Forwarded headers are true"
    )
    start.add_argument(
        "--no-access-log", action="store_true", help="no line for each request on standard error"
    )
    start.set_defaults(function=start_server)
    server_keys.register(actions)
    server_data.register(actions)


def add_place(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which server's data a command works on."""
    parser.add_argument(
        "--data", type=Path, default=Path(DATA), metavar="DIR", help=f"folder of the server's data ({DATA})"
    )
    parser.add_argument("--database", metavar="URL", help="PostgreSQL instead of SQLite in the data folder")
    parser.add_argument("--blobs", metavar="URL", help="s3://bucket/prefix instead of the data folder")
    parser.add_argument("--s3-endpoint", metavar="URL", help="S3-compatible service instead of AWS")


def settings_of(args: argparse.Namespace, **more: Any) -> Settings:
    """The server's settings; makes the data folder, for its owner alone.

    Raises:
        WorldFluxError: the extra is not installed, or the folder or its `server.json` is not right.
    """
    from worldflux.server import place

    given = {
        "database": args.database or os.environ.get("WORLDFLUX_SERVER_DATABASE"),
        "blobs": args.blobs,
        "s3_endpoint": args.s3_endpoint,
        **more,
    }
    return place.settings(args.data, given)


def open_database(settings: Settings, *, upgrade: bool = True, apart: bool = False) -> Database:
    """The server's database, with its tables up to date if asked for.

    Args:
        apart: do that in a process of its own, for one that is to stay small.

    Raises:
        WorldFluxError: the extra is not installed, the database can not be reached or is of a newer server.
    """
    from worldflux.errors import WorldFluxError
    from worldflux.server import db, migrations

    opened = db.connect(settings.folder, settings.database)
    try:
        if upgrade:
            if apart:
                migrations.upgrade_apart(lambda: db.connect(settings.folder, settings.database))
            migrations.upgrade(opened)
        else:
            with opened.read():
                pass
    except db.Broken as error:
        opened.close()
        reason = str(error.orig).strip().splitlines()[-1][:300]
        raise WorldFluxError(
            f"the database can not be used: {reason}", "check --database, and that it runs", code="database"
        ) from None
    return opened


def start_server(args: argparse.Namespace) -> Answer:
    from worldflux.server import blobs, serve

    listen = serve.Listen(
        args.host, args.port, args.tls_certificate, args.tls_key, args.insecure_listen, args.workers
    )
    serve.check(listen)
    settings = settings_of(
        args, public_url=args.public_url, trusted_proxies=args.trust_proxy, allowed_hosts=_hosts(args, listen),
        metrics_token=os.environ.pop("WORLDFLUX_SERVER_METRICS_TOKEN", None),
        access_log=False if args.no_access_log else None,
    )  # fmt: skip
    blobs.open_store(settings)  # the workers open their own; what is wrong with it is told before all else
    database = open_database(settings, apart=True)
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


def _hosts(args: argparse.Namespace, listen: Listen) -> list[str] | None:
    """Names that the server answers to; None: those of `server.json`, or of this machine."""
    from urllib.parse import urlsplit

    from worldflux.server import serve

    wanted = [name.lower() for name in args.allow_host or ()]
    if args.public_url and (name := urlsplit(args.public_url).hostname):
        wanted.append(f"[{name}]" if ":" in name else name)
    if not serve.is_local(listen.host):
        wanted.append(listen.host if listen.host.strip("[]") not in ("0.0.0.0", "::") else "")
        if not any(wanted):
            return ["*"]
    if not wanted:
        return None
    return [*serve.LOCAL_NAMES, *filter(None, wanted)]


def _announcement(url: str, key: NewKey | None, settings: Settings) -> str:
    lines = [f"WorldFlux server on {url}", f"data in {settings.data_dir}"]
    if key is not None:
        lines += [
            "",
            f"first admin key (shown this once, keep it): {key.token}",
            f"next: worldflux auth login --server {url}",
        ]
    return "\n".join(lines)
