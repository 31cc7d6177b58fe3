"""`worldflux sync`: bring recorded runs to a server."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux import interrupts
from worldflux.cli.answer import Answer
from worldflux.cli.sync_text import previewed, synced
from worldflux.errors import UsageError

if TYPE_CHECKING:
    from worldflux.cli.sync_session import Connection
    from worldflux.config.project import Project
    from worldflux.sync.outcome import Summary
    from worldflux.sync.plan import Options

MOST_JOBS = 32


def register(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Bring runs to a server: manifest, metrics, log lines and committed artifacts, nothing else. "
        "Run folders are not changed; running it again sends what is missing and never makes a duplicate."
    )
    parser.add_argument(
        "run", nargs="*", metavar="RUN", help="ids, starts or ends of ids, last, or folders; all by default"
    )
    parser.add_argument("--project", metavar="P", help="file the runs under this project on the server")
    parser.add_argument(
        "--all", action="store_true", help="every run, and read again what is known to be there"
    )
    parser.add_argument("--dry-run", action="store_true", help="show every range of bytes that would leave")
    parser.add_argument(
        "--follow", action="store_true", help="stay with runs that are going on until they end"
    )
    parser.add_argument("--no-logs", action="store_true", help="keep log lines here")
    parser.add_argument(
        "--force", action="store_true", help="bring back runs that were deleted on the server"
    )
    parser.add_argument("--server", metavar="URL", help="the server; see worldflux auth status")
    parser.add_argument("--jobs", type=int, default=4, metavar="N", help="transfers at the same time (4)")
    parser.add_argument(
        "--retry-for", default="10m", metavar="TIME", help="how long trouble may take in all (10m)"
    )
    parser.epilog = (
        "Log lines are sent as they are: a secret that a program prints into its log leaves with them, unless "
        "--no-logs. Exit codes: 0 all runs are there, 3 try again, 4 something was refused (a secret, a "
        "conflict, deleted on the server), 5 not signed in."
    )
    parser.set_defaults(function=sync)


def sync(args: argparse.Namespace) -> Answer:
    from worldflux.cli.sync_session import connect
    from worldflux.config.project import load_project

    project = load_project()
    options = _options(args)
    selected = select(args.run, project, follow=args.follow)
    if args.run and args.all:
        raise UsageError("--all and the name of a run exclude each other", "worldflux sync --all")
    if args.dry_run:
        return _dry_run(args, project, options, selected)
    with (
        interrupts.terminate_too(),
        connect(project, args.server, retry_seconds=_seconds(args.retry_for), connections=args.jobs) as link,
    ):
        left_open: list[str] = []
        if args.follow:
            summary, left_open = _follow(link, options, selected)
        else:
            summary = _upload(link, options, selected, quiet=args.json)
    return synced(summary, left_open)


def _options(args: argparse.Namespace) -> Options:
    import re

    from worldflux.manifest.names import PROJECT_NAME
    from worldflux.sync.plan import Options

    if args.project is not None and re.fullmatch(PROJECT_NAME, args.project) is None:
        raise UsageError(
            f"--project {args.project!r} is no name of a project",
            "letters, digits and . _ -, at most 64 of them",
        )
    if not 1 <= args.jobs <= MOST_JOBS:
        raise UsageError(f"--jobs must be 1 to {MOST_JOBS}", "worldflux sync --jobs 4")
    if args.follow and args.dry_run:
        raise UsageError("--follow and --dry-run exclude each other", "worldflux sync --dry-run")
    return Options(
        project=args.project, logs=not args.no_logs, force=args.force, reread=args.all, jobs=args.jobs
    )


def _seconds(text: str) -> float:
    """Seconds from `90s`, `10m` or a number; 0 is never to try again."""
    import re

    match = re.fullmatch(r"(\d{1,6})(ms|s|m|h)?", text.strip())
    if match is None:
        raise UsageError(f"--retry-for {text!r} is no time", "such as 30s, 10m, 1h; 0 gives up at once")
    return int(match[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}[match[2] or "s"]


def select(wanted: Sequence[str], project: Project, *, follow: bool = False) -> dict[Path, list[str]]:
    """The runs that are meant, oldest first, by the folder that they lie in.

    Args:
        wanted: ids, starts or ends of ids, `last`, a run's folder, or a folder of runs; none
            means all runs of the project, or, to `follow`, those that are going on.

    Raises:
        UsageError: one of them means nothing, or several runs.
    """
    from worldflux.run import store

    found: dict[Path, set[str]] = {}
    for word in wanted:
        path = Path(word).expanduser()
        if "/" in word and path.is_dir():
            path = path.resolve()
            if store.RUN_ID.match(path.name):
                found.setdefault(path.parent, set()).add(path.name)
                continue
            if inside := store.run_ids(path):
                found.setdefault(path, set()).update(inside)
                continue
            raise UsageError(f"there is no run in {path}", "worldflux runs list")
        stored = store.find(project.runs_dir, word, settle=False)
        found.setdefault(project.runs_dir, set()).add(stored.run_id)
    if not wanted:
        ids = store.run_ids(project.runs_dir)
        found[project.runs_dir] = {each for each in ids if not follow or _is_open(project.runs_dir, each)}
    return {folder: sorted(ids) for folder, ids in found.items()}


def _is_open(runs_dir: Path, run_id: str) -> bool:
    from worldflux.run import store

    manifest = store.load(runs_dir, run_id, settle=False).manifest
    return manifest is not None and not manifest.final


def _upload(link: Connection, options: Options, selected: dict[Path, list[str]], *, quiet: bool) -> Summary:
    from worldflux.cli.sync_bar import sync_bar
    from worldflux.sync.outcome import Summary

    whole = Summary(link.client.origin, link.hello.workspace)
    with sync_bar(quiet=quiet) as progress:
        for runs_dir, ids in selected.items():
            whole.take(link.upload(ids, runs_dir, options, progress))
    return whole


def _follow(link: Connection, options: Options, selected: dict[Path, list[str]]) -> tuple[Summary, list[str]]:
    """Stay with runs until they end; what the last look at each of them brought, and those left open."""
    from worldflux.cli.sync_session import notice
    from worldflux.sync.follow import Follow
    from worldflux.sync.outcome import Summary
    from worldflux.sync.retries import BUDGET_SECONDS, Budget

    whole = Summary(link.client.origin, link.hello.workspace)
    left_open: list[str] = []
    for runs_dir, ids in selected.items():

        def finish(run_id: str, runs_dir: Path = runs_dir) -> None:
            link.client.channel.budget = Budget(BUDGET_SECONDS)
            whole.take(link.upload([run_id], runs_dir, options))
            notice(f"{run_id}  {whole.outcomes[run_id].outcome}")

        notice(f"following {len(ids)} {'run' if len(ids) == 1 else 'runs'}; Ctrl-C stops, nothing is lost")
        follow = Follow(link.client, link.hello, runs_dir, link.gate, options, notice, finish)
        left_open += follow.run(ids)
    return whole, left_open


def _dry_run(
    args: argparse.Namespace, project: Project, options: Options, selected: dict[Path, list[str]]
) -> Answer:
    """What would leave. Without a key nobody is asked, and everything would."""
    from contextlib import ExitStack

    from worldflux.cli.sync_session import connect, make_gate
    from worldflux.errors import AccessError
    from worldflux.sync.preview import preview

    warnings: list[str] = []
    rows: list[dict[str, Any]] = []
    link: Connection | None = None
    with ExitStack() as stack:
        try:
            link = stack.enter_context(connect(project, args.server, retry_seconds=_seconds(args.retry_for)))
        except AccessError as error:
            if error.code != "not-signed-in":
                raise
            warnings.append(f"{error.problem}: shown is what would leave for a server that has nothing")
        gate = link.gate if link is not None else make_gate(project)
        for runs_dir, ids in selected.items():
            rows += preview(ids, runs_dir, options, gate, link.client if link is not None else None)
    return previewed(
        rows, link.client.origin if link else None, link.hello.workspace if link else None, warnings
    )
