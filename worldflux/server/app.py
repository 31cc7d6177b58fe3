"""The application: routers and what stands in front of them."""

from __future__ import annotations

import importlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from worldflux import __version__
from worldflux.server import blobs, db, problems
from worldflux.server.core import Core
from worldflux.server.settings import VARIABLE, Settings
from worldflux.server.uploads import Uploads

#: Modules with a `router: APIRouter`, in the order in which their routes are tried.
ROUTERS = [
    "worldflux.server.api.health",
    "worldflux.server.api.sync",
    "worldflux.server.api.runs",
    "worldflux.server.api.ledger",
    "worldflux.server.api.signatures",
    "worldflux.server.api.session",
    "worldflux.server.api.users",
    "worldflux.server.dashboard.assets",
    "worldflux.server.dashboard.pages",
]


def create_app(settings: Settings) -> FastAPI:
    """The server's application; the database has its tables already (`migrations.upgrade`)."""
    database, store = db.connect(settings.folder, settings.database), blobs.open_store(settings)
    core = Core(settings, database, store, Uploads(settings.folder / "uploads", store, database))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            core.db.close()

    app = FastAPI(
        title="WorldFlux", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.state.core = core
    problems.install(app)
    for name in ROUTERS:
        app.include_router(importlib.import_module(name).router)
    return app


def from_environment() -> FastAPI:
    """The application of a worker, whose settings are in its environment."""
    return create_app(Settings.from_json(os.environ[VARIABLE]))
