"""WorldFlux's sweeper and launcher for Hydra.

Hydra accepts such classes only from modules of this package, and imports every one of them at
each start of each Hydra application: so there is nothing here but the names. No
`from __future__ import annotations`: Hydra 1.3 executes this file in a way that breaks it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper


class WorldFluxSweeper(Sweeper):
    """Composes and checks every job before the first one starts."""

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        self.params = params or {}
        self.launcher: Any = None

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        from hydra.core.plugins import Plugins

        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.config = config

    def sweep(self, arguments: list[str]) -> Any:
        from worldflux.cli.sweep import sweep

        return sweep(arguments, self.params, self.launcher)


class WorldFluxLauncher(Launcher):
    """Runs jobs in threads of this process; each run's command is a process of its own."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.task_function = task_function
        self.config = config
        self.sweep_id: str | None = None

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Any:
        from worldflux.cli.sweep import launch

        return launch(self, job_overrides)


class SubmittedLocally(WorldFluxLauncher):
    """Submits what other sweepers ask for, with the settings of submitit's launcher.

    submitit's own gives up all jobs when one of them is lost; here that job alone has failed.
    """

    _EXECUTOR = "local"

    def __init__(self, **params: Any) -> None:
        from omegaconf import OmegaConf

        self.params = {
            key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            for key, value in params.items()
        }


class SubmittedToSlurm(SubmittedLocally):
    """The same by Slurm."""

    _EXECUTOR = "slurm"


@dataclass
class SweeperConfig:
    _target_: str = "hydra_plugins.worldflux_multirun.WorldFluxSweeper"
    params: Any = None


@dataclass
class LauncherConfig:
    _target_: str = "hydra_plugins.worldflux_multirun.WorldFluxLauncher"


ConfigStore.instance().store(
    group="hydra/sweeper", name="worldflux", node=SweeperConfig, provider="worldflux"
)
ConfigStore.instance().store(
    group="hydra/launcher", name="worldflux", node=LauncherConfig, provider="worldflux"
)
