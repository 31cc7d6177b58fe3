"""`sync=on`: what was just run goes to the server, and never changes how the run ended."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from worldflux import interrupts
from worldflux.errors import WorldFluxError

if TYPE_CHECKING:
    from worldflux.cli.answer import Answer
    from worldflux.config.project import Project
    from worldflux.sync.outcome import Summary

#: Seconds of trouble after which the runs stay here for the next `worldflux sync`: nobody waits
#: for a server that is down to learn how a run went.
RETRY_SECONDS = 5.0
PATIENCE_SECONDS = 10.0


def add_to(answer: Answer, project: Project, runs_dir: Path, run_id: str) -> Answer:
    """Sync one run that has ended; the answer tells how that went, its exit code stays."""
    told, well = bring(project, runs_dir, [run_id])
    if well:
        answer.text = f"{answer.text}\n{told}"
    else:
        answer.warnings.append(told)
    return answer


def bring(project: Project, runs_dir: Path, run_ids: Sequence[str]) -> tuple[str, bool]:
    """Sync runs in a bounded time; a sentence on how it went, and whether all of them are there.

    Nothing is raised: not for a server that is down, a missing key, Ctrl-C or SIGTERM.
    """
    again = "worldflux sync brings it later"
    try:
        summary = _bring(project, runs_dir, run_ids)
    except WorldFluxError as error:
        return f"not synced: {error.problem} ({again})", False
    except KeyboardInterrupt:
        return f"not synced: stopped ({again})", False
    except Exception as error:
        return f"not synced: unexpected {type(error).__name__}: {str(error)[:200]} ({again})", False
    bad = [each for each in summary.outcomes.values() if not each.good]
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        return f"not synced: {bad[0].run_id}{more}: {' '.join(bad[0].detail.split())} ({again})", False
    from worldflux.cli.render import size

    what = run_ids[0] if len(run_ids) == 1 else f"{len(run_ids)} runs"
    return f"synced: {what} to {summary.server} ({size(summary.sent)})", True


def _bring(project: Project, runs_dir: Path, run_ids: Sequence[str]) -> Summary:
    import sys

    from worldflux.cli.sync_bar import sync_bar
    from worldflux.cli.sync_session import connect
    from worldflux.sync.plan import Options

    with (
        interrupts.terminate_too(),
        connect(
            project,
            None,
            retry_seconds=RETRY_SECONDS,
            patience=PATIENCE_SECONDS,
            tell=lambda text: None,
        ) as link,
        sync_bar(quiet=not sys.stderr.isatty()) as progress,
    ):
        return link.upload(sorted(run_ids), runs_dir, Options(), progress)


def of_sweep(project: Project, runs_dir: Path, sweep_id: str) -> str:
    """Sync all runs of a sweep that has ended, at once; the line to print."""
    from worldflux.cli.selection import of_sweep

    with suppress(WorldFluxError):
        run_ids = [each.run_id for each in of_sweep(sweep_id, runs_dir) if each.manifest is not None]
        return bring(project, runs_dir, run_ids)[0] if run_ids else ""
    return ""
