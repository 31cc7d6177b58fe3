"""Requirements without hashes, resolved once and locked from then on.

The result is kept per text and interpreter and does not expire with the day: two jobs of one
sweep must not differ because midnight or a release lies between them, and a second start must
neither need the network nor wait for it. To take newer releases, change the text
(`gymnasium>=1.3`); what has not been used for long is removed by `envcache.collect`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from worldflux.runtime.venvs import durable, filelock
from worldflux.runtime.venvs.interpreter import Interpreter
from worldflux.runtime.venvs.lockfile import Lock, digest, parse
from worldflux.runtime.venvs.plan import Progress, scratch_folder, storage_error

SCHEMA = 1


def locked_text(
    root: Path, text: str, interpreter: Interpreter, source: Mapping[str, str], *, on_progress: Progress
) -> str:
    """The lock for a list of requirements on this interpreter; the list itself when it is a lock.

    Raises:
        ConfigError: lines that are not allowed.
        WorldFluxError: no set of wheels satisfies the list, or the index can not be reached.
    """
    document = {"schema": SCHEMA, "requirements": digest(text), "python": dict(interpreter.facts)}
    key = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:40]
    kept = root / "locks" / f"{key}.txt"
    try:
        known = _read(kept)
        if known is not None:
            return known
        wanted = parse(text, pinned=False)
        waiting = "waiting for another process that resolves the same requirements"
        with filelock.hold(root / f"{key}.build", exclusive=True, on_wait=lambda: on_progress(waiting)):
            known = _read(kept)
            if known is not None:
                return known
            result = (
                text if wanted.complete else _resolved(root, key, wanted, interpreter, source, on_progress)
            )
            durable.write(kept, result.encode("utf-8", "surrogatepass"))
            return result
    except OSError as error:
        raise storage_error(error, root) from error


def _read(path: Path) -> str | None:
    try:
        data = path.read_bytes()
        os.utime(path)
    except FileNotFoundError:
        return None
    return data.decode("utf-8", "surrogatepass")


def _resolved(
    root: Path,
    key: str,
    wanted: Lock,
    interpreter: Interpreter,
    source: Mapping[str, str],
    on_progress: Progress,
) -> str:
    from worldflux.runtime.venvs.causes import explained
    from worldflux.runtime.venvs.uvtool import Uv, UvFailure, installed_version

    if not wanted.requirements:
        return ""
    on_progress(f"resolving {len(wanted.requirements)} requirements")
    with scratch_folder(root, key) as scratch:
        asked, answer = scratch / "requirements.in", scratch / "requirements.txt"
        asked.write_text(wanted.render(), encoding="utf-8")
        uv = Uv(source, cache=root / "uv-cache", scratch=scratch)
        installed_version()
        try:
            uv.run(
                [
                    *("pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"),
                    *("--only-binary", ":all:", "--python", str(interpreter.path)),
                    *("--output-file", str(answer), str(asked)),
                ],
                packages=True,
            )
        except UvFailure as error:
            raise explained(error, doing="resolving the requirements") from error
        return parse(answer.read_text(encoding="utf-8"), label="resolved requirements").render()
