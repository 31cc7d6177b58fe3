"""In which order runs are listed.

Runs without the field come last whichever way the list goes, newest first among themselves; so do
metrics that are NaN, before those. Parameters that are numbers come before those that are texts.
An order is walked in phases, each of which an index can serve; a page may end in a later phase than
it began.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, FromClause, exists, literal, select

from worldflux.server.query import sql
from worldflux.server.query.faults import OrderError
from worldflux.server.query.fields import FIELDS, Field, Known, Type, UnknownField, find
from worldflux.server.tables import projects, run_metrics, run_params, runs

_UNORDERED = (Type.TAGS, Type.FLAG)


@dataclass(frozen=True)
class Order:
    """By which field, and whether the largest comes first."""

    field: Field
    descending: bool

    def __str__(self) -> str:
        return f"{'-' * self.descending}{self.field}"


NEWEST = Order(FIELDS["created"], True)


@dataclass
class Phase:
    """One stretch of an order.

    Attributes:
        value: what is compared; None when only the runs' age counts here, newest first.
        key: the run's key, from the table whose index has this order.
        table: that table, when it is not `runs`; the walk begins there.
        forced: leave the database no other way than to walk along that table's index. SQLite would
            rather look at all runs and sort; PostgreSQL weighs that well by itself.
        type: of that value, `str` or `float`.
        shared: rows that are joined by this phase, for a filter to use too.
    """

    value: ColumnElement[object] | None
    type: type[str] | type[float] = str
    joins: list[tuple[FromClause, ColumnElement[bool]]] = field(default_factory=list)
    where: list[ColumnElement[bool]] = field(default_factory=list)
    shared: dict[sql.Key, FromClause] = field(default_factory=dict)
    key: ColumnElement[int] = runs.c.pk
    table: FromClause | None = None
    forced: bool = False

    def after(self, table: FromClause) -> ColumnElement[int]:
        """The run's key in a table, for joining the next one to it; the sum keeps that from turning round."""
        return table.c.run_pk + 0 if self.forced else table.c.run_pk


def parse(text: str, known: Known | None = None) -> Order:
    """The order that `-created_at`, `metrics.loss` or `params.seed` asks for; empty is newest first.

    Raises:
        OrderError: there is no such field, or it has no order.
    """
    if not text:
        return NEWEST
    name = text.removeprefix("-").strip()
    for prefix in ("metrics.", "params."):
        quoted = name.removeprefix(prefix)
        if quoted != name and len(quoted) > 1 and quoted[0] == quoted[-1] == '"':
            name = prefix + quoted[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    try:
        found = find(name, known)
    except UnknownField as error:
        shown = name if len(name) <= 40 else f"{name[:40]}…"
        raise OrderError(f"sort: there is no field `{shown}`", str(error)) from None
    if found.type in _UNORDERED:
        raise OrderError(
            f"sort: `{found}` has no order",
            "sort by a time, a number, a name, `metrics.NAME` or `params.NAME`",
        )
    return Order(found, text.startswith("-"))


def phases(
    order: Order, workspace_id: int, condition_needs: set[sql.Key], *, forced: bool = False
) -> list[Phase]:
    """The stretches of an order.

    Args:
        condition_needs: metrics and parameters that every listed run has, so that the stretch of those
            without it need not be looked at.
        forced: see `Phase`.
    """
    kind, name = order.field.type, order.field.name
    if kind in (Type.METRIC, Type.PARAM):
        table = (run_metrics if kind is Type.METRIC else run_params).alias("o")
        found = _own_rows(kind, name, table, workspace_id, forced)
        if (kind, name) not in condition_needs:
            there = select(literal(1)).select_from(table).where(*_row(table, name, workspace_id))
            found.append(Phase(None, where=[~exists(there)]))
        return found
    if name == "project":
        return [Phase(projects.c.slug, joins=[(projects, projects.c.pk == runs.c.project_id)])]
    value = sql.column(name)
    type_ = float if kind in (Type.NUMBER, Type.SECONDS) else str
    if not getattr(value, "nullable", True):
        return [Phase(value, type_)]
    return [Phase(value, type_, where=[value.is_not(None)]), Phase(None, where=[value.is_(None)])]


def _own_rows(kind: Type, name: str, table: FromClause, workspace_id: int, forced: bool) -> list[Phase]:
    """The stretches of those runs that have a metric or parameter."""
    _, *of = _row(table, name, workspace_id)
    number = table.c.value if kind is Type.METRIC else table.c.number
    last = Phase(None) if kind is Type.METRIC else Phase(table.c.text)
    found = [Phase(number, float, where=[number.is_not(None)]), last]
    last.where.append(number.is_(None))
    for phase in found:
        phase.where.extend(of)
        phase.shared[kind, name] = table
        phase.key, phase.table, phase.forced = table.c.run_pk, table, forced
    return found


def _row(table: FromClause, name: str, workspace_id: int) -> list[ColumnElement[bool]]:
    return [table.c.run_pk == runs.c.pk, table.c.workspace_id == workspace_id, table.c.name == name]
