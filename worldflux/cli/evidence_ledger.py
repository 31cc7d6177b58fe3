"""`worldflux evidence ledger`: is a server's ledger still what it was, and does it have our runs?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from worldflux.cli.answer import Answer
from worldflux.errors import WorldFluxError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from worldflux.config.project import Project
    from worldflux.evidence.heads import Head


class Asks(Protocol):
    """A connection to a server: JSON documents by path."""

    def get(self, path: str, query: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer of a GET request."""


def register(actions: argparse._SubParsersAction[Any]) -> None:
    parser = actions.add_parser(
        "ledger",
        help="see whether a server's ledger has only grown",
        description="Ask the server for its ledger's head, hold it against what was seen before, and fetch "
        "the proof that a run stands in it.",
    )
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="also fetch this run's proof, for evidence build"
    )
    parser.add_argument("--project", metavar="P", help="the project (default: this one)")
    parser.add_argument("--server", metavar="URL", help="the server; see worldflux auth status")
    parser.set_defaults(function=ledger)


def ledger(args: argparse.Namespace) -> Answer:
    from worldflux.cli.evidence_server import connected
    from worldflux.config.project import load_project
    from worldflux.run import store

    project = load_project()
    name = args.project or project.name
    with connected(args.server, project) as (server, asks):
        head = see_head(project, server, name, asks)
        proof = None
        if args.run:
            stored = store.find(project.runs_dir, args.run)
            proof = fetch_proof(project, server, name, stored.folder, stored.run_id, asks)
    data = {
        "server": server, "project": name, "origin": head.origin, "size": head.size, "root": head.root,
        "key": head.key, "proof": None if proof is None else str(proof),
    }  # fmt: skip
    lines = [f"{head.origin}: {head.size} entries, grown from what was seen before", f"  key {head.key}"]
    if proof is not None:
        lines.append(f"  proof {proof}")
    return Answer(data, "\n".join(lines))


def see_head(project: Project, server: str, name: str, asks: Asks) -> Head:
    """The ledger's head, checked against what this project has seen, and remembered.

    Raises:
        Rewritten: the ledger was rewritten.
    """
    from worldflux.evidence.heads import Heads

    def steps(old: int, new: int) -> Sequence[str]:
        found = asks.get("/api/sync/consistency", {"project": name, "from": old, "to": new})
        proof = found.get("proof")
        return proof if isinstance(proof, list) else []

    document = asks.get("/api/sync/ledger-head", {"project": name})
    return Heads(project.root / ".worldflux").see(server, name, document, steps)


def fetch_proof(
    project: Project, server: str, name: str, folder: Path, run_id: str, asks: Asks
) -> Path | None:
    """Keep the server's proof that a run stands in its ledger; None when it has none for this record.

    Raises:
        WorldFluxError: what the server says is no such proof.
    """
    import hashlib

    from worldflux.cli.evidence_packing import PROOFS
    from worldflux.evidence.heads import Heads, check_proof
    from worldflux.manifest.storage import write_bytes_atomic

    text = asks.get(f"/api/runs/{run_id}/signature", {}).get("proof")
    head = Heads(project.root / ".worldflux").known(server, name)
    if not isinstance(text, str) or head is None:
        return None
    sha256 = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    try:
        check_proof(text, head, run_id, sha256)
    except WorldFluxError as error:
        if "manifest_sha256" in error.problem:
            return None  # the server has an earlier record of the run
        raise
    place = project.root / ".worldflux" / PROOFS / f"{run_id}.tlog-proof"
    place.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(place, text.encode())
    return place
