"""runtime=local-command keeps every promise of a runtime, with a command of one's own around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from worldflux.errors import RefusedError
from worldflux.runtime.external import SCHEMA_ID
from worldflux.runtime.local_command import LocalCommand
from worldflux.testing import RuntimeSuite


class TestLocalCommand(RuntimeSuite):
    """With a wrapper that hands over and is gone; `env` is on every machine."""

    @pytest.fixture(autouse=True)
    def wrapper(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.folder = tmp_path_factory.mktemp("external")
        self.write()

    def write(self, **changes: Any) -> str:
        document = {
            "schema": SCHEMA_ID,
            "name": "env",
            "command": ["env", "WRAPPED=yes", "{command}"],
            **changes,
        }
        path = self.folder / "wrap.json"
        path.write_text(json.dumps(document))
        return str(path)

    def make_plugin(self) -> LocalCommand:
        return LocalCommand(manifest=str(self.folder / "wrap.json"), grace_seconds=0.5)

    def environment_of_a_run(self, place: Path, **given: str) -> dict[str, str]:
        context = self.context(place, env_vars=given)
        text = "import json, os; json.dump(dict(os.environ), open('env.json', 'w'))"
        self.carry_out(self.make_plugin(), context, self.script(place, text))
        seen: dict[str, str] = json.loads((context.output_dir / "artifacts" / "env.json").read_text())
        return seen

    def test_the_wrapper_runs_the_recipe(self, place: Path) -> None:
        """The external command is really what is run, and its manifest is in the record."""
        context = self.context(place)
        command = self.script(place, "import os; print(os.environ['WRAPPED'])")
        result = self.carry_out(self.make_plugin(), context, command)
        assert result.log_path.read_bytes() == b"yes\n"
        assert result.metadata["external"]["name"] == "env"
        assert len(result.metadata["external"]["sha256"]) == 64

    def test_the_environment_is_minimal(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not even HOME is inherited, unless the manifest names it; nothing else ever is."""
        monkeypatch.setenv("HOME", "/home/somebody")
        monkeypatch.setenv("HF_HOME", "/data/hf")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
        seen = self.environment_of_a_run(place)
        assert not {"HOME", "HF_HOME", "AWS_SECRET_ACCESS_KEY"} & seen.keys()
        self.write(inherit=["HOME", "NOT_SET_ANYWHERE"], set={"FIXED_ONE": "1"})
        seen = self.environment_of_a_run(place)
        assert seen["HOME"] == "/home/somebody" and seen["FIXED_ONE"] == "1"
        assert not {"HF_HOME", "AWS_SECRET_ACCESS_KEY", "NOT_SET_ANYWHERE"} & seen.keys()

    def test_a_provider_variable_is_refused_before_anything_starts(self, place: Path) -> None:
        """A forwarded token that the manifest does not list ends in a refusal, and nothing has run."""
        context = self.context(place, env_vars={"HF_TOKEN": "planted"})
        with pytest.raises(RefusedError, match="HF_TOKEN"):
            self.carry_out(self.make_plugin(), context, self.script(place, "open('ran', 'w')"))
        assert not (context.output_dir / "artifacts" / "ran").exists()
        self.write(provider_env=["HF_TOKEN"])
        assert self.environment_of_a_run(place, HF_TOKEN="planted")["HF_TOKEN"] == "planted"
