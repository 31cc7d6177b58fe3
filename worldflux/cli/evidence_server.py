"""Evidence and the server: the ledger's head is watched, proofs are fetched, archives are uploaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from worldflux.cli.evidence_ledger import Asks, fetch_proof, see_head
from worldflux.cli.evidence_packing import ARCHIVE
from worldflux.errors import RefusedError, WorldFluxError

if TYPE_CHECKING:
    from worldflux.cli.sync_session import Connection
    from worldflux.config.project import Project
    from worldflux.sync.client import Client
    from worldflux.sync.http import Reply

_RETRY_SECONDS = 60.0
_OUTBOX = "evidence"


class Ask:
    """GET requests through a connection that is signed in."""

    def __init__(self, client: Client) -> None:
        self._channel = client.channel

    def get(self, path: str, query: Mapping[str, Any]) -> Mapping[str, Any]:
        """The JSON object that the server answers.

        Raises:
            WorldFluxError: any other answer.
        """
        reply = self._channel.send("GET", f"{path}?{urlencode(query)}" if query else path)
        return _document(reply)


class Missing(WorldFluxError):
    """The server has no such thing."""

    code = "not-found"


def _document(reply: Reply) -> Mapping[str, Any]:
    if reply.status == 404:
        raise Missing(f"the server refused: {reply.why}", "worldflux sync brings runs to the server")
    if not 200 <= reply.status < 300:
        kind = RefusedError if reply.status in (409, 413, 422) else WorldFluxError
        hint = str(reply.problem.get("hint") or "worldflux auth status")
        raise kind(
            f"the server refused: {reply.why}", hint[:500], code=str(reply.problem.get("code", "server"))[:64]
        )
    found = reply.document
    return found if isinstance(found, dict) else {}


@contextmanager
def connected(server: str | None, project: Project) -> Iterator[tuple[str, Asks]]:
    """The origin of the server that a command is about, and a way to ask it.

    Raises:
        AccessError: not signed in there.
        TemporaryError: it does not answer.
    """
    from worldflux.cli.sync_session import connect

    with connect(project, server, retry_seconds=_RETRY_SECONDS) as link:
        yield link.client.origin, Ask(link.client)


def after_sync(
    link: Connection, runs_dir: Path, run_ids: Sequence[str], project: str | None = None
) -> list[str]:
    """What follows a sync: ledgers are compared with what was seen before, archives are brought along.

    Args:
        run_ids: runs that are on the server now.
        project: where they were filed instead of under their own project's name.

    Returns:
        Sentences about what did not go well.

    Raises:
        Rewritten: a ledger was rewritten. This is not for a warning to be overlooked.
    """
    from worldflux.evidence.heads import Rewritten
    from worldflux.run import store

    asks, said = Ask(link.client), []
    ledgers: dict[str, bool] = {}
    for run_id in run_ids:
        folder = runs_dir / run_id
        manifest = store.load(runs_dir, run_id, settle=False).manifest
        if manifest is None or not manifest.final:
            continue
        name = project or manifest.run["project"]
        try:
            if name not in ledgers:
                ledgers[name] = _has_ledger(link, name, asks)
            if ledgers[name] and (folder / ARCHIVE).is_file():
                fetch_proof(link.project, link.client.origin, name, folder, run_id, asks)
                upload(link, folder, run_id)
        except Rewritten:
            raise
        except WorldFluxError as error:
            said.append(f"evidence of {run_id}: {error.problem}")
    return said


def _has_ledger(link: Connection, name: str, asks: Asks) -> bool:
    """Look at a project's ledger; a server without one is taken as it is.

    Raises:
        Rewritten: it is not what it was.
    """
    from worldflux.evidence.heads import Heads, Rewritten

    origin = link.client.origin
    try:
        see_head(link.project, origin, name, asks)
    except Missing:
        before = Heads(link.project.root / ".worldflux").known(origin, name)
        if before is not None and before.size:
            raise Rewritten(
                f"the ledger of project {name} on {origin} is gone, it had {before.size} entries",
                "keep .worldflux/ledger.json: its checkpoint is signed and shows what the server said before",
            ) from None
        return False
    return True


def upload(link: Connection, folder: Path, run_id: str) -> Mapping[str, Any]:
    """Bring a run's `evidence.zip`, with the ledger's proof when there is one, to the server: its verdict.

    The run folder is not changed: the proof is added to a copy.

    Raises:
        RefusedError: the server does not take it.
        WorldFluxError: it could not be sent.
    """
    import json

    from worldflux.cli.evidence_packing import proof_of
    from worldflux.cli.sync_session import CACHE
    from worldflux.evidence.repack import with_proof
    from worldflux.run.collect import digest_file
    from worldflux.sync import blobs
    from worldflux.sync.snapshot import Committed

    proof = proof_of(link.project, folder)
    place, name, copy = folder, ARCHIVE, None
    if proof is not None:
        place, name = link.project.root / CACHE / _OUTBOX, f"{run_id}.zip"
        copy = place / name
        with_proof(folder / ARCHIVE, copy, proof)
    try:
        size, sha256 = digest_file(place / name)
        missing = link.client.missing_blobs([sha256])
        if sha256 in missing:
            artifact = Committed(path=name, sha256=sha256, bytes=size)
            blobs.upload(link.client, place, artifact, missing[sha256], link.hello.limits.patch_bytes)
        body = json.dumps({"sha256": sha256}).encode()
        headers = {"Content-Type": "application/json"}
        return _document(link.client.channel.send("PUT", f"/api/runs/{run_id}/evidence", body, headers))
    finally:
        if copy is not None:
            copy.unlink(missing_ok=True)
