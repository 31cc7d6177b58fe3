"""What the person who runs the server decides: one frozen record, the same in every worker."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

#: The variable in which a worker finds the record.
VARIABLE = "WORLDFLUX_SERVER_SETTINGS"


@dataclass(frozen=True)
class Settings:
    """How this server works.

    Attributes:
        data_dir: folder of the database file, of blobs and of uploads in progress.
        database: SQLAlchemy URL of a PostgreSQL database; None is SQLite in `data_dir`.
        blobs: `s3://bucket/prefix`; None is a folder in `data_dir`.
        s3_endpoint: URL of an S3-compatible service; None is AWS.
        public_url: origin that clients see; used in links and as the ledger's origin.
        allowed_hosts: Host headers that are answered, `*` for all.
        trusted_proxies: addresses whose X-Forwarded headers are believed.
        metrics_token: bearer token for /metrics from elsewhere than this machine.
        heartbeat_seconds: how often a live run reports.
        lost_after_seconds: a running run that was silent for longer is shown as interrupted.
        bundle_bytes: largest bundle, also after it was unpacked.
        bundle_frames: most frames in a bundle.
        patch_bytes: largest body of one PATCH.
        blob_bytes: largest blob.
        key_rate: requests per second of one key; `key_burst` at once.
        address_rate: refused credentials per second of one address; `address_burst` at once.
        read_idle_seconds: a request whose body stands still for longer is ended.
        gc_grace_seconds: an unreferenced blob this young is kept: its run may be on its way.
        trash_days: a deleted run is purged after this, unless its workspace says otherwise.
    """

    data_dir: str
    database: str | None = None
    blobs: str | None = None
    s3_endpoint: str | None = None
    public_url: str | None = None
    allowed_hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    trusted_proxies: tuple[str, ...] = ()
    metrics_token: str | None = None
    heartbeat_seconds: int = 15
    lost_after_seconds: float = 60.0
    bundle_bytes: int = 8 * 1024 * 1024
    bundle_frames: int = 2000
    patch_bytes: int = 8 * 1024 * 1024
    blob_bytes: int = 64 * 1024**3
    inline_blob_bytes: int = 65536
    key_rate: float = 200.0
    key_burst: int = 1000
    address_rate: float = 2.0
    address_burst: int = 60
    read_idle_seconds: float = 30.0
    gc_grace_seconds: float = 86400.0
    trash_days: int = 30
    access_log: bool = True

    @property
    def folder(self) -> Path:
        """`data_dir` as a path."""
        return Path(self.data_dir)

    def to_json(self) -> str:
        """The record as one line, for the environment of a worker."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """The record that `to_json` wrote."""
        known = {each.name for each in fields(cls)}
        values = {name: value for name, value in json.loads(text).items() if name in known}
        for name in ("allowed_hosts", "trusted_proxies"):
            values[name] = tuple(values[name])
        return cls(**values)
