"""Runs as a client sends them: manifests, frames and bundles made of plain values."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import requests
import rfc8785
from server_process import Server

from worldflux.manifest.model import Manifest, new_run_id

BUNDLE = "application/vnd.worldflux.bundle"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest_header(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


@dataclass
class SentRun:
    """One run: what its folder would hold. `manifest()` is made anew from these each time."""

    run_id: str = field(default_factory=new_run_id)
    project: str = "demo"
    name: str = "a run"
    status: str = "succeeded"
    metrics: dict[str, Any] = field(default_factory=lambda: {"loss": {"value": 0.25, "step": 49}})
    params: dict[str, Any] = field(default_factory=lambda: {"params": {"lr": 0.1}, "seed": 3})
    series: bytes | None = b'{"name":"loss","step":0,"value":0.5}\n{"name":"loss","step":1,"value":0.25}\n'
    logs: dict[str, bytes] = field(default_factory=lambda: {"output": b"hello\nworld\n"})
    artifacts: dict[str, bytes] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The manifest as a document."""
        made = Manifest.new(
            run_id=self.run_id, project=self.project, name=self.name, tags=self.tags, argv=["worldflux"],
            recipe={"name": "demo", "task": "eval", "source": {"path": ".", "sha256": None}},
            config={"path": "config.yaml", "sha256": "0" * 64, "overrides": [], "resolved": self.params},
            runtime={"name": "local", "plugin": "a:B", "plugin_version": "1.0"},
        )  # fmt: skip
        made.run["created_at"] = "2026-11-21T10:00:00.000+00:00"
        if self.status != "queued":
            made.start()
            made.run["started_at"] = "2026-11-21T10:00:01.000+00:00"
        if self.status not in ("queued", "running"):
            made.finish(self.status, exit_code=0 if self.status == "succeeded" else 1)  # type: ignore[arg-type]
            made.run["finished_at"] = "2026-11-21T10:00:02.000+00:00"
            made.run["duration_seconds"] = 1.0
        made.metrics = self.metrics
        if self.series is not None:
            made.series = {
                "path": "metrics.jsonl", "bytes": len(self.series), "sha256": sha256(self.series),
                "rows": self.series.count(b"\n"),
            }  # fmt: skip
        made.logs = [
            {
                "name": name,
                "path": f"logs/{name}.log",
                "bytes": len(data),
                "sha256": sha256(data),
                "truncated": False,
            }
            for name, data in self.logs.items()
        ]
        made.artifacts = [
            {"path": f"artifacts/{path}", "bytes": len(data), "sha256": sha256(data),
             "media_type": "application/octet-stream", "commit": True}
            for path, data in self.artifacts.items()
        ]  # fmt: skip
        return json.loads(json.dumps(made.to_json()))  # type: ignore[no-any-return]

    def manifest(self) -> bytes:
        """The bytes of manifest.json."""
        return rfc8785.dumps(self.document())

    @property
    def streams(self) -> dict[str, bytes]:
        """Stream name -> all its bytes."""
        found = {f"log:{name}": data for name, data in self.logs.items()}
        return found | ({"metrics": self.series} if self.series is not None else {})

    @property
    def final(self) -> bool:
        return self.status not in ("queued", "running")

    def stream_frames(self) -> list[bytes]:
        """Each stream whole."""
        return [self.stream_frame(name, 0, data) for name, data in self.streams.items()]

    def stream_frame(self, name: str, offset: int, data: bytes, **more: Any) -> bytes:
        head = {"part": "stream", "stream": name, "offset": offset, "project": self.project, **more}
        return frame(self.run_id, data, **head)

    def blob_frames(self) -> list[bytes]:
        return [frame(self.run_id, data, part="blob") for data in self.artifacts.values()]

    def manifest_frame(self, data: bytes | None = None, **more: Any) -> bytes:
        """The commit; `data` instead of this run's own manifest."""
        stated = {
            name: {"bytes": len(data), "sha256": sha256(data), "torn": False}
            for name, data in self.streams.items()
        }
        head = {"part": "manifest", "final": self.final, "streams": stated, "withheld": [], **more}
        return frame(self.run_id, self.manifest() if data is None else data, **head)

    def frames(self) -> list[bytes]:
        """Everything, in the order of a good client."""
        return [*self.stream_frames(), *self.blob_frames(), self.manifest_frame()]


def frame(run: str, data: bytes, **head: Any) -> bytes:
    """One frame."""
    line = {"run": run, "bytes": len(data), "sha256": sha256(data), **head}
    return json.dumps(line).encode() + b"\n" + data


def send(
    server: Server,
    *frames: bytes,
    key: str | None = "",
    zipped: bool = False,
    expect: int | None = None,
    **headers: str,
) -> requests.Response:
    """Post a bundle."""
    body = b"".join(frames)
    if zipped:
        body = gzip.compress(body, 1)
        headers["Content-Encoding"] = "gzip"
    stated = {"Content-Type": BUNDLE, "Content-Digest": digest_header(body), **headers}
    return server.call("POST", "/api/sync/bundle", key=key, data=body, headers=stated, expect=expect)


def result(answer: requests.Response) -> dict[str, Any]:
    """The only entry of `results`."""
    (entry,) = answer.json()["results"]
    return dict(entry)


def patch(
    server: Server, name: str, offset: int, total: int, body: bytes, *, expect: int | None = None, **more: Any
) -> requests.Response:
    """Add bytes to a blob."""
    headers = {
        "Upload-Offset": str(offset), "Upload-Length": str(total), "Content-Digest": digest_header(body),
        **more.pop("headers", {}),
    }  # fmt: skip
    return server.call("PATCH", f"/api/sync/blobs/{name}", data=body, headers=headers, expect=expect, **more)
