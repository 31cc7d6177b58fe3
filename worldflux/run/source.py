"""The files of a recipe's source: their names in a manifest, their digests, one digest of all."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

#: Folders whose content is made from the source, or is no part of it.
NOT_SOURCE = frozenset(
    ("__pycache__", ".git", ".hg", ".venv", ".worldflux", ".mypy_cache", ".pytest_cache", ".ruff_cache")
)

#: A source folder with more than this has no digest.
MAX_FILES = 20_000
MAX_BYTES = 2 * 1024**3

_ODD = re.compile("[\x00-\x1f\x7f-\x9f\\\\\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def digest_file(path: Path, limit: int) -> tuple[int, str | None] | None:
    """Size and digest; of a link its target's text; no digest above `limit`; None when gone or no file."""
    try:
        facts = path.lstat()
        if stat.S_ISLNK(facts.st_mode):
            target = os.fsencode(os.readlink(path))
            return len(target), hashlib.sha256(target).hexdigest()
        if not stat.S_ISREG(facts.st_mode):
            return None
        if facts.st_size > limit:
            return facts.st_size, None
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        digest, size = hashlib.sha256(), 0
        with open(descriptor, "rb", buffering=0) as file:
            while size <= limit and (block := file.read(1 << 20)):
                digest.update(block)
                size += len(block)
        return size, digest.hexdigest() if size <= limit else None
    except OSError:
        return None


def readable(path: bytes) -> str:
    """A file name as text that fits the manifest, and back: odd bytes stand as `\\xNN`."""
    text = path.decode("utf-8", "surrogateescape")
    return _ODD.sub(lambda match: "".join(f"\\x{byte:02x}" for byte in os.fsencode(match[0])), text)


def source_digest(source_dir: Path, runs_dir: Path | None = None) -> str | None:
    """One sha256 for all files of a folder, equal on every machine that has equal files.

    It is the digest of the list that `sha256sum` prints for the files in byte order of their
    paths, so anyone can recompute it in the folder:
    `find . -type f | sed 's,^./,,' | LC_ALL=C sort | tr '\\n' '\\0' | xargs -0 sha256sum | sha256sum`.
    A symbolic link counts as a file that holds its target's text; it is not followed. Caches,
    `*.pyc`, version control and environments (`NOT_SOURCE`, folders with a `pyvenv.cfg`) are
    left out. Modes and times do not count.

    Args:
        runs_dir: folder of runs, which each run changes; left out where it lies in the source.

    Returns:
        The digest, or None when the folder can not be read or has more than `MAX_FILES` or
        `MAX_BYTES`.
    """
    root = os.fsencode(source_dir)
    runs = None if runs_dir is None else os.path.relpath(os.fsencode(runs_dir), root)
    listing = hashlib.sha256()
    left = MAX_BYTES
    try:
        paths = sorted(_files(root, b"", runs))
    except OSError:
        return None
    if len(paths) > MAX_FILES:
        return None
    for path in paths:
        size, digest = digest_file(Path(os.fsdecode(os.path.join(root, path))), left) or (0, None)
        if digest is None:
            return None
        left -= size
        listing.update(_listed(digest, path))
    return listing.hexdigest()


def _files(root: bytes, folder: bytes, runs: bytes | None) -> Iterator[bytes]:
    """Paths of regular files and links below a folder, relative to the root; stops past `MAX_FILES`."""
    count = 0
    with os.scandir(os.path.join(root, folder)) as entries:
        for entry in entries:
            path = os.path.join(folder, entry.name)
            if entry.is_dir(follow_symlinks=False):
                if path == runs or os.fsdecode(entry.name) in NOT_SOURCE or _is_environment(entry.path):
                    continue
                found = _files(root, path, runs)
            elif entry.name.endswith(b".pyc") or not (entry.is_file() or entry.is_symlink()):
                continue
            else:
                found = iter((path,))
            for each in found:
                yield each
                count += 1
                if count > MAX_FILES:
                    return


def _is_environment(folder: bytes) -> bool:
    return os.path.exists(os.path.join(folder, b"pyvenv.cfg"))


def _listed(digest: str, path: bytes) -> bytes:
    """A line of sha256sum: a path with a line end or a backslash is escaped, and the line says so."""
    escaped = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    return (b"\\" if escaped != path else b"") + digest.encode() + b"  " + escaped + b"\n"
