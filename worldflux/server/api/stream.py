"""Opening a run's streams for the endpoints that read them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import Connection, select

from worldflux.server.api.answer import seen_run
from worldflux.server.auth import Principal
from worldflux.server.core import Core
from worldflux.server.problems import not_found
from worldflux.server.streams.content import Stream
from worldflux.server.tables import runs, streams

LOG = "log:"
#: What a run's own output is called.
OUTPUT = "output"


class Opened(NamedTuple):
    """A stream and whether its run has ended, so that nothing will be appended."""

    stream: Stream
    final: bool


@contextmanager
def opened(core: Core, who: Principal, run_id: str, name: str) -> Iterator[Opened]:
    """A stream of a run, readable within the block.

    Args:
        name: `metrics`, or `log:` and a log's name; `log:` alone is the run's output or only log.

    Raises:
        Problem: 404 or 410 when there is no such run or stream.
    """
    with core.db.read() as connection:
        run = seen_run(connection, who, run_id)
        if name == LOG:
            name = _output(connection, who.workspace_id, run.pk)
        found = Stream.find(
            connection, who.workspace_id, run.pk, name,
            lambda sha256, start: core.blobs.open(who.workspace_id, sha256, start),
        )  # fmt: skip
        if found is None:
            raise not_found("log" if name.startswith(LOG) else "series")
        final = connection.execute(
            select(runs.c.final).where(runs.c.pk == run.pk, runs.c.workspace_id == who.workspace_id)
        ).scalar()
        yield Opened(found, bool(final))


def _output(connection: Connection, workspace_id: int, run_pk: int) -> str:
    query = select(streams.c.name).where(
        streams.c.run_pk == run_pk, streams.c.workspace_id == workspace_id, streams.c.name.startswith(LOG)
    )
    names = sorted(connection.execute(query).scalars())
    return LOG + OUTPUT if LOG + OUTPUT in names or not names else names[0]
