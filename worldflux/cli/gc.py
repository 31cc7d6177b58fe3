"""`worldflux runs gc`: give back the space of caches that nothing uses any more."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path

from worldflux.cli import render
from worldflux.cli.answer import Answer
from worldflux.errors import UsageError

DEFAULT_AGE = "30d"


def register(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    purpose = "remove unused caches"
    text = "Remove environments that no run has used for a while, and what crashes left behind. Runs are never removed."
    parser = actions.add_parser("gc", help=purpose, description=text)
    parser.add_argument("--envs", action="store_true", help="only environments, not remembered compositions")
    parser.add_argument(
        "--older-than", default=DEFAULT_AGE, metavar="AGE", help="such as 12h or 30d (default 30d)"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed, remove nothing")
    parser.set_defaults(function=collect)


def collect(args: argparse.Namespace) -> Answer:
    from worldflux.cli.session import home_dir
    from worldflux.config.project import load_project
    from worldflux.runtime.venvs.collect import collect as collect_environments

    age = _seconds(args.older_than)
    removed: list[dict[str, object]] = [
        {"path": str(each.path), "kind": each.kind, "bytes": each.bytes}
        for each in collect_environments(home_dir() / "envs", max_age_seconds=age, dry_run=args.dry_run)
    ]
    if not args.envs:
        removed += _compositions(load_project().root, args.dry_run)
    total = sum(int(str(each["bytes"])) for each in removed)
    verb = "would remove" if args.dry_run else "removed"
    lines = [f"{each['kind']:<12} {render.size(int(str(each['bytes'])))}  {each['path']}" for each in removed]
    lines.append(f"{verb} {len(removed)} entries, {render.size(total)}")
    return Answer({"removed": removed, "bytes": total, "dry_run": args.dry_run}, "\n".join(lines))


def _compositions(root: Path, dry_run: bool) -> list[dict[str, object]]:
    """Remove the remembered compositions of a project, those of earlier versions too, and list them."""
    from worldflux.config.cache import FOLDER, OLD_FOLDERS

    removed: list[dict[str, object]] = []
    for folder in (root / FOLDER, *(root / old for old in OLD_FOLDERS)):
        for path in sorted(each for each in folder.glob("*") if each.is_file()):
            with suppress(FileNotFoundError):
                removed.append({"path": str(path), "kind": "composition", "bytes": path.stat().st_size})
                if not dry_run:
                    path.unlink()
        if not dry_run:
            with suppress(OSError):
                folder.rmdir()
    return removed


def _seconds(text: str) -> float:
    import re

    match = re.fullmatch(r"(\d+)([smhd])", text.strip())
    if match is None:
        raise UsageError(f"--older-than {text}: is not an age", "write 12h, 7d or 0s")
    return float(int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]])
