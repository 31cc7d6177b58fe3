"""A filter as a condition of a database, the same on SQLite and PostgreSQL.

A condition is never NULL, so that `not` means what it says: a run that lacks a field passes no
comparison of it, and passes the `not` of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    and_,
    exists,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
)

from worldflux.server.query import literals
from worldflux.server.query.fields import Type
from worldflux.server.query.nodes import All, Any, Comparison, Node, Not, Operand
from worldflux.server.tables import Real, projects, run_metrics, run_params, run_tags, runs

#: How many metrics, parameters and tags are joined; what is more is looked up for each run.
MAX_JOINS = 4

_COLUMNS = {
    "id": runs.c.client_run_id, "name": runs.c.name, "recipe": runs.c.recipe, "adapter": runs.c.adapter,
    "runtime": runs.c.runtime, "sweep_id": runs.c.sweep_id, "notes": runs.c.notes, "commit": runs.c.git_commit,
    "branch": runs.c.git_branch, "who": runs.c.who, "error": runs.c.error_code, "status": runs.c.status,
    "task": runs.c.task, "support": runs.c.support, "evidence": runs.c.evidence, "attempt": runs.c.attempt,
    "duration": runs.c.duration_seconds, "cost": runs.c.cost_usd, "created": runs.c.created_at,
    "started": runs.c.started_at, "finished": runs.c.finished_at, "received": runs.c.received_at,
    "heartbeat": runs.c.heartbeat_at,
}  # fmt: skip

#: Which row of a run: what kind of thing, and its name.
Key = tuple[Type, str]
_TABLES = {Type.METRIC: run_metrics, Type.PARAM: run_params, Type.TAGS: run_tags}
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


@dataclass
class Condition:
    """What a query of `runs` must join and fulfil.

    Attributes:
        joins: tables with their `on`; a run has at most one row in each.
        where: all of them must hold.
    """

    joins: list[tuple[FromClause, ColumnElement[bool]]] = field(default_factory=list)
    where: list[ColumnElement[bool]] = field(default_factory=list)

    def source(self) -> FromClause:
        """`runs` with what is joined to it."""
        source: FromClause = runs
        for table, on in self.joins:
            source = source.join(table, on)
        return source


def column(name: str) -> ColumnElement[object]:
    """The column of a field that is one of a run's own facts.

    Raises:
        KeyError: the field is not stored as a column.
    """
    return _COLUMNS[name]


def condition(
    node: Node,
    workspace_id: int,
    shared: Mapping[Key, FromClause] | None = None,
    run: ColumnElement[int] | None = None,
    known: Key | None = None,
) -> Condition:
    """The condition that a filter sets on the runs of a workspace; the workspace itself is not in it.

    What every run must fulfil in its metrics, parameters and tags becomes a join, for then the
    database may start from there; anything else asks for each run whether such a row exists.

    Args:
        shared: rows of metrics and parameters that the caller joins already.
        run: the run's key in one of these, where the search is to start: nothing is joined then, and
            whether a run passes is looked up from there.
        known: what is compared of it is left out, for the caller sees to that.
    """
    found = Condition()
    key_of_run = runs.c.pk if run is None else run
    tables: dict[Key, FromClause] = dict(shared or {})
    for part in node.parts if isinstance(node, All) else (node,):
        key = _key(part) if isinstance(part, Comparison) else None
        if key is not None and key == known:
            continue
        if key is None or (key not in tables and (run is not None or len(found.joins) >= MAX_JOINS)):
            found.where.append(_boolean(part, workspace_id, key_of_run))
            continue
        assert isinstance(part, Comparison)
        if key not in tables:
            tables[key] = _TABLES[key[0]].alias(f"c{len(found.joins)}")
            found.joins.append((tables[key], tables[key].c.run_pk == runs.c.pk))
        found.where.extend(_terms(tables[key], part, workspace_id))
    return found


@dataclass(frozen=True)
class Rows:
    """Rows of metrics, parameters or tags that an index finds, at most one of a run."""

    table: FromClause
    workspace_id: int
    where: tuple[ColumnElement[bool], ...]

    def keys(self, most: ColumnElement[int]) -> Select[int]:
        """The keys of their runs, at most so many, in no order."""
        own = self.table.c.workspace_id == self.workspace_id
        return select(self.table.c.run_pk).where(own, *self.where).limit(most)

    def of(self, run: ColumnElement[int]) -> ColumnElement[bool]:
        """Whether a run has such a row; it is found by the run."""
        # The sum keeps a database that knows no better from going through all such rows, for each run.
        own = (self.table.c.run_pk == run, self.table.c.workspace_id + 0 == self.workspace_id)
        return exists(select(literal(1)).select_from(self.table).where(*own, *self.where))


def needs(node: Node) -> set[Key]:
    """The metrics, parameters and tags that a run must have to pass a filter."""
    parts = node.parts if isinstance(node, All) else (node,)
    keys = (_key(part) for part in parts if isinstance(part, Comparison))
    return {key for key in keys if key is not None}


def indexed(node: Node, workspace_id: int) -> dict[Key, Rows]:
    """The rows that a run must have to pass a filter, for each of which an index leads to all there are."""
    tests: dict[Key, list[Comparison]] = {}
    for part in node.parts if isinstance(node, All) else (node,):
        key = _key(part) if isinstance(part, Comparison) else None
        if key is not None:
            assert isinstance(part, Comparison)
            tests.setdefault(key, []).append(part)
    found: dict[Key, Rows] = {}
    for key, own in tests.items():
        if all(map(_is_indexed, own)):
            table = _TABLES[key[0]].alias()
            terms = [term for test in own for term in _terms(table, test, workspace_id)[1:]]
            found[key] = Rows(table, workspace_id, tuple(terms))
    return found


def alone(node: Node, workspace_id: int) -> Rows | None:
    """The rows that a run must have to pass a filter, when an index leads to them and to have one is enough."""
    parts = node.parts if isinstance(node, All) else (node,)
    keys = {_key(part) if isinstance(part, Comparison) else None for part in parts}
    return next(iter(indexed(node, workspace_id).values()), None) if len(keys) == 1 else None


def _is_indexed(test: Comparison) -> bool:
    """Whether an index holds together what passes; else all rows of that name would be looked at."""
    if test.field.type is Type.TAGS:
        return True
    if test.field.type is Type.METRIC:
        return not any(math.isnan(operand.number or 0.0) for operand in test.operands)
    numbers = [operand.number is not None for operand in test.operands]
    if test.kind is None or test.sign in ("~", "there"):
        return False
    return all(numbers) if test.kind == "number" else test.sign in ("=", "in") or not any(numbers)


def mentions(node: Node, name: str) -> bool:
    """Whether a filter compares a field of this name."""
    if isinstance(node, Comparison):
        return node.field.name == name and node.field.type not in (Type.METRIC, Type.PARAM)
    if isinstance(node, Not):
        return mentions(node.part, name)
    return any(mentions(part, name) for part in node.parts)


def _key(test: Comparison) -> Key | None:
    """Which row of a run a test looks at, when there is at most one such row."""
    if test.field.type in (Type.METRIC, Type.PARAM):
        return test.field.type, test.field.name
    return (Type.TAGS, test.operand.text) if test.sign == "has" else None


def _boolean(node: Node, workspace_id: int, run: ColumnElement[int]) -> ColumnElement[bool]:
    if isinstance(node, Not):
        return not_(_boolean(node.part, workspace_id, run))
    if isinstance(node, All):
        return and_(true(), *(_boolean(part, workspace_id, run) for part in node.parts))
    if isinstance(node, Any):
        return or_(false(), *(_boolean(part, workspace_id, run) for part in node.parts))
    if node.field.type in (Type.METRIC, Type.PARAM, Type.TAGS):
        table = _TABLES[node.field.type].alias()
        terms = _terms(table, node, workspace_id)
        return exists(select(literal(1)).select_from(table).where(table.c.run_pk == run, *terms))
    return _fact(node, workspace_id)


def _terms(table: FromClause, test: Comparison, workspace_id: int) -> list[ColumnElement[bool]]:
    """What must hold in a row of metrics, parameters or tags for a run to pass the test; first the workspace."""
    terms: list[ColumnElement[bool]] = [table.c.workspace_id == workspace_id]
    if test.field.type is not Type.TAGS:
        terms.append(table.c.name == test.field.name)
    if test.sign != "there":
        meaning = {Type.METRIC: _metric, Type.PARAM: _param, Type.TAGS: _tag}[test.field.type]
        terms.append(meaning(table, test))
    return terms


def _tag(table: FromClause, test: Comparison) -> ColumnElement[bool]:
    if test.sign == "~":
        return _like(table.c.tag, test.operand.text)
    return table.c.tag.in_([operand.text for operand in test.operands])


def _metric(table: FromClause, test: Comparison) -> ColumnElement[bool]:
    numbers = [operand.number for operand in test.operands if operand.number is not None]
    if test.sign not in ("=", "in"):
        return _compared(table.c.value, test.sign, numbers[0])
    found = _among(table.c.value, numbers)
    return or_(found, table.c.kind == "nan") if any(math.isnan(number) for number in numbers) else found


def _param(table: FromClause, test: Comparison) -> ColumnElement[bool]:
    if test.kind is None:
        return _param_of_any_kind(table, test)
    if test.kind == "text":
        own = table.c.number.is_(None)
        if test.sign in ("=", "in"):
            return and_(own, table.c.text.in_([operand.text for operand in test.operands]))
    else:
        own = table.c.number.is_not(None)
        if test.sign in ("=", "in") and all(operand.number is not None for operand in test.operands):
            return _among(table.c.number, [operand.number or 0.0 for operand in test.operands])
    return and_(own, _param_of_any_kind(table, test))


def _param_of_any_kind(table: FromClause, test: Comparison) -> ColumnElement[bool]:
    if test.sign == "~":
        return _like(table.c.text, test.operand.text)
    if test.sign in ("=", "in"):
        texts = [operand.text for operand in test.operands if operand.number is None]
        numbers = [operand.number for operand in test.operands if operand.number is not None]
        # `params.version = 1.10` is meant for a text 1.10 too.
        typed = [operand.text for operand in test.operands if operand.number is not None]
        plain = and_(table.c.number.is_(None), table.c.text.in_(typed)) if typed else false()
        return or_(_among(table.c.number, numbers), plain, _among_texts(table, texts))
    if test.operand.number is not None:
        found = _compared(table.c.number, test.sign, test.operand.number)
        return and_(table.c.number.is_not(None), found)
    return _compared(table.c.text, test.sign, test.operand.text)


def _among_texts(table: FromClause, texts: list[str]) -> ColumnElement[bool]:
    if not texts:
        return false()
    found = table.c.text.in_(texts)
    # The index goes by numbers first; a text that is no number is that of none.
    return and_(table.c.number.is_(None), found) if all(map(_is_word, texts)) else found


def _is_word(text: str) -> bool:
    return literals.number(text) is None


def _among(value: ColumnElement[float], numbers: Sequence[float]) -> ColumnElement[bool]:
    real = [number for number in numbers if not math.isnan(number)]
    return and_(value.is_not(None), or_(*(value == _real(number) for number in real))) if real else false()


def _compared(value: ColumnElement[object], sign: str, operand: float | str) -> ColumnElement[bool]:
    if isinstance(operand, float):
        # NaN is less and more than nothing; PostgreSQL alone would put it above all numbers.
        if math.isnan(operand):
            return false()
        return _SIGNS[sign](value, _real(operand))
    return _SIGNS[sign](value, operand)


_SIGNS: dict[str, Callable[..., ColumnElement[bool]]] = {
    "=": lambda value, operand: value == operand,
    "<": lambda value, operand: value < operand,
    "<=": lambda value, operand: value <= operand,
    ">": lambda value, operand: value > operand,
    ">=": lambda value, operand: value >= operand,
}


def _real(number: float) -> ColumnElement[float]:
    return literal(number, Real())


def _fact(test: Comparison, workspace_id: int) -> ColumnElement[bool]:
    """A comparison of one of a run's own columns."""
    name, sign = test.field.name, test.sign
    if test.field.type is Type.FLAG:
        found = _flag(name)
        return found if test.operand.text == "true" else not_(found)
    if name == "project":
        matching = _text(projects.c.slug, test)
        chosen = select(projects.c.pk).where(projects.c.workspace_id == workspace_id, matching)
        return runs.c.project_id.in_(chosen)
    value = _COLUMNS[name]
    if sign == "there":
        return and_(value.is_not(None), value != "") if test.field.type is Type.TEXT else value.is_not(None)
    if test.field.type is Type.TIME:
        return _known(value, _time(value, sign, test.operand))
    if test.field.type in (Type.NUMBER, Type.SECONDS):
        numbers = [operand.number for operand in test.operands if operand.number is not None]
        if sign in ("=", "in"):
            return _known(value, _among(value, numbers))
        return _known(value, _compared(value, sign, numbers[0]))
    return _known(value, _text(value, test))


