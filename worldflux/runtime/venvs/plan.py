"""What an environment shall be, whether the one that is there is it, and room to work beside it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldflux.errors import WorldFluxError
from worldflux.runtime.venvs.interpreter import Interpreter, signature

MARKER = "worldflux-env.json"
LOCK_TEXT = "worldflux-lock.txt"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What an environment shall be.

    Attributes:
        root: folder of all environments.
        key: name of this one in it.
        document: what the key is the digest of.
        interpreter: what it is made from.
        lock_text: requirements with hashes, as they were given or resolved.
        source: variables of this process.
    """

    root: Path
    key: str
    document: Mapping[str, Any]
    interpreter: Interpreter
    lock_text: str
    source: Mapping[str, str]

    @property
    def path(self) -> Path:
        return self.root / self.key


def stale(plan: Plan) -> str:
    """Why the environment can not be used as it is; empty when it can, "absent" when there is none.

    Costs two small reads. It is enough, because only whole environments get the name, nobody
    but WorldFlux writes there, and what can go wrong from outside is the interpreter below it:
    another version is another key, and a replaced or removed program is seen here. Damage by
    hand is not looked for; `check.findings` does that.
    """
    try:
        marker = json.loads((plan.path / MARKER).read_bytes())
        if marker["document"] != plan.document:
            return "it was made for something else"
        if not os.access(plan.path / "bin" / "python", os.X_OK):
            return "its interpreter is gone"
        if marker["interpreter"] != list(signature(plan.path / "bin" / "python")):
            return "its interpreter was replaced"
    except (OSError, ValueError, LookupError, TypeError):
        return "it is damaged" if os.path.lexists(plan.path) else "absent"
    return ""


@contextmanager
def scratch_folder(root: Path, key: str) -> Iterator[Path]:
    """A private folder on the disk of the cache, removed afterwards.

    The caller holds the key's build lock; what killed holders of it left is removed first.
    """
    for path in root.glob(f"tmp-{key}-*"):
        shutil.rmtree(path, ignore_errors=True)
    scratch = root / f"tmp-{key}-{uuid.uuid4().hex[:12]}"
    scratch.mkdir(mode=0o700)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def storage_error(error: OSError, root: Path) -> WorldFluxError:
    """An error of the disk below the cache, for people."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WorldFluxError(
            f"no space left for environments in {root}",
            "free some space (`worldflux runs gc`), or set WORLDFLUX_HOME to a larger disk",
            code="disk-full",
        )
    return WorldFluxError(
        f"{error.filename or root}: {error.strerror or error}",
        "environments need a writable folder: set WORLDFLUX_HOME to one",
        code="cache-not-writable",
    )
