"""A package as it is judged: every file digested once, its documents decoded, and what was found wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from worldflux.errors import Fault, WorldFluxError
from worldflux.evidence import layout
from worldflux.evidence import package as files
from worldflux.evidence.package import Digest, Package, Refused
from worldflux.manifest import io
from worldflux.manifest.model import Manifest

PASS, FAIL, UNKNOWN, NONE = "pass", "fail", "unknown", "none"


@dataclass
class Layer:
    """What one layer of checks came to.

    Attributes:
        status: `pass`; `fail`; `unknown`: there is something, and nothing here can judge it; `none`: there
            is nothing to judge.
        summary: one sentence.
        faults: at most `MOST`; `where` is a path in the package.
    """

    name: str
    status: str = PASS
    summary: str = ""
    faults: list[Fault] = field(default_factory=list)

    MOST = 50

    def fault(self, where: str, problem: str) -> None:
        """Something is wrong: the layer fails."""
        self.status = FAIL
        if len(self.faults) < self.MOST:
            self.faults.append(Fault(where, problem))


@dataclass
class Reading:
    """One package and its files.

    Attributes:
        digests: path in the bag -> what the file came to; without the unreadable ones.
        unreadable: path -> why.
        manifest: None when there is none that fits its schema.
    """

    package: Package
    digests: dict[str, Digest] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    manifest: Manifest | None = None

    def has(self, path: str) -> bool:
        return path in self.package.sizes

    def bytes_of(self, path: str) -> bytes:
        """The whole of a small file.

        Raises:
            Refused: it is too large, or can not be read.
        """
        return files.document(self.package, path)

    def text(self, path: str) -> str:
        """A small text.

        Raises:
            Refused: it is too large, can not be read, or is not UTF-8.
        """
        try:
            return self.bytes_of(path).decode("utf-8")
        except UnicodeDecodeError:
            raise Refused(self.package.where, f"{path} is not UTF-8 text") from None

    def json(self, path: str) -> dict[str, Any]:
        """A small JSON object.

        Raises:
            WorldFluxError: it is none.
        """
        return parse_large(self.bytes_of(path), path)

    @property
    def payload(self) -> dict[str, Digest]:
        """Path below `data/` -> what the file came to."""
        return {
            path[len(layout.DATA) :]: each
            for path, each in self.digests.items()
            if path.startswith(layout.DATA)
        }


def parse_large(data: bytes, source: str) -> dict[str, Any]:
    """A JSON object, as strictly as a manifest is read; statements may be larger than manifests.

    Raises:
        WorldFluxError: it is none.
    """
    return io.parse(data, source, limit=layout.MAX_DOCUMENT)


def read(package: Package, progress: Callable[[str, int, int], None] | None = None) -> Reading:
    """Digest every file of a package, in constant memory, and decode its manifest."""
    reading = Reading(package)
    total, done = sum(package.sizes.values()), 0
    for path in sorted(package.sizes):
        try:
            reading.digests[path] = files.digest(package, path)
        except Refused as error:
            reading.unreadable[path] = error.problem
        done += package.sizes[path]
        if progress is not None:
            progress(path, done, total)
    path = layout.DATA + layout.MANIFEST
    if path in reading.digests:
        try:
            document = io.parse(reading.bytes_of(path), path)
            # Whatever breaks the schema is of unknown form: no later check may look into it.
            if not io.validate(document, strict=False):
                reading.manifest = io.from_document(document, path)
        except WorldFluxError:
            return reading  # the layer of shape says why
    return reading