def _known(value: ColumnElement[object], found: ColumnElement[bool]) -> ColumnElement[bool]:
    return and_(value.is_not(None), found) if getattr(value, "nullable", True) else found


def _flag(name: str) -> ColumnElement[bool]:
    if name == "archived":
        return runs.c.state == "archived"
    if name == "dirty":
        return and_(runs.c.git_dirty.is_not(None), runs.c.git_dirty.is_(true()))
    if name == "baseline":
        pinned = select(literal(1)).where(
            projects.c.pk == runs.c.project_id, projects.c.baseline_run == runs.c.client_run_id
        )
        return exists(pinned.correlate(runs))
    return runs.c[name].is_(true())


def _time(value: ColumnElement[object], sign: str, operand: Operand) -> ColumnElement[bool]:
    assert operand.span is not None
    first, after = literals.stamp(operand.span[0]), literals.stamp(operand.span[1])
    moment = first == after
    if sign == "=":
        return value == first if moment else and_(value >= first, value < after)
    if sign in ("<", ">="):
        return value < first if sign == "<" else value >= first
    if moment:
        return value <= first if sign == "<=" else value > first
    return value < after if sign == "<=" else value >= after


def _text(value: ColumnElement[object], test: Comparison) -> ColumnElement[bool]:
    if test.sign == "~":
        return _like(value, test.operand.text)
    if test.sign in ("=", "in"):
        return value.in_([operand.text for operand in test.operands])
    if test.sign == "there":
        return true()
    return _compared(value, test.sign, test.operand.text)


def _like(value: ColumnElement[object], pattern: str) -> ColumnElement[bool]:
    """A pattern with `*` and `?`, blind to the case of A to Z; without them a part of the text."""
    lowered = pattern.translate(_LOWER)
    for char in "\\%_":
        lowered = lowered.replace(char, f"\\{char}")
    if "*" not in pattern and "?" not in pattern:
        lowered = f"*{lowered}*"
    return func.lower(value).like(lowered.replace("*", "%").replace("?", "_"), escape="\\")
