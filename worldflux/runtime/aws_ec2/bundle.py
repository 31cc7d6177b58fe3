"""What travels to the machine: the agent with its job as one file, and the recipe's code as one archive."""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldflux.errors import RefusedError

#: Never sent: other people's business, large, or likely to hold secrets.
ALWAYS_EXCLUDED = (
    ".git", ".hg", ".venv", "venv", "__pycache__", ".worldflux", "runs", ".mypy_cache", ".pytest_cache",
    ".ruff_cache", "node_modules", ".env", ".env.*", "*.pem", "id_rsa*", "id_ed25519*", ".aws",
    ".ssh", ".netrc",
)  # fmt: skip
MAX_SOURCE_BYTES = 2**30
_MAIN = """\
import json, os, sys, zipfile
from host.agent import main
with zipfile.ZipFile(sys.argv[0]) as bundle:
    job = json.loads(bundle.read("job.json"))
os.unlink(sys.argv[0])
main(job)
"""


@dataclass(frozen=True)
class Source:
    """Files of the recipe that are sent: relative path and bytes, sorted."""

    folder: Path
    files: tuple[tuple[str, int], ...]

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.files)


def find_source(folder: Path, exclude: Sequence[str]) -> Source:
    """The files below a recipe's folder that travel. Links are not followed and not sent.

    Args:
        exclude: patterns on names and on relative paths, beyond `ALWAYS_EXCLUDED`.

    Raises:
        RefusedError: they are larger than `MAX_SOURCE_BYTES` together.
    """
    unwanted = (*ALWAYS_EXCLUDED, *exclude)
    found = []
    for base, folders, names in os.walk(folder):
        here = os.path.relpath(base, folder)
        folders[:] = sorted(each for each in folders if not _excluded(here, each, unwanted))
        for name in names:
            status = os.lstat(os.path.join(base, name))
            if stat.S_ISREG(status.st_mode) and not _excluded(here, name, unwanted):
                found.append((os.path.normpath(os.path.join(here, name)), status.st_size))
    source = Source(folder, tuple(sorted(found)))
    if source.bytes > MAX_SOURCE_BYTES:
        raise RefusedError(
            f"{folder} holds {source.bytes / 1e9:.1f} GB to upload, more than {MAX_SOURCE_BYTES / 1e9:.1f}",
            "leave files out with runtime.exclude=[PATTERN], or give the recipe a folder of its own",
            code="source_too_large",
        )
    return source


def _excluded(here: str, name: str, patterns: Sequence[str]) -> bool:
    path = os.path.normpath(os.path.join(here, name))
    return any(fnmatch.fnmatch(name, each) or fnmatch.fnmatch(path, each) for each in patterns)


def pack_source(source: Source) -> bytes:
    """The files as a tar.gz whose bytes depend on nothing but names, contents and the executable bit."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, _ in source.files:
            path = source.folder / name
            data = path.read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o755 if os.access(path, os.X_OK) else 0o644
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(raw.getvalue(), compresslevel=6, mtime=0)


def pack_agent(job: Mapping[str, Any]) -> bytes:
    """The second stage with its job, as a file that `python3` runs. Holds the command's variables."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("__main__.py", _MAIN)
        for path in sorted((Path(__file__).parent / "host").glob("*.py")):
            bundle.writestr(f"host/{path.name}", path.read_bytes())
        bundle.writestr("job.json", json.dumps(job, ensure_ascii=True))
    return raw.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
