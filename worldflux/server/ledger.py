"""The append-only log of a project's runs: a Merkle tree (RFC 6962) over what was taken in, and a hash chain.

An entry is written in the transaction that commits a run, so what is acknowledged is in the log. The head
is kept as the roots of the full subtrees (`frontier`), so an append costs the same however long the log is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from worldflux.evidence import merkle
from worldflux.manifest import io
from worldflux.server.problems import Problem
from worldflux.server.tables import ledger_entries, ledger_heads, projects

#: What the first entry's `prev` is.
GENESIS = hashlib.sha256(b"worldflux-ledger/v1\n").hexdigest()
#: What can happen to a run's record.
KINDS = ("run.committed", "run.superseded", "run.tombstoned")
_VERSION = 1
#: Names in one `IN (...)`.
_MOST_NAMES = 5000
#: Leaves whose common hash is kept once they are all there.
_TILE = 256


#: (kind, run id, attempt, sha256 of the manifest)
Event = tuple[str, str, int, str]


def append(
    connection: Connection,
    project_pk: int,
    kind: str,
    run_id: str,
    attempt: int,
    manifest_sha256: str,
    at: str,
) -> dict[str, int]:
    """Write one entry; as `append_all`."""
    return append_all(connection, project_pk, [(kind, run_id, attempt, manifest_sha256)], at)[0]


def append_all(
    connection: Connection, project_pk: int, events: Sequence[Event], at: str
) -> list[dict[str, int]]:
    """Write entries, in the caller's transaction; an event that its run's newest entry states is not repeated.

    Args:
        events: in order; `kind` is one of `KINDS`.
        at: the server's time, in the manifest's form.

    Returns:
        For each event `seq`, from 0, of its entry, and `size`, how many entries the log has with it.

    Raises:
        Problem: 409 when another transaction has changed the head in between; nothing of this one holds.
        ValueError: another kind.
    """
    if any(kind not in KINDS for kind, *_ in events):
        raise ValueError("no such kind of entry")
    head = _locked_head(connection, project_pk)
    newest = _newest_of(connection, head.workspace_id, project_pk, [run_id for _, run_id, *_ in events])
    chain, size = head.chain, head.size
    frontier = [bytes.fromhex(each) for each in json.loads(head.frontier)]
    rows: list[dict[str, Any]] = []
    told: list[dict[str, int]] = []
    for kind, run_id, attempt, manifest_sha256 in events:
        known = newest.get(run_id)
        if known is not None and known[1:] == (kind, attempt, manifest_sha256):
            told.append({"seq": known[0], "size": size})
            continue
        leaf = merkle.leaf_hash(entry_body(size, chain, kind, run_id, attempt, manifest_sha256, at))
        chain = hashlib.sha256(bytes.fromhex(chain) + leaf).hexdigest()
        frontier = merkle.append(frontier, size, leaf)
        rows.append(
            {
                "project_id": project_pk, "workspace_id": head.workspace_id, "seq": size, "kind": kind,
                "run_id": run_id, "attempt": attempt, "manifest_sha256": manifest_sha256, "at": at,
                "leaf": leaf.hex(), "chain": chain,
            }
        )  # fmt: skip
        newest[run_id] = (size, kind, attempt, manifest_sha256)
        size += 1
        told.append({"seq": size - 1, "size": size})
    if rows:
        connection.execute(insert(ledger_entries), rows)
        _move_head(connection, head, size, chain, frontier, at)
    return told


def _move_head(
    connection: Connection, head: Any, size: int, chain: str, frontier: Sequence[bytes], at: str
) -> None:
    """Compare and set: the head moves on from where it was read, or not at all."""
    h = ledger_heads.c
    changed = connection.execute(
        update(ledger_heads)
        .where(h.project_id == head.project_id, h.size == head.size, h.chain == head.chain)
        .values(
            size=size,
            chain=chain,
            root=merkle.root(frontier).hex(),
            frontier=json.dumps([each.hex() for each in frontier]),
            checkpoint=None,
            updated_at=at,
        )
    )
    if changed.rowcount != 1:
        raise Problem(409, "ledger-race", "the project's ledger has grown in between", "send it again")


def entry_body(
    seq: int, prev: str, kind: str, run_id: str, attempt: int, manifest_sha256: str, at: str
) -> bytes:
    """The canonical JSON that the leaf is the hash of; `prev` is the chain before it."""
    return io.canonical(
        {
            "v": _VERSION,
            "seq": seq,
            "prev": prev,
            "kind": kind,
            "run_id": run_id,
            "attempt": attempt,
            "manifest_sha256": manifest_sha256,
            "at": at,
        }
    )


def head(connection: Connection, workspace_id: int, project_pk: int) -> Any:
    """Size, chain and root of a project's log; those of an empty log when nothing was taken in."""
    found = connection.execute(
        select(ledger_heads.c.size, ledger_heads.c.chain, ledger_heads.c.root).where(
            ledger_heads.c.project_id == project_pk, ledger_heads.c.workspace_id == workspace_id
        )
    ).first()
    return found or _Empty()


