"""Reading the audit log, and seeing that nobody changed it."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy import func, select
from starlette.responses import Response

from worldflux.server import audit
from worldflux.server.api.answer import described, plain, reply
from worldflux.server.auth import Principal, require
from worldflux.server.core import CoreDep
from worldflux.server.query.faults import CursorError
from worldflux.server.tables import audit_log

router = APIRouter(tags=["audit"])

Auditor = Annotated[Principal, Depends(require("audit:read"))]
Word = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]

#: Faults of a broken chain that are told.
MAX_FAULTS = 100


@router.get("/api/audit-logs", responses=described("Records, newest first."))
def list_records(
    request: Request,
    core: CoreDep,
    who: Auditor,
    cursor: Annotated[str, Query(max_length=40)] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    action: Word = "",
    actor: Word = "",
    target: Word = "",
) -> Response:
    """Who did what in this workspace, newest first. `action` may end in a dot: `run.` is all about runs."""
    a = audit_log.c
    query = select(a.seq, a.at, a.actor, a.action, a.target, a.detail, a.hash).where(
        a.workspace_id == who.workspace_id
    )
    if cursor:
        if not (cursor.isascii() and cursor.isdigit() and int(cursor) < 2**63):
            raise CursorError("the cursor is damaged", "start again without `cursor`")
        query = query.where(a.seq < int(cursor))
    if action:
        query = query.where(
            a.action.startswith(action, autoescape=True) if action.endswith(".") else a.action == action
        )
    for column, word in ((a.actor, actor), (a.target, target)):
        if word:
            query = query.where(column == word)
    with core.db.read() as connection:
        rows = connection.execute(query.order_by(a.seq.desc()).limit(limit + 1)).all()
    listed = [{**plain(row), "detail": json.loads(row.detail)} for row in rows[:limit]]
    more = str(listed[-1]["seq"]) if len(rows) > limit else None
    return reply(request, {"records": listed, "next": more})


@router.get("/api/audit-logs/verify", responses=described("Whether the chain of records is whole."))
def verify(request: Request, core: CoreDep, who: Auditor) -> Response:
    """Walk the whole chain of this workspace: each record must follow the one before it and hash to its name.

    `head` is the newest record's hash: kept elsewhere, it proves later that nothing was cut off.
    """
    own = audit_log.c.workspace_id == who.workspace_id
    faults: list[str] = []
    with core.db.read() as connection:
        for fault in audit.faults(connection, who.workspace_id):
            faults.append(fault)
            if len(faults) >= MAX_FAULTS:
                break
        count = connection.execute(select(func.count()).select_from(audit_log).where(own)).scalar()
        head = connection.execute(
            select(audit_log.c.hash).where(own).order_by(audit_log.c.seq.desc()).limit(1)
        ).scalar()
    return reply(request, {"ok": not faults, "records": count, "head": head, "faults": faults})
