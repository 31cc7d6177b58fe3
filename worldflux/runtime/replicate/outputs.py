"""A model's outputs, downloaded by us: without the token, from allowed hosts, with caps.

The author of a model chooses the addresses in its output, so they are not to be trusted: a
client that sends its token along hands it to whoever runs that host.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import requests

from worldflux.runtime.replicate.client import LOOPBACK, plain_session

MAX_REDIRECTS = 3
MAX_FILES = 1000
MAX_DEPTH = 32
CHUNK = 2**18


@dataclass
class Downloads:
    """Takes files out of an output.

    Args:
        folder: where they go.
        hosts: names, `*.name` for all below it, or `name:port`.
        cap: bytes of all files together.

    Attributes:
        files: what was written.
        refused: address without its query, and the reason, of what was not.
    """

    folder: Path
    hosts: Sequence[str]
    cap: int
    files: list[Path] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._room = self.cap
        self._session = plain_session()

    def localize(self, output: Any, depth: int = 0) -> Any:
        """The output with every file that was taken replaced by its name in the folder."""
        if depth > MAX_DEPTH:
            return None
        if isinstance(output, list):
            return [self.localize(each, depth + 1) for each in output]
        if isinstance(output, dict):
            return {str(name): self.localize(value, depth + 1) for name, value in output.items()}
        if isinstance(output, str) and re.match(r"https?://\S+\Z|data:[^,\s]*,", output):
            path = self.take(output)
            return output if path is None else path.relative_to(self.folder).as_posix()
        return output

    def take(self, address: str, name: str | None = None) -> Path | None:
        """One file, or None when it was refused; `refused` says why."""
        if len(self.files) >= MAX_FILES:
            return self._refuse(address, f"more than {MAX_FILES} files")
        if address.startswith("data:"):
            return self._inline(address)
        path = self._free_name(name or unquote(urlsplit(address).path).rpartition("/")[2])
        try:
            reason = self._download(address, path)
        except (requests.RequestException, OSError) as error:
            reason = f"{type(error).__name__} while it was downloaded"
        if reason:
            path.unlink(missing_ok=True)
            return self._refuse(address, reason)
        self.files.append(path)
        return path

    def _download(self, address: str, path: Path) -> str:
        """Write one file; returns why not, or an empty text."""
        for _ in range(MAX_REDIRECTS + 1):
            if not allowed(address, self.hosts):
                return "its host is not allowed"
            with self._session.get(
                address,
                stream=True,
                timeout=(10, 60),
                allow_redirects=False,
                auth=_no_auth,
                proxies=requests.utils.get_environ_proxies(address),
            ) as response:
                if response.is_redirect:
                    address = urljoin(address, response.headers["location"])
                    continue
                if response.status_code != 200:
                    return f"the server answered {response.status_code}"
                return self._write(response, path)
        return "too many redirects"

    def _write(self, response: requests.Response, path: Path) -> str:
        room = self._room
        with path.open("xb") as stream:
            for chunk in response.iter_content(CHUNK):
                room -= len(chunk)
                if room < 0:
                    return f"all files together are over the limit of {self.cap / 1e6:g} MB"
                stream.write(chunk)
        self._room = room
        return ""

    def _inline(self, address: str) -> Path | None:
        head, _, body = address.partition(",")
        try:
            data = (
                base64.b64decode(body, validate=True) if head.endswith(";base64") else unquote(body).encode()
            )
        except (binascii.Error, ValueError):
            return self._refuse(head, "it is not base64")
        if len(data) > self._room:
            return self._refuse(head, f"all files together are over the limit of {self.cap / 1e6:g} MB")
        self._room -= len(data)
        kind = re.sub(r"[^a-z0-9]", "", head.removeprefix("data:").partition(";")[0].rpartition("/")[2])
        path = self._free_name(f"output.{kind or 'bin'}")
        path.write_bytes(data)
        self.files.append(path)
        return path

    def _refuse(self, address: str, reason: str) -> Path | None:
        self.refused.append(f"{address.partition('?')[0][:200]}: {reason}")
        return None

    def _free_name(self, wanted: str) -> Path:
        """A plain file name that is not taken yet."""
        plain = re.sub(r"[^A-Za-z0-9._-]", "_", wanted).lstrip(".")[-120:] or "output"
        path, number = self.folder / plain, 1
        while path.exists() or path.is_symlink():
            path, number = self.folder / f"{number}-{plain}", number + 1
        return path


def allowed(address: str, hosts: Sequence[str]) -> bool:
    """Whether a file may be fetched from an address: https on a listed host, or http on this machine."""
    try:
        parts = urlsplit(address)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return False
    if parts.username is not None or parts.password is not None:
        return False
    if parts.scheme != "https" and not (parts.scheme == "http" and host in LOOPBACK):
        return False
    names = {host, f"{host}:{port}"} if port else {host}
    if port not in (None, 443) and f"{host}:{port}" not in hosts:
        return False
    return any(
        name in names or (name.startswith("*.") and host.endswith(name[1:]))
        for name in (each.lower() for each in hosts)
    )


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Nothing that could tell who we are goes to an output's host."""
    for header in ("Authorization", "Cookie"):
        request.headers.pop(header, None)
    return request
