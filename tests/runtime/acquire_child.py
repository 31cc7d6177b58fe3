"""A process that takes an environment, says how it went, and keeps it while its stdin is open.

Arguments: one JSON document with root, lock, environ, and optionally python and unpinned.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from worldflux.errors import WorldFluxError
from worldflux.runtime import envcache
from worldflux.runtime.base import Adapter


def main() -> int:
    asked = json.loads(sys.argv[1])
    adapter = Adapter("child", python=asked.get("python", ""), lock=asked["lock"],
                      allow_unpinned=asked.get("unpinned", False))  # fmt: skip
    try:
        lease = envcache.acquire(Path(asked["root"]), adapter, environ=asked["environ"])
    except WorldFluxError as error:
        print(json.dumps({"error": error.code, "problem": error.problem, "hint": error.hint}), flush=True)
        return error.exit_code
    with lease:
        found = lease.environment
        print(
            json.dumps({"built": found.built, "python": str(found.python), "lock": found.lock_text}),
            flush=True,
        )
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
