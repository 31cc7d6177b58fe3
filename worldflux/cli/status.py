"""`worldflux status`: the project at a glance."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from worldflux.cli import render
from worldflux.cli.answer import Answer

if TYPE_CHECKING:
    from worldflux.config.project import Project

SHOWN = 5


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--online", action="store_true", help="ask the server about the signed-in session too"
    )
    parser.set_defaults(function=status)


def status(args: argparse.Namespace) -> Answer:
    from worldflux.cli import cloud_session
    from worldflux.cli.runs import summarize
    from worldflux.config.project import load_project
    from worldflux.run import store

    project = load_project()
    ids = store.run_ids(project.runs_dir)
    last = [summarize(store.load(project.runs_dir, run_id)) for run_id in ids[:SHOWN]]
    cloud, told = cloud_session.for_status(online=args.online)
    data = {
        "project": project.name,
        "root": str(project.root),
        "project_file": project.has_file,
        "default_recipe": project.recipe,
        "runs": len(ids),
        "last_runs": last,
        "running": [row["run_id"] for row in last if row["status"] == "running"],
        "cloud": cloud.row() if cloud else None,
        "unsynced": unsynced(project, cloud.server, ids) if cloud else None,
    }
    lines = [f"project  {project.name}  ({project.root})", f"runs     {len(ids)}"]
    for row in last:
        took = render.duration(row.get("duration_seconds"))
        lines.append(f"  {row['run_id']}  {row['status']:<11}  {row.get('recipe', '')}  {took}".rstrip())
    lines.append(f"cloud    {told}")
    if data["unsynced"]:
        count = data["unsynced"]
        lines.append(f"unsynced {count} {'run' if count == 1 else 'runs'}; next: worldflux sync")
    if not project.has_file:
        lines.append("there is no worldflux.yaml here; next: worldflux init")
    elif not ids:
        lines.append("next: worldflux run")
    return Answer(data, "\n".join(lines))


def unsynced(project: Project, server: str, run_ids: Sequence[str]) -> int:
    """How many runs are not known to be on a server as they are here; the server is not asked."""
    from worldflux.cli.sync_session import CACHE
    from worldflux.sync import journal, snapshot

    known = journal.known(project.root / CACHE, server)
    count = 0
    for run_id in run_ids:
        entry = known.get(run_id)
        there = entry is not None and entry.final and not entry.deleted
        count += not there or entry is None or snapshot.stamp_of(project.runs_dir / run_id) != entry.stamp
    return count
