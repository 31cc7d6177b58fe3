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
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from worldflux.config.compose import PRIMARY, Composer
from worldflux.config.project import builtin_dir, load_project
from worldflux.config.request import RunRequest
from worldflux.config.sources import register
from worldflux.errors import UsageError, WorldFluxError

#: Chosen unless something else is typed: our sweeper, and no log files or folders of Hydra's own.
DEFAULTS = {
    "hydra/sweeper": "worldflux",
    "hydra/launcher": "worldflux",
    "hydra/job_logging": "none",
    "hydra/hydra_logging": "none",
}
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


def job_return(overrides: Sequence[str], problem: str) -> JobReturn:
    """The end of one job in Hydra's terms; an empty `problem` is success."""
    result = JobReturn(overrides=list(overrides))
    result.status = JobStatus.FAILED if problem else JobStatus.COMPLETED
    result.return_value = WorldFluxError(problem) if problem else 0
    return result


def failed_jobs(returned: Sequence[Any]) -> int:
    """How many jobs of another launcher did not complete."""
    return sum(1 for each in returned if each.status != JobStatus.COMPLETED)
