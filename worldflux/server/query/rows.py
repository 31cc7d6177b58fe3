"""Runs as the rows of a list."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Connection,
    FromClause,
    Select,
    Text,
    any_,
    bindparam,
    cast,
    func,
    literal_column,
    null,
    select,
    union_all,
)

from worldflux.server.columns import Real, Whole
from worldflux.server.query.faults import OrderError
from worldflux.server.query.fields import MAX_NAME
from worldflux.server.query.place import Place
from worldflux.server.tables import projects, run_metrics, run_params, run_tags, runs

#: Most metrics and parameters of one run in a list; its manifest has all of them.
MAX_COLUMNS = 200

_FACTS = (
    "id", "project", "name", "recipe", "task", "adapter", "support", "runtime", "status", "lost", "attempt",
    "sweep_id", "seed", "notes", "starred", "created_at", "started_at", "finished_at", "received_at", "heartbeat_at",
    "duration_seconds", "cost_usd", "who", "evidence",
)  # fmt: skip
_COLUMNS = {"id": runs.c.client_run_id, "project": projects.c.slug}
_OTHERS = (
    runs.c.pk, projects.c.baseline_run, runs.c.state, runs.c.git_commit, runs.c.git_branch, runs.c.git_dirty,
    runs.c.error_code, runs.c.error_message,
)  # fmt: skip
#: What tags, parameters and metrics have between them; a tag is but a name.
_THING = (
    ("name", Text()), ("number", Real()), ("text", Text()), ("measure", Text()), ("low", Real()), ("high", Real()),
    ("k", Whole()), ("n", Whole()), ("unit", Text()), ("step", Whole()),
)  # fmt: skip
_TAG, _PARAM, _METRIC = range(3)


class _Queries:
    """What is asked about the runs of a page, by their keys.

    Built once for each database: putting a query together takes longer than SQLite needs to answer it.
    """

    def __init__(self, *, array: bool) -> None:
        self._array = array
        facts = (_COLUMNS.get(name, runs.c.get(name)) for name in _FACTS)
        self.runs = self._of_runs(runs, "pk", *_OTHERS, *facts).join(
            projects, projects.c.pk == runs.c.project_id
        )
        t, p, m = run_tags.c, run_params.c, run_metrics.c
        tags = self._things(_TAG, run_tags, name=t.tag)
        params = self._things(_PARAM, run_params, name=p.name, number=p.number, text=p.text)
        same = {name: m[name] for name in ("name", "measure", "low", "high", "k", "n", "unit", "step")}
        metrics = self._things(_METRIC, run_metrics, number=m.value, text=m.kind, **same)
        some_params = params.where(p.name.in_(_names("params")))
        some_metrics = metrics.where(m.name.in_(_names("metrics")))
        self._beside = {
            (which, with_params): union_all(tags, *of_metrics, *([some_params] if with_params else []))
            for which, of_metrics in (("all", [metrics]), ("some", [some_metrics]), ("none", []))
            for with_params in (True, False)
        }

    def beside(self, columns: Columns) -> tuple[CompoundSelect[Any], dict[str, Any]]:
        """What is asked for the tags, metrics and parameters of runs, all at once, and the names that it takes."""
        names = {"metrics": columns.metrics, "params": columns.params}
        which = "all" if columns.metrics is None else "some" if columns.metrics else "none"
        return self._beside[which, bool(columns.params)], {name: own for name, own in names.items() if own}

    def _things(self, what: int, table: FromClause, **columns: ColumnElement[Any]) -> Select[Any]:
        """Rows of tags, parameters or metrics in the form that they have in common."""
        parts = (columns.get(name, cast(null(), type_)).label(name) for name, type_ in _THING)
        return self._of_runs(table, "run_pk", table.c.run_pk, literal_column(str(what)), *parts)

    def _of_runs(self, table: FromClause, key: str, *columns: Any) -> Select[Any]:
        """Rows of some runs of a workspace.

        One parameter for all keys is much quicker to send than one for each; SQLite has no arrays, but reads
        JSON. The sum keeps a database from starting at the workspace, which has many more of them.
        """
        wanted: ColumnElement[bool]
        if self._array:
            wanted = table.c[key] == any_(bindparam("keys", type_=ARRAY(Whole())))
        else:
            each = func.json_each(bindparam("keys", type_=Text())).table_valued("value")
            wanted = table.c[key].in_(select(each.c.value))
        workspace: BindParameter[Any] = bindparam("workspace")
        return select(*columns).where(wanted, table.c.workspace_id + 0 == workspace)


def _names(kind: str) -> BindParameter[Any]:
    return bindparam(kind, expanding=True)


_SQLITE, _POSTGRESQL = _Queries(array=False), _Queries(array=True)
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


@dataclass(frozen=True)
class Columns:
    """Which metrics and parameters rows carry.

    Attributes:
        metrics: their names; None for all.
        params: their names; empty for none.
    """

    metrics: tuple[str, ...] | None = None
    params: tuple[str, ...] = ()

    @classmethod
    def parse(cls, names: str) -> Columns:
        """The columns that `metrics.loss,params.seed` asks for; empty is all metrics, no parameter.

        A comma within a name is written `\\,`.

        Raises:
            OrderError: a name is neither a metric's nor a parameter's, or there are too many.
        """
        if not names:
            return cls()
        chosen: dict[str, list[str]] = {"metrics": [], "params": []}
        for each in split(names):
            kind, dot, name = each.partition(".")
            if kind not in chosen or not dot or not 0 < len(name) <= MAX_NAME:
                shown = each if len(each) <= 40 else f"{each[:40]}…"
                raise OrderError(
                    f"columns: `{shown}` is no column",
                    "write `metrics.NAME` or `params.NAME`, separated by commas",
                )
            chosen[kind].append(name)
        if sum(map(len, chosen.values())) > MAX_COLUMNS:
            raise OrderError(f"columns: there are at most {MAX_COLUMNS}", "ask for fewer")
        return cls(tuple(chosen["metrics"]), tuple(chosen["params"]))


def split(names: str) -> list[str]:
    """The names in a list with commas; a comma that belongs to a name stands after a backslash."""
    found, current, at = [], "", 0
    while at < len(names):
        if names[at] == "\\" and names[at + 1 : at + 2] in (",", "\\"):
            current += names[at + 1]
            at += 2
            continue
        if names[at] == ",":
            found.append(current)
            current = ""
        else:
            current += names[at]
        at += 1
    return [name for name in (*found, current) if name]


def rows(connection: Connection, place: Place, keys: Sequence[int], columns: Columns) -> list[dict[str, Any]]:
    """The rows of some runs that were found in this place, in the order of their keys."""
    if not keys:
        return []
    sqlite = connection.dialect.name == "sqlite"
    ask = _SQLITE if sqlite else _POSTGRESQL
    own = {"keys": json.dumps(keys) if sqlite else keys, "workspace": place.workspace_id}
    found = {row[0]: row for row in connection.execute(ask.runs, own).all()}
    metrics: dict[int, dict[str, Any]] = {key: {} for key in keys}
    params: dict[int, dict[str, Any]] = {key: {} for key in keys}
    tags: dict[int, list[str]] = {key: [] for key in keys}
    query, names = ask.beside(columns)
    for key, what, name, number, text, *rest in connection.execute(query, own | names).all():
        if what == _TAG:
            tags[key].append(name)
        elif what == _PARAM:
            params[key][name] = param(text, number)
        elif len(metrics[key]) < MAX_COLUMNS:
            metrics[key][name] = metric(number, text, *rest)
    return [
        _row(found[key], sorted(tags[key]), metrics[key], params[key], place.shared)
        for key in keys
        if key in found
    ]


def _row(
    found: Sequence[Any], tags: list[str], metrics: dict[str, Any], params: dict[str, Any], shared: bool
) -> dict[str, Any]:
    _, baseline, state, commit, branch, dirty, code, message, *facts = found
    row = dict(zip(_FACTS, facts, strict=True))
    if shared:
        row["who"] = None
    row["outcome"] = "lost" if row["lost"] else code or row["status"]
    row["tags"], row["baseline"], row["archived"] = tags, baseline == row["id"], state == "archived"
    row["git"] = {"commit": commit, "dirty": dirty, "branch": branch}
    row["error"] = None if code is None else {"code": code, "message": message or ""}
    row["metrics"], row["params"] = metrics, params
    return row


def metric(
    value: float | None, kind: str, measure: str, low: float | None, high: float | None, k: int | None,
    n: int | None, unit: str | None, step: int | None,
) -> dict[str, Any]:  # fmt: skip
    """A metric as it stands in a row: what it lacks is left out, a value that is not finite is its name."""
    shown: dict[str, Any] = {"value": value if kind == "finite" else _NOT_FINITE[kind]}
    if measure != "value":
        shown["kind"] = measure
        shown.update({"low": low, "high": high, "k": k, "n": n})
    elif low is not None or n is not None:
        rest = (("low", low), ("high", high), ("k", k), ("n", n))
        shown.update((name, part) for name, part in rest if part is not None)
    if unit is not None:
        shown["unit"] = unit
    if step is not None:
        shown["step"] = step
    return shown


def param(text: str, number: float | None) -> Any:
    """A parameter's value: a number, a truth value, or its text."""
    if number is None:
        return {"true": True, "false": False, "null": None}.get(text, text)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
