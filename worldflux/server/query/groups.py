"""Runs by what they have in common, with what came out in each group.

Only runs that succeeded count for metrics, and a seed counts once: of several runs that agree in
all settings and the seed, the newest does, for they are no independent draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from worldflux.manifest.numbers import wilson
from worldflux.run.statistics import mean_interval
from worldflux.server.query import page, sql
from worldflux.server.query.faults import OrderError
from worldflux.server.query.fields import Field, Type, UnknownField, find
from worldflux.server.query.page import Listing
from worldflux.server.query.rows import param
from worldflux.server.tables import projects, run_metrics, run_params, runs

#: The newest so many runs of a list are grouped; what is older is left out, and that is said.
MAX_RUNS = 20_000
MAX_GROUPS = 1000
#: Parameters of so many runs are compared to tell repeated runs; beyond it all of them count.
MAX_COMPARED = 2000
_BATCH = 5000

_GROUPED = ("sweep_id", "recipe", "status", "task", "support", "adapter", "runtime", "who", "commit", "branch", "error",
            "evidence", "attempt", "name", "project")  # fmt: skip


@dataclass
class _Group:
    key: list[Any]
    runs: list[int] = field(default_factory=list)


def parse_keys(text: str) -> list[Field]:
    """The fields that `params.seed` or `recipe,params.lr` groups by.

    Raises:
        OrderError: there is no such field, or runs can not be grouped by it.
    """
    fields = []
    for name in [each.strip() for each in text.split(",") if each.strip()]:
        try:
            found = find(name)
        except UnknownField as error:
            raise OrderError(f"by: there is no field `{name[:40]}`", str(error)) from None
        if found.type is not Type.PARAM and found.name not in _GROUPED:
            raise OrderError(
                f"by: runs can not be grouped by `{found}`",
                f"group by `params.NAME` or: {', '.join(_GROUPED)}",
            )
        fields.append(found)
    if not 1 <= len(fields) <= 4:
        raise OrderError("by: one to four fields are needed", "write `by=recipe` or `by=recipe,params.lr`")
    return fields


def groups(
    connection: Connection, listing: Listing, by: Sequence[Field], metrics: Sequence[str]
) -> dict[str, Any]:
    """The groups of a list's runs, largest first.

    Returns:
        groups: key (a list when grouped by several fields), count, by_status, filter (selects exactly
        its runs) and for each metric n, mean, low, high, min, max, std, kind, method and left_out;
        `runs`: how many were looked at; `is_exact`: whether those are all.
    """
    keys = page.keys(connection, listing, MAX_RUNS + 1)
    exact, keys = len(keys) <= MAX_RUNS, keys[:MAX_RUNS]
    facts = _facts(connection, listing, keys)
    values = [_values(connection, listing, each, keys, facts) for each in by]
    found: dict[str, _Group] = {}
    for key in keys:
        own = [each.get(key) for each in values]
        found.setdefault(repr(own), _Group(own)).runs.append(key)
    ordered = sorted(found.values(), key=lambda group: (-len(group.runs), repr(group.key)))[:MAX_GROUPS]
    measured = _metrics(connection, listing, keys, metrics)
    repeated = _repeated(connection, listing, ordered, facts) if metrics else set()
    return {
        "groups": [_shown(group, by, facts, measured, metrics, repeated) for group in ordered],
        "runs": len(keys),
        "is_exact": exact and len(found) <= MAX_GROUPS,
    }


def _batches(keys: Sequence[int]) -> Iterable[Sequence[int]]:
    return (keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH))


def _facts(connection: Connection, listing: Listing, keys: Sequence[int]) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for batch in _batches(keys):
        query = select(runs.c.pk, runs.c.status, runs.c.seed, runs.c.recipe, runs.c.created_at).where(
            runs.c.pk.in_(batch), runs.c.workspace_id + 0 == listing.place.workspace_id
        )
        found.update((row.pk, row) for row in connection.execute(query).all())
    return found


def _values(
    connection: Connection, listing: Listing, by: Field, keys: Sequence[int], facts: dict[int, Any]
) -> dict[int, Any]:
    """What each run has for a field; runs without it are left out."""
    if by.type is not Type.PARAM and by.name in ("status", "recipe"):
        return {key: getattr(fact, by.name) for key, fact in facts.items()}
    found: dict[int, Any] = {}
    for batch in _batches(keys):
        if by.type is Type.PARAM:
            query = select(run_params.c.run_pk, run_params.c.text, run_params.c.number).where(
                run_params.c.run_pk.in_(batch),
                run_params.c.workspace_id + 0 == listing.place.workspace_id,
                run_params.c.name == by.name,
            )
            found.update((key, param(text, number)) for key, text, number in connection.execute(query).all())
            continue
        value = projects.c.slug if by.name == "project" else sql.column(by.name)
        plain = select(runs.c.pk, value).join(projects, projects.c.pk == runs.c.project_id)
        rows = connection.execute(
            plain.where(runs.c.pk.in_(batch), runs.c.workspace_id + 0 == listing.place.workspace_id)
        )
        found.update((key, each) for key, each in rows.all())
    return found


def _metrics(
    connection: Connection, listing: Listing, keys: Sequence[int], names: Sequence[str]
) -> dict[str, dict[int, Any]]:
    m = run_metrics.c
    found: dict[str, dict[int, Any]] = {name: {} for name in names}
    for batch in _batches(keys) if names else ():
        query = select(m.run_pk, m.name, m.value, m.kind, m.measure, m.k, m.n, m.unit).where(
            m.run_pk.in_(batch), m.workspace_id + 0 == listing.place.workspace_id, m.name.in_(names)
        )
        for row in connection.execute(query).all():
            found[row.name][row.run_pk] = row
    return found


def _repeated(
    connection: Connection, listing: Listing, found: Sequence[_Group], facts: dict[int, Any]
) -> set[int]:
    """Runs that an equal run with the same seed came after."""
    alike: dict[tuple[Any, ...], list[int]] = {}
    for number, group in enumerate(found):
        for key in group.runs:
            fact = facts[key]
            if fact.seed is not None and fact.status == "succeeded":
                alike.setdefault((number, fact.seed, fact.recipe), []).append(key)
    doubtful = [key for same in alike.values() if len(same) > 1 for key in same]
    if not doubtful or len(doubtful) > MAX_COMPARED:
        return set()
    settings: dict[int, list[tuple[str, str]]] = {key: [] for key in doubtful}
    query = select(run_params.c.run_pk, run_params.c.name, run_params.c.text).where(
        run_params.c.run_pk.in_(doubtful), run_params.c.workspace_id + 0 == listing.place.workspace_id
    )
    for key, name, text in connection.execute(query.order_by(run_params.c.run_pk, run_params.c.name)).all():
        settings[key].append((name, text))
    repeated: set[int] = set()
    for same in alike.values():
        kept: set[tuple[tuple[str, str], ...]] = set()
        # Newest first, as the list is.
        for key in same if len(same) > 1 else ():
            own = tuple(settings[key])
            if own in kept:
                repeated.add(key)
            kept.add(own)
    return repeated


def _shown(
    group: _Group,
    by: Sequence[Field],
    facts: dict[int, Any],
    measured: dict[str, dict[int, Any]],
    metrics: Sequence[str],
    repeated: set[int],
) -> dict[str, Any]:
    counted: dict[str, int] = {}
    for key in group.runs:
        counted[facts[key].status] = counted.get(facts[key].status, 0) + 1
    good = [key for key in group.runs if facts[key].status == "succeeded"]
    sample = [key for key in good if key not in repeated]
    return {
        "key": group.key[0] if len(by) == 1 else group.key,
        "count": len(group.runs),
        "by_status": counted,
        "repeated": len(good) - len(sample),
        "filter": " and ".join(_chosen(each, value) for each, value in zip(by, group.key, strict=True)),
        "metrics": {
            name: statistics([measured[name][key] for key in sample if key in measured[name]])
            for name in metrics
        },
    }


def _chosen(by: Field, value: Any) -> str:
    """A comparison that only the runs of a group pass in this field."""
    if value is None:
        return f"{by} = null"
    if isinstance(value, bool | int | float) and not isinstance(value, str):
        return f"{by} = {'true' if value is True else 'false' if value is False else value!r}"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'{by} = "{escaped}"'


def statistics(found: Sequence[Any]) -> dict[str, Any] | None:
    """One metric over independent runs; None when none of them has it.

    A success rate pools the trials of all runs and has their Wilson interval; any other metric has its
    mean with Student's interval over runs. NaN and infinities are left out and counted.
    """
    if not found:
        return None
    values = [float(row.value) for row in found if row.value is not None and math.isfinite(row.value)]
    result: dict[str, Any] = {
        "n": len(values), "mean": None, "low": None, "high": None, "min": min(values, default=None),
        "max": max(values, default=None), "std": None, "kind": "value", "method": None,
        "unit": found[0].unit, "left_out": len(found) - len(values),
    }  # fmt: skip
    if all(row.measure == "success" and row.n for row in found):
        k, trials = sum(row.k for row in found), sum(row.n for row in found)
        low, high = wilson(k, trials)
        result |= {"kind": "success", "k": k, "trials": trials, "mean": k / trials, "low": low, "high": high}
        return result | {"method": "wilson"}
    if values:
        mean, std, below, above = mean_interval(values)
        result |= {"mean": mean, "std": std, "low": below, "high": above}
        result["method"] = "t" if below is not None else None
    return result
