"""`worldflux status`: the project at a glance."""

from __future__ import annotations

import argparse

from worldflux.cli import render
from worldflux.cli.answer import Answer

SHOWN = 5


def register(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(function=status)


def status(args: argparse.Namespace) -> Answer:
    from worldflux.cli.runs import summarize
    from worldflux.config.project import load_project
    from worldflux.run import store

    project = load_project()
    ids = store.run_ids(project.runs_dir)
    last = [summarize(store.load(project.runs_dir, run_id)) for run_id in ids[:SHOWN]]
    data = {
        "project": project.name,
        "root": str(project.root),
        "project_file": project.has_file,
        "default_recipe": project.recipe,
        "runs": len(ids),
        "last_runs": last,
        "running": [row["run_id"] for row in last if row["status"] == "running"],
    }
    lines = [f"project  {project.name}  ({project.root})", f"runs     {len(ids)}"]
    for row in last:
        took = render.duration(row.get("duration_seconds"))
        lines.append(f"  {row['run_id']}  {row['status']:<11}  {row.get('recipe', '')}  {took}".rstrip())
    if not project.has_file:
        lines.append("there is no worldflux.yaml here; next: worldflux init")
    elif not ids:
        lines.append("next: worldflux run")
    return Answer(data, "\n".join(lines))
