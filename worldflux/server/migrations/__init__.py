"""The schema's history, shipped in the wheel. Each step is frozen SQL for either database.

A running server and the command line upgrade through `upgrade`, which any number of processes may
call at once.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, inspect, text

from worldflux.errors import WorldFluxError
from worldflux.server.db import Database

if TYPE_CHECKING:
    from alembic.config import Config

HERE = Path(__file__).parent

#: The newest step. A test holds it together with the folder `versions`.
HEAD = "0003"


def current(connection: Connection) -> str | None:
    """The step a database is at; None when it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def upgrade(db: Database) -> str | None:
    """Bring a database to `HEAD`, all steps or none; the step it was at.

    Raises:
        WorldFluxError: the database was written by a newer server.
    """
    with db.read() as connection:
        before = current(connection)
    if before == HEAD:
        return before
    with db.write() as connection:
        db.lock(connection, ["worldflux-migration"])
        before = current(connection)
        _check(before)
        if before != HEAD:
            from alembic import command

            if not db.is_sqlite:
                # An index of millions of rows takes longer than a request may.
                connection.execute(text("SET LOCAL statement_timeout = 0"))
            command.upgrade(_config(connection=connection), "head")
    return before


def upgrade_apart(open: Callable[[], Database]) -> None:
    """As `upgrade`, in a process of its own, so that who goes on does not carry what only upgrading needs.

    It fails in silence: the caller's own `upgrade` then tells why. To be called before there are threads.

    Args:
        open: connects to the database.
    """
    db = open()
    try:
        with db.read() as connection:
            if current(connection) == HEAD:
                return
    finally:
        db.close()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        upgrade(open())
    finally:
        os._exit(0)


def pending(db: Database) -> tuple[str | None, str]:
    """What `upgrade` would do: the step the database is at, and the SQL that would be run.

    Raises:
        WorldFluxError: the database was written by a newer server.
    """
    with db.read() as connection:
        before = current(connection)
    _check(before)
    if before == HEAD:
        return before, ""
    from alembic import command

    out = io.StringIO()
    config = _config(dialect=db.engine.dialect.name)
    config.output_buffer = out
    command.upgrade(config, f"{before or 'base'}:head", sql=True)
    return before, out.getvalue()


def sql(name: str, dialect: str) -> list[str]:
    """The statements of one step for one database."""
    source = (HERE / "sql" / f"{name}.{dialect}.sql").read_text(encoding="utf-8")
    return [statement.strip() for statement in source.split(";\n") if statement.strip()]


def _check(step: str | None) -> None:
    known = {path.name.split("_")[0] for path in (HERE / "versions").glob("[0-9]*.py")}
    if step is not None and step not in known:
        raise WorldFluxError(
            f"the database is at step {step}, which this worldflux does not know",
            "it was written by a newer server: pip install -U 'worldflux[server]', or restore a backup",
            code="database-newer",
        )


def _config(**attributes: Any) -> Config:
    from alembic.config import Config

    config = Config(attributes=attributes)
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    return config
