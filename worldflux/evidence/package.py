"""The files of a package, wherever they are: a folder, or an archive that is trusted with nothing."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from worldflux.errors import WorldFluxError
from worldflux.evidence import layout
from worldflux.evidence.contents import is_regular, open_regular
from worldflux.manifest.names import is_recordable_path


class Refused(WorldFluxError):
    """Something is no package at all, or of a form that a reader must not follow."""

    code = "evidence-refused"

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}", "a package is made by: worldflux evidence build RUN [--zip]")


class Package(Protocol):
    """Named files that can be read one after the other."""

    where: str
    #: `folder` or `zip`
    kind: str
    #: Path in the bag -> bytes.
    sizes: dict[str, int]

    def open(self, path: str) -> BinaryIO:
        """The bytes of one file, to be closed by the caller."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Digest:
    """What one file came to."""

    size: int
    sha256: str


def digest(package: Package, path: str) -> Digest:
    """Read one file to its end in constant memory.

    Raises:
        Refused: it can not be read, or not as its name promised.
    """
    whole, size = hashlib.sha256(), 0
    try:
        with package.open(path) as stream:
            while chunk := stream.read(layout.CHUNK):
                whole.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise Refused(package.where, f"{path!r} can not be read: {error.strerror or error}") from None
    return Digest(size, whole.hexdigest())


def document(package: Package, path: str) -> bytes:
    """The whole of a small file.

    Raises:
        Refused: it is too large for what it is, or can not be read.
    """
    if package.sizes[path] > layout.MAX_DOCUMENT:
        raise Refused(package.where, f"{path!r} is larger than {layout.MAX_DOCUMENT} bytes")
    try:
        with package.open(path) as stream:
            data = stream.read(layout.MAX_DOCUMENT + 1)
    except OSError as error:
        raise Refused(package.where, f"{path!r} can not be read: {error.strerror or error}") from None
    if len(data) > layout.MAX_DOCUMENT:
        raise Refused(package.where, f"{path!r} is larger than {layout.MAX_DOCUMENT} bytes")
    return data


class FolderPackage:
    """A package that lies open on disk. Links and special files are refused, not followed.

    Raises:
        Refused: it holds one, or too many files.
    """

    kind = "folder"

    def __init__(self, root: Path) -> None:
        self.root, self.where = root, str(root)
        self.sizes: dict[str, int] = {}
        self._walk("")

    def open(self, path: str) -> BinaryIO:
        return open_regular(self.root / path)

    def close(self) -> None:
        return None

    def _walk(self, below: str) -> None:
        try:
            entries = sorted(os.scandir(self.root / below), key=lambda entry: entry.name)
        except OSError as error:
            raise Refused(self.where, f"{below or '.'} can not be read: {error.strerror}") from None
        for entry in entries:
            path = below + entry.name
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                self._walk(f"{path}/")
            elif stat.S_ISREG(status.st_mode):
                self.sizes[path] = status.st_size
            else:
                raise Refused(self.where, f"{path!r} is a link or a special file")
            if len(self.sizes) > layout.MAX_FILES:
                raise Refused(self.where, f"it has more than {layout.MAX_FILES} files")


class RunPackage:
    """A run folder as if it were packed: what its manifest digests, below `data/`."""

    kind = "run"

    def __init__(self, root: Path) -> None:
        from worldflux.evidence.completeness import recorded
        from worldflux.manifest import io

        self.root, self.where = root, str(root)
        paths = [layout.MANIFEST]
        with suppress(WorldFluxError, KeyError, TypeError):  # the layer of shape says why
            paths += [path for path, _, _ in recorded(io.read(root / layout.MANIFEST))]
        self.sizes = {}
        for path in dict.fromkeys(paths):
            if is_recordable_path(path) and is_regular(root / path):
                self.sizes[layout.DATA + path] = (root / path).lstat().st_size

    def open(self, path: str) -> BinaryIO:
        return open_regular(self.root / path[len(layout.DATA) :])

    def close(self) -> None:
        return None
