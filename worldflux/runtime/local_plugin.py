"""runtime=local: run on this machine, in a small environment and a process tree of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from worldflux.runtime.base import Adapter, RuntimeContext, RuntimeResult
from worldflux.runtime.command import located
from worldflux.runtime.hosting import Hosting

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

    def __init__(
        self,
        *,
        grace_seconds: float = 10.0,
        log_cap_mb: float = 256,
        env_groups: Sequence[str] = GROUPS,
        pty: bool = False,
    ) -> None:
        self.env_groups = tuple(env_groups)
        self.pty = pty
        self.on_progress: Callable[[str], None] | None = None
        self.on_started: Callable[[], None] | None = None
        self.on_ended: Callable[[], None] | None = None
        self._hosting = Hosting(grace_seconds, log_cap_mb)

    def doctor(self) -> list[str]:
        if sys.platform == "win32":
            return ["error: the local runtime needs Linux or macOS; use WSL"]
        # Asked before every run, so nothing here starts a process; `worldflux doctor` looks closer.
        version = ".".join(map(str, sys.version_info[:3]))
        return [f"python {version} at {sys.executable}", _free_space(default_install_dir())]

    def build_env(self, adapter: Adapter, install_dir: Path) -> Path | None:
        return self._hosting.build_env(adapter, install_dir, self.on_progress)

    def run(self, ctx: RuntimeContext, command: Sequence[str]) -> RuntimeResult:
        python = ctx.venv_python or Path(sys.executable)
        words = [*located(command, ctx.source_dir, python=str(python)), *ctx.extra_args]
        return self._hosting.run(
            ctx,
            words,
            self._environment(ctx, python),
            pty=self.pty,
            on_started=self.on_started,
            on_ended=self.on_ended,
        )

    def cancel(self, ctx: RuntimeContext) -> None:
        """Ask the run to end: polite signal, grace, hard signal; asked again, the hard one at once.

        Returns at once; any thread may call it.
        """
        self._hosting.cancel(ctx)

    def teardown(self, ctx: RuntimeContext) -> None:
        self._hosting.teardown(ctx)

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
    space = os.statvfs(existing)
    return f"{space.f_bavail * space.f_frsize / 1e9:.1f} GB free for environments at {folder}"


def default_install_dir() -> Path:
    """Where environments are kept: `$WORLDFLUX_HOME/envs`, by default below `~/.worldflux`."""
    home = os.environ.get("WORLDFLUX_HOME")
    return (Path(home) if home else Path.home() / ".worldflux") / "envs"
