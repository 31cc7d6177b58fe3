"""Logs: their bytes, their lines, and what a search finds in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from worldflux.server.api.answer import RunId, attachment, described, reply
from worldflux.server.api.runs import Reader
from worldflux.server.api.stream import LOG, opened
from worldflux.server.auth import Principal
from worldflux.server.core import Core, CoreDep
from worldflux.server.streams.lines import MAX_LINES, lines, search

router = APIRouter(tags=["logs"])

#: Most bytes of one answer; a download is sent in pieces of this.
MAX_BYTES = 4 * 1024 * 1024

LogName = Annotated[
    str,
    Query(description="name of the log; the run's output by default", max_length=255, pattern=r"^[^\x00]*$"),
]
Offset = Annotated[int, Query(ge=-(2**53), le=2**53)]
_BYTES = described(
    "Bytes of the log.", media="application/octet-stream", schema={"type": "string", "format": "binary"}
)


@router.get("/api/runs/{id}/log", responses=_BYTES)
def show_log(
    core: CoreDep,
    who: Reader,
    id: RunId,
    name: LogName = "",
    offset: Offset = 0,
    limit: Annotated[int, Query(ge=0, le=MAX_BYTES)] = 65_536,
    download: Annotated[str, Query(max_length=255)] = "",
) -> Response:
    """Bytes of a log as they were written. A negative offset counts from the end.

    `X-Log-Offset` says where they begin, `X-Log-Bytes` how long the log is by now, `X-Log-Final` whether
    it will stay so. With `download`, a name for the file, all of it comes as an attachment.
    """
    with opened(core, who, id, LOG + name) as (stream, final):
        total = stream.length
        start = min(max(total + offset, 0) if offset < 0 else offset, total)
        headers = {
            "X-Log-Bytes": str(total),
            "X-Log-Offset": str(start),
            "X-Log-Final": "true" if final else "false",
            "Content-Security-Policy": "sandbox; default-src 'none'",
            "X-Content-Type-Options": "nosniff",
        }
        if not download:
            body = b"".join(stream.read(start, start + limit))
            return Response(body, headers=headers, media_type="application/octet-stream")
    headers |= {"Content-Length": str(total), "Content-Disposition": attachment(download)}
    headers["X-Log-Offset"] = "0"
    return StreamingResponse(
        _whole(core, who, id, LOG + name, total), headers=headers, media_type="application/octet-stream"
    )


def _whole(core: Core, who: Principal, run_id: str, name: str, total: int) -> Iterator[bytes]:
    """A log up to a length; no connection is kept while a slow client takes its time."""
    for start in range(0, total, MAX_BYTES):
        with opened(core, who, run_id, name) as (stream, _):
            block = b"".join(stream.read(start, min(start + MAX_BYTES, total)))
        yield block


@router.get("/api/runs/{id}/log/lines", responses=described("Lines of the log."))
def show_lines(
    request: Request,
    core: CoreDep,
    who: Reader,
    id: RunId,
    name: LogName = "",
    start: Annotated[int, Query(alias="from", ge=-(2**53), le=2**53)] = 0,
    count: Annotated[int, Query(ge=1, le=MAX_LINES)] = 500,
    ansi: Annotated[Literal["strip", "colours"], Query(description="`colours` keeps ESC[...m")] = "strip",
) -> Response:
    """Lines by their number from 0; a negative `from` counts from the end.

    They are safe to show: a terminal's commands and invisible characters are gone.
    """
    with opened(core, who, id, LOG + name) as (stream, final):
        found = lines(stream, start, count, colours=ansi == "colours")
        length = stream.length
    document = {
        "lines": found.lines, "from": found.start, "total_known": found.total, "bytes": length, "final": final,
    }  # fmt: skip
    return reply(request, document)


@router.get("/api/runs/{id}/log/search", responses=described("Lines that hold the text."))
def search_log(
    request: Request,
    core: CoreDep,
    who: Reader,
    id: RunId,
    q: Annotated[str, Query(min_length=1, max_length=1000)],
    name: LogName = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    offset: Annotated[int, Query(ge=0, le=2**53, description="`next` of the answer before")] = 0,
    line: Annotated[int, Query(ge=0, le=2**53, description="`next_line` of the answer before")] = 0,
    case: Annotated[bool, Query(description="tell capitals from small letters")] = False,
) -> Response:
    """Lines that hold a text, without patterns. What is left over is found from `next` on."""
    with opened(core, who, id, LOG + name) as (stream, _):
        found = search(stream, q, limit, at=offset, line=line, cased=case)
    truncated = found.next is not None
    document = {
        "matches": found.matches, "truncated": truncated, "next": found.next,
        "next_line": found.line if truncated else None,
    }  # fmt: skip
    return reply(request, document)
