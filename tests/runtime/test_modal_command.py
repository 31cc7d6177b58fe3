"""runtime=modal-command keeps every promise of a runtime, with a command of one's own around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from modal_bench import Bench

from worldflux.errors import RefusedError
from worldflux.runtime.external import SCHEMA_ID
from worldflux.runtime.modal_command import ModalCommand
from worldflux.testing import RuntimeSuite

pytestmark = pytest.mark.filterwarnings("default::modal.exception.DeprecationError")


class Wrapped(Bench):
    @pytest.fixture(autouse=True)
    def wrapper(self, tmp_path: Path) -> None:
        self.path = tmp_path / "wrap.json"
        self.write()

    def write(self, **changes: Any) -> None:
        words = ["env", "WRAPPED={run_id}", "{command}"]
        document = {"schema": SCHEMA_ID, "name": "env", "command": words, **changes}
        self.path.write_text(json.dumps(document))

    def make_plugin(self, **options: Any) -> ModalCommand:  # type: ignore[override]
        defaults = {"app": "worldflux-tests", "max_seconds": 120, "start_seconds": 60}
        return ModalCommand(manifest=str(self.path), **{**defaults, **options})


@pytest.mark.slow
class TestSuite(Wrapped, RuntimeSuite):
    """The conformance suite."""

    stop_seconds = 20.0


class TestManifest(Wrapped):
    """What the external manifest decides."""

    place = RuntimeSuite.place
    context = RuntimeSuite.context
    carry_out = RuntimeSuite.carry_out
    script = RuntimeSuite.script

    def test_it_wraps_the_command_and_chooses_the_machine(self, place: Path) -> None:
        """The wrapper runs there, on the machine that the manifest names, and is in the record."""
        self.write(set={"FIXED": "1"}, modal={"gpu": "T4", "cpu": 2, "memory_mb": 512})
        context = self.context(place)
        text = "import os; print(os.environ['WRAPPED'], os.environ['FIXED'])"
        result = self.carry_out(self.make_plugin(), context, self.script(place, text))
        assert result.log_path.read_text() == f"{context.run_id} 1\n"
        assert result.metadata["external"]["name"] == "env" and result.metadata["backend"] == "v1"
        assert (result.metadata["gpu"], result.metadata["cpu"], result.metadata["memory_mb"]) == (
            "T4",
            2.0,
            512,
        )

    def test_a_provider_variable_needs_the_allowlist(self, place: Path) -> None:
        """Refused before anything is asked for; sent once the manifest lists it."""
        given = {"HF_TOKEN": "planted-hf-value"}
        command = self.script(place, "import os; print('HF_TOKEN' in os.environ)")
        with pytest.raises(RefusedError, match="HF_TOKEN"):
            self.carry_out(self.make_plugin(), self.context(place, env_vars=given), command)
        assert not self.world.boxes and b"planted" not in self.world.sent()
        self.write(provider_env=["HF_TOKEN"])
        result = self.carry_out(self.make_plugin(), self.context(place, env_vars=given), command)
        assert result.log_path.read_text() == "True\n"

    def test_doctor_looks_at_the_manifest_first(self) -> None:
        """A faulty manifest blocks runs before a server is asked."""
        assert self.make_plugin().doctor()[0].startswith("external manifest ")
        self.write(command=["env"])
        (line,) = self.make_plugin().doctor()
        assert line.startswith("error: the configuration has one fault") and "{command}" in line

    def test_plan_shows_wrapper_and_price(self, place: Path) -> None:
        """The dry run names the wrapper, what it may be given, and what it costs at most."""
        self.write(provider_env=["HF_TOKEN?"], modal={"gpu": "L4"})
        text = "\n".join(self.make_plugin().plan({"source_dir": place / "source", "timeout": 60.0}))
        for part in (
            "wrapper   env WRAPPED={run_id} {command}",
            "allowed   HF_TOKEN?",
            "machine   L4",
            "USD",
        ):
            assert part in text
