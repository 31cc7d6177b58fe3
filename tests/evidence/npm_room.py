"""npm's Sigstore verifier, fetched once for each environment of the tests and used from there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

#: What is fetched: exact versions with their digests. `npm install --package-lock-only
#: --omit-lockfile-registry-resolved` in this folder renews the lock.
LOCK = Path(__file__).parent / "npm"
#: Goes with the environment, which git ignores and `make clean` removes.
ROOM = Path(sys.prefix) / "npm-of-tests"


def modules(npm: str) -> Path:
    """The folder `node_modules` with what `LOCK` names; npm is only asked the first time.

    Raises:
        RuntimeError: npm could not fetch it.
    """
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(LOCK.iterdir()))).hexdigest()[:16]
    kept = ROOM / digest
    if not kept.is_dir():
        ROOM.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=ROOM, prefix="new-") as name:
            made = Path(name) / "made"
            shutil.copytree(LOCK, made)
            _fetch(npm, made, Path(name) / "cache")
            with contextlib.suppress(OSError):  # somebody else was quicker
                made.rename(kept)
    return kept / "node_modules"


def _fetch(npm: str, folder: Path, cache: Path) -> None:
    ended = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--silent"],
        cwd=folder, env={**os.environ, "npm_config_cache": str(cache)}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if ended.returncode != 0:
        raise RuntimeError(f"npm ci failed: {(ended.stdout + ended.stderr)[-500:]}")
