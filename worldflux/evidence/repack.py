"""Put a ledger's proof into a package that was built before: what is signed stays as it is."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from worldflux.evidence import bag, layout
from worldflux.evidence.archive import ArchiveWriter
from worldflux.evidence.package import Refused
from worldflux.evidence.zip_reader import ZipPackage
from worldflux.manifest.storage import storage_error


def with_proof(archive: Path, out: Path, proof: str) -> str:
    """Write a copy of an archive that carries the proof; returns the copy's sha256.

    Needs no key: the proof stands beside the signatures, listed with the other tag files.

    Raises:
        Refused: it is no archive of a package.
        WorldFluxError: the disk refused.
    """
    package = ZipPackage(archive)
    temporary = out.parent / f".worldflux-{os.urandom(6).hex()}.tmp"
    try:
        if layout.TAG_LIST not in package.sizes:
            raise Refused(package.where, f"it has no {layout.TAG_LIST}")
        out.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as stream:
            _copy(package, stream, proof.encode())
            stream.flush()
            os.fsync(stream.fileno())
        with temporary.open("rb") as stream:
            sha256 = hashlib.sha256()
            while chunk := stream.read(layout.CHUNK):
                sha256.update(chunk)
        temporary.replace(out)
    except bag.BagError as error:
        raise Refused(package.where, f"{layout.TAG_LIST}: {error}") from None
    except OSError as error:
        raise storage_error(out, error) from error
    finally:
        package.close()
        temporary.unlink(missing_ok=True)
    return sha256.hexdigest()


def _copy(package: ZipPackage, out: BinaryIO, proof: bytes) -> None:
    with package.open(layout.TAG_LIST) as stream:
        tags = bag.read_listing(stream.read(layout.MAX_DOCUMENT).decode("utf-8", "replace"))
    tags[layout.LEDGER_PROOF] = hashlib.sha256(proof).hexdigest()
    fresh = {layout.LEDGER_PROOF: proof, layout.TAG_LIST: bag.listing(tags).encode()}
    writer = ArchiveWriter(out)
    for path in sorted({*package.sizes, *fresh}):
        name = f"{package.top}/{path}"
        if path in fresh:
            data = fresh[path]
            writer.add(name, len(data), zlib.crc32(data), _bytes(data))
        else:
            writer.add(name, package.sizes[path], package.crc(path), _member(package, path))
    writer.close()


def _bytes(data: bytes) -> Callable[[BinaryIO], None]:
    def write(out: BinaryIO) -> None:
        out.write(data)

    return write


def _member(package: ZipPackage, path: str) -> Callable[[BinaryIO], None]:
    def write(out: BinaryIO) -> None:
        with package.open(path) as stream:
            while chunk := stream.read(layout.CHUNK):
                out.write(chunk)

    return write
