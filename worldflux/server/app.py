"""The application: routers and what stands in front of them."""

from __future__ import annotations

import importlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from worldflux import __version__
from worldflux.server import blobs, db, openapi, problems
from worldflux.server.access import Access
from worldflux.server.buckets import Buckets
from worldflux.server.core import Core
from worldflux.server.ingest import reading
from worldflux.server.limits import Limits
from worldflux.server.settings import VARIABLE, Settings
from worldflux.server.upkeep import Upkeep
from worldflux.server.uploads import Uploads

#: Modules with a `router: APIRouter`, in the order in which their routes are tried.
ROUTERS = [
    "worldflux.server.api.health",
    "worldflux.server.api.sync",
    "worldflux.server.api.keys",
    "worldflux.server.api.workspaces",
    "worldflux.server.api.projects",
    "worldflux.server.api.groups",  # before the routes with a run's id
    "worldflux.server.api.runs",
    "worldflux.server.api.changes",
    "worldflux.server.api.series",
    "worldflux.server.api.logs",
    "worldflux.server.api.artifacts",
    "worldflux.server.api.shares",
    "worldflux.server.api.audit_logs",
    "worldflux.server.api.ledger",
    "worldflux.server.api.signatures",
    "worldflux.server.api.session",
    "worldflux.server.api.users",
    "worldflux.server.dashboard.assets",
    "worldflux.server.dashboard.pages",
]

#: Modules that are imported where they are used, and loaded at the start all the same: what is imported later
#: comes from whatever is on the disk then, and an upgrade would mix its code with that which runs.
USED_LATER = ["worldflux.server.ops.gc", "worldflux.evidence.keyless"]


def create_app(settings: Settings) -> FastAPI:
    """The server's application; the database has its tables already (`migrations.upgrade`)."""
    database, store = db.connect(settings.folder, settings.database), blobs.open_store(settings)
    buckets = Buckets(settings.folder)
    core = Core(settings, database, store, Uploads(settings.folder / "uploads", store, database), buckets)
    upkeep = Upkeep(settings, database, store)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        reading.prepare()
        upkeep.start()
        try:
            yield
        finally:
            upkeep.stop()
            core.db.close()
            buckets.close()

    app = FastAPI(
        title="WorldFlux", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.state.core = core
    problems.install(app)
    app.add_middleware(Limits, settings=settings, buckets=buckets)
    app.add_middleware(Access, log=settings.access_log)
    for name in ROUTERS:
        # Flat, so that the list of routes is whole: tests walk it.
        app.router.routes.extend(importlib.import_module(name).router.routes)
    for name in USED_LATER:
        importlib.import_module(name)
    importlib.import_module("worldflux.server.dashboard.pages").load()
    openapi.install(app)
    return app


def from_environment() -> FastAPI:
    """The application of a worker, whose settings are in its environment."""
    return create_app(Settings.from_json(os.environ[VARIABLE]))
