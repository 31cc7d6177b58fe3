"""`worldflux runs reap` and `attach`: what goes on elsewhere after this computer stopped looking."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from worldflux import interrupts
from worldflux.cli import render
from worldflux.cli.answer import Answer

if TYPE_CHECKING:
    from worldflux.config.project import Project


def register(actions: Any) -> None:
    """Add the two actions below `worldflux runs`."""
    reaping = actions.add_parser(
        "reap",
        help="end paid machines that a dead client left behind",
        description="Find machines by their tags, in all regions that are configured or were used lately, "
        "and end those that are past their deadline. What WorldFlux did not start is never touched.",
    )
    reaping.add_argument("runs", nargs="*", metavar="RUN", help="also end the machine of this run, now")
    reaping.add_argument("--dry-run", action="store_true", help="only show what there is")
    reaping.set_defaults(function=reap)
    attaching = actions.add_parser(
        "attach",
        help="take up a run whose client died",
        description="Find the machine of a run, show its log, bring its files home and close its record.",
    )
    attaching.add_argument(
        "run", nargs="?", default="last", metavar="RUN", help="id, start or end of it, last, last~1"
    )
    attaching.add_argument("--quiet", "-q", action="store_true", help="print only how it ended")
    attaching.set_defaults(function=attach)


def reap(args: argparse.Namespace) -> Answer:
    from worldflux.config.project import load_project
    from worldflux.runtime.dispatcher import list_runtimes

    project = load_project()
    wanted = [_run_id(project, word) for word in args.runs]
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    for name in list_runtimes():
        function = getattr(_plugin(project, name), "reap", None)
        if function is None:
            continue
        found, failed = function(wanted, end=not args.dry_run)
        rows += [{"runtime": name, **row} for row in found]
        problems += [f"{name} {line}" for line in failed]
    ended = sum(1 for row in rows if row["ended"])
    text = _table(rows) + f"{len(rows)} machines alive before, {ended} ended now"
    error = None
    if problems:
        error = {
            "code": "temporary",
            "message": "; ".join(problems),
            "hint": "machines there may be alive; try again: worldflux runs reap",
            "details": {},
        }
    return Answer(
        {"machines": rows, "ended": ended, "problems": problems},
        "\n".join([text, *(f"not asked: {line}" for line in problems)]),
        exit_code=3 if problems else 0,
        error=error,
    )


def _table(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return ""
    import time

    now = time.time()
    shown = [
        [
            row["runtime"],
            row["instance_id"],
            row["region"],
            row["run_id"],
            row["state"],
            f"{render.duration(abs(row['deadline'] - now))} {'left' if row['deadline'] > now else 'late'}",
            f"ended: {row['why']}" if row["ended"] else row["why"] or "in time",
        ]
        for row in rows
    ]
    return render.table(shown, ["runtime", "machine", "region", "run", "state", "deadline", ""]) + "\n"


def _run_id(project: Project, word: str) -> str:
    """A run's id: of this project, or typed out in full."""
    from worldflux.manifest.model import is_run_id
    from worldflux.run import store

    return word if is_run_id(word) else store.find(project.runs_dir, word, settle=False).run_id


def _plugin(project: Project, name: str) -> Any:
    """A runtime with the options that the project's configuration gives it."""
    from worldflux.cli.session import plugin_of
    from worldflux.config.compose import Composer
    from worldflux.config.recipes import group_options
    from worldflux.runtime.dispatcher import get_runtime

    if name not in group_options(project, "runtime"):
        return get_runtime(name)
    return plugin_of(Composer(project).runtime(name), project)


def attach(args: argparse.Namespace) -> Answer:
    from worldflux.cli.live import Console
    from worldflux.cli.run import and_sync, answer
    from worldflux.cli.session import make_place, plugin_of
    from worldflux.config.project import load_project
    from worldflux.config.spec import RunSpec
    from worldflux.run import store
    from worldflux.run.attach import attach as take_up
    from worldflux.run.observer import Silent

    project = load_project()
    stored = store.find(project.runs_dir, args.run, settle=False)
    asked = stored.manifest.config["resolved"] if stored.manifest is not None else {}
    spec = RunSpec.model_validate(asked)
    place = make_place(project)
    observer = Silent() if args.quiet or args.json else Console(sys.stdout)
    with interrupts.terminate_too():
        record = take_up(
            stored, spec, plugin_of(spec.runtime, project), place.install_dir, place.gate, observer
        )
    return and_sync(answer(record), record, spec, project)
