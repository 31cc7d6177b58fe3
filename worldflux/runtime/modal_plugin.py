"""runtime=modal: run a recipe in a sandbox on Modal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.runtime.base import Adapter, RuntimeContext, RuntimeResult

if TYPE_CHECKING:
    from worldflux.runtime.modal.account import Account
    from worldflux.runtime.modal.settings import Settings


class ModalPlugin:
    """Runs commands in sandboxes, one for each run.

    Args:
        app: name of the Modal app that sandboxes belong to.
        gpu, cpu, ...: see `worldflux.runtime.modal.settings.Settings`.
    """

    name = "modal"

    def __init__(
        self,
        *,
        app: str = "",
        gpu: str | None = None,
        cpu: float = 1.0,
        memory_mb: int = 2048,
        registry: str | None = None,
        apt: Sequence[str] = (),
        secrets: Sequence[str] = (),
        block_network: bool = False,
        allow_domains: Sequence[str] = (),
        max_seconds: float = 3600.0,
        start_seconds: float = 600.0,
        fetch_seconds: float = 600.0,
        build_seconds: float = 3600.0,
        log_cap_mb: float = 256,
        upload_cap_mb: float = 100,
        download_cap_mb: float = 2000,
        ignore: Sequence[str] = (),
        include: Sequence[str] = (),
        cost_guard: Mapping[str, Any] | None = None,
        artifacts: Sequence[Any] = (),
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        self.configured = bool(app)
        self._options: dict[str, Any] = {
            "app": app or "worldflux",
            "gpu": gpu,
            "cpu": cpu,
            "memory_mb": memory_mb,
            "registry": registry,
            "apt": apt,
            "secrets": secrets,
            "block_network": block_network,
            "allow_domains": allow_domains,
            "seconds": (max_seconds, start_seconds, fetch_seconds, build_seconds),
            "megabytes": (log_cap_mb, upload_cap_mb, download_cap_mb),
            "ignore": ignore,
            "include": include,
            "cost_guard": cost_guard,
            "artifacts": artifacts,
            "metrics": metrics,
        }
        if self.configured:
            _ = self.settings

    @cached_property
    def settings(self) -> Settings:
        """The options, checked; put together when they are first needed."""
        from worldflux.runtime.modal.settings import Settings

        return Settings.of(**self._options)

    @cached_property
    def _account(self) -> Account:
        from worldflux.runtime.modal.account import Account

        return Account()

    def doctor(self) -> list[str]:
        from worldflux.runtime.modal.checks import lines

        return lines(self.settings.machine.app, "error: " if self.configured else "")

    def build_env(self, adapter: Adapter, install_dir: Path) -> Path | None:
        """Build the image on Modal. The command's Python is the image's, so there is none here."""
        self.settings.lasting()
        self._account.image(self.settings, adapter, install_dir)
        return None

    def plan(self, facts: Mapping[str, Any]) -> list[str]:
        """What a run would do and cost; asks nobody.

        Args:
            facts: `source_dir` (a path), `timeout` (seconds or None), `variables` (names).

        Raises:
            WorldFluxError: the budget refuses, or the GPU has no price.
        """
        return self.settings.plan(Path(facts["source_dir"]), facts.get("timeout"))

    def run(self, ctx: RuntimeContext, command: Sequence[str]) -> RuntimeResult:
        from worldflux.runtime.modal.sandbox import THERE
        from worldflux.runtime.remote import place

        words = place.words(ctx, command, THERE)
        return self._account.run(self.settings, ctx, words, place.variables(ctx, THERE))

    def cancel(self, ctx: RuntimeContext) -> None:
        """Ask the run to end: the command is ended, its files come home; asked again, at once.

        Returns at once; any thread may call it.
        """
        self._account.cancel(ctx.run_id)

    def teardown(self, ctx: RuntimeContext) -> None:
        self._account.release(self.settings.machine.app, ctx.run_id)

    def reap(self, runs: Sequence[str] = (), *, end: bool = True) -> tuple[list[dict[str, Any]], list[str]]:
        """Find our sandboxes.

        Args:
            runs: ids of runs to end now; others are ended past their deadline only.
            end: false only looks.

        Returns:
            A row for each sandbox, and a line for each problem.
        """
        return self._account.reap(self.settings.machine.app, runs, end=end)
