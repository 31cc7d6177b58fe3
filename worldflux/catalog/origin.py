"""Where an import comes from: a repo of the Hub at one commit, or a folder of this machine."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from worldflux.catalog.hub import HubClient
from worldflux.catalog.journal import Item, digest_of
from worldflux.catalog.reference import HUB_KINDS, Kind, Reference
from worldflux.errors import UsageError, WorldFluxError

_SKIPPED_FOLDERS = (".git", ".cache", "__pycache__")


class Origin(Protocol):
    """One commit of one source.

    Attributes:
        reference: as it was asked for; for a folder, with a name made from its path.
        commit: 40 hexadecimal digits that stand for exactly these files.
        names: revisions it was found under.
    """

    reference: Reference
    commit: str
    names: tuple[str, ...]
    tags: tuple[str, ...]
    card: Mapping[str, Any]

    def items(self) -> Iterator[Item]: ...

    def open(self, path: str, offset: int) -> AbstractContextManager[tuple[int, Iterator[bytes]]]: ...

    def record(self) -> dict[str, Any]:
        """What the record of the import says about where it came from."""


@dataclass
class HubOrigin:
    """A repo of the Hub, resolved to a commit."""

    client: HubClient
    reference: Reference
    commit: str
    names: tuple[str, ...]
    tags: tuple[str, ...] = ()
    refs: tuple[str, ...] = ()
    card: Mapping[str, Any] = field(default_factory=dict)
    gated: str | bool = False
    private: bool = False

    @classmethod
    def resolve(cls, client: HubClient, reference: Reference) -> HubOrigin:
        """Ask the Hub which commit is meant. Raises what `HubClient.info` and `refs` raise."""
        kind = HUB_KINDS[reference.kind]
        revision = reference.revision
        known: tuple[str, ...] = ()
        if reference.kind == "dataset" and revision is None:
            from worldflux.catalog.lerobot_dataset import resolve_version

            refs = client.refs(kind, reference.repo)
            known = tuple(sorted({*refs.branches, *refs.tags}))
            revision = resolve_version(known, reference.repo)
        info = client.info(kind, reference.repo, revision or "main")
        return cls(
            client=client,
            reference=reference,
            commit=info.commit,
            names=(revision or "main",),
            tags=info.tags,
            refs=known,
            card=info.card,
            gated=info.gated,
            private=info.private,
        )

    def items(self) -> Iterator[Item]:
        for file in self.client.tree(HUB_KINDS[self.reference.kind], self.reference.repo, self.commit):
            yield Item(safe_path(file.path), file.size, file.sha256, file.git_oid)

    def open(self, path: str, offset: int) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        return self.client.open(
            HUB_KINDS[self.reference.kind], self.reference.repo, self.commit, path, offset
        )

    def record(self) -> dict[str, Any]:
        gated = self.gated if isinstance(self.gated, bool) else str(self.gated)
        return {
            "endpoint": self.client.endpoint,
            "gated": gated,
            "private": self.private,
            "refs": list(self.refs),
        }


@dataclass
class FolderOrigin:
    """A folder of this machine; its commit is a digest of its files."""

    folder: Path
    reference: Reference
    commit: str
    found: list[Item]
    names: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    card: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> FolderOrigin:
        """Read every file once and tell a policy from a dataset.

        Raises:
            UsageError: no such folder, or it is neither.
        """
        folder = folder.expanduser().resolve()
        if not folder.is_dir():
            hint = "name a folder, or a repo as lerobot:OWNER/NAME"
            raise UsageError(f"there is no folder {folder}", hint, code="no_folder")
        kind = _kind_of(folder)
        try:
            found = sorted(_walk(folder), key=lambda item: item.path)
        except OSError as error:
            raise UsageError(f"{folder} can not be read: {error.strerror}", code="no_folder") from None
        whole = hashlib.sha256()
        for item in found:
            whole.update(f"{item.sha256}  {item.path}\n".encode())
        name = re.sub(r"[^A-Za-z0-9._]+|-{2,}", "-", folder.name).strip("-.") or "folder"
        return cls(folder, Reference(kind, f"local/{name}"), whole.hexdigest()[:40], found)

    def items(self) -> Iterator[Item]:
        return iter(self.found)

    @contextmanager
    def open(self, path: str, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        try:
            handle = open(self.folder / path, "rb")  # noqa: SIM115 - closed below
        except OSError as error:
            raise WorldFluxError(
                f"{self.folder / path} can not be read: {error.strerror}", code="no_folder"
            ) from None
        with handle:
            handle.seek(offset)
            yield offset, iter(lambda: handle.read(1 << 20), b"")

    def record(self) -> dict[str, Any]:
        return {"folder": str(self.folder)}


def safe_path(path: str) -> str:
    """The path, when it stays below the folder it is put in.

    Raises:
        WorldFluxError: it climbs out, is absolute, or can not be a file name.
    """
    parts = path.split("/")
    bad = any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts)
    if bad or "\\" in path or any(ord(sign) < 32 or ord(sign) == 127 for sign in path) or ":" in parts[0]:
        shown = ascii(path)
        raise WorldFluxError(
            f"the repo holds a file with a dangerous name: {shown}",
            "nothing was imported",
            code="unsafe_path",
        )
    return path


def _kind_of(folder: Path) -> Kind:
    if (folder / "meta" / "info.json").is_file():
        return "dataset"
    if (folder / "config.json").is_file():
        return "policy"
    problem = f"{folder} is neither a LeRobot policy nor a LeRobot dataset"
    hint = "a policy has a config.json at its top, a dataset has meta/info.json"
    if (folder / "pretrained_model" / "config.json").is_file():
        hint = f"the policy is one folder deeper: worldflux import {folder / 'pretrained_model'}"
    raise UsageError(problem, hint, code="not_importable")


def _walk(folder: Path) -> Iterator[Item]:
    for top, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS)
        for name in names:
            path = Path(top, name)
            if path.is_file():
                size = path.stat().st_size
                sha256, git_oid = digest_of(path, size)
                yield Item(safe_path(path.relative_to(folder).as_posix()), size, sha256, git_oid)
