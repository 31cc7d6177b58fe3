"""Blobs in an S3-compatible bucket: `s3://bucket/prefix/<workspace>/<aa>/<sha256>`.

Uploads are gathered and hashed on the server's own disk first: what a service says of digests is not asked.
An object is only ever made (`If-None-Match: *`), so a second writer of the same digest changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, BinaryIO, cast

from worldflux.errors import UsageError
from worldflux.server.blobs import Stored, sweep_staging
from worldflux.server.problems import Problem

#: A larger blob is sent in parts of this size.
PART_BYTES = 16 * 1024 * 1024

#: A multipart upload that was begun so long ago is nobody's any more.
STALE_HOURS = 24.0

_SHA256 = re.compile(r"[0-9a-f]{64}")


class S3Blobs:
    """See `worldflux.server.blobs.BlobStore`. Credentials are found as boto3 finds them."""

    def __init__(self, url: str, folder: Path, endpoint: str | None = None, *, client: Any = None) -> None:
        scheme, _, rest = url.partition("://")
        self.bucket, _, prefix = rest.partition("/")
        if scheme != "s3" or not self.bucket:
            raise UsageError(
                "--blobs must be s3://bucket/prefix", "--blobs s3://runs/worldflux", code="blobs"
            )
        self.prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self.staging = folder / "uploads"
        self.staging.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._client = client or _connect(endpoint)

    def _key(self, workspace_id: int, sha256: str) -> str:
        if not _SHA256.fullmatch(sha256):
            raise ValueError("not a digest")
        return f"{self.prefix}{int(workspace_id)}/{sha256[:2]}/{sha256}"

    def put(self, workspace_id: int, sha256: str, data: bytes) -> None:
        """See `BlobStore.put`."""
        with _translated():
            self._make(self._key(workspace_id, sha256), data)

    def take(self, workspace_id: int, sha256: str, path: Path) -> None:
        """See `BlobStore.take`."""
        key = self._key(workspace_id, sha256)
        with _translated(), path.open("rb") as file:
            if path.stat().st_size <= PART_BYTES:
                self._make(key, file.read())
            else:
                self._make_in_parts(key, file)
        path.unlink(missing_ok=True)

    def _make(self, key: str, data: bytes) -> None:
        try:
            self._client.put_object(Bucket=self.bucket, Key=key, Body=data, IfNoneMatch="*")
        except self._client.exceptions.ClientError as error:
            if not _is_there_already(error):
                raise

    def _make_in_parts(self, key: str, file: BinaryIO) -> None:
        where = {"Bucket": self.bucket, "Key": key}
        begun = {**where, "UploadId": self._client.create_multipart_upload(**where)["UploadId"]}
        try:
            parts: list[dict[str, Any]] = []
            while block := file.read(PART_BYTES):
                sent = self._client.upload_part(**begun, PartNumber=len(parts) + 1, Body=block)
                parts.append({"PartNumber": len(parts) + 1, "ETag": sent["ETag"]})
            self._client.complete_multipart_upload(**begun, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
        except BaseException as error:
            self._client.abort_multipart_upload(**begun)
            if not _is_there_already(error):
                raise

    def holds(self, workspace_id: int, sha256: str) -> bool:
        """See `BlobStore.holds`."""
        with _translated():
            try:
                self._client.head_object(Bucket=self.bucket, Key=self._key(workspace_id, sha256))
            except self._client.exceptions.ClientError as error:
                if _status(error) == 404:
                    return False
                raise
        return True

    def open(self, workspace_id: int, sha256: str, start: int = 0) -> BinaryIO:
        """See `BlobStore.open`."""
        import io

        span = {"Range": f"bytes={start}-"} if start else {}
        with _translated():
            try:
                answer = self._client.get_object(
                    Bucket=self.bucket, Key=self._key(workspace_id, sha256), **span
                )
            except self._client.exceptions.ClientError as error:
                if _status(error) == 404:
                    raise FileNotFoundError(sha256) from None
                if _status(error) == 416:
                    return io.BytesIO()
                raise
        return cast("BinaryIO", answer["Body"])

    def remove(self, workspace_id: int, sha256: str) -> None:
        """See `BlobStore.remove`."""
        with _translated():
            self._client.delete_object(Bucket=self.bucket, Key=self._key(workspace_id, sha256))

    def stored(self, workspace_id: int) -> Iterator[Stored]:
        """See `BlobStore.stored`."""
        pages = self._client.get_paginator("list_objects_v2")
        now = datetime.now(timezone.utc)
        for page in pages.paginate(Bucket=self.bucket, Prefix=f"{self.prefix}{int(workspace_id)}/"):
            for each in page.get("Contents", []):
                name = each["Key"].rpartition("/")[2]
                if _SHA256.fullmatch(name):
                    age = (now - each["LastModified"]).total_seconds()
                    yield Stored(name, each["Size"], max(0.0, age))

    def sweep(self) -> int:
        """See `BlobStore.sweep`: also ends multipart uploads that nobody finishes, which cost money unseen."""
        count = sweep_staging(self.staging)
        before = datetime.now(timezone.utc) - timedelta(hours=STALE_HOURS)
        pages = self._client.get_paginator("list_multipart_uploads")
        for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix):
            for each in page.get("Uploads", []):
                if each["Initiated"] < before:
                    self._client.abort_multipart_upload(
                        Bucket=self.bucket, Key=each["Key"], UploadId=each["UploadId"]
                    )
                    count += 1
        return count


class _translated:
    """Trouble with the service is temporary to a client."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, (Problem, FileNotFoundError)):
            return
        from botocore.exceptions import BotoCoreError, ClientError

        if isinstance(error, (BotoCoreError, ClientError)):
            raise Problem(
                503, "blob-store", "the blob store does not answer as it should", "try again later",
                headers={"Retry-After": "10"},
            ) from error  # fmt: skip


def _connect(endpoint: str | None) -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        from worldflux.errors import WorldFluxError

        raise WorldFluxError("S3 needs boto3", "pip install 'worldflux[aws]'", code="extra") from None
    config = Config(connect_timeout=5, read_timeout=60, retries={"max_attempts": 4, "mode": "standard"})
    try:
        return boto3.client("s3", endpoint_url=endpoint, config=config)
    except ValueError:
        raise UsageError(
            "--s3-endpoint is no URL", "--s3-endpoint https://storage.example.org", code="blobs"
        ) from None


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _is_there_already(error: BaseException) -> bool:
    """The condition failed (412), or another writer is just making the same object (409)."""
    from botocore.exceptions import ClientError

    return isinstance(error, ClientError) and _status(error) in (409, 412)
