"""Runs put straight into a server's tables, for tests that ask about many of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, insert, select

from worldflux.manifest.model import new_run_id
from worldflux.server.query.page import Page
from worldflux.server.tables import projects, run_metrics, run_params, run_tags, runs, workspaces

KINDS = {math.inf: "inf", -math.inf: "-inf"}


@dataclass
class Row:
    """A run with what a filter can ask about; `facts` are columns of `runs`."""

    facts: dict[str, Any] = field(default_factory=dict)
    project: str = "p"
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    id: str = field(default_factory=new_run_id)


def param_text(value: Any) -> str:
    """A parameter as the server keeps its text."""
    import json

    return value if isinstance(value, str) else json.dumps(value)


def workspace(connection: Connection, slug: str) -> int:
    """The key of a workspace, made when it is not there."""
    found = connection.execute(select(workspaces.c.pk).where(workspaces.c.slug == slug)).scalar()
    if found is not None:
        return int(found)
    made = insert(workspaces).values(slug=slug, name=slug, created_at="2026-01-01T00:00:00.000+00:00")
    return int(connection.execute(made.returning(workspaces.c.pk)).scalar_one())


def project(connection: Connection, workspace_id: int, slug: str) -> int:
    """The key of a project, made when it is not there."""
    found = connection.execute(
        select(projects.c.pk).where(projects.c.workspace_id == workspace_id, projects.c.slug == slug)
    ).scalar()
    if found is not None:
        return int(found)
    made = insert(projects).values(
        workspace_id=workspace_id, slug=slug, created_at="2026-01-01T00:00:00.000+00:00"
    )
    return int(connection.execute(made.returning(projects.c.pk)).scalar_one())


def add(connection: Connection, workspace_id: int, rows: Iterable[Row]) -> list[int]:
    """Insert runs; their keys."""
    keys = []
    for row in rows:
        status = row.facts.get("status", "succeeded")
        facts = {
            "created_at": "2026-11-01T00:00:00.000+00:00", "received_at": "2026-11-01T00:00:01.000+00:00",
            "updated_at": "2026-11-01T00:00:01.000+00:00", "status": status, "claimed_status": status,
            "name": "run", "recipe": "r", "task": "train", "runtime": "local", **row.facts,
        }  # fmt: skip
        made = insert(runs).values(
            workspace_id=workspace_id, project_id=project(connection, workspace_id, row.project),
            client_run_id=row.id, **facts,
        )  # fmt: skip
        key = int(connection.execute(made.returning(runs.c.pk)).scalar_one())
        keys.append(key)
        own = {"run_pk": key, "workspace_id": workspace_id}
        metrics = [
            {
                **own, "name": name, "value": None if math.isnan(value) else value,
                "kind": "nan" if math.isnan(value) else KINDS.get(value, "finite"),
            }
            for name, value in row.metrics.items()
        ]  # fmt: skip
        params = [
            {**own, "name": name, "text": param_text(value), "number": number(value)}
            for name, value in row.params.items()
        ]
        for table, values in (
            (run_metrics, metrics),
            (run_params, params),
            (run_tags, [{**own, "tag": tag} for tag in dict.fromkeys(row.tags)]),
        ):
            if values:
                connection.execute(insert(table), values)
    return keys


def number(value: Any) -> float | None:
    """The number a parameter is; a truth value is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def following(connection: Connection, page: Page) -> str | None:
    """The cursor of the page after one; None when there is none."""
    if page.end is None:
        return None
    last = select(runs.c.client_run_id).where(runs.c.pk == page.keys[-1])
    return page.next(connection.execute(last).scalar_one())
