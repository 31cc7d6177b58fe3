"""The first tables."""

from __future__ import annotations

from alembic import op

from worldflux.server.migrations import sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
    for statement in sql("0001", op.get_context().dialect.name):
        op.execute(statement)
