"""One run, composed and checked, ready to be carried out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldflux.config.spec import RunSpec


@dataclass(frozen=True)
class RunRequest:
    """What the engine carries out.

    Attributes:
        spec: what was asked, typed and resolved; may hold values taken from the environment.
        overrides: what was typed, word by word.
        config: the unresolved configuration, as it is stored.
        parameters: the resolved configuration for the record; values that come from the
            environment stay as `${oc.env:NAME}`.
        recipe_file: file of the recipe.
        source_dir: folder with the recipe's code.
        lock: text of the requirements; empty when the recipe needs no environment.
        lock_file: the file it was read from; None for an inline list.
    """

    spec: RunSpec
    overrides: tuple[str, ...]
    config: dict[str, Any]
    parameters: dict[str, Any]
    recipe_file: Path
    source_dir: Path
    lock: str
    lock_file: Path | None
