"""Verdicts become rows: many runs in few statements, within the transaction of their bundle."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, func, update

from worldflux.server.db import Database
from worldflux.server.ingest.verdict import Verdict
from worldflux.server.tables import chunks, run_artifacts, run_metrics, run_params, run_tags, runs, streams

#: Columns of a new run that nobody set, so that all new rows have the same columns.
_BLANK: dict[str, Any] = {
    column.name: None
    for column in runs.c
    if column.nullable and column.name != "pk"
} | {
    "name": "", "recipe": "", "task": "", "runtime": "", "attempt": 1, "lost": False, "final": False,
    "manifest_bytes": 0, "withheld": "[]", "torn": "[]",
}  # fmt: skip


def apply(
    db: Database, connection: Connection, workspace_id: int, who: str, now: str, verdicts: Sequence[Verdict]
) -> dict[str, int]:
    """Write what was decided; the key of every run that is there now, by its id."""
    pks = _runs(connection, workspace_id, who, now, [verdict for verdict in verdicts if verdict.fresh])
    for verdict in verdicts:
        if verdict.held is not None:
            pks[verdict.run] = verdict.held.pk
    _update(connection, workspace_id, [v for v in verdicts if not v.fresh and v.values], pks)
    _children(connection, workspace_id, [v for v in verdicts if v.accepted is not None], pks)
    _streams(db, connection, workspace_id, verdicts, pks)
    return pks


def _runs(
    connection: Connection, workspace_id: int, who: str, now: str, verdicts: Sequence[Verdict]
) -> dict[str, int]:
    if not verdicts:
        return {}
    rows = [
        {
            **_BLANK, "workspace_id": workspace_id, "project_id": verdict.project_id,
            "client_run_id": verdict.run, "received_at": now, "updated_at": now, "who": who,
            **verdict.values, "stored_bytes": _size(verdict),
        }
        for verdict in verdicts
    ]  # fmt: skip
    made = connection.execute(runs.insert().returning(runs.c.client_run_id, runs.c.pk), rows)
    return {row.client_run_id: row.pk for row in made}


def _size(verdict: Verdict) -> int:
    packed = sum(len(chunk.body) for chunk in verdict.chunks if chunk.body is not None)
    return packed + (len(verdict.accepted.packed) if verdict.accepted else 0)


def _update(
    connection: Connection, workspace_id: int, verdicts: Sequence[Verdict], pks: dict[str, int]
) -> None:
    """One statement for all runs that change in the same columns."""
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for verdict in verdicts:
        row = {f"to_{name}": value for name, value in verdict.values.items()}
        row.update(the_pk=pks[verdict.run], more=_size(verdict))
        alike[tuple(sorted(verdict.values))].append(row)
    for names, rows in alike.items():
        statement = (
            update(runs)
            .where(runs.c.pk == bindparam("the_pk"), runs.c.workspace_id == workspace_id)
            .values({name: bindparam(f"to_{name}") for name in names})
            .values(stored_bytes=runs.c.stored_bytes + bindparam("more") - _replaced(names))
        )
        connection.execute(statement, rows)


def _replaced(names: tuple[str, ...]) -> Any:
    """Bytes of the manifest that a new one takes the place of."""
    return func.coalesce(func.length(runs.c.manifest), 0) if "manifest" in names else 0


def _children(
    connection: Connection, workspace_id: int, verdicts: Sequence[Verdict], pks: dict[str, int]
) -> None:
    replaced = [verdict for verdict in verdicts if verdict.held is not None]
    rows: dict[Table, list[dict[str, Any]]] = {
        t: [] for t in (run_metrics, run_params, run_tags, run_artifacts)
    }
    for table in rows:
        old = [pks[v.run] for v in replaced if not (table is run_tags and _retagged(v))]
        if old:
            connection.execute(
                delete(table).where(
                    table.c.run_pk == bindparam("the_pk"), table.c.workspace_id == workspace_id
                ),
                [{"the_pk": pk} for pk in old],
            )
    for verdict in verdicts:
        manifest = verdict.accepted
        assert manifest is not None
        own = {"run_pk": pks[verdict.run], "workspace_id": workspace_id}
        rows[run_metrics] += [{**own, **row} for row in manifest.metrics]
        rows[run_params] += [{**own, **row} for row in manifest.params]
        rows[run_artifacts] += [{**own, **row} for row in manifest.artifacts]
        if not _retagged(verdict):
            rows[run_tags] += [{**own, "tag": tag} for tag in manifest.tags]
    for table, added in rows.items():
        if added:
            connection.execute(table.insert(), added)


def _retagged(verdict: Verdict) -> bool:
    return verdict.held is not None and verdict.held.retagged


def _streams(
    db: Database, connection: Connection, workspace_id: int, verdicts: Sequence[Verdict], pks: dict[str, int]
) -> None:
    pieces, lengths = [], []
    for verdict in verdicts:
        own = {"run_pk": pks.get(verdict.run), "workspace_id": workspace_id}
        for chunk in verdict.chunks:
            pieces.append(
                {
                    **own, "stream": chunk.stream, "offset": chunk.offset, "length": len(chunk.raw),
                    "sha256": chunk.sha256, "body": chunk.body,
                }
            )  # fmt: skip
        for name, stream in verdict.streams.items():
            if stream.changed:
                lengths.append({**own, "name": name, "length": stream.length, "sha256": stream.sha256})
    if pieces:
        connection.execute(chunks.insert(), pieces)
    if lengths:
        statement = db.insert(streams)
        statement = statement.on_conflict_do_update(
            index_elements=["run_pk", "name"],
            set_={"length": statement.excluded.length, "sha256": statement.excluded.sha256},
        )
        connection.execute(statement, lengths)
