"""Is the server there, and can it work?"""

from __future__ import annotations

import hmac
import ipaddress
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import text
from starlette.responses import Response

from worldflux.server import gauges
from worldflux.server.core import Core, CoreDep
from worldflux.server.problems import unauthorized

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


@router.get("/metrics", tags=["health"], response_class=Response)
def metrics(request: Request, core: CoreDep) -> Response:
    """Numbers for Prometheus: for this machine, or with the server's metrics token."""
    if not _may_measure(core, request):
        raise unauthorized()
    return Response(gauges.exposition(core.db), media_type=gauges.CONTENT_TYPE)


def _may_measure(core: Core, request: Request) -> bool:
    token, given = core.settings.metrics_token, request.headers.get("authorization", "")
    if token is not None and hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        return True
    # A proxy on this machine makes every client look local, and says so.
    if set(request.headers.keys()) & {"forwarded", "x-forwarded-for", "x-real-ip"} or request.client is None:
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