class _Empty:
    size, chain, root = 0, GENESIS, merkle.EMPTY.hex()


def newest_entry(connection: Connection, workspace_id: int, run_id: str, manifest_sha256: str) -> Any:
    """The newest entry about a run's record, in whichever project it stands; None when there is none."""
    e = ledger_entries.c
    query = select(ledger_entries).where(
        e.workspace_id == workspace_id, e.run_id == run_id, e.manifest_sha256 == manifest_sha256
    )
    return connection.execute(query.order_by(e.at.desc(), e.seq.desc()).limit(1)).first()


def body_of(connection: Connection, entry: Any) -> bytes:
    """The bytes behind an entry's leaf."""
    e = ledger_entries.c
    query = select(e.chain).where(e.project_id == entry.project_id, e.seq == entry.seq - 1)
    prev = GENESIS if entry.seq == 0 else connection.execute(query).scalar_one()
    return entry_body(
        entry.seq, prev, entry.kind, entry.run_id, entry.attempt, entry.manifest_sha256, entry.at
    )


def inclusion(connection: Connection, project_pk: int, seq: int, size: int) -> list[bytes]:
    """The audit path of an entry in the log as it was with `size` entries."""
    return merkle.inclusion_proof(seq, size, _Tiles(connection, project_pk).range_hash)


def consistency(connection: Connection, project_pk: int, old: int, size: int) -> list[bytes]:
    """That the log of `size` entries begins with the log of `old` entries."""
    return merkle.consistency_proof(old, size, _Tiles(connection, project_pk).range_hash)


def faults(connection: Connection, workspace_id: int, project_pk: int) -> list[str]:
    """Everything in a project's log that does not fit: an empty list is a whole log. Reads all of it."""
    e = ledger_entries.c
    chain, seq = GENESIS, 0
    frontier: list[bytes] = []
    found: list[str] = []
    query = select(ledger_entries).where(e.project_id == project_pk, e.workspace_id == workspace_id)
    with connection.execute(query.order_by(e.seq).execution_options(yield_per=5000)) as rows:
        for row in rows:
            if row.seq != seq:
                return [*found, f"entry {seq} is missing"]
            body = entry_body(seq, chain, row.kind, row.run_id, row.attempt, row.manifest_sha256, row.at)
            leaf = merkle.leaf_hash(body)
            chain = hashlib.sha256(bytes.fromhex(chain) + leaf).hexdigest()
            if (row.leaf, row.chain) != (leaf.hex(), chain):
                return [*found, f"entry {seq} was changed"]
            frontier = merkle.append(frontier, seq, leaf)
            seq += 1
    now = head(connection, workspace_id, project_pk)
    if (now.size, now.chain, now.root) != (seq, chain, merkle.root(frontier).hex()):
        found.append(f"the head does not stand for its {seq} entries")
    return found


