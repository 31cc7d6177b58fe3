"""What `worldflux doctor` says about the cache of environments."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

#: Below it a first environment with a GPU build of PyTorch (about 6 GB with its downloads) fails.
LOW_SPACE_BYTES = 8 * 10**9

#: Kinds of file system where locks or renames may not hold between machines.
_SHARED = frozenset((
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "fuse.glusterfs",
    "fuse.sshfs", "afs", "9p", "panfs", "wekafs", "orangefs",
))  # fmt: skip
_SOURCES = (
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "SSL_CERT_FILE",
)


def doctor(root: Path) -> list[str]:
    """One line per check; a line that starts with `error:` means that no environment can be built.

    Changes nothing. Passwords in the addresses of indexes are not shown.
    """
    return [_uv_line(root), *_folder_lines(root), *_source_lines(root)]


def file_system(path: Path, *, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """Kind of the file system that holds `path`, such as `ext4`; empty when the system does not say."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    real, best, kind = os.path.realpath(path), "", ""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        point = fields.split()[4].encode().decode("unicode_escape")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, rest.split()[0]
    return kind


def _uv_line(root: Path) -> str:
    from worldflux.errors import WorldFluxError
    from worldflux.runtime.venvs.uvtool import installed_version

    try:
        return f"uv {installed_version()}"
    except WorldFluxError as error:
        return f"error: {error.problem}: {error.hint}"


def _folder_lines(root: Path) -> list[str]:
    folder = next(path for path in (root, *root.absolute().parents) if os.path.exists(path))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        return [
            f"error: environments: {folder} can not be written to: set WORLDFLUX_HOME to a folder that can"
        ]
    free = shutil.disk_usage(folder).free
    lines = [f"environments in {root}, {free / 1e9:.1f} GB free"]
    if free < LOW_SPACE_BYTES:
        lines.append(
            f"warning: less than {LOW_SPACE_BYTES / 1e9:.0f} GB free: large environments may not fit"
        )
    kind = file_system(folder)
    if kind in _SHARED:
        lines.append(f"warning: environments are on {kind}: set WORLDFLUX_HOME to a local disk")
    if os.path.isdir(root) and root.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        lines.append(f"warning: others can write to {root}: chmod 700 {root}")
    return lines


def _source_lines(root: Path) -> list[str]:
    from worldflux.runtime.venvs.pip_settings import redacted
    from worldflux.runtime.venvs.uvtool import uv_environment

    environment = uv_environment(os.environ, cache=root / "uv-cache", scratch=root)
    shown = [f"{name}={redacted(environment[name])}" for name in _SOURCES if name in environment]
    return [f"packages come from {', '.join(shown)}"] if shown else []
