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
    Connection,
    FromClause,
    Select,
    Text,
    any_,
    bindparam,
    func,
    select,
)

from worldflux.server.columns import Whole
from worldflux.server.query.faults import OrderError
from worldflux.server.query.fields import MAX_NAME
from worldflux.server.query.place import Place
from worldflux.server.tables import projects, run_metrics, run_params, run_tags, runs

#: Most metrics and parameters of one run in a list; its manifest has all of them.
MAX_COLUMNS = 200

_FACTS = (
    "name", "recipe", "task", "adapter", "support", "runtime", "status", "lost", "attempt", "sweep_id", "seed",
    "notes", "starred", "created_at", "started_at", "finished_at", "received_at", "heartbeat_at",
    "duration_seconds", "cost_usd", "who", "evidence",
)  # fmt: skip
_OTHERS = (
    runs.c.pk, runs.c.client_run_id, projects.c.slug, projects.c.baseline_run, runs.c.state, runs.c.git_commit,
    runs.c.git_branch, runs.c.git_dirty, runs.c.error_code, runs.c.error_message,
)  # fmt: skip
_METRIC = ("run_pk", "name", "value", "kind", "measure", "low", "high", "k", "n", "unit", "step")
_PARAM = ("run_pk", "name", "text", "number")


class _Queries:
    """What is asked about the runs of a page, by their keys.

    Built once for each database: putting a query together takes longer than SQLite needs to answer it.
    """

    def __init__(self, *, array: bool) -> None:
        names: BindParameter[Any] = bindparam("names", expanding=True)
        self._array = array
        self.runs = self._of_runs(runs, "pk", *_OTHERS, *(runs.c[name] for name in _FACTS)).join(
            projects, projects.c.pk == runs.c.project_id
        )
        self.tags = self._of_runs(run_tags, "run_pk", run_tags.c.run_pk, run_tags.c.tag)
        self.metrics = self._of_runs(run_metrics, "run_pk", *(run_metrics.c[name] for name in _METRIC))
        self.some_metrics = self.metrics.where(run_metrics.c.name.in_(names))
        params = self._of_runs(run_params, "run_pk", *(run_params.c[name] for name in _PARAM))
        self.params = params.where(run_params.c.name.in_(names))

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
    for key, tag in connection.execute(ask.tags, own).all():
        tags[key].append(tag)
    if columns.metrics is None or columns.metrics:
        query, names = (
            (ask.metrics, {}) if columns.metrics is None else (ask.some_metrics, {"names": columns.metrics})
        )
        for key, name, *parts in connection.execute(query, {**own, **names}).all():
            if len(metrics[key]) < MAX_COLUMNS:
                metrics[key][name] = metric(*parts)
    if columns.params:
        for key, name, text, number in connection.execute(ask.params, {**own, "names": columns.params}).all():
            params[key][name] = param(text, number)
    return [
        _row(found[key], sorted(tags[key]), metrics[key], params[key], place.shared)
        for key in keys
        if key in found
    ]


def _row(
    found: Sequence[Any], tags: list[str], metrics: dict[str, Any], params: dict[str, Any], shared: bool
) -> dict[str, Any]:
    _, id_, project, baseline, state, commit, branch, dirty, code, message = found[: len(_OTHERS)]
    row = {"id": id_, "project": project, **dict(zip(_FACTS, found[len(_OTHERS) :], strict=True))}
    if shared:
        row["who"] = None
    row["outcome"] = "lost" if row["lost"] else code or row["status"]
    row["tags"], row["baseline"], row["archived"] = tags, baseline == id_, state == "archived"
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
