"""runtime=local: run on this machine, in a small environment and a process tree of its own."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from worldflux.runtime.base import Adapter, RuntimeContext, RuntimeResult
from worldflux.runtime.command import located

if TYPE_CHECKING:
    from worldflux.runtime.envcache import Lease
    from worldflux.runtime.process import CommandProcess

MEGABYTE = 2**20
GROUPS = ("base", "gpu", "slurm", "display")


class LocalPlugin:
    """Runs commands on this machine.

    Args:
        grace_seconds: time between the polite signal and the hard one, at timeout and cancel.
        log_cap_mb: size in MiB at which the log is cut; the command goes on.
        env_groups: groups of variables that the command inherits, see
            `worldflux.runtime.environment.GROUPS`.
        pty: give the command a terminal; merges streams and changes line ends.
    """

    name = "local"
    #: Nothing of a run is left when `run` returns, so another one may take its place before its teardown.
    ends_with_run = True

    def __init__(
        self,
        *,
        grace_seconds: float = 10.0,
        log_cap_mb: float = 256,
        env_groups: Sequence[str] = GROUPS,
        pty: bool = False,
    ) -> None:
        self.grace_seconds = float(grace_seconds)
        self.log_cap = int(log_cap_mb * MEGABYTE)
        self.env_groups = tuple(env_groups)
        self.pty = pty
        self._lock = threading.Lock()
        self._running: dict[str, CommandProcess] = {}
        self._cancelled: set[str] = set()
        self._leases: dict[Path, list[Lease]] = {}

    def doctor(self) -> list[str]:
        if sys.platform == "win32":
            return ["error: the local runtime needs Linux or macOS; use WSL"]
        # Asked before every run, so nothing here starts a process; `worldflux doctor` looks closer.
        version = ".".join(map(str, sys.version_info[:3]))
        return [f"python {version} at {sys.executable}", _free_space(default_install_dir())]

    def build_env(self, adapter: Adapter, install_dir: Path) -> Path | None:
        if not adapter.lock.strip():
            return None
        from worldflux.runtime import envcache

        lease = envcache.acquire(install_dir, adapter)
        with self._lock:
            self._leases.setdefault(lease.environment.python, []).append(lease)
        return lease.environment.python

    def run(self, ctx: RuntimeContext, command: Sequence[str]) -> RuntimeResult:
        from worldflux.runtime.environment import visible_names
        from worldflux.runtime.process import CommandProcess, Limits

        python = ctx.venv_python or Path(sys.executable)
        work = ctx.output_dir / "artifacts"
        log = ctx.output_dir / "logs" / f"{ctx.run_id}.log"
        work.mkdir(exist_ok=True)
        log.parent.mkdir(exist_ok=True)
        env = self._environment(ctx, python)
        process = CommandProcess.start(
            [*located(command, ctx.source_dir, python=str(python)), *ctx.extra_args],
            cwd=work,
            env=env,
            log_path=log,
            exit_path=ctx.output_dir / "exit.json",
            limits=Limits(timeout=ctx.timeout, grace=self.grace_seconds, log_cap=self.log_cap),
            pty=self.pty,
        )
        with self._lock:
            self._running[ctx.run_id] = process
            cancelled = ctx.run_id in self._cancelled
        if cancelled:
            process.stop()
        ended = process.wait()
        outcome = "interrupted" if ended.reason == "client_gone" else ended.reason
        return RuntimeResult(
            exit_code=ended.code,
            duration_seconds=ended.duration_seconds,
            log_path=log,
            metadata={
                "outcome": outcome,
                "log_truncated": ended.truncated,
                "log_error": ended.log_error,
                "orphans_killed": ended.orphans_killed,
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

    def _environment(self, ctx: RuntimeContext, python: Path) -> dict[str, str]:
        from worldflux.runtime.environment import command_environment

        extra = {
            "PYTHONPATH": str(ctx.source_dir),
            "WORLDFLUX_SOURCE_DIR": str(ctx.source_dir),
            **ctx.env_vars,
        }
        return command_environment(
            os.environ, python=python, groups=self.env_groups, extra=extra, work=ctx.output_dir
        )


def _free_space(folder: Path) -> str:
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(existing).free
    return f"{free / 1e9:.1f} GB free for environments at {folder}"


def default_install_dir() -> Path:
    """Where environments are kept: `$WORLDFLUX_HOME/envs`, by default below `~/.worldflux`."""
    home = os.environ.get("WORLDFLUX_HOME")
    return (Path(home) if home else Path.home() / ".worldflux") / "envs"
