"""A run's own configuration, as its folder keeps it, made into a request again."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from worldflux.config.compose import Composer
from worldflux.config.project import Project
from worldflux.config.recipes import RECIPE_GROUP, locate_recipe
from worldflux.config.request import RunRequest
from worldflux.errors import ConfigError, UsageError, WorldFluxError


def recompose(
    project: Project, file: Path, sha256: str, overrides: Sequence[str], lock: Path | None
) -> RunRequest:
    """The request that a stored `config.yaml` describes; values read from the environment are read anew.

    Args:
        file: the stored configuration, unresolved.
        sha256: what its bytes must hash to.
        overrides: what was typed for that run; recorded again.
        lock: the requirements that the run's environment was built from; None to use the recipe's.

    Raises:
        UsageError: the recipe is gone.
        ConfigError: the configuration does not fit this version.
        WorldFluxError: the file is missing, or is not the one that was recorded.
    """
    import yaml

    try:
        data = file.read_bytes()
    except OSError as error:
        raise WorldFluxError(
            f"the run's configuration can not be read: {error.strerror}", f"ls {file.parent}", code="record"
        ) from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise WorldFluxError(
            f"{file.name} of the run was changed after it was recorded",
            "run the recipe with its overrides instead: worldflux runs show RUN names them",
            code="record",
        )
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    config = DictConfig(yaml.load(data, Loader=loader))  # noqa: S506 -- a safe loader, the quick one
    name = str(config.get(RECIPE_GROUP))
    if locate_recipe(project, name) is None:
        raise UsageError(
            f"recipe {name} is no longer in the project", f"bring recipes/{name} back", code="no_recipe"
        )
    request = Composer(project).finish(config, overrides)
    if lock is None:
        return request
    return dataclasses.replace(request, lock=lock.read_text(encoding="utf-8"), lock_file=lock)


def changed_keys(project: Project, overrides: Sequence[str], then: Mapping[str, Any]) -> list[str] | None:
    """Keys whose values the same overrides would set differently today.

    Args:
        then: the resolved configuration of the record.

    Returns:
        Dotted keys, sorted; None when the overrides can not be composed any more.
    """
    from worldflux.manifest.leaves import leaves
    from worldflux.manifest.numbers import portable

    try:
        now = portable(Composer(project).compose(overrides).parameters)
    except ConfigError:
        return None
    before, after = leaves(then), leaves(now)
    missing = object()
    return sorted(
        key for key in before.keys() | after.keys() if before.get(key, missing) != after.get(key, missing)
    )
