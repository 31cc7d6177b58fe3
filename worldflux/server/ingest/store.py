"""A bundle is stored: checked and packed first, then decided and written in one transaction.

When this returns, what it says was stored survives a power loss.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update
from sqlalchemy.exc import DBAPIError

from worldflux.manifest.model import utc_now
from worldflux.server import audit, blobs, ledger
from worldflux.server.auth import Principal
from worldflux.server.core import Core
from worldflux.server.ingest import bundle, decide, prepare, stored, write
from worldflux.server.ingest.verdict import Held, StreamState, Verdict
from worldflux.server.notes import note
from worldflux.server.tables import blobs as blob_rows
from worldflux.server.tables import projects, runs, streams, workspaces

digests = stored.Digests()


def store(core: Core, who: Principal, data: bytes) -> list[dict[str, Any]]:
    """Take in one bundle; the answer's `results`, one for each run, in the order of the bundle.

    Args:
        data: the bundle, unpacked.

    Raises:
        Problem: 422 the bundle is damaged, 503 the database is busy, 507 the disk is full. Nothing of
            it is stored then.
    """
    frames = bundle.parse(data, most=core.settings.bundle_frames)
    if any(frame.part == "blob" for frame in frames):
        who.need("artifacts:write")
    grouped = prepare.groups(frames)

    def put(sha256: str, body: bytes) -> None:
        core.blobs.put(who.workspace_id, sha256, body)

    good = {group.run for group in grouped if group.invalid is None}
    packed = prepare.pack([frame for frame in frames if frame.run in good], put)
    try:
        return _transaction(core, who, grouped, packed)
    except DBAPIError:
        if len(grouped) == 1:
            raise
    # One run that the database can not take must not keep the others out.
    return [answer for group in grouped for answer in _alone(core, who, group, packed)]


def _alone(
    core: Core, who: Principal, group: prepare.Group, packed: dict[str, bytes | None]
) -> list[dict[str, Any]]:
    try:
        return _transaction(core, who, [group], packed)
    except DBAPIError as error:
        kind = type(error.orig).__name__
        note(run=group.run, error=f"the database refused it: {kind}")
        refused = Verdict(group.run).refuse(500, "refused", "internal", "the server could not store this run")
        return [refused.answer()]


def _transaction(
    core: Core, who: Principal, grouped: Sequence[prepare.Group], packed: dict[str, bytes | None]
) -> list[dict[str, Any]]:
    workspace_id = who.workspace_id
    with core.db.write() as connection:
        core.db.lock(connection, [f"run:{workspace_id}:{group.run}" for group in grouped])
        core.db.lock(connection, [blobs.gate_name(workspace_id)], shared=True)
        known = _held(connection, workspace_id, [group.run for group in grouped])
        world = _world(core, connection, who, grouped, packed)
        verdicts = []
        for group in grouped:
            verdict = decide.decide(group, known.get(group.run), world)
            verdicts.append(verdict)
            _spend(world, group, verdict)
        sizes = {sha: size for verdict in verdicts for sha, size in verdict.blobs.items()}
        if sizes:
            blobs.register(core.db, connection, core.blobs, workspace_id, sizes)
        pks = write.apply(core.db, connection, workspace_id, who.name, world.now, verdicts)
        _append_to_ledger(core, connection, verdicts, pks, world.now)
    for verdict in verdicts:
        if verdict.accepted is not None and verdict.accepted.frame.final:
            continue  # its streams do not grow any more
        for name, stream in verdict.streams.items():
            if stream.changed and stream.state is not None:
                digests.put(pks[verdict.run], name, stream.length, stream.state)
    return [verdict.answer() for verdict in verdicts]


def _spend(world: decide.World, group: prepare.Group, verdict: Verdict) -> None:
    if world.room is not None and verdict.writes:
        world.room -= group.size
    if world.runs_left is not None and verdict.fresh:
        world.runs_left -= 1


def _held(connection: Connection, workspace_id: int, names: Sequence[str]) -> dict[str, Held]:
    """What the database has of the runs, with their streams."""
    c = runs.c
    columns = (
        c.pk, c.client_run_id, c.project_id, c.claimed_status, c.state, c.final, c.manifest_sha256, c.withheld,
        c.renamed, c.retagged, c.ledger_seq,
    )  # fmt: skip
    query = select(*columns).where(c.workspace_id == workspace_id, c.client_run_id.in_(names))
    found = {
        row.client_run_id: Held(
            row.pk, row.project_id, row.claimed_status, row.state, row.final, row.manifest_sha256,
            tuple(json.loads(row.withheld)), row.renamed, row.retagged, row.ledger_seq,
        )
        for row in connection.execute(query)
    }  # fmt: skip
    by_pk = {held.pk: held for held in found.values()}
    if by_pk:
        query = select(streams.c.run_pk, streams.c.name, streams.c.length, streams.c.sha256).where(
            streams.c.workspace_id == workspace_id, streams.c.run_pk.in_(list(by_pk))
        )
        for row in connection.execute(query):
            state = StreamState(row.length, row.sha256, None, row.length)
            by_pk[row.run_pk].streams[row.name] = state
    return found


def _world(
    core: Core,
    connection: Connection,
    who: Principal,
    grouped: Sequence[prepare.Group],
    packed: dict[str, bytes | None],
) -> decide.World:
    workspace_id = who.workspace_id

    def read(run_pk: int, stream: str, start: int, length: int) -> bytes:
        return stored.read(connection, core.blobs, workspace_id, run_pk, stream, start, length)

    def pack(sha256: str, data: memoryview) -> bytes | None:
        if sha256 in packed:
            return packed[sha256]
        return prepare.pack_one(
            sha256, bytes(data), lambda name, body: core.blobs.put(workspace_id, name, body)
        )

    def hasher(held: Held | None, name: str, stream: StreamState) -> Any:
        if held is None or stream.length == 0:
            return hashlib.sha256()
        known = digests.get(held.pk, name, stream.length, stream.sha256)
        if known is None:
            known = hashlib.sha256()
            for start in range(0, stream.length, 1 << 22):
                known.update(read(held.pk, name, start, min(1 << 22, stream.length - start)))
        return known

    named = [sha for group in grouped if group.manifest for sha in group.manifest.needed]
    room, runs_left = quota(connection, workspace_id)
    return decide.World(
        project=lambda slug: project(core, connection, who, slug),
        stored=read, pack=pack, hasher=hasher,
        blobs=blobs.present(connection, workspace_id, named), now=utc_now(), room=room, runs_left=runs_left,
    )  # fmt: skip


def project(core: Core, connection: Connection, who: Principal, slug: str) -> int:
    """The project with a slug; made, and noted in the audit log, when there is none."""
    query = select(projects.c.pk).where(projects.c.workspace_id == who.workspace_id, projects.c.slug == slug)
    found: int | None = connection.execute(query).scalar()
    if found is not None:
        return found
    statement = core.db.insert(projects).on_conflict_do_nothing()
    made = connection.execute(
        statement, {"workspace_id": who.workspace_id, "slug": slug, "created_at": utc_now()}
    ).rowcount
    if made:
        audit.record(core.db, connection, who.workspace_id, who.id, "project.create", slug, by="sync")
    return int(connection.execute(query).scalar_one())


def quota(connection: Connection, workspace_id: int) -> tuple[int | None, int | None]:
    """Bytes and runs that a workspace may still have; None is no limit."""
    row = connection.execute(
        select(workspaces.c.quota_bytes, workspaces.c.quota_runs).where(workspaces.c.pk == workspace_id)
    ).one()
    room, runs_left = None, None
    if row.quota_bytes is not None:
        room = max(0, row.quota_bytes - used_bytes(connection, workspace_id))
    if row.quota_runs is not None:
        count = connection.execute(
            select(func.count())
            .select_from(runs)
            .where(runs.c.workspace_id == workspace_id, runs.c.state != "gone")
        ).scalar_one()
        runs_left = max(0, row.quota_runs - count)
    return room, runs_left


def used_bytes(connection: Connection, workspace_id: int) -> int:
    """Bytes that a workspace has stored: manifests, streams and blobs."""
    in_rows = select(func.coalesce(func.sum(runs.c.stored_bytes), 0)).where(
        runs.c.workspace_id == workspace_id
    )
    in_blobs = select(func.coalesce(func.sum(blob_rows.c.bytes), 0)).where(
        blob_rows.c.workspace_id == workspace_id
    )
    return int(connection.execute(in_rows).scalar_one()) + int(connection.execute(in_blobs).scalar_one())


def _append_to_ledger(
    core: Core, connection: Connection, verdicts: Iterable[Verdict], pks: dict[str, int], now: str
) -> None:
    """Every final commit becomes an entry of its project's ledger."""
    by_project: dict[int, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.accepted is not None and verdict.accepted.frame.final and _is_news(verdict):
            by_project[verdict.held.project_id if verdict.held else verdict.project_id].append(verdict)
    if not by_project:
        return
    core.db.lock(connection, [f"ledger:{pk}" for pk in by_project])
    told = []
    for project_id in sorted(by_project):
        finished = by_project[project_id]
        entries = [_entry(verdict) for verdict in finished]
        made = ledger.append_all(connection, project_id, entries, now)
        for verdict, entry in zip(finished, made, strict=True):
            verdict.ledger = dict(entry)
            told.append({"the_pk": pks[verdict.run], "seq": entry["seq"]})
    # Evidence that came before is about another record.
    values = {"ledger_seq": bindparam("seq"), "evidence": "none", "signature": False}
    connection.execute(update(runs).where(runs.c.pk == bindparam("the_pk")).values(**values), told)


def _entry(verdict: Verdict) -> tuple[str, str, int, str]:
    manifest = verdict.accepted
    assert manifest is not None
    again = verdict.held is not None and verdict.held.ledger_seq is not None
    kind = "run.superseded" if again else "run.committed"
    return kind, verdict.run, int(manifest.columns["attempt"]), manifest.frame.sha256


def _is_news(verdict: Verdict) -> bool:
    held, manifest = verdict.held, verdict.accepted
    assert manifest is not None
    return held is None or not held.final or held.manifest_sha256 != manifest.frame.sha256