def _newest_of(
    connection: Connection, workspace_id: int, project_pk: int, run_ids: Sequence[str]
) -> dict[str, tuple[int, str, int, str]]:
    """Run -> (seq, kind, attempt, manifest) of its newest entry in a project's log."""
    e = ledger_entries.c
    found: dict[str, tuple[int, str, int, str]] = {}
    for start in range(0, len(run_ids), _MOST_NAMES):
        query = select(e.run_id, e.seq, e.kind, e.attempt, e.manifest_sha256).where(
            e.workspace_id == workspace_id,
            e.run_id.in_(run_ids[start : start + _MOST_NAMES]),
            e.project_id == project_pk,
        )
        for row in connection.execute(query.order_by(e.seq)):
            found[row.run_id] = (row.seq, row.kind, row.attempt, row.manifest_sha256)
    return found


def _locked_head(connection: Connection, project_pk: int) -> Any:
    """The head's row, made if there is none; on PostgreSQL nobody else has it until the transaction ends."""
    query = select(ledger_heads).where(ledger_heads.c.project_id == project_pk).with_for_update()
    found = connection.execute(query).first()
    if found is not None:
        return found
    workspace = connection.execute(
        select(projects.c.workspace_id).where(projects.c.pk == project_pk)
    ).scalar_one()
    row = {
        "project_id": project_pk, "workspace_id": workspace, "size": 0, "chain": GENESIS,
        "root": merkle.EMPTY.hex(), "frontier": "[]", "checkpoint": None, "updated_at": "",
    }  # fmt: skip
    connection.execute(_insert_once(connection).values(row))
    return connection.execute(query).one()


def _insert_once(connection: Connection) -> Any:
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        return sqlite_insert(ledger_heads).on_conflict_do_nothing()
    from sqlalchemy.dialects.postgresql import insert as postgres_insert

    return postgres_insert(ledger_heads).on_conflict_do_nothing()


class _Tiles:
    """Hashes of ranges of one log; full tiles are remembered by the process, for they never change."""

    _known: dict[tuple[bytes, int], bytes] = {}  # noqa: RUF012 -- shared by all requests of the process
    _MOST = 1_000_000

    def __init__(self, connection: Connection, project_pk: int) -> None:
        self.connection, self.project_pk = connection, project_pk
        # The key of a deleted project may be given out again; no two logs have the same first entry.
        self.log = self._leaves(0, 1)[0]

    def range_hash(self, start: int, end: int) -> bytes:
        """The tree hash of the leaves from `start` to before `end`; `start` is a full subtree's."""
        first = start // _TILE
        if start % _TILE or end - start < _TILE:
            return merkle.tree_hash(self._leaves(start, end))
        full = end // _TILE
        self._learn(first, full)
        tiles = [self._known[self.log, index] for index in range(first, full)]
        frontier: list[bytes] = []
        for count, tile in enumerate(tiles):
            frontier = merkle.append(frontier, count, tile)
        rest = self._leaves(full * _TILE, end)
        return merkle.root([*frontier, merkle.tree_hash(rest)] if rest else frontier)

    def _learn(self, first: int, full: int) -> None:
        """Compute the tiles that nobody asked for before, a stretch of them at a time."""
        unknown = [i for i in range(first, full) if (self.log, i) not in self._known]
        if not unknown:
            return
        if len(self._known) > self._MOST:
            self._known.clear()
            unknown = list(range(first, full))
        for low in range(unknown[0], unknown[-1] + 1, 64):
            high = min(low + 64, unknown[-1] + 1)
            leaves = self._leaves(low * _TILE, high * _TILE)
            for index in range(low, high):
                part = leaves[(index - low) * _TILE : (index - low + 1) * _TILE]
                self._known[self.log, index] = merkle.tree_hash(part)

    def _leaves(self, start: int, end: int) -> Sequence[bytes]:
        e = ledger_entries.c
        query = select(e.leaf).where(e.project_id == self.project_pk, e.seq >= start, e.seq < end)
        found = [bytes.fromhex(leaf) for leaf in self.connection.execute(query.order_by(e.seq)).scalars()]
        if len(found) != max(0, end - start):
            raise Problem(500, "ledger", "the project's ledger lacks entries", "worldflux server check")
        return found
