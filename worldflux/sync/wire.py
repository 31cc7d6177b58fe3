"""What stands on the wire: frames of a bundle, digests, limits, and what the server answers."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worldflux.errors import WorldFluxError

BUNDLE_TYPE = "application/vnd.worldflux.bundle"

#: Runs or blobs that one question may name.
MOST_NAMES = 1000

#: The longest first line of a frame.
MOST_HEAD_BYTES = 64 * 1024

STATUSES = ("absent", "open", "final", "deleted")
OUTCOMES = (
    "stored", "updated", "unchanged", "incomplete", "conflict", "deleted", "invalid", "refused",
)  # fmt: skip

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class ProtocolError(WorldFluxError):
    """The server answered something that is not the sync protocol."""

    code = "protocol"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the server's answer can not be understood: {what}",
            "check the server's address, and that it is a worldflux server of a version that fits this one",
        )


@dataclass(frozen=True)
class Limits:
    """The largest things that the server takes, in bytes; `bundle_frames` is a count."""

    bundle_bytes: int = 8 * 2**20
    bundle_frames: int = 2000
    patch_bytes: int = 8 * 2**20
    blob_bytes: int = 2**63 - 1
    inline_blob_bytes: int = 64 * 1024

    @classmethod
    def read(cls, document: Any) -> Limits:
        """The limits in an answer; what it does not name stays at its default.

        Raises:
            ProtocolError: a limit is no positive integer.
        """
        values = {}
        for name in cls.__dataclass_fields__:
            value = _object(document, "limits").get(name)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ProtocolError(f"the limit {name} is {value!r}")
            values[name] = value
        return cls(**values)


@dataclass(frozen=True)
class Hello:
    """Who we are to the server, and what it takes."""

    workspace: str
    limits: Limits
    heartbeat_seconds: float
    key: Mapping[str, Any]

    @classmethod
    def read(cls, document: Any) -> Hello:
        """Check the answer to `GET /api/sync`.

        Raises:
            ProtocolError: it is none, or of another version of the protocol.
        """
        answer = _object(document, "the greeting")
        if answer.get("api") != 1:
            raise ProtocolError(f"it speaks version {answer.get('api')!r} of the sync protocol, not 1")
        workspace, beat = answer.get("workspace"), answer.get("heartbeat_seconds", 15)
        if not isinstance(workspace, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", workspace):
            raise ProtocolError("it names no workspace")
        if not isinstance(beat, int | float) or not 0 < beat <= 3600:
            raise ProtocolError("its time between heartbeats is no time")
        return cls(workspace, Limits.read(answer.get("limits", {})), float(beat), answer.get("key") or {})


@dataclass(frozen=True)
class Held:
    """How much of a stream the server holds, and the digest of all of it."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class RunState:
    """What the server holds of one run; `missing_blobs` are artifacts that it has lost."""

    status: str = "absent"
    manifest_sha256: str | None = None
    streams: Mapping[str, Held] = field(default_factory=dict)
    missing_blobs: frozenset[str] = frozenset()

    @classmethod
    def read(cls, document: Any) -> RunState:
        """Check one run of an answer to `POST /api/sync/state`.

        Raises:
            ProtocolError: it has not that form.
        """
        answer = _object(document, "the state of a run")
        status, digest = answer.get("status"), answer.get("manifest_sha256")
        if status not in STATUSES or not (digest is None or _is_sha256(digest)):
            raise ProtocolError("the state of a run is unknown")
        streams = {}
        for name, each in _object(answer.get("streams") or {}, "streams").items():
            count, sha256 = _object(each, name).get("bytes"), each.get("sha256")
            if not isinstance(count, int) or count < 0 or not _is_sha256(sha256):
                raise ProtocolError(f"the length of stream {name[:80]!r} is none")
            streams[name] = Held(count, sha256)
        missing = answer.get("missing_blobs") or []
        if not isinstance(missing, list) or not all(_is_sha256(each) for each in missing):
            raise ProtocolError("the missing blobs of a run are no digests")
        return cls(status, digest, streams, frozenset(missing))


@dataclass(frozen=True)
class Result:
    """What became of one run's frames in a bundle."""

    run: str
    status: int
    outcome: str
    code: str
    detail: str

    @classmethod
    def read(cls, document: Any) -> Result:
        """Check one entry of `results`.

        Raises:
            ProtocolError: it has not that form.
        """
        answer = _object(document, "a result")
        run, status, outcome = answer.get("run"), answer.get("status"), answer.get("outcome")
        if not isinstance(run, str) or not isinstance(status, int) or outcome not in OUTCOMES:
            raise ProtocolError("a result names no run or no known outcome")
        return cls(run, status, outcome, str(answer.get("code") or ""), str(answer.get("detail") or ""))


@dataclass(frozen=True)
class Frame:
    """One part of one run: a line of JSON, then the bytes."""

    head: Mapping[str, Any]
    body: bytes

    @property
    def run(self) -> str:
        return str(self.head["run"])

    @property
    def size(self) -> int:
        """Bytes in a bundle, or a little more."""
        return len(self.body) + 512

    def encode(self) -> bytes:
        """The frame's bytes.

        Raises:
            ValueError: the line would be longer than a server reads.
        """
        line = json.dumps(self.head, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"
        if len(line) > MOST_HEAD_BYTES:
            raise ValueError("the head of a frame is too long")
        return line + self.body


def frame(run: str, part: str, body: bytes, **more: Any) -> Frame:
    """A frame with the length and the digest of its bytes; entries that are None are left out."""
    head = {"run": run, "part": part, "bytes": len(body), "sha256": sha256_of(body)}
    head.update({name: value for name, value in more.items() if value is not None})
    return Frame(head, body)


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def content_digest(data: bytes) -> str:
    """The `Content-Digest` header (RFC 9530) of a body as it is sent."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode('ascii')}:"


def object_of(document: Any, what: str) -> Mapping[str, Any]:
    """The document, which must be a JSON object.

    Raises:
        ProtocolError: it is none.
    """
    return _object(document, what)


def _object(document: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(document, dict):
        raise ProtocolError(f"{what[:80]} is no JSON object")
    return document


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and _SHA256.match(value) is not None
