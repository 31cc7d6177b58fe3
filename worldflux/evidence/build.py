"""Make the evidence package of a run: a folder, or one ZIP archive.

Everything is read twice and kept in memory never: once to digest and screen it, once to copy it. What
changes in between is noticed. The same run, key and version give the same bytes, whenever and wherever.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from worldflux.errors import RefusedError, UsageError, WorldFluxError
from worldflux.evidence import bag, episodes, layout, statements
from worldflux.evidence.contents import (
    DEFAULT_LIMIT,
    Contents,
    Item,
    LeftOut,
    contents,
    open_regular,
)
from worldflux.evidence.crate import Attribution, Packed, crate
from worldflux.evidence.screening import Gate, screen
from worldflux.manifest import io
from worldflux.manifest.storage import storage_error

if TYPE_CHECKING:
    from worldflux.evidence.dsse import Signer
    from worldflux.manifest.model import Manifest

_STALE_SECONDS = 3600

#: Called with (path, bytes so far, bytes in all) while files are read.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Options:
    """What the caller decides.

    Attributes:
        key: signs the statements; None makes a package without a signature.
        limit: artifacts with more bytes stay outside by digest.
        exclude: patterns of files that stay outside by digest.
        proof: the text of a ledger's proof to pack.
    """

    key: Signer | None = None
    limit: int = DEFAULT_LIMIT
    exclude: Sequence[str] = ()
    said: Attribution = field(default_factory=Attribution)
    proof: str | None = None


@dataclass(frozen=True)
class Built:
    """A finished package.

    Attributes:
        sha256: of the archive; None for a folder.
        files, size: number and bytes of the files below `data/`.
    """

    path: Path
    run_id: str
    signer: str | None
    files: int
    size: int
    left_out: tuple[LeftOut, ...]
    sha256: str | None


@dataclass(frozen=True)
class _Member:
    """A file of the package: where its bytes come from, and what they came to when they were read."""

    source: Path | bytes
    size: int
    sha256: str
    crc: int

    def write(self, out: BinaryIO) -> None:
        """Copy the bytes; they must be the ones that were read before.

        Raises:
            WorldFluxError: the file has changed.
        """
        digest, left = hashlib.sha256(), self.size
        with _opened(self.source) as stream:
            while left and (chunk := stream.read(min(left, layout.CHUNK))):
                digest.update(chunk)
                out.write(chunk)
                left -= len(chunk)
            grown = bool(stream.read(1))
        if left or grown or digest.hexdigest() != self.sha256:
            raise WorldFluxError(
                f"{self.source!s:.200} has changed while it was packed",
                "wait until nothing writes to the run's folder, then build again",
                code="evidence-changed",
            )


def build(
    folder: Path,
    out: Path,
    gate: Gate,
    options: Options,
    *,
    archive: bool = False,
    replace: bool = False,
    progress: Progress | None = None,
) -> Built:
    """Write the package of the run in `folder` to `out`, whole or not at all.

    Args:
        out: the folder or archive to make; its parent is made, too.
        gate: judges every text before anything is written.
        archive: one ZIP instead of a folder.
        replace: remove what stands at `out` first.

    Raises:
        UsageError: the run has not ended, or there is something at `out`.
        RefusedError: a file carries a secret.
        WorldFluxError: a file is gone or not what the run recorded, or the disk refused.
    """
    from worldflux import __version__

    manifest = io.read(folder / layout.MANIFEST)
    if not manifest.final:
        raise UsageError(
            f"run {manifest.client_run_id} is {manifest.status}: there is evidence of runs that have ended",
            f"worldflux runs show {manifest.client_run_id}",
            code="evidence-running",
        )
    if os.path.lexists(out) and not replace:
        raise UsageError(
            f"{out} is there already", "--force replaces it, -o OUT writes elsewhere", code="exists"
        )
    chosen = contents(folder, manifest, limit=options.limit, exclude=options.exclude)
    members, packed = _payload(folder, manifest, chosen, gate, options.said, progress)
    committed = {each["path"]: each["sha256"] for each in manifest.artifacts if each["commit"]}
    members |= _attestations(manifest, packed, committed, options, gate)
    members |= _tags(manifest, members, len(chosen.left_out), __version__)
    sha256 = _store(out, manifest.client_run_id, members, archive)
    return Built(
        out,
        manifest.client_run_id,
        options.key.label if options.key is not None else None,
        len(packed),
        sum(each.size for each in packed),
        tuple(chosen.left_out),
        sha256,
    )


def _payload(
    folder: Path,
    manifest: Manifest,
    chosen: Contents,
    gate: Gate,
    said: Attribution,
    progress: Progress | None,
) -> tuple[dict[str, _Member], list[Packed]]:
    """Everything below `data/`: read, compared with the manifest, screened, described."""
    members: dict[str, _Member] = {}
    packed: list[Packed] = []
    done, total = 0, sum(item.size or 0 for item in chosen.items)

    def put(path: str, role: str, media_type: str, member: _Member) -> None:
        members[layout.DATA + path] = member
        packed.append(Packed(path, role, media_type, member.size, member.sha256))

    for item in chosen.items:
        member = _read(folder / item.path, item)
        with open_regular(folder / item.path) as stream:
            screen(stream, item.path, gate)
        put(item.path, item.role, item.media_type, member)
        done += member.size
        if progress is not None:
            progress(item.path, done, max(done, total))
    rows = episodes.rows_of(folder, manifest)
    if rows:
        gate.refuse(rows, layout.EPISODES)
        put(layout.EPISODES, "metrics", "application/jsonl", _member(rows))
    packed.sort(key=lambda each: each.path)
    document = io.canonical(crate(manifest, packed, chosen.left_out, said))
    gate.refuse(document, layout.CRATE)
    put(layout.CRATE, "crate", "application/ld+json", _member(document))
    return members, packed


def _attestations(
    manifest: Manifest,
    packed: Sequence[Packed],
    committed: Mapping[str, str],
    options: Options,
    gate: Gate,
) -> dict[str, _Member]:
    members: dict[str, _Member] = {}
    if options.proof is not None:
        members[layout.LEDGER_PROOF] = _member(options.proof.encode())
    key = options.key
    if key is None:
        return members
    digests = {each.path: each.sha256 for each in packed}
    for path, payload in (
        (layout.RUN_STATEMENT, statements.provenance(manifest, digests[layout.MANIFEST], committed)),
        (layout.PAYLOAD_STATEMENT, statements.payload(digests)),
    ):
        gate.refuse(payload, path)
        members[path] = _member(key.bundle(payload))
    if key.pem:
        members[layout.SIGNER] = _member(key.pem.encode())
    return members


def _tags(
    manifest: Manifest, members: Mapping[str, _Member], left_out: int, version: str
) -> dict[str, _Member]:
    payload = {path: member for path, member in members.items() if path.startswith(layout.DATA)}
    finished = manifest.run["finished_at"] or manifest.run["created_at"]
    sizes = {path: member.size for path, member in payload.items()}
    tags = {
        layout.BAGIT: _member(bag.BAGIT_TEXT.encode()),
        layout.BAG_INFO: _member(
            bag.info(manifest.client_run_id, version, finished[:10], sizes, left_out).encode()
        ),
        layout.PAYLOAD_LIST: _member(
            bag.listing({path: member.sha256 for path, member in payload.items()}).encode()
        ),
    }
    every = {**members, **tags}
    listed = {path: every[path].sha256 for path in bag.tag_files(every)}
    tags[layout.TAG_LIST] = _member(bag.listing(listed).encode())
    return tags


def _read(path: Path, item: Item) -> _Member:
    """Digest a file of the run and hold it against the manifest."""
    digest, crc, size = hashlib.sha256(), 0, 0
    try:
        with open_regular(path) as stream:
            while chunk := stream.read(layout.CHUNK):
                digest.update(chunk)
                crc = zlib.crc32(chunk, crc)
                size += len(chunk)
    except OSError as error:
        raise WorldFluxError(f"{path}: can not be read: {error.strerror or error}", f"ls -l {path}") from None
    if item.sha256 not in (None, digest.hexdigest()) or item.size not in (None, size):
        raise WorldFluxError(
            f"{item.path} is not what the run recorded: its digest differs from the manifest's",
            "no evidence is made of a run that was changed afterwards; "
            f"to leave the file outside by its recorded digest: --exclude {item.path}",
            code="evidence-changed",
        )
    return _Member(path, size, digest.hexdigest(), crc)


def _member(data: bytes) -> _Member:
    return _Member(data, len(data), hashlib.sha256(data).hexdigest(), zlib.crc32(data))


def _opened(source: Path | bytes) -> BinaryIO:
    return BytesIO(source) if isinstance(source, bytes) else open_regular(source)


def _store(out: Path, top: str, members: Mapping[str, _Member], archive: bool) -> str | None:
    """Write beside `out`, bring it to the disk, then give it its name."""
    temporary = out.parent / f".worldflux-{os.urandom(6).hex()}.tmp"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _sweep(out.parent)
        sha256 = None
        if archive:
            sha256 = _archive(temporary, top, members)
        else:
            _folder(temporary, members)
        if out.is_dir() or not archive:
            _remove(out)
        temporary.replace(out)
    except OSError as error:
        raise storage_error(out, error) from error
    finally:
        _remove(temporary)
    return sha256


def _folder(out: Path, members: Mapping[str, _Member]) -> None:
    out.mkdir()
    for path in sorted(members):
        target = out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as stream:
            members[path].write(stream)
            stream.flush()
            os.fsync(stream.fileno())


def _archive(out: Path, top: str, members: Mapping[str, _Member]) -> str:
    from worldflux.evidence.archive import ArchiveWriter

    with out.open("xb") as stream:
        tee = _Digesting(stream)
        writer = ArchiveWriter(tee)  # type: ignore[arg-type]
        for path in sorted(members):
            member = members[path]
            writer.add(f"{top}/{path}", member.size, member.crc, member.write)
        writer.close()
        stream.flush()
        os.fsync(stream.fileno())
    return tee.digest.hexdigest()


class _Digesting:
    """A file that is digested as it is written."""

    def __init__(self, out: BinaryIO) -> None:
        self.out, self.digest = out, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.out.write(data)


def _sweep(folder: Path) -> None:
    """Remove what builds that were killed left behind more than an hour ago."""
    for path in folder.glob(".worldflux-*.tmp"):
        if time.time() - path.lstat().st_mtime > _STALE_SECONDS:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def refuse_inside_runs(path: Path, runs_dir: Path) -> None:
    """A key must not lie where runs are: they are copied, synced and packed.

    Raises:
        RefusedError: it does.
    """
    if path.resolve().is_relative_to(runs_dir.resolve()):
        raise RefusedError(
            f"{path} lies in the folder of runs", "keep signing keys elsewhere", code="key-place"
        )
