"""What the server can be asked and told about runs, one method for each."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from worldflux.errors import TemporaryError, UsageError, WorldFluxError
from worldflux.sync.http import Channel, Reply
from worldflux.sync.origin import is_loopback
from worldflux.sync.wire import (
    BUNDLE_TYPE,
    MOST_NAMES,
    Frame,
    Hello,
    ProtocolError,
    Result,
    RunState,
    content_digest,
    object_of,
)

#: Bodies below this are not worth packing.
LEAST_PACKED_BYTES = 2048

#: Servers refuse what unpacks to much more than it was; such bodies go as they are.
MOST_RATIO = 50


class BundleRefused(WorldFluxError):
    """The server refused a bundle as a whole.

    Attributes:
        reply: its answer.
    """

    code = "bundle"

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        super().__init__(f"the server refused what was sent: {reply.why}", str(reply.problem.get("hint", "")))
        if isinstance(reply.problem.get("code"), str):
            self.code = reply.problem["code"][:64]


class Client:
    """The sync API of one server.

    Raises:
        TemporaryError, AccessError: from every method, as `Channel.send`.
        ProtocolError: the answer is none of this API.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._packs = not is_loopback(channel.origin)

    @property
    def origin(self) -> str:
        return self.channel.origin

    def hello(self) -> Hello:
        """Who we are to the server, and what it takes.

        Raises:
            UsageError: there is no worldflux server at this address.
        """
        reply = self.channel.send("GET", "/api/sync")
        if reply.status == 404:
            raise UsageError(
                f"{self.origin} is no worldflux server, or an older one",
                "name another with --server URL, or `server:` in worldflux.yaml",
                code="server",
            )
        return Hello.read(_ok(reply).document)

    def states(self, runs: Sequence[str]) -> dict[str, RunState]:
        """What the server holds of runs, at most `MOST_NAMES` of them."""
        answer = self._json("POST", "/api/sync/state", {"runs": list(runs)})
        found = object_of(answer.get("runs"), "the states of runs")
        return {run: RunState.read(found[run]) if run in found else RunState() for run in runs}

    def missing_blobs(self, digests: Iterable[str]) -> dict[str, int]:
        """Of these blobs the ones that the server does not have, with the offset to go on from."""
        missing: dict[str, int] = {}
        asked = list(dict.fromkeys(digests))
        for start in range(0, len(asked), MOST_NAMES):
            part = asked[start : start + MOST_NAMES]
            answer = self._json("POST", "/api/sync/blobs", {"sha256": part})
            for each in answer.get("missing") or ():
                entry = object_of(each, "a missing blob")
                offset = entry.get("offset", 0)
                if entry.get("sha256") not in part or not isinstance(offset, int) or offset < 0:
                    raise ProtocolError("it misses a blob that nobody named")
                missing[str(entry["sha256"])] = offset
        return missing

    def patch_blob(self, sha256: str, offset: int, total: int, data: bytes) -> tuple[int, bool]:
        """Send a part of a blob: the offset to go on from, and whether the blob is whole.

        Raises:
            BundleRefused: 413 or 422, too large or not what its digest says.
            TemporaryError: 507, the server's disk or quota is full.
        """
        reply = self.channel.send(
            "PATCH",
            f"/api/sync/blobs/{sha256}",
            data,
            {
                "Upload-Offset": str(offset),
                "Upload-Length": str(total),
                "Content-Digest": content_digest(data),
                "Content-Type": "application/offset+octet-stream",
            },
        )
        if reply.status == 409:
            text = reply.headers.get("Upload-Offset", "")
            if not text.isdigit():
                raise TemporaryError(
                    f"the server is busy with a blob: {reply.why}", "sync again", code="server"
                )
            return int(text), False
        answer = object_of(_ok(reply).document, "the answer to a part of a blob")
        there, complete = answer.get("offset"), answer.get("complete")
        if not isinstance(there, int) or not isinstance(complete, bool):
            raise ProtocolError("it does not tell how much of a blob it has")
        return there, complete

    def send_bundle(self, frames: Sequence[Frame]) -> list[Result]:
        """Send frames; one result a run, durable when this returns.

        Raises:
            BundleRefused: the bundle as a whole, such as 413.
            TemporaryError: also for 507, the server's disk or quota is full.
        """
        body = b"".join(each.encode() for each in frames)
        reply = None
        packed = gzip.compress(body, 1, mtime=0) if self._packs and len(body) >= LEAST_PACKED_BYTES else body
        if len(packed) * 10 < len(body) * 9 and len(body) <= MOST_RATIO * len(packed):
            reply = self._bundle(packed, {"Content-Encoding": "gzip"})
            if reply.status in (413, 415, 422):  # something on the way does not care for it
                reply, self._packs = None, False
        answer = object_of(_ok(reply or self._bundle(body, {})).document, "the answer")
        results = answer.get("results")
        if not isinstance(results, list):
            raise ProtocolError("a bundle has no results")
        return [Result.read(each) for each in results]

    def _bundle(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        more = {"Content-Type": BUNDLE_TYPE, "Content-Digest": content_digest(body), **headers}
        return self.channel.send("POST", "/api/sync/bundle", body, more)

    def heartbeat(self, runs: Sequence[str]) -> dict[str, str]:
        """Tell that runs are alive: run -> live, final, absent or deleted."""
        answer = self._json("POST", "/api/sync/heartbeat", {"runs": list(runs)[:MOST_NAMES]})
        return {str(run): str(word) for run, word in object_of(answer.get("runs"), "runs").items()}

    def list_runs(self, query: Mapping[str, Any]) -> Mapping[str, Any]:
        """A page of the server's runs: `runs`, `next`, `total`, `total_is_exact`.

        Raises:
            UsageError: the filter or the order is not understood.
        """
        text = urlencode({name: value for name, value in query.items() if value is not None})
        reply = self.channel.send("GET", f"/api/runs?{text}")
        if reply.status in (400, 404, 422):
            hint = str(reply.problem.get("hint") or "worldflux runs list --help")
            raise UsageError(reply.why, hint[:500], code=str(reply.problem.get("code") or "filter")[:64])
        return object_of(_ok(reply).document, "the list of runs")

    def put_evidence(self, run: str, data: bytes) -> None:
        """Attach an evidence package to a run that the server has."""
        headers = {"Content-Type": "application/zip", "Content-Digest": content_digest(data)}
        _ok(self.channel.send("PUT", f"/api/runs/{run}/evidence", data, headers))

    def _json(self, method: str, path: str, document: Any) -> Mapping[str, Any]:
        body = json.dumps(document, separators=(",", ":")).encode()
        reply = self.channel.send(
            method, path, body, {"Content-Type": "application/json", "Content-Digest": content_digest(body)}
        )
        return object_of(_ok(reply).document, "the answer")


def _ok(reply: Reply) -> Reply:
    """The reply, when it is a success.

    Raises:
        TemporaryError: the server's disk or quota is full.
        BundleRefused: any other refusal.
    """
    if 200 <= reply.status < 300:
        return reply
    if reply.status == 507:
        raise TemporaryError(
            f"the server has no room: {reply.why}",
            "free space or raise the quota there, then sync again",
            code="server-full",
        )
    raise BundleRefused(reply)
