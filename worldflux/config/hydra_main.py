"""What only Hydra itself can do: sweeps, `--cfg`, `--info`, completion, other launchers and sweepers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from worldflux.config.compose import PRIMARY, Composer
from worldflux.config.grammar import as_override
from worldflux.config.project import builtin_dir, load_project
from worldflux.config.request import RunRequest
from worldflux.config.sources import register
from worldflux.errors import UsageError, WorldFluxError
from worldflux.manifest.model import new_run_id

#: Chosen unless something else is typed: our sweeper, and no log files or folders of Hydra's own.
DEFAULTS = {
    "hydra/sweeper": "worldflux",
    "hydra/launcher": "worldflux",
    "hydra/job_logging": "none",
    "hydra/hydra_logging": "none",
}
#: Below the folder of runs: what other launchers and sweepers write.
LAUNCHER_FOLDER = ".launcher"
#: Launcher -> our own with the same settings, for sweepers that wait for the end of each job.
_SUBMISSIONS = {"submitit_local": "SubmittedLocally", "submitit_slurm": "SubmittedToSlurm"}
_COMPLETION = ("-sc", "--shell-completion")


def run_hydra(flags: Sequence[str], overrides: Sequence[str], task: Callable[[DictConfig], Any]) -> None:
    """Hand the command line to `hydra.main`.

    Args:
        flags: Hydra's own flags.
        overrides: normalized overrides.
        task: called with the configuration of each run that Hydra starts itself.

    Raises:
        ConfigError: the faults of the overrides, in our words where we know them.
        UsageError: anything else that Hydra or OmegaConf say is wrong, as one block.
    """
    typed = {text.partition("=")[0].lstrip("+~") for text in overrides}
    chosen = [f"{key}={value}" for key, value in DEFAULTS.items() if key not in typed]
    project = load_project()
    submission = _SUBMISSIONS.get(_typed(overrides, "hydra/launcher"))
    if submission is not None and _typed(overrides, "hydra/sweeper") not in ("", "worldflux"):
        chosen.append(f"hydra.launcher._target_=hydra_plugins.worldflux_multirun.{submission}")
    if "hydra.sweep.dir" not in typed:
        folder = project.runs_dir / LAUNCHER_FOLDER / new_run_id()
        chosen.append(as_override("hydra.sweep.dir", str(folder)))
    # Workers are started somewhere else, some of them in another folder.
    os.environ["WORLDFLUX_PROJECT"] = str(project.root)
    sys.argv[1:] = [*flags, *overrides, *([] if any(flag in _COMPLETION for flag in flags) else chosen)]
    register()
    version = {"version_base": "1.3"} if hydra.__version__.startswith("1.3") else {}
    before = os.environ.get("HYDRA_FULL_ERROR")
    # Without it Hydra prints errors in its own form and ends the process with code 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        hydra.main(config_path=str(builtin_dir("conf")), config_name=PRIMARY, **version)(task)()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        ours = [text for text in overrides if not text.lstrip("+~").startswith("hydra")]
        Composer(load_project()).compose(ours)
        raise explained(error) from error
    finally:
        if before is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)


def _typed(overrides: Sequence[str], key: str) -> str:
    """The value that an override gives to a key; empty when none does."""
    found = [text.partition("=")[2] for text in overrides if text.partition("=")[0].lstrip("+") == key]
    return found[-1] if found else ""


def explained(error: Exception) -> WorldFluxError:
    """An error of Hydra in one block, without its advice on other commands and its search path."""
    lines = [line.rstrip() for line in str(error).splitlines() if line.strip()]
    cause = [line for line in str(error.__cause__ or "").splitlines() if line.strip()][:1]
    return UsageError(
        "\n".join([*lines[:8], *cause]) or type(error).__name__, "worldflux-run --help", code="hydra"
    )


def composed_by_hydra(config: DictConfig) -> RunRequest:
    """The request of a run whose configuration Hydra composed.

    Raises:
        ConfigError: with all its faults.
    """
    return Composer(load_project()).finish(config, list(HydraConfig.get().overrides.task))


def job_return(overrides: Sequence[str], ended: Any) -> JobReturn:
    """The end of one job in Hydra's terms: an error, or the value that its sweeper is told."""
    failed = isinstance(ended, Exception)
    result = JobReturn(overrides=list(overrides))
    result.status = JobStatus.FAILED if failed else JobStatus.COMPLETED
    result.return_value = ended
    return result


def chosen_sweeper(config: DictConfig | None = None) -> str | None:
    """Name of the sweeper at work; None when Hydra runs a single job.

    Args:
        config: the configuration of the sweep; in a job, that of the job.
    """
    hydra_node = config.hydra if config is not None else HydraConfig.get()
    if hydra_node.mode != RunMode.MULTIRUN:
        return None
    chosen: str | None = hydra_node.runtime.choices.get("hydra/sweeper")
    return chosen
