"""Objects in and out of S3 from the machine: by presigned URLs, or signed with the machine's own role."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

TIMEOUT_SECONDS = 60
LARGE_TIMEOUT_SECONDS = 1800
METADATA = "http://169.254.169.254"


class TransferError(Exception):
    """An object could not be moved; the text names the object, never a URL."""


class Slice:
    """A part of a file as a stream, so that a large upload never lies in memory."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        file.seek(start)
        self._file, self._left = file, length

    def read(self, size: int = -1) -> bytes:
        want = self._left if size < 0 else min(size, self._left)
        data = self._file.read(want)
        self._left -= len(data)
        return data


def metadata(path: str, *, method: str = "GET", token: str = "", timeout: float = 2.0) -> str | None:
    """What the instance metadata service says (IMDSv2); None when it has nothing there."""
    base = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or METADATA
    headers = (
        {"X-aws-ec2-metadata-token": token} if token else {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
    )
    request = urllib.request.Request(base.rstrip("/") + path, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return str(answer.read().decode())
    except (OSError, ValueError):
        return None


def metadata_token() -> str:
    """A session token of the metadata service, or an empty text."""
    return metadata("/latest/api/token", method="PUT") or ""


class Urls:
    """Presigned: one URL for each object and verb, nothing else can be reached."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = dict(urls)

    def request(self, verb: str, name: str, length: int) -> tuple[str, dict[str, str]]:
        try:
            return self._urls[f"{verb} {name}"], {}
        except KeyError:
            raise TransferError(f"{verb} {name}: there is no URL for it") from None


class Role:
    """Signed with the credentials of the machine's instance profile, which renew themselves."""

    def __init__(self, base: str, region: str, keys: Mapping[str, str]) -> None:
        self._base, self._region, self._names = base.rstrip("/"), region, keys
        self._keys: dict[str, str] = {}
        self._until = 0.0

    def request(self, verb: str, name: str, length: int) -> tuple[str, dict[str, str]]:
        keys = self._credentials(name)
        url = f"{self._base}/{self._names[name]}"
        parts = urllib.parse.urlsplit(url)
        moment = datetime.datetime.now(datetime.timezone.utc)
        stamp, day = moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%Y%m%d")
        headers = {
            "host": parts.netloc,
            "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
            "x-amz-date": stamp,
            "x-amz-security-token": keys["Token"],
        }
        signed = ";".join(sorted(headers))
        listed = "".join(f"{key}:{headers[key]}\n" for key in sorted(headers))
        canonical = "\n".join([verb, parts.path, "", listed, signed, "UNSIGNED-PAYLOAD"])
        scope = f"{day}/{self._region}/s3/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, digest])
        key = ("AWS4" + keys["SecretAccessKey"]).encode()
        for word in (day, self._region, "s3", "aws4_request"):
            key = hmac.new(key, word.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        credential = f"{keys['AccessKeyId']}/{scope}"
        authorization = (
            f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={signature}"
        )
        del headers["host"]
        return url, {**headers, "Authorization": authorization}

    def _credentials(self, name: str) -> dict[str, str]:
        if time.time() < self._until:
            return self._keys
        token = metadata_token()
        path = "/latest/meta-data/iam/security-credentials/"
        role = (metadata(path, token=token) or "").splitlines()
        answer = metadata(path + role[0], token=token) if role else None
        if answer is None:
            raise TransferError(f"{name}: the machine has no role")
        self._keys = json.loads(answer)
        self._until = time.time() + 300
        return self._keys


class Store:
    """Moves objects, again and again until it works or the time is over."""

    def __init__(self, signer: Any, say: Callable[[str], None]) -> None:
        self._signer, self._say = signer, say

    def put(self, name: str, data: bytes, *, until: float = 0.0) -> None:
        """Store bytes. `until` (seconds since the epoch) is how long to go on trying.

        Raises:
            TransferError: it did not work.
        """
        self._again("PUT", name, until, lambda: data, len(data))

    def put_part(self, name: str, path: Path, start: int, length: int, *, until: float = 0.0) -> None:
        """Store a part of a file.

        Raises:
            TransferError: it did not work.
        """
        with path.open("rb") as file:
            self._again("PUT", name, until, lambda: Slice(file, start, length), length)

    def delete(self, name: str) -> None:
        """Remove an object.

        Raises:
            TransferError: it did not work.
        """
        self._again("DELETE", name, 0.0, lambda: None, 0)

    def fetch(self, name: str, target: Path, sha256: str) -> None:
        """Bring an object into a file.

        Raises:
            TransferError: it can not be had, or is not the one with this digest.
        """
        self._again("GET", name, 0.0, lambda: None, 0, target)
        found = hashlib.sha256(target.read_bytes()).hexdigest()
        if found != sha256:
            raise TransferError(f"{name}: has another digest than it should")

    def _again(
        self,
        verb: str,
        name: str,
        until: float,
        body: Callable[[], Any],
        length: int,
        target: Path | None = None,
    ) -> None:
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._once(verb, name, body(), length, target)
            except urllib.error.HTTPError as error:
                problem, final = f"HTTP {error.code}", error.code in (400, 403, 404) and attempt > 1
                error.close()
            except (OSError, ValueError) as error:
                problem, final = type(error).__name__, False
            if final or (attempt >= 4 and time.time() >= until):
                raise TransferError(f"{verb} {name}: {problem}, {attempt} times")
            self._say(f"{verb} {name}: {problem}, trying again")
            time.sleep(min(2 ** (attempt - 1) * 0.5, 15))

    def _once(self, verb: str, name: str, body: Any, length: int, target: Path | None) -> None:
        url, headers = self._signer.request(verb, name, length)
        if verb == "PUT":
            headers = {**headers, "Content-Length": str(length), "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(url, data=body, method=verb, headers=headers)
        timeout = TIMEOUT_SECONDS if length < 2**24 and target is None else LARGE_TIMEOUT_SECONDS
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            if target is None:
                answer.read()
                return
            with target.open("wb") as file:
                while True:
                    chunk = answer.read(2**20)
                    if not chunk:
                        return
                    file.write(chunk)
