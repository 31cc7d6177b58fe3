"""A sync put together: whose key, which server, the journal, the gate, and where notices go."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worldflux.config.project import Project
    from worldflux.manifest.secrets import Gate
    from worldflux.sync.client import Client
    from worldflux.sync.outcome import Summary
    from worldflux.sync.plan import Options
    from worldflux.sync.progress import Progress
    from worldflux.sync.wire import Hello

#: Below the project's folder: caches that may be deleted at any time.
CACHE = ".worldflux"


@dataclass(frozen=True)
class Connection:
    """A server that has been greeted.

    Attributes:
        gate: knows the secrets of this process, the key among them.
        tell: told in a sentence what did not go well beside the sync.
    """

    client: Client
    hello: Hello
    gate: Gate
    project: Project
    tell: Callable[[str], None] = lambda text: None

    def upload(
        self, run_ids: Sequence[str], runs_dir: Path, options: Options, progress: Progress | None = None
    ) -> Summary:
        """Bring runs to the server, as `Upload.run`, and what belongs to them: see `after_sync`.

        Raises:
            Rewritten: the runs are there, and the server's ledger is not what it was.
        """
        from worldflux.cli.evidence_server import after_sync
        from worldflux.sync.journal import Journal
        from worldflux.sync.locks import RunLocks
        from worldflux.sync.upload import Upload

        cache = self.project.root / CACHE
        journal = Journal(cache, self.client.origin, self.hello.workspace)
        locks = RunLocks(cache, self.client.origin)
        work = Upload(self.client, self.hello, runs_dir, journal, locks, self.gate, options, progress)
        try:
            summary = work.run(run_ids)
        finally:
            locks.close()
        for sentence in after_sync(self, runs_dir, _to_follow_up(summary, runs_dir), options.project):
            self.tell(sentence)
        return summary


def _to_follow_up(summary: Summary, runs_dir: Path) -> list[str]:
    """Runs that bring evidence along, and one of each project, whose ledger is looked at."""
    from worldflux.cli.evidence_packing import ARCHIVE

    there = [each.run_id for each in summary.outcomes.values() if each.good]
    named = {*summary.projects.values(), *there[-1:]}
    return [run_id for run_id in there if run_id in named or (runs_dir / run_id / ARCHIVE).is_file()]


def notice(text: str) -> None:
    """Tell a person something while the command goes on."""
    from worldflux.cli.render import safe_line

    print(safe_line(text), file=sys.stderr, flush=True)


def make_gate(project: Project, token: str = "") -> Gate:
    """The secret gate of a sync; it knows the key, too."""
    import os

    from worldflux.manifest.secrets import Gate

    extra = {"the API key": token} if token else None
    return Gate.from_environment(os.environ, extra=extra, allow=project.allow_secrets)


@contextmanager
def connect(
    project: Project,
    server: str | None,
    *,
    retry_seconds: float,
    connections: int = 8,
    patience: float | None = None,
    tell: Callable[[str], None] = notice,
) -> Iterator[Connection]:
    """Greet the server that a command is about, with the key for it.

    Args:
        server: what was typed; else what the environment, the project or the last sign-in name.
        retry_seconds: time that may be spent on trouble.
        patience: seconds that the server may be silent; half a minute by default.

    Raises:
        AccessError: no key, or one that is not accepted.
        TemporaryError: the server does not answer.
    """
    from worldflux.cli import cloud_session
    from worldflux.sync.client import Client
    from worldflux.sync.http import Channel
    from worldflux.sync.retries import Budget

    credential = cloud_session.require(server)
    channel = Channel(credential, Budget(retry_seconds), tell, connections, patience)
    try:
        client = Client(channel)
        yield Connection(client, client.hello(), make_gate(project, credential.token), project, tell)
    finally:
        channel.close()
