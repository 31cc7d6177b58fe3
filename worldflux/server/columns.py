"""What the tables are made of: types that mean the same on both databases, and columns that recur."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.ext.compiler import compiles

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Whole(BigInteger):
    """A 64-bit integer; `INTEGER` in SQLite, whose strict tables know no other name."""


class Real(Double[float]):
    """A double; `REAL` in SQLite, which PostgreSQL takes for four bytes."""


class Flag(Boolean):
    """True or false; 0 or 1 in SQLite."""


@compiles(Whole, "sqlite")
def _whole(*_: Any, **__: Any) -> str:
    return "INTEGER"


@compiles(Real, "sqlite")
def _real(*_: Any, **__: Any) -> str:
    return "REAL"


@compiles(Flag, "sqlite")
def _flag(*_: Any, **__: Any) -> str:
    return "INTEGER"


def _text() -> Text:
    return Text().with_variant(Text(collation="C"), "postgresql")


def column(name: str, type_: Any, *rest: Any, null: bool = False, default: str | None = None) -> Column[Any]:
    """A column that is never null unless it says so; `default` is SQL."""
    return Column(
        name, type_, *rest, nullable=null, server_default=None if default is None else text(default)
    )


def string(name: str, *rest: Any, null: bool = False, default: str | None = None) -> Column[Any]:
    """A column of text that compares by code point."""
    return column(name, _text(), *rest, null=null, default=default)


def flagged(name: str) -> Column[Any]:
    """A flag that is off until somebody sets it."""
    return column(name, Flag(), default="false")


def key() -> Column[Any]:
    """The integer key of a table, which never leaves the server."""
    return Column("pk", Whole(), primary_key=True)


def workspace() -> Column[Any]:
    """The workspace that a row belongs to."""
    return column("workspace_id", Whole(), ForeignKey("workspaces.pk", ondelete="CASCADE"))


def of(parent: str, column: str) -> ForeignKeyConstraint:
    """A reference that also says: of the same workspace."""
    return ForeignKeyConstraint(
        [column, "workspace_id"], [f"{parent}.pk", f"{parent}.workspace_id"], ondelete="CASCADE"
    )


def table(name: str, *parts: Any, rowid: bool = True) -> Table:
    """A table, strict in SQLite; without `rowid` its rows lie in the order of the primary key."""
    return Table(name, metadata, *parts, sqlite_strict=True, sqlite_with_rowid=rowid)
