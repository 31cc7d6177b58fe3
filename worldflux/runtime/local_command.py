"""runtime=local-command: a command of one's own around the recipe's, on this machine.

Not in the dispatcher: it needs an external manifest (`worldflux.runtime.external`), so it is
chosen by its configuration, `conf/runtime/local-command.yaml`, and never by name alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.runtime.base import Adapter, RuntimeContext, RuntimeResult
from worldflux.runtime.command import located
from worldflux.runtime.hosting import Hosting

if TYPE_CHECKING:
    from worldflux.runtime.external import ExternalManifest


class LocalCommand:
    """Runs the command of an external manifest, which in turn runs the recipe's.

    Args:
        manifest: path of the external manifest.
        grace_seconds: time between the polite signal and the hard one, at timeout and cancel.
        log_cap_mb: size in MiB at which the log is cut; the command goes on.
    """

    name = "local-command"

    def __init__(self, *, manifest: str, grace_seconds: float = 10.0, log_cap_mb: float = 256) -> None:
        self.manifest = str(manifest)
        self.on_progress: Callable[[str], None] | None = None
        self.on_started: Callable[[], None] | None = None
        self.on_ended: Callable[[], None] | None = None
        self._hosting = Hosting(grace_seconds, log_cap_mb)

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
        return self._hosting.build_env(adapter, install_dir, self.on_progress)

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

        manifest, facts = external.load(self.manifest, ctx.source_dir)
        python = ctx.venv_python or Path(sys.executable)
        inner = [*located(command, ctx.source_dir, python=str(python)), *ctx.extra_args]
        output = str(ctx.output_dir / "artifacts")
        words = manifest.words(inner, source=str(ctx.source_dir), output=output, run_id=ctx.run_id)
        result = self._hosting.run(
            ctx,
            words,
            self._environment(ctx, manifest, python),
            on_started=self.on_started,
            on_ended=self.on_ended,
        )
        return replace(result, metadata={**result.metadata, "external": facts})

    def cancel(self, ctx: RuntimeContext) -> None:
        """Ask the run to end: polite signal, grace, hard signal; asked again, the hard one at once.

        Returns at once; any thread may call it.
        """
        self._hosting.cancel(ctx)

    def teardown(self, ctx: RuntimeContext) -> None:
        self._hosting.teardown(ctx)

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
