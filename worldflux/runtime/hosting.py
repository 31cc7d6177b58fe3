"""Commands on this machine: what the runtimes `local` and `local-command` have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from worldflux.runtime.base import Adapter, RuntimeContext, RuntimeResult

if TYPE_CHECKING:
    from worldflux.runtime.envcache import Lease
    from worldflux.runtime.process import CommandProcess

MEGABYTE = 2**20


class Hosting:
    """The runs of one plugin: their processes, the environments in use, the requests to end them.

    Args:
        grace_seconds: time between the polite signal and the hard one, at timeout and cancel.
        log_cap_mb: size in MiB at which the log is cut; the command goes on.
    """

    def __init__(self, grace_seconds: float, log_cap_mb: float) -> None:
        self.grace_seconds = float(grace_seconds)
        self.log_cap = int(log_cap_mb * MEGABYTE)
        self._lock = threading.Lock()
        self._running: dict[str, CommandProcess] = {}
        self._cancelled: set[str] = set()
        self._leases: dict[Path, list[Lease]] = {}

    def build_env(
        self, adapter: Adapter, install_dir: Path, on_progress: Callable[[str], None] | None
    ) -> Path | None:
        """The interpreter of the adapter's environment, in use until `teardown`; see `RuntimePlugin`."""
        if not adapter.lock.strip():
            return None
        from worldflux.runtime import envcache

        lease = envcache.acquire(install_dir, adapter, on_progress=on_progress)
        with self._lock:
            self._leases.setdefault(lease.environment.python, []).append(lease)
        return lease.environment.python

    def run(
        self,
        ctx: RuntimeContext,
        words: Sequence[str],
        env: Mapping[str, str],
        *,
        pty: bool = False,
        on_started: Callable[[], None] | None = None,
        on_ended: Callable[[], None] | None = None,
    ) -> RuntimeResult:
        """Carry out a command in the run's own folder, to its end.

        Args:
            words: as this machine runs it. env: all of its environment.
            pty: give it a terminal.
            on_started: told when it runs.
            on_ended: told when all its processes are gone, before the record of that is on the disk.
        """
        from worldflux.runtime.environment import visible_names
        from worldflux.runtime.process import CommandProcess, Limits

        work = ctx.output_dir / "artifacts"
        log = ctx.output_dir / "logs" / f"{ctx.run_id}.log"
        process = CommandProcess.start(
            list(words),
            cwd=work,
            env=env,
            log_path=log,
            exit_path=ctx.output_dir / "exit.json",
            limits=Limits(timeout=ctx.timeout, grace=self.grace_seconds, log_cap=self.log_cap),
            pty=pty,
        )
        with self._lock:
            self._running[ctx.run_id] = process
            cancelled = ctx.run_id in self._cancelled
        if cancelled:
            process.stop()
        ended = process.wait(on_started, on_ended)
        return RuntimeResult(
            exit_code=ended.code,
            duration_seconds=ended.duration_seconds,
            log_path=log,
            metadata={
                "outcome": "interrupted" if ended.reason == "client_gone" else ended.reason,
                "log_truncated": ended.truncated,
                "log_error": ended.log_error,
                "orphans_killed": ended.orphans_killed,
                "survivors": ended.survivors,
                "oom_kills": ended.oom_kills,
                "core_dumped": ended.core,
                "variables": {name: env[name] for name in visible_names(env)},
            },
        )

    def cancel(self, ctx: RuntimeContext) -> None:
        """Ask the run to end: polite signal, grace, hard signal; asked again, the hard one at once.

        Returns at once; any thread may call it.
        """
        with self._lock:
            again = ctx.run_id in self._cancelled
            self._cancelled.add(ctx.run_id)
            process = self._running.get(ctx.run_id)
        if process is not None and again:
            process.kill()
        elif process is not None:
            process.stop()

    def teardown(self, ctx: RuntimeContext) -> None:
        """End the run's process if it lives, give its environment back, remove its temporary files."""
        with self._lock:
            process = self._running.pop(ctx.run_id, None)
            leases = self._leases.get(ctx.venv_python, []) if ctx.venv_python else []
            lease = leases.pop() if leases else None
            self._cancelled.discard(ctx.run_id)
        if process is not None:
            process.kill()
        if lease is not None:
            lease.release()
        if ctx.output_dir.is_dir():
            from worldflux.runtime.environment import remove_temporary

            remove_temporary(ctx.output_dir)
