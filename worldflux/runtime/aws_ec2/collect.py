"""What a machine left in S3, brought home and checked against the digests that it reported."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

from worldflux.runtime.aws_ec2.store import Store
from worldflux.runtime.aws_ec2.watch import LogCopy, Verdict


def collect(store: Store, attempt: int, verdict: Verdict, folder: Path, log: LogCopy) -> list[Path]:
    """Bring log, metrics and artifacts of an attempt into the run's folder.

    What is missing or damaged is noted in the verdict, never raised: a run that was paid for keeps
    what can be had.

    Returns:
        The artifacts, as paths below `folder / "artifacts"`.
    """
    listing = store.listing(attempt)
    log.catch_up(listing)
    _check_log(verdict, log, listing, folder)
    if "metrics.jsonl" in listing:
        (folder / "metrics.jsonl").write_bytes(store.get(attempt, "metrics.jsonl"))
    logs = folder / "logs"
    if "host.log" in listing:
        (logs / f"host-{attempt}.log").write_bytes(store.get(attempt, "host.log"))
    if verdict.console:
        (logs / f"console-{attempt}.log").write_text(verdict.console, encoding="utf-8", errors="replace")
    status = verdict.status or {}
    if status.get("left_out"):
        names = ", ".join(status["left_out"][:5])
        verdict.notes.append(f"{len(status['left_out'])} files did not come home: {names}")
    if not status.get("parts"):
        return []
    return _artifacts(store, attempt, status, verdict, folder)


def _check_log(verdict: Verdict, log: LogCopy, listing: dict[str, tuple[int, str]], folder: Path) -> None:
    wanted = ((verdict.status or {}).get("log") or {}).get("sha256")
    if wanted is None or log.digest() == wanted:
        return
    log.again()
    log.catch_up(listing)
    if log.digest() != wanted:
        verdict.notes.append("the log has another digest than the machine reported")


def _artifacts(
    store: Store, attempt: int, status: Mapping[str, Any], verdict: Verdict, folder: Path
) -> list[Path]:
    archive = folder / "artifacts.tar.part"
    try:
        with archive.open("wb") as file:
            for part in status["parts"]:
                digest = store.download(attempt, part["name"], file)
                if digest != part["sha256"]:
                    verdict.notes.append(f"{part['name']} has another digest than the machine reported")
                    return []
        return unpack(archive, status["artifacts"], folder / "artifacts", verdict.notes)
    finally:
        archive.unlink(missing_ok=True)


def unpack(archive: Path, listed: Sequence[Mapping[str, Any]], target: Path, notes: list[str]) -> list[Path]:
    """Write the listed files of an archive below `target`; each must have the size and digest listed.

    The archive comes from a machine that ran somebody's program, so nothing of it is trusted: only
    regular files with a listed, relative name are written, and never through a link.
    """
    wanted = {each["path"]: each for each in listed}
    written = []
    with tarfile.open(archive) as packed:
        for member in packed:
            entry = wanted.pop(member.name, None)
            if entry is None or not member.isreg() or not _inside(member.name):
                notes.append(f"{member.name!r} in the archive was not expected")
                continue
            path = target / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.parent.resolve().is_relative_to(target.resolve()) or path.is_symlink():
                notes.append(f"{member.name!r} would be written through a link")
                continue
            digest = _write(cast("IO[bytes]", packed.extractfile(member)), path)
            if digest != entry["sha256"]:
                notes.append(f"{member.name} has another digest than the machine reported")
                path.unlink()
                continue
            written.append(path)
    notes.extend(f"{name} is missing in the archive" for name in wanted)
    return sorted(written)


def _inside(name: str) -> bool:
    return not name.startswith("/") and ".." not in name.split("/") and "\0" not in name


def _write(source: IO[bytes], path: Path) -> str:
    total = hashlib.sha256()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o666), "wb") as file:
        while chunk := source.read(2**20):
            total.update(chunk)
            file.write(chunk)
    return total.hexdigest()
