"""`worldflux runs`: what was recorded."""

from __future__ import annotations

import argparse
from typing import Any

from worldflux.cli import compare, gc, render, rerun
from worldflux.cli.answer import Answer

DEFAULT_LIMIT = 20


def register(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list", help="the newest runs", description="The newest runs of this project."
    )
    listing.add_argument("--project", metavar="P", help="only runs filed under this project")
    listing.add_argument("--recipe", metavar="R", help="only runs of this recipe")
    listing.add_argument("--status", metavar="S", help="only runs with this status")
    listing.add_argument(
        "--limit", "-n", type=int, default=DEFAULT_LIMIT, metavar="N", help="how many; 0 is all"
    )
    listing.add_argument("--remote", action="store_true", help="the runs on the server")
    listing.add_argument(
        "--filter", metavar="F", help="with --remote: such as 'status = failed and metrics.loss < 0.1'"
    )
    listing.add_argument("--sort", metavar="BY", help="with --remote: such as -created_at, metrics.loss")
    listing.add_argument(
        "--server", metavar="URL", help="with --remote: the server; see worldflux auth status"
    )
    listing.set_defaults(function=list_runs)
    showing = actions.add_parser("show", help="one run in full", description="One run in full.")
    showing.add_argument(
        "run", nargs="?", default="last", metavar="RUN", help="id, start or end of it, last, last~1"
    )
    showing.add_argument("--log", action="store_true", help="print the run's log instead")
    showing.set_defaults(function=show_run)
    compare.register(actions)
    rerun.register(actions)
    gc.register(actions)
    from worldflux.cli import remote

    remote.register(actions)


def summarize(stored: Any) -> dict[str, Any]:
    """One run as a row."""
    manifest = stored.manifest
    if manifest is None:
        return {"run_id": stored.run_id, "status": "unreadable", "problem": stored.problem}
    run = manifest.run
    return {
        "run_id": stored.run_id,
        "project": run["project"],
        "name": run["name"],
        "recipe": manifest.recipe["name"],
        "runtime": manifest.runtime["name"],
        "status": run["status"],
        "created_at": run["created_at"],
        "duration_seconds": run["duration_seconds"],
        "metrics": {name: metric["value"] for name, metric in manifest.metrics.items()},
    }


def list_runs(args: argparse.Namespace) -> Answer:
    from worldflux.config.project import load_project
    from worldflux.errors import UsageError
    from worldflux.manifest.model import STATUSES
    from worldflux.run import store

    if args.status and args.status not in STATUSES:
        from worldflux.config.nearest import did_you_mean

        raise UsageError(f"there is no status `{args.status}`", did_you_mean(args.status, STATUSES))
    if args.limit < 0:
        raise UsageError("--limit must be 0 or more", "worldflux runs list --limit 20")
    if args.remote:
        from worldflux.cli.runs_remote import list_remote

        return list_remote(args)
    typed = next((name for name in ("filter", "sort", "server") if getattr(args, name) is not None), None)
    if typed is not None:
        raise UsageError(f"--{typed} is for runs on a server", f"worldflux runs list --remote --{typed} ...")
    project = load_project()
    wanted = {"project": args.project, "recipe": args.recipe, "status": args.status}
    rows: list[dict[str, Any]] = []
    more = False
    for stored in store.newest(project.runs_dir):
        row = summarize(stored)
        if any(value is not None and row.get(key) != value for key, value in wanted.items()):
            continue
        if args.limit and len(rows) == args.limit:
            more = True
            break
        rows.append(row)
    return Answer({"runs": rows, "more": more}, _list_text(rows, more, project.runs_dir))


def _list_text(rows: list[dict[str, Any]], more: bool, runs_dir: Any) -> str:
    if not rows:
        return f"no runs in {runs_dir}\nnext: worldflux run"
    shown = [
        [
            row["run_id"][:8] + ".." + row["run_id"][-4:],
            row["status"],
            row.get("recipe", ""),
            row.get("runtime", ""),
            str(row.get("created_at", ""))[:16].replace("T", " "),
            render.duration(row.get("duration_seconds")),
            "  ".join(f"{k}={render.number(v)}" for k, v in list(row.get("metrics", {}).items())[:3]),
        ]
        for row in rows
    ]
    text = render.table(shown, ["run", "status", "recipe", "runtime", "created (UTC)", "time", "metrics"])
    return text + ("\n(older runs: --limit 0)" if more else "")


def show_run(args: argparse.Namespace) -> Answer:
    from worldflux.config.project import load_project
    from worldflux.errors import WorldFluxError
    from worldflux.run import store

    stored = store.find(load_project().runs_dir, args.run)
    if stored.manifest is None:
        raise WorldFluxError(f"run {stored.run_id}: {stored.problem}", f"ls {stored.folder}", code="manifest")
    if args.log:
        return _log(stored)
    data = {"run_id": stored.run_id, "folder": str(stored.folder), "manifest": stored.manifest.to_json()}
    return Answer(data, _show_text(stored))


def _log(stored: Any) -> Answer:
    import sys

    path = stored.folder / "logs" / f"{stored.run_id}.log"
    lines = path.read_bytes().decode("utf-8", "backslashreplace").split("\n") if path.is_file() else []
    color = render.use_color(sys.stdout)
    text = "\n".join(render.safe_line(line, color=color) for line in lines).rstrip("\n")
    return Answer({"run_id": stored.run_id, "log": str(path), "lines": len(lines)}, text)


def _show_text(stored: Any) -> str:
    from worldflux.cli.live import describe_metric

    manifest = stored.manifest
    run = manifest.run
    git = manifest.git or {}
    lines = [
        f"run       {stored.run_id}",
        f"status    {run['status']}" + (f" (exit code {run['exit_code']})" if run["exit_code"] else ""),
        f"recipe    {manifest.recipe['name']}  runtime {manifest.runtime['name']}  project {run['project']}",
        f"created   {run['created_at']}  took {render.duration(run['duration_seconds']) or '-'}",
        f"overrides {' '.join(manifest.config['overrides']) or '-'}",
    ]
    if run["error"]:
        lines.append(f"error     {render.safe_line(run['error']['message'])}")
    if git.get("commit"):
        lines.append(f"git       {git['commit'][:12]}{' with changes' if git.get('dirty') else ''}")
    for title, entries in (
        ("metric   ", [f"{name} = {describe_metric(metric)}" for name, metric in manifest.metrics.items()]),
        (
            "artifact ",
            [
                f"{a['path']}  {a['bytes']:,} bytes{'' if a['commit'] else '  (digest only)'}"
                for a in manifest.artifacts
            ],
        ),
        ("log      ", [f"{log['path']}  {log['bytes']:,} bytes" for log in manifest.logs]),
    ):
        lines += [f"{title} {entry}" for entry in entries]
    return "\n".join([*lines, f"folder    {stored.folder}"])
