"""The number that an optimizer is told."""

from __future__ import annotations

from typing import Any

import pytest

from worldflux.errors import WorldFluxError
from worldflux.manifest.model import Manifest
from worldflux.run.objective import objective


@pytest.fixture
def manifest() -> Manifest:
    made = Manifest.new(
        project="p",
        recipe={"name": "r", "description": "", "task": "eval", "source": {"path": None, "sha256": None}},
        config={"path": "config.yaml", "sha256": "0" * 64, "overrides": [], "resolved": {}},
        runtime={"name": "local", "plugin": "a:B", "plugin_version": "1", "options": {}},
    )
    for name, value in {"loss": 2, "rate": 0.5, "broken": "NaN", "yes": True}.items():
        entry: Any = {"value": value}
        made.metrics[name] = entry
    return made


def test_values(manifest: Manifest) -> None:
    """One name gives a float, several a list in their order, none nothing."""
    assert objective(manifest, "loss") == 2.0 and isinstance(objective(manifest, "loss"), float)
    assert objective(manifest, ("rate", "loss")) == [0.5, 2.0]
    assert objective(manifest, None) is None


@pytest.mark.parametrize("name", ["los", "broken", "yes"])
def test_what_can_not_be_optimized(name: str, manifest: Manifest) -> None:
    """An unknown metric and one that is no finite number are errors that name it."""
    with pytest.raises(WorldFluxError, match=f"objective={name}") as caught:
        objective(manifest, name)
    assert caught.value.code == "objective" and caught.value.hint
