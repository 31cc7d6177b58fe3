"""From the values of a configuration to the request that the engine carries out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.config.recipe_files import RecipeFiles
from worldflux.config.recipes import RECIPE_GROUP
from worldflux.config.request import RunRequest
from worldflux.errors import Fault

if TYPE_CHECKING:
    from worldflux.config.spec import RunSpec


def request_of(
    spec: RunSpec,
    plain: dict[str, Any],
    parameters: dict[str, Any],
    overrides: tuple[str, ...],
    files: RecipeFiles,
    found: tuple[Path, Path],
    faults: list[Fault],
) -> RunRequest:
    """The request of a checked run, with the files that belong to it.

    Args:
        plain: the unresolved configuration.
        parameters: the resolved one, for the record.
        found: file of the recipe, and the folder of recipes it is in.
        faults: what is wrong with the recipe's files goes here.
    """
    file, folder = found
    source_dir = files.source_dir(spec, file, folder, faults)
    lock, lock_file = files.lock_text(spec, file, folder, faults)
    return RunRequest(
        spec=spec,
        overrides=overrides,
        config=plain,
        parameters=parameters,
        recipe_file=file,
        source_dir=source_dir,
        lock=lock,
        lock_file=lock_file,
    )


def faultless(
    plain: dict[str, Any], values: dict[str, Any], overrides: tuple[str, ...], files: RecipeFiles
) -> RunRequest | None:
    """The request of a configuration that reads nothing from outside; None when it has any fault."""
    from pydantic import ValidationError

    from worldflux.config.spec import RunSpec

    name, faults = plain.get(RECIPE_GROUP), list[Fault]()
    found = files.locate(name) if isinstance(name, str) else None
    if found is None:
        return None
    try:
        spec = RunSpec.model_validate(values)
    except ValidationError:
        return None
    request = request_of(spec, plain, values, overrides, files, found, faults)
    return None if faults else request
