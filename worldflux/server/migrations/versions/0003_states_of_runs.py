"""A run is in one of the states that lists and totals know."""

from __future__ import annotations

from alembic import op

from worldflux.server.migrations import sql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Refuse any other state."""
    for statement in sql("0003", op.get_context().dialect.name):
        op.execute(statement)
