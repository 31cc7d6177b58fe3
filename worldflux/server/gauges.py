"""Numbers for Prometheus: counted in each worker, shared through files, and asked of the database."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from worldflux.server.db import Database
from worldflux.server.tables import blobs, runs

#: Where the workers' counters meet. It must be set before the library is imported.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)

_meters: dict[str, Any] = {}


def prepare(folder: Path) -> None:
    """Make the place where workers count, empty. Called once, before any worker starts."""
    place = folder / "counters"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    os.environ[VARIABLE] = str(place)


def count(method: str, route: str, status: int, seconds: float) -> None:
    """Count one request."""
    if not _meters:
        from prometheus_client import Counter, Histogram

        _meters["requests"] = Counter(
            "worldflux_requests", "Requests answered", ["method", "route", "status"]
        )
        _meters["seconds"] = Histogram(
            "worldflux_request_seconds", "Time until a request was answered", ["route"], buckets=_BOUNDS
        )
    known = method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
    _meters["requests"].labels(known, route, str(status)).inc()
    _meters["seconds"].labels(route).observe(seconds)


def exposition(db: Database) -> bytes:
    """Everything in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    if os.environ.get(VARIABLE):
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry) + "".join(_stored(db)).encode()


def _stored(db: Database) -> Iterator[str]:
    with db.read() as connection:
        by_status = connection.execute(
            select(runs.c.status, func.count()).where(runs.c.state != "gone").group_by(runs.c.status)
        ).all()
        size = connection.execute(select(func.coalesce(func.sum(runs.c.stored_bytes), 0))).scalar_one()
        kept = connection.execute(select(func.count(), func.coalesce(func.sum(blobs.c.bytes), 0))).one()
    yield "# HELP worldflux_runs Runs by status\n# TYPE worldflux_runs gauge\n"
    for status, number in sorted(by_status):
        yield f'worldflux_runs{{status="{status}"}} {number}\n'
    for name, text, value in (
        ("run_bytes", "Bytes of manifests and streams, as stored", size),
        ("blobs", "Blobs", kept[0]),
        ("blob_bytes", "Bytes of blobs", kept[1]),
    ):
        yield f"# HELP worldflux_{name} {text}\n# TYPE worldflux_{name} gauge\nworldflux_{name} {value}\n"
