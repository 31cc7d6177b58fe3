"""What every request needs of the server: settings, database, blobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from worldflux.server.blobs import BlobStore
from worldflux.server.buckets import Buckets
from worldflux.server.db import Database
from worldflux.server.settings import Settings
from worldflux.server.uploads import Uploads


@dataclass
class Core:
    """The parts of a running server, made once in each worker."""

    settings: Settings
    db: Database
    blobs: BlobStore
    uploads: Uploads
    buckets: Buckets


def core_of(request: Request) -> Core:
    """The server that answers this request."""
    core: Core = request.app.state.core
    return core


async def _core(request: Request) -> Core:
    # A coroutine, so that no thread is asked for it.
    return core_of(request)


#: For the parameters of an endpoint: `core: CoreDep`.
CoreDep = Annotated[Core, Depends(_core)]
