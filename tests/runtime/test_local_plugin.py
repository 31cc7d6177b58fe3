"""runtime=local keeps every promise of a runtime plugin."""

from __future__ import annotations

import json
from pathlib import Path

from vendors_lab import Project
from wheelhouse import Wheelhouse

from worldflux.runtime.external import SCHEMA_ID
from worldflux.runtime.local_plugin import LocalPlugin
from worldflux.testing import RuntimeSuite


class TestLocalPlugin(RuntimeSuite):
    def make_plugin(self) -> LocalPlugin:
        return LocalPlugin(grace_seconds=0.5)


def test_what_ended_the_command_is_recorded(tmp_path: Path) -> None:
    """How many processes the kernel ended for lack of memory, and how many could not be ended at all."""
    project = Project(tmp_path / "project", {"WORLDFLUX_HOME": str(tmp_path / "home")})
    project.sleeper(text="print('up')")
    project.run("+recipe=sleeper", "runtime=local")
    (project.folder / "wrap.json").write_text(
        json.dumps({"schema": SCHEMA_ID, "name": "plain", "command": ["env", "{command}"]})
    )
    project.run("+recipe=sleeper", "runtime=local-command", "runtime.manifest=wrap.json")
    for manifest in project.manifests():
        runtime = manifest["runtime"]
        assert (runtime["oom_kills"], runtime["survivors"], runtime["orphans_killed"]) == (0, 0, 0)
        assert runtime["log_error"] is None and runtime["core_dumped"] is False


def test_a_build_says_what_it_is_busy_with(tmp_path: Path) -> None:
    """The first run shows that an environment is built and what is installed; a warm one says nothing."""
    house = Wheelhouse(tmp_path / "wheels")
    house.add("alpha")
    variables = {**house.environ(), "WORLDFLUX_HOME": str(tmp_path / "home")}
    project = Project(tmp_path / "project", variables)
    project.sleeper(text="import alpha; print(alpha.VERSION)")
    recipe = project.folder / "recipes" / "sleeper" / "recipe.yaml"
    recipe.write_text(recipe.read_text() + "env: {requirements: lock.txt}\n")
    (recipe.parent / "lock.txt").write_text(house.lock())
    first, second = (project.run("+recipe=sleeper") for _ in range(2))
    assert "building environment" in first and "installing 1 packages" in first
    assert "building" not in second and "installing" not in second
