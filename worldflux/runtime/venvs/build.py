"""Building one environment: aside, checked, made to last, and only then given its name.

Nothing is ever installed in place. An environment that has its name is whole; whatever a crash
leaves behind has another name and is never looked at again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from worldflux.errors import WorldFluxError
from worldflux.runtime.venvs import durable, filelock, probe
from worldflux.runtime.venvs.causes import explained
from worldflux.runtime.venvs.check import Findings, findings, installed_packages
from worldflux.runtime.venvs.interpreter import Interpreter, signature
from worldflux.runtime.venvs.lockfile import Lock, parse
from worldflux.runtime.venvs.plan import LOCK_TEXT, MARKER, Plan, Progress, scratch_folder, storage_error
from worldflux.runtime.venvs.uvtool import Uv, UvFailure, installed_version


def build(plan: Plan, *, on_progress: Progress) -> None:
    """Make the environment and give it its name. The caller holds the key's build lock.

    Raises:
        WorldFluxError: with a one-line cause; no environment has the name then.
        ConfigError: the lock's text is not allowed.
    """
    lock = parse(plan.lock_text)
    try:
        with (
            filelock.hold(plan.root / "uv-cache.lock", exclusive=False) as cache_in_use,
            scratch_folder(plan.root, plan.key) as scratch,
        ):
            os.utime(cache_in_use.path)
            seen = _installed(plan, lock, scratch, on_progress)
            _seal(plan, scratch / "env", seen)
            _publish(scratch / "env", plan)
    except OSError as error:
        raise storage_error(error, plan.root) from error


def _installed(plan: Plan, lock: Lock, scratch: Path, on_progress: Progress) -> Findings:
    """Install into `scratch/env` and check it; once more without uv's cache when files are wrong.

    uv does not sync its cache, so a power cut can leave wrong files there. What is equally wrong
    in a fresh download is the wheel's own list, which is recorded and accepted: the wheel as a
    whole has the locked hash.
    """
    _install(plan, lock, scratch, on_progress, fresh=False)
    seen = findings(scratch / "env", lock)
    if seen.contents and not seen.refused:
        on_progress(f"{seen.first}: installing again without the package cache")
        shutil.rmtree(scratch / "env")
        _install(plan, lock, scratch, on_progress, fresh=True)
        again = findings(scratch / "env", lock)
        if again != seen:
            _forget_packages(plan, scratch, seen)
        if again.refused or (again and again != seen):
            raise _not_whole(again)
        return again
    if seen:
        raise _not_whole(seen)
    return seen


def _install(plan: Plan, lock: Lock, scratch: Path, on_progress: Progress, *, fresh: bool) -> None:
    uv = Uv(plan.source, cache=plan.root / "uv-cache", scratch=scratch, on_line=_transfers(on_progress))
    installed_version()
    target = scratch / "env"
    requirements = scratch / "requirements.txt"
    requirements.write_text(lock.render(), encoding="utf-8")
    try:
        # Relocatable, because the folder is renamed when it is whole.
        uv.run(["venv", "--relocatable", "--no-project", "--python", str(plan.interpreter.path), str(target)])
    except UvFailure as error:
        raise explained(error, doing="making the environment") from error
    if lock.requirements:
        on_progress(f"installing {len(lock.requirements)} packages")
        try:
            uv.run(
                [
                    *("pip", "sync", "--require-hashes", "--only-binary", ":all:", "--link-mode", "copy"),
                    # Hashes decide which file it is, so it may come from whichever index has it. With
                    # one index only, uv's own strategy tells a refused login from a missing package.
                    *(["--index-strategy", "unsafe-best-match"] if uv.has_several_indexes else []),
                    *(["--no-cache"] if fresh else []),
                    *("--python", str(target / "bin" / "python"), str(requirements)),
                ],
                packages=True,
            )
        except UvFailure as error:
            raise explained(error, doing="installing packages") from error
    _check_python(target, plan.interpreter)


def _check_python(target: Path, interpreter: Interpreter) -> None:
    """The environment's own Python starts, is the one it shall be, and knows where it lives."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    script = "import runpy, sys; print(sys.prefix); runpy.run_path(sys.argv[1], run_name='__main__')"
    try:
        done = subprocess.run(
            [str(target / "bin" / "python"), "-I", "-c", script, probe.__file__],
            env={"PATH": "/usr/bin:/bin", **kept},
            cwd=target,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=True,
        )
        prefix, _, facts = os.fsdecode(done.stdout).partition("\n")
        seen = json.loads(facts)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        said = os.fsdecode(getattr(error, "stderr", None) or b"").strip().splitlines()
        raise WorldFluxError(
            f"the new environment's Python does not start: {said[-1] if said else error}",
            f"try {interpreter.path} -c 'import encodings'; install that Python again if it fails",
            code="environment",
        ) from error
    differing = [
        name for name in ("implementation", "version", "soabi") if seen[name] != interpreter.facts[name]
    ]
    if differing or not os.path.samefile(prefix, target):
        what = ", ".join(differing) or "prefix"
        raise WorldFluxError(
            f"the new environment's Python is not {interpreter.path}: it has another {what}",
            "try again: the interpreter was changed while the environment was made",
            code="environment",
        )


def _seal(plan: Plan, target: Path, seen: Findings) -> None:
    """Sync the files, then write the marker: a marker that survives a power cut speaks the truth."""
    (target / LOCK_TEXT).write_text(plan.lock_text, encoding="utf-8", errors="surrogatepass", newline="")
    durable.sync_file_system(target)
    packages = installed_packages(target)
    durable.write_json(
        target / MARKER,
        {
            "key": plan.key,
            "document": plan.document,
            "interpreter": signature(target / "bin" / "python"),
            "packages": packages,
            "wheels_with_wrong_lists": list(seen.contents)[:100],
            "built": time.time(),
        },
    )


def _publish(target: Path, plan: Plan) -> None:
    """Give the environment its name.

    A broken one that has the name is moved away first. Runs that use it go on: they find the
    same packages under the same path an instant later.
    """
    if os.path.lexists(plan.path):
        os.rename(plan.path, plan.root / f"trash-{uuid.uuid4().hex[:12]}")
    os.rename(target, plan.path)
    durable.sync_folder(plan.root)
    for trash in plan.root.glob("trash-*"):
        shutil.rmtree(trash, ignore_errors=True)


def _forget_packages(plan: Plan, scratch: Path, seen: Findings) -> None:
    """Take packages with wrong files out of uv's cache, so that the next build is not held up."""
    names = sorted({text.partition(":")[0] for text in seen.contents})
    try:
        Uv(plan.source, cache=plan.root / "uv-cache", scratch=scratch).run(["cache", "clean", *names])
    except UvFailure:
        return


def _not_whole(seen: Findings) -> WorldFluxError:
    return WorldFluxError(
        f"the environment is not whole after installing: {seen.first}",
        "try again; if it stays so, the package itself is broken: choose another version",
        code="not-whole",
        details={"findings": [*seen.refused, *seen.contents][:50]},
    )


def _transfers(on_progress: Progress) -> Callable[[str], None]:
    """Pass on what takes long: downloads."""

    def on_line(line: str) -> None:
        if re.match(r"\s*(Downloading|Downloaded) ", line):
            on_progress(" ".join(line.split()))

    return on_line
