"""Parameters are found by number or by text, each in an index of its own."""

from __future__ import annotations

from alembic import op

from worldflux.server.migrations import sql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Replace the index of both."""
    for statement in sql("0002", op.get_context().dialect.name):
        op.execute(statement)
