"""Where a run comes from: its code, its environment, its machine, its owner.

Everything but `owner` is meant for a thread that works while the command runs: nothing here
changes the repository, the environment or the source.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from worldflux.run.distributions import interpreter, packages
from worldflux.run.machine import hardware, owner, owner_alive
from worldflux.run.repository import git_state
from worldflux.run.source import source_digest

if TYPE_CHECKING:
    from worldflux.manifest.parts import Environment, Lock

__all__ = [
    "environment_info",
    "git_state",
    "hardware",
    "owner",
    "owner_alive",
    "packages",
    "source_digest",
]


def environment_info(
    python: Path | None = None,
    *,
    lock_text: str | bytes | None = None,
    lock_path: str | None = None,
    variables: Mapping[str, str] | None = None,
    forwarded: Sequence[str] = (),
) -> Environment | None:
    """The operating system, the Python that ran the command and what is installed for it.

    Args:
        python: the command's interpreter; this process's own when None.
        lock_text: the requirements the environment was built from; empty or None for none.
        lock_path: where the run folder keeps that text.
        variables: recorded with their values, so none of them may be a secret.
        forwarded: recorded by name only.

    Returns:
        The part for the manifest, or None when that Python does not start.
    """
    import platform

    python = python or Path(sys.executable)
    found = interpreter(python)
    if found is None:
        return None
    return {
        "os": _operating_system(),
        "platform": platform.platform(),
        "python": {"implementation": found.implementation, "version": found.version},
        "lock": _lock(lock_text, lock_path),
        "packages": packages(python),
        "variables": dict(variables or {}),
        "forwarded": sorted(set(forwarded)),
    }


def _lock(text: str | bytes | None, path: str | None) -> Lock | None:
    if not text:
        return None
    data = text.encode() if isinstance(text, str) else text
    lock: Lock = {"sha256": hashlib.sha256(data).hexdigest()}
    if path is not None:
        lock["path"] = path
    return lock


def _operating_system() -> str:
    import platform

    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return f"{platform.system()} {platform.release()}".strip() or sys.platform
