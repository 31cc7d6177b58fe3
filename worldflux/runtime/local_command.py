"""runtime=local-command: a command of one's own around the recipe's, on this machine.

Not in the dispatcher: it needs an external manifest (`worldflux.runtime.external`), so it is
chosen by its configuration, `conf/runtime/local-command.yaml`, and never by name alone.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.runtime.base import Adapter, RuntimeContext, RuntimeResult
from worldflux.runtime.command import located

if TYPE_CHECKING:
    from worldflux.runtime.envcache import Lease
    from worldflux.runtime.external import ExternalManifest
    from worldflux.runtime.process import CommandProcess

MEGABYTE = 2**20


class LocalCommand:
    """Runs the command of an external manifest, which in turn runs the recipe's.

    Args:
        manifest: path of the external manifest.
        grace_seconds: time between the polite signal and the hard one, at timeout and cancel.
        log_cap_mb: size in MiB at which the log is cut; the command goes on.
    """

    name = "local-command"
    #: Nothing of a run is left when `run` returns, so another one may take its place before its teardown.
    ends_with_run = True

    def __init__(self, *, manifest: str, grace_seconds: float = 10.0, log_cap_mb: float = 256) -> None:
        self.manifest = str(manifest)
        self.grace_seconds = float(grace_seconds)
        self.log_cap = int(log_cap_mb * MEGABYTE)
        self._lock = threading.Lock()
        self._running: dict[str, CommandProcess] = {}
        self._cancelled: set[str] = set()
        self._leases: dict[Path, list[Lease]] = {}

    def doctor(self) -> list[str]:
        if sys.platform == "win32":
            return ["error: external commands need Linux or macOS; use WSL"]
        path = Path(self.manifest).expanduser()
        where = (
            f"external manifest {path}"
            if path.is_file()
            else f"external manifest {path}: looked for beside recipes"
        )
        return [where]

    def build_env(self, adapter: Adapter, install_dir: Path) -> Path | None:
        if not adapter.lock.strip():
            return None
        from worldflux.runtime import envcache

        lease = envcache.acquire(install_dir, adapter)
        with self._lock:
            self._leases.setdefault(lease.environment.python, []).append(lease)
        return lease.environment.python

    def plan(self, facts: Mapping[str, Any]) -> list[str]:
        """What a run would do.

        Raises:
            WorldFluxError: the external manifest is missing or faulty.
        """
        from worldflux.runtime import external

        found, _ = external.load(self.manifest, Path(facts["source_dir"]))
        return [
            f"wrapper   {' '.join(found.command)}",
            f"allowed   {', '.join(found.provider_env) or 'none'}",
        ]

    def run(self, ctx: RuntimeContext, command: Sequence[str]) -> RuntimeResult:
        from worldflux.runtime import external
        from worldflux.runtime.environment import visible_names
        from worldflux.runtime.process import CommandProcess, Limits

        manifest, facts = external.load(self.manifest, ctx.source_dir)
        python = ctx.venv_python or Path(sys.executable)
        env = self._environment(ctx, manifest, python)
        log = ctx.output_dir / "logs" / f"{ctx.run_id}.log"
        work = ctx.output_dir / "artifacts"
        work.mkdir(exist_ok=True)
        log.parent.mkdir(exist_ok=True)
        inner = [*located(command, ctx.source_dir, python=str(python)), *ctx.extra_args]
        words = manifest.words(inner, source=str(ctx.source_dir), output=str(work), run_id=ctx.run_id)
        process = CommandProcess.start(
            words,
            cwd=work,
            env=env,
            log_path=log,
            exit_path=ctx.output_dir / "exit.json",
            limits=Limits(timeout=ctx.timeout, grace=self.grace_seconds, log_cap=self.log_cap),
        )
        with self._lock:
            self._running[ctx.run_id] = process
            cancelled = ctx.run_id in self._cancelled
        if cancelled:
            process.stop()
        ended = process.wait()
        return RuntimeResult(
            exit_code=ended.code,
            duration_seconds=ended.duration_seconds,
            log_path=log,
            metadata={
                "outcome": "interrupted" if ended.reason == "client_gone" else ended.reason,
                "external": facts,
                "log_truncated": ended.truncated,
                "orphans_killed": ended.orphans_killed,
                "variables": {name: env[name] for name in visible_names(env)},
            },
        )

    def cancel(self, ctx: RuntimeContext) -> None:
        """Ask the run to end: polite signal, grace, hard signal. Returns at once; any thread."""
        with self._lock:
            self._cancelled.add(ctx.run_id)
            process = self._running.get(ctx.run_id)
        if process is not None:
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

    def _environment(self, ctx: RuntimeContext, manifest: ExternalManifest, python: Path) -> dict[str, str]:
        """Fixed values, what the manifest inherits by name, what the run was given; nothing else."""
        from worldflux.runtime.environment import command_environment

        inherited = {name: os.environ[name] for name in manifest.inherit if name in os.environ}
        extra = {
            **inherited,
            "PYTHONPATH": str(ctx.source_dir),
            "WORLDFLUX_SOURCE_DIR": str(ctx.source_dir),
            **manifest.variables(ctx.env_vars),
        }
        return command_environment(os.environ, python=python, groups=(), extra=extra, work=ctx.output_dir)
