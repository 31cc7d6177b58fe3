"""Runs as the rows of a list."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, select

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
_QUERY = select(
    runs.c.pk, runs.c.client_run_id, runs.c.state, runs.c.git_commit, runs.c.git_branch, runs.c.git_dirty,
    runs.c.error_code, runs.c.error_message, projects.c.slug, projects.c.baseline_run,
    *(runs.c[name] for name in _FACTS),
).join(projects, projects.c.pk == runs.c.project_id)  # fmt: skip
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
    """The rows of some runs, in the order of their keys; those that can not be seen are left out."""
    if not keys:
        return []
    facts = {row.pk: row for row in connection.execute(_QUERY.where(runs.c.pk.in_(keys), *place.limits()))}
    metrics, params = _metrics(connection, place, keys, columns), _params(connection, place, keys, columns)
    tags: dict[int, list[str]] = {}
    query = select(run_tags.c.run_pk, run_tags.c.tag).where(
        run_tags.c.run_pk.in_(keys), run_tags.c.workspace_id == place.workspace_id
    )
    for key, tag in connection.execute(query):
        tags.setdefault(key, []).append(tag)
    return [
        _row(facts[key], sorted(tags.get(key, ())), metrics.get(key, {}), params.get(key, {}), place.shared)
        for key in keys
        if key in facts
    ]


def _row(
    fact: Any, tags: list[str], metrics: dict[str, Any], params: dict[str, Any], shared: bool
) -> dict[str, Any]:
    found: Mapping[str, Any] = fact._mapping
    row = {"id": fact.client_run_id, "project": fact.slug}
    row |= {name: found[name] for name in _FACTS}
    if shared:
        row["who"] = None
    row["lost"], row["starred"] = bool(fact.lost), bool(fact.starred)
    row["outcome"] = "lost" if fact.lost else fact.error_code or fact.status
    row["tags"] = tags
    row["baseline"] = fact.baseline_run == fact.client_run_id
    row["archived"] = fact.state == "archived"
    row["git"] = {
        "commit": fact.git_commit,
        "dirty": None if fact.git_dirty is None else bool(fact.git_dirty),
        "branch": fact.git_branch,
    }
    row["error"] = (
        None if fact.error_code is None else {"code": fact.error_code, "message": fact.error_message or ""}
    )
    row["metrics"], row["params"] = metrics, params
    return row


def _metrics(
    connection: Connection, place: Place, keys: Sequence[int], columns: Columns
) -> dict[int, dict[str, Any]]:
    if columns.metrics == ():
        return {}
    m = run_metrics.c
    query = select(
        m.run_pk, m.name, m.value, m.kind, m.measure, m.low, m.high, m.k, m.n, m.unit, m.step
    ).where(m.run_pk.in_(keys), m.workspace_id == place.workspace_id)  # fmt: skip
    found: dict[int, dict[str, Any]] = {}
    for key, name, *parts in connection.execute(_chosen(query, m.name, columns.metrics)):
        own = found.setdefault(key, {})
        if len(own) < MAX_COLUMNS:
            own[name] = metric(*parts)
    return found


def metric(
    value: float | None, kind: str, measure: str, low: float | None, high: float | None, k: int | None,
    n: int | None, unit: str | None, step: int | None,
) -> dict[str, Any]:  # fmt: skip
    """A metric as it stands in a row: what it lacks is left out, a value that is not finite is its name."""
    shown: dict[str, Any] = {"value": _NOT_FINITE.get(kind, value)}
    if measure != "value":
        shown["kind"] = measure
    rest = (("low", low), ("high", high), ("k", k), ("n", n), ("unit", unit), ("step", step))
    shown.update((name, part) for name, part in rest if part is not None)
    return shown


def _params(
    connection: Connection, place: Place, keys: Sequence[int], columns: Columns
) -> dict[int, dict[str, Any]]:
    if not columns.params:
        return {}
    p = run_params.c
    query = select(p.run_pk, p.name, p.text, p.number).where(
        p.run_pk.in_(keys), p.workspace_id == place.workspace_id
    )
    found: dict[int, dict[str, Any]] = {}
    for key, name, text, number in connection.execute(_chosen(query, p.name, columns.params)):
        found.setdefault(key, {})[name] = param(text, number)
    return found


def param(text: str, number: float | None) -> Any:
    """A parameter's value: a number, a truth value, or its text."""
    if number is None:
        return {"true": True, "false": False, "null": None}.get(text, text)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _chosen(query: Select[Any], name: Any, names: Collection[str] | None) -> Select[Any]:
    return query if names is None else query.where(name.in_(names))
