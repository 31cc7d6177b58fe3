"""What every way of making evidence shares: the key, the gate, the ledger's proof, the progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.errors import WorldFluxError

if TYPE_CHECKING:
    from worldflux.config.project import Project
    from worldflux.evidence.build import Built, Options
    from worldflux.evidence.dsse import Signer
    from worldflux.run.engine import RunRecord

#: Folder in the project's `.worldflux` with the proofs that servers gave: `<run_id>.tlog-proof`.
PROOFS = "ledger-proofs"
ARCHIVE = "evidence.zip"
_SHOWN_FROM = 256 * 1024 * 1024


def signer_of(
    project: Project, *, named: str | None = None, unsigned: bool = False, keyless: bool = False
) -> Signer | None:
    """Who signs: the key that is named, else the key `default` or the only one there is, or nobody.

    Raises:
        UsageError: there is no such key.
        RefusedError: others may read it, or it lies in the folder of runs.
    """
    from worldflux.cli.evidence_keys import keys_dir
    from worldflux.evidence import keys
    from worldflux.evidence.build import refuse_inside_runs

    if unsigned:
        return None
    if keyless:
        from worldflux.evidence.keyless import KeylessSigner

        return KeylessSigner(interactive=sys.stdin.isatty())
    folder = keys_dir()
    if named is None:
        there = keys.names(folder)
        if keys.DEFAULT not in there and len(there) != 1:
            return None
        named = keys.DEFAULT if keys.DEFAULT in there else there[0]
    place = Path(named) if "/" in named or named.endswith(".pem") else folder
    refuse_inside_runs(place, project.runs_dir)
    return keys.load(folder, named)


def pack(
    project: Project, folder: Path, out: Path, options: Options, *, archive: bool, replace: bool, quiet: bool
) -> Built:
    """Build a package with this process's secret gate."""
    from worldflux.evidence.build import build
    from worldflux.manifest.secrets import Gate

    gate = Gate.from_environment(os.environ, allow=project.allow_secrets)
    with reading_bar("pack", quiet=quiet) as progress:
        return build(folder, out, gate, options, archive=archive, replace=replace, progress=progress)


def proof_of(project: Project, folder: Path) -> str | None:
    """The ledger's proof for this very record of a run; None when no server gave one."""
    import hashlib
    import json

    from worldflux.evidence.proof import LedgerProof, ProofError

    try:
        data = (folder / "manifest.json").read_bytes()
        run_id = json.loads(data)["client_run_id"]
        text = (project.root / ".worldflux" / PROOFS / f"{run_id}.tlog-proof").read_text("utf-8")
        entry = LedgerProof.parse(text).entry()
    except (OSError, ValueError, KeyError, TypeError, ProofError):
        return None
    return text if entry.get("manifest_sha256") == hashlib.sha256(data).hexdigest() else None


def after_run(project: Project, record: RunRecord) -> str:
    """Build `evidence.zip` of a run that has just ended; a sentence for people, also when it fails.

    The run's own outcome stays what it is.
    """
    from worldflux.evidence.build import Options

    try:
        options = Options(key=signer_of(project), proof=proof_of(project, record.folder))
        out = record.folder / ARCHIVE
        built = pack(project, record.folder, out, options, archive=True, replace=True, quiet=True)
    except WorldFluxError as error:
        return f"no evidence was made: {error.problem}; {error.hint}"
    signed = f"signed by {built.signer[:16]}" if built.signer else "unsigned: worldflux evidence key create"
    return f"evidence: {built.path}, {signed}"


@contextmanager
def reading_bar(what: str, *, quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar on a terminal for what takes seconds; nothing elsewhere."""
    from worldflux.cli.render import is_live

    if quiet or not is_live(sys.stderr):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        console=Console(file=sys.stderr), transient=True,
    )  # fmt: skip
    tasks: dict[str, Any] = {}

    def told(path: str, done: int, total: int) -> None:
        if total < _SHOWN_FROM:
            return
        if not tasks:
            bar.start()
            tasks[what] = bar.add_task(what, total=total)
        bar.update(tasks[what], completed=done, total=total)

    try:
        yield told
    finally:
        bar.stop()
