"""The objects of one run in S3, below `<prefix>/<run_id>/`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import IO, Any

from worldflux.errors import RefusedError, WorldFluxError
from worldflux.runtime.aws_ec2.cloud import Cloud, explained

#: What every machine writes, beside parts of its log and its artifacts.
WRITTEN = ("heartbeat.json", "metrics.jsonl", "host.log", "status.json")


class Store:
    """Objects of one attempt of a run; each attempt has a folder of its own."""

    def __init__(self, cloud: Cloud, bucket: str, prefix: str, run_id: str) -> None:
        self.cloud, self.bucket, self.base = cloud, bucket, f"{prefix}/{run_id}"

    def key(self, attempt: int, name: str) -> str:
        return f"{self.base}/{attempt}/{name}"

    def put(self, key: str, data: bytes) -> None:
        with explained(f"s3:PutObject s3://{self.bucket}/{key}"):
            self.cloud.s3.put_object(Bucket=self.bucket, Key=key, Body=data, ServerSideEncryption="AES256")

    def get(self, attempt: int, name: str, start: int = 0) -> bytes:
        """The bytes of an object from `start` on; nothing when it is not there or not longer."""
        try:
            with explained("s3:GetObject"):
                span = {"Range": f"bytes={start}-"} if start else {}
                answer = self.cloud.s3.get_object(Bucket=self.bucket, Key=self.key(attempt, name), **span)
                data: bytes = answer["Body"].read()
                return data
        except WorldFluxError as error:
            if error.details.get("aws_code") in ("NoSuchKey", "404", "InvalidRange", "416"):
                return b""
            raise

    def download(self, attempt: int, name: str, target: IO[bytes]) -> str:
        """Write an object to a file as it arrives and return its SHA-256."""
        total = hashlib.sha256()
        with explained("s3:GetObject"):
            body = self.cloud.s3.get_object(Bucket=self.bucket, Key=self.key(attempt, name))["Body"]
            for chunk in body.iter_chunks(2**20):
                total.update(chunk)
                target.write(chunk)
        return total.hexdigest()

    def listing(self, attempt: int) -> dict[str, tuple[int, str]]:
        """Name -> (bytes, entity tag) of every object of an attempt, in one call for a thousand."""
        start = self.key(attempt, "")
        with explained("s3:ListBucket"):
            pages = self.cloud.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start)
            return {
                each["Key"].removeprefix(start): (int(each["Size"]), str(each["ETag"]))
                for page in pages
                for each in page.get("Contents", ())
            }

    def clear(self) -> None:
        """Remove every object of the run."""
        with explained("s3:DeleteObject"):
            pages = self.cloud.s3.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=f"{self.base}/"
            )
            for page in pages:
                keys = [{"Key": each["Key"]} for each in page.get("Contents", ())]
                if keys:
                    self.cloud.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": keys, "Quiet": True})

    def presigned(self, verb: str, key: str, seconds: float) -> str:
        """A URL that allows one verb on one key for that long."""
        operation = {"GET": "get_object", "PUT": "put_object", "DELETE": "delete_object"}[verb]
        with explained("signing a URL"):
            url: str = self.cloud.s3.generate_presigned_url(
                operation, Params={"Bucket": self.bucket, "Key": key}, ExpiresIn=max(1, int(seconds))
            )
            return url

    def access(
        self, attempt: int, *, read: Mapping[str, str], written: Sequence[str], seconds: float, role: bool
    ) -> dict[str, Any]:
        """How the machine reaches its objects: one URL for each, or its own role.

        Args:
            read: name -> key of objects that it may get.
            written: names of objects that it may put.
            seconds: life of the URLs.
        """
        keys = {**read, **{name: self.key(attempt, name) for name in (*written, "bundle")}}
        if role:
            url = self.presigned("GET", "x", 60).partition("?")[0]
            return {"kind": "role", "base": url[: -len("/x")], "region": self.cloud.region, "keys": keys}
        urls = {f"GET {name}": self.presigned("GET", key, seconds) for name, key in read.items()}
        urls.update({f"PUT {name}": self.presigned("PUT", keys[name], seconds) for name in written})
        urls["DELETE bundle"] = self.presigned("DELETE", keys["bundle"], seconds)
        return {"kind": "urls", "urls": urls}


def check_bucket(cloud: Cloud, bucket: str) -> None:
    """Refuse a bucket that is not there, not ours, or not in the region.

    Raises:
        RefusedError: with the command that makes one.
    """
    try:
        with explained("s3:HeadBucket"):
            answer = cloud.s3.head_bucket(Bucket=bucket)
    except WorldFluxError as error:
        code = error.details.get("aws_code")
        if code not in ("404", "NoSuchBucket", "403", "301"):
            raise
        why = {"403": "is not yours", "301": f"is not in {cloud.region}"}.get(str(code), "does not exist")
        raise RefusedError(
            f"the bucket {bucket} {why}",
            f"aws s3 mb s3://{bucket} --region {cloud.region}, or runtime.bucket=NAME",
            code="bucket",
        ) from None
    region = answer.get("BucketRegion") or answer["ResponseMetadata"]["HTTPHeaders"].get(
        "x-amz-bucket-region"
    )
    if region and region != cloud.region:
        raise RefusedError(
            f"the bucket {bucket} is in {region}, the machine would be in {cloud.region}",
            f"runtime.region={region}, or a bucket in {cloud.region}",
            code="bucket",
        )
