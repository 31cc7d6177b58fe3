"""Alembic runs this file; the connection, and with it the transaction, is the caller's."""

from __future__ import annotations

from alembic import context

attributes = context.config.attributes
if context.is_offline_mode():
    context.configure(dialect_name=attributes["dialect"], transactional_ddl=True)
    context.run_migrations()
else:
    context.configure(connection=attributes["connection"], transactional_ddl=False)
    context.run_migrations()
