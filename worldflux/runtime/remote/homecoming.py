"""What a foreign machine hands back, checked before it touches the run's folder.

The sender may be hostile or broken: only regular files below `artifacts/`, the metrics, the log
and the record are taken, sizes are capped before anything is written, and no name can lead out.
"""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from worldflux.errors import WorldFluxError

MAX_MEMBERS = 100_000
MAX_RECORD = 4 * 2**20
#: A tar needs 512 bytes a header, 512 to fill up, and pax headers for long names.
OVERHEAD = 64 * 2**20


@dataclass
class Homecoming:
    """What was taken from one tar.

    Attributes:
        record: the agent's record of the command; None when it left none.
        files: what now lies below `artifacts`.
        left_out: files that stayed there for lack of room: path and bytes.
        refused: members that were not taken, with the reason.
        log: the exact log, when the tar has one.
    """

    record: dict[str, Any] | None = None
    files: list[Path] = field(default_factory=list)
    left_out: list[dict[str, Any]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    log: Path | None = None

    def metadata(self) -> dict[str, Any]:
        """Leaves for the manifest; nothing when all went well."""
        facts: dict[str, Any] = {}
        if self.left_out:
            facts["artifacts_left_out"] = self.left_out[:50]
        if self.refused:
            facts["artifacts_refused"] = self.refused[:50]
        return facts


def unpack(archive: IO[bytes], output_dir: Path, *, cap: int) -> Homecoming:
    """Take the run's results out of a tar.

    Args:
        archive: seekable, at its start.
        output_dir: the run's folder.
        cap: most bytes that all files together may have.

    Raises:
        WorldFluxError: it is no tar, or is torn.
    """
    home = Homecoming()
    room = cap
    try:
        with tarfile.open(fileobj=archive, mode="r:") as tar:
            for count, member in enumerate(tar, 1):
                if count > MAX_MEMBERS:
                    home.refused.append(f"more than {MAX_MEMBERS} files")
                    break
                room -= _take(tar, member, output_dir, room, home)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise WorldFluxError(
            f"the results that came back can not be read: {type(error).__name__}: {error}",
            "run it again; if it happens again, write fewer or smaller files",
            code="results",
        ) from None
    return home


def _take(
    tar: tarfile.TarFile, member: tarfile.TarInfo, output_dir: Path, room: int, home: Homecoming
) -> int:
    """Take one member; returns the bytes it used."""
    name = member.name
    if member.isdir():
        return 0
    if name in ("exit.json", "left-out.json"):
        document = _document(tar, member)
        if name == "exit.json" and isinstance(document.get("code"), int):
            home.record = document
        elif name == "left-out.json" and isinstance(document.get("left_out"), list):
            home.left_out = [each for each in document["left_out"] if isinstance(each, dict)]
        return 0
    reason = _reason_against(member, output_dir, room)
    if reason:
        home.refused.append(f"{ascii(name)[1:-1][:200]}: {reason}")
        return 0
    tar.extract(member, output_dir, set_attrs=False, filter="data")
    if name == "output.log":
        home.log = output_dir / name
    elif name != "metrics.jsonl":
        home.files.append(output_dir / name)
    return member.size


def _document(tar: tarfile.TarFile, member: tarfile.TarInfo) -> dict[str, Any]:
    source = tar.extractfile(member) if member.isreg() and member.size <= MAX_RECORD else None
    try:
        value = json.loads(source.read()) if source is not None else {}
    except (ValueError, RecursionError):
        value = {}
    return value if isinstance(value, dict) else {}


def _reason_against(member: tarfile.TarInfo, output_dir: Path, room: int) -> str:
    if not member.isreg():
        return "only regular files are taken"
    parts = member.name.split("/")
    if member.name not in ("metrics.jsonl", "output.log") and (parts[0] != "artifacts" or len(parts) < 2):
        return "it lies outside the run's artifacts"
    if any(part in ("", ".", "..") for part in parts) or "\\" in member.name or "\0" in member.name:
        return "the name leads elsewhere"
    if member.size > room:
        return f"its {member.size} bytes are over the limit"
    target = output_dir / member.name
    if target.is_symlink() or any(p.is_symlink() for p in target.parents if output_dir in p.parents):
        return "a link stands in its place"
    return ""
