"""Is the server there, and can it work?"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from sqlalchemy import text

from worldflux.server.core import CoreDep

router = APIRouter()


@router.get("/healthz", tags=["health"])
def healthz() -> dict[str, Any]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", tags=["health"])
def readyz(core: CoreDep) -> dict[str, Any]:
    """The database answers, too."""
    with core.db.read() as connection:
        connection.execute(text("SELECT 1"))
    return {"status": "ready"}
