"""Python environments by content: the same lock and interpreter give the same folder, built once.

    <root>/<key>/                 an environment; whoever finds it by name may use it
    <root>/<key>.lease            locked shared by every run that uses it, so that nobody removes it
    <root>/<key>.build            locked by the one who builds it
    <root>/tmp-<key>-*/  trash-*/ unfinished and finished with; removed by `collect`
    <root>/locks/                 what unpinned requirements were resolved to
    <root>/interpreters/          descriptions of other Pythons
    <root>/uv-cache/              uv's own cache, unless UV_CACHE_DIR names another

Locks are the kernel's (flock): a killed process holds none.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from worldflux.runtime.base import Adapter
from worldflux.runtime.venvs import filelock, interpreter
from worldflux.runtime.venvs.collect import Removed, collect
from worldflux.runtime.venvs.doctor import doctor
from worldflux.runtime.venvs.lockfile import digest, plain_text
from worldflux.runtime.venvs.plan import LOCK_TEXT, Plan, stale, storage_error

if TYPE_CHECKING:
    from types import TracebackType

    from worldflux.runtime.venvs.uvtool import Uv

__all__ = ["Environment", "Lease", "Removed", "acquire", "collect", "doctor", "use"]

#: Part of every key. Raise it when the way environments are built or checked changes.
SCHEMA = 1


@dataclass(frozen=True)
class Environment:
    """A whole environment, ready to use.

    Attributes:
        python: its interpreter.
        path: its folder. Nothing may be installed into it.
        key: digest of all that decides what is in it.
        lock_sha256: SHA-256 of the lock's text, line ends as line feeds.
        built: made just now, and not found.
        seconds: time it took to get it, waiting included.
    """

    python: Path
    path: Path
    key: str
    lock_sha256: str
    built: bool
    seconds: float

    @property
    def lock_text(self) -> str:
        """The requirements with hashes it was made from; of an unpinned list, what it resolved to."""
        return (self.path / LOCK_TEXT).read_bytes().decode("utf-8", "surrogatepass")


class Lease:
    """An environment in use: `collect` leaves it alone until `release`, or the end of this process.

    Also a context manager. To keep it for a child process that may live longer, hand `fileno()`
    on to it.
    """

    def __init__(self, environment: Environment, lock: filelock.FileLock) -> None:
        self.environment = environment
        self._lock = lock

    def fileno(self) -> int:
        return self._lock.fileno()

    def release(self) -> None:
        """Say that it is not used any more. Silent when that was said before."""
        if self._lock.fileno() >= 0:
            _touch(self.environment.path)
            self._lock.release()

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def acquire(
    root: Path,
    adapter: Adapter,
    *,
    on_progress: Callable[[str], None] | None = None,
    base_python: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Lease:
    """The environment an adapter asks for: found, or built now, or waited for while another builds it.

    Args:
        root: folder of all environments; made if need be.
        on_progress: told in short lines what takes time.
        base_python: make it from this interpreter, and from no other.
        environ: variables that say where packages come from; by default this process's own.

    Raises:
        ConfigError: the lock holds lines that are not allowed, or lacks pins or hashes.
        UsageError: no Python fits the adapter's specifier.
        TemporaryError: the package index can not be reached.
        WorldFluxError: it can not be built. Nothing that looks like an environment is left.
    """
    began = time.monotonic()
    source = os.environ if environ is None else environ
    say = on_progress or _say_nothing
    root = Path(os.path.abspath(root))
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        plan = _plan(root, adapter, base_python, source, say)
        lock = filelock.hold(root / f"{plan.key}.lease", exclusive=False)
        try:
            built = _ensure(plan, say)
            _touch(plan.path)
        except BaseException:
            lock.release()
            raise
    except OSError as error:
        raise storage_error(error, root) from error
    environment = Environment(
        python=plan.path / "bin" / "python",
        path=plan.path,
        key=plan.key,
        lock_sha256=digest(plan.lock_text),
        built=built,
        seconds=time.monotonic() - began,
    )
    return Lease(environment, lock)


@contextmanager
def use(
    root: Path,
    adapter: Adapter,
    *,
    on_progress: Callable[[str], None] | None = None,
    base_python: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Environment]:
    """`acquire` for a block: the environment is in use until the block ends."""
    with acquire(root, adapter, on_progress=on_progress, base_python=base_python, environ=environ) as lease:
        yield lease.environment


def _plan(
    root: Path,
    adapter: Adapter,
    base_python: Path | None,
    source: Mapping[str, str],
    say: Callable[[str], None],
) -> Plan:
    python = interpreter.resolve(
        adapter.python, given=base_python, cache=root / "interpreters", uv=lambda: _plain_uv(root, source)
    )
    text = plain_text(adapter.lock)
    if adapter.allow_unpinned:
        from worldflux.runtime.venvs.resolve import locked_text

        text = locked_text(root, text, python, source, on_progress=say)
    document = {"schema": SCHEMA, "lock": digest(text), "python": dict(python.facts)}
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    key = hashlib.sha256(canonical.encode()).hexdigest()[:40]
    return Plan(root, key, document, python, text, source)


def _ensure(plan: Plan, say: Callable[[str], None]) -> bool:
    """Make sure that the environment is there; true when it was built here. A lease is held."""
    if not stale(plan):
        return False
    waiting = "waiting for another process that builds the same environment"
    with filelock.hold(plan.root / f"{plan.key}.build", exclusive=True, on_wait=lambda: say(waiting)):
        reason = stale(plan)
        if not reason:
            return False
        from worldflux.runtime.venvs.build import build

        again = "" if reason == "absent" else f" again: {reason}"
        say(f"building environment {plan.key[:12]} with Python {plan.interpreter.version}{again}")
        build(plan, on_progress=say)
        return True


def _plain_uv(root: Path, source: Mapping[str, str]) -> Uv:
    """uv for questions about this machine. Its working folder stays empty."""
    from worldflux.runtime.venvs.uvtool import Uv

    return Uv(source, cache=root / "uv-cache", scratch=root / "interpreters")


def _touch(path: Path) -> None:
    """Note that it was used now; a cache that can not be written to is not collected either."""
    try:
        os.utime(path)
    except OSError:
        return


def _say_nothing(_: str) -> None:
    return
