"""`worldflux runs list --remote`: the runs on a server, filtered and sorted there."""

from __future__ import annotations

import argparse
import json
from typing import Any

from worldflux.cli import render
from worldflux.cli.answer import Answer

#: Rows of one page.
PAGE = 500

#: Seconds that trouble may take: somebody waits for the list.
RETRY_SECONDS = 20.0

HEADER = ["run", "status", "project", "recipe", "runtime", "created (UTC)", "time", "metrics"]


def list_remote(args: argparse.Namespace) -> Answer:
    """A page, or several, of the server's runs."""
    from worldflux.cli.sync_session import connect
    from worldflux.config.project import load_project

    project = load_project()
    words = [args.filter] if args.filter else []
    words += [f"{name} = {_quoted(value)}" for name, value in _named(args) if value is not None]
    query: dict[str, Any] = {
        "project": args.project,
        "filter": " and ".join(f"({word})" if len(words) > 1 else word for word in words) or None,
        "sort": args.sort,
    }
    rows: list[dict[str, Any]] = []
    with connect(project, args.server, retry_seconds=RETRY_SECONDS) as link:
        total, more = 0, True
        while more and (not args.limit or len(rows) < args.limit):
            query["limit"] = min(PAGE, args.limit - len(rows)) if args.limit else PAGE
            page = link.client.list_runs(query)
            rows += [_row(each) for each in page.get("runs") or () if isinstance(each, dict)]
            total, query["cursor"] = page.get("total") or 0, page.get("next")
            more = query["cursor"] is not None
        server, workspace = link.client.origin, link.hello.workspace
    data = {"runs": rows, "more": more, "server": server, "workspace": workspace, "total": total}
    return Answer(data, _text(rows, more, server, workspace))


def _named(args: argparse.Namespace) -> tuple[tuple[str, str | None], ...]:
    return (("recipe", args.recipe), ("status", args.status))


def _quoted(text: str) -> str:
    """A text in the filter's own quotes."""
    return json.dumps(text, ensure_ascii=False)


def _row(found: dict[str, Any]) -> dict[str, Any]:
    """A run of the server in the form of the local list, with what only a server knows."""
    text = {
        name: str(found.get(name) or "") for name in ("project", "name", "recipe", "runtime", "created_at")
    }
    metrics = found.get("metrics") or {}
    return {
        "run_id": str(found.get("id", "")),
        **text,
        "status": str(found.get("status", "")),
        "duration_seconds": found.get("duration_seconds"),
        "metrics": {name: each["value"] for name, each in metrics.items() if each.get("value") is not None},
        "lost": bool(found.get("lost")),
        "received_at": str(found.get("received_at") or ""),
        "tags": [str(tag) for tag in found.get("tags") or ()],
        "evidence": str(found.get("evidence") or "none"),
    }


def _text(rows: list[dict[str, Any]], more: bool, server: str, workspace: str) -> str:
    if not rows:
        return f"no such run on {server} (workspace {workspace})\nnext: worldflux sync"
    shown = [
        [
            row["run_id"][:8] + ".." + row["run_id"][-4:],
            row["status"],
            row["project"],
            row["recipe"],
            row["runtime"],
            row["created_at"][:16].replace("T", " "),
            render.duration(row["duration_seconds"]),
            "  ".join(f"{k}={render.number(v)}" for k, v in list(row["metrics"].items())[:3]),
        ]
        for row in rows
    ]
    return render.table(shown, HEADER) + ("\n(more runs: --limit 0)" if more else "")
