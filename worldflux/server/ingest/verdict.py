"""What is held of a run, and what is to become of it: the values between deciding and writing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from worldflux.server.ingest.prepare import Manifest

EMPTY = hashlib.sha256().hexdigest()


@dataclass
class Chunk:
    """Bytes to be appended to a stream; `body` is them packed, None when they became the blob `sha256`."""

    stream: str
    offset: int
    sha256: str
    raw: memoryview
    body: bytes | None


@dataclass
class StreamState:
    """A stream's length and digest as they are or will be; `state` is SHA-256 there, when known."""

    length: int = 0
    sha256: str = EMPTY
    state: Any = None
    stored: int = 0  # length in the database
    changed: bool = False


@dataclass
class Held:
    """What the database has of a run."""

    pk: int
    project_id: int
    claimed_status: str
    state: str
    final: bool
    manifest_sha256: str | None
    withheld: tuple[str, ...]
    renamed: bool
    retagged: bool
    ledger_seq: int | None
    streams: dict[str, StreamState] = field(default_factory=dict)

    @property
    def closed(self) -> bool:
        """Committed and ended: it does not change any more. An interrupted run may go on."""
        return self.final and self.claimed_status != "interrupted"

    @property
    def deleted(self) -> bool:
        """In the trash, or gone for good."""
        return self.state in ("trash", "gone")


@dataclass
class Verdict:
    """What becomes of one run, in the client's words and as rows to write.

    Attributes:
        accepted: the manifest is to be written.
        fresh: there was no such run.
        blobs: to be registered: sha256 -> bytes.
        values: columns of `runs` to set.
    """

    run: str
    status: int = 200
    outcome: str = "unchanged"
    code: str = ""
    detail: str = ""
    missing_blobs: list[str] = field(default_factory=list)
    missing_streams: dict[str, int] = field(default_factory=dict)
    ledger: dict[str, Any] | None = None
    held: Held | None = None
    project_id: int = 0
    accepted: Manifest | None = None
    fresh: bool = False
    streams: dict[str, StreamState] = field(default_factory=dict)
    chunks: list[Chunk] = field(default_factory=list)
    blobs: dict[str, int] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def refuse(self, status: int, outcome: str, code: str, detail: str) -> Verdict:
        """The same run, of which nothing in this bundle is kept."""
        self.status, self.outcome, self.code, self.detail = status, outcome, code, detail
        self.accepted, self.chunks, self.blobs, self.values = None, [], {}, {}
        self.streams = dict(self.held.streams) if self.held else {}
        for stream in self.streams.values():
            stream.changed = False
        self.fresh = False
        return self

    @property
    def writes(self) -> bool:
        """Whether anything is to be written."""
        return bool(self.values or self.chunks or self.blobs or self.fresh)

    def answer(self) -> dict[str, Any]:
        """The entry of `results`."""
        return {
            "run": self.run,
            "status": self.status,
            "outcome": self.outcome,
            "streams": {name: stream.length for name, stream in self.streams.items()},
            "missing": {"blobs": self.missing_blobs, "streams": self.missing_streams},
            "code": self.code,
            "detail": self.detail,
            "ledger": self.ledger,
        }
