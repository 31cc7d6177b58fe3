"""runtime=modal-command: a command of one's own around the recipe's, in a sandbox on Modal.

Not in the dispatcher: it needs an external manifest (`worldflux.runtime.external`), which also says
what the sandbox is made of. It is chosen by `conf/runtime/modal-command.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.runtime.base import Adapter, RuntimeContext, RuntimeResult

if TYPE_CHECKING:
    from worldflux.runtime.external import ExternalManifest
    from worldflux.runtime.modal.settings import Settings


class ModalCommand:
    """Runs the command of an external manifest in a sandbox; it in turn runs the recipe's.

    Args:
        manifest: path of the external manifest, absolute or relative to the current folder: the
            image is built from it before the recipe's source is looked at.
        app: name of the Modal app that sandboxes belong to.
        max_seconds: running time when the recipe sets no timeout.
        start_seconds, fetch_seconds, build_seconds: longest times for the sandbox to come up, for
            bringing the results home, and for building the image.
        log_cap_mb, upload_cap_mb, download_cap_mb: sizes in millions of bytes.
        ignore, include: further files that stay here, and files that travel anyway.
        cost_guard: the limits in US dollars.
        artifacts, metrics: what the recipe names; these files come home first.
    """

    name = "modal-command"

    def __init__(
        self,
        *,
        manifest: str,
        app: str = "worldflux",
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
        from worldflux.runtime.modal.account import Account

        self.manifest = str(manifest)
        self._options: dict[str, Any] = {
            "app": app,
            "seconds": (max_seconds, start_seconds, fetch_seconds, build_seconds),
            "megabytes": (log_cap_mb, upload_cap_mb, download_cap_mb),
            "ignore": ignore,
            "include": include,
            "cost_guard": cost_guard,
            "artifacts": artifacts,
            "metrics": metrics,
        }
        self._account = Account()

    def doctor(self) -> list[str]:
        from worldflux.errors import WorldFluxError
        from worldflux.runtime.modal.checks import lines

        try:
            self._load()
        except WorldFluxError as error:
            return [f"error: {' '.join(error.problem.split())}"]
        return [f"external manifest {self.manifest}", *lines(self._options["app"], "error: ")]

    def build_env(self, adapter: Adapter, install_dir: Path) -> Path | None:
        """Build the image that the manifest describes, with the recipe's packages."""
        settings = self._settings(self._load()[0])
        settings.lasting()
        self._account.image(settings, adapter, install_dir)
        return None

    def plan(self, facts: Mapping[str, Any]) -> list[str]:
        """What a run would do and cost; asks nobody.

        Raises:
            WorldFluxError: the manifest is faulty, or the budget refuses.
        """
        manifest, _ = self._load()
        return [
            f"wrapper   {' '.join(manifest.command)}",
            f"allowed   {', '.join(manifest.provider_env) or 'none'}",
            *self._settings(manifest).plan(Path(facts["source_dir"]), facts.get("timeout")),
        ]

    def run(self, ctx: RuntimeContext, command: Sequence[str]) -> RuntimeResult:
        from worldflux.runtime.modal.sandbox import THERE
        from worldflux.runtime.remote import place

        manifest, facts = self._load()
        output = str(THERE.run / "artifacts")
        words = manifest.words(
            place.words(ctx, command, THERE), source=str(THERE.source), output=output, run_id=ctx.run_id
        )
        variables = manifest.variables(place.variables(ctx, THERE))
        return self._account.run(self._settings(manifest), ctx, words, variables, {"external": facts})

    def cancel(self, ctx: RuntimeContext) -> None:
        """Ask the run to end: the command is ended, its files come home; asked again, at once.

        Returns at once; any thread may call it.
        """
        self._account.cancel(ctx.run_id)

    def teardown(self, ctx: RuntimeContext) -> None:
        self._account.release(self._options["app"], ctx.run_id)

    def reap(self, runs: Sequence[str] = (), *, end: bool = True) -> tuple[list[dict[str, Any]], list[str]]:
        """Find sandboxes of ours; see `ModalPlugin.reap`."""
        return self._account.reap(self._options["app"], runs, end=end)

    def _load(self) -> tuple[ExternalManifest, dict[str, str]]:
        from worldflux.runtime import external

        return external.load(self.manifest, Path.cwd())

    def _settings(self, manifest: ExternalManifest) -> Settings:
        from worldflux.runtime.modal.settings import Settings

        machine = manifest.modal
        return Settings.of(
            gpu=machine.gpu,
            cpu=machine.cpu or 1.0,
            memory_mb=machine.memory_mb or 2048,
            registry=machine.registry,
            apt=machine.apt,
            secrets=(),
            block_network=False,
            allow_domains=(),
            **self._options,
        )
