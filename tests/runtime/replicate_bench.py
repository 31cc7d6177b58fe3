"""A Replicate server, models and a plugin for them, for the tests of runtime=replicate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from worldflux.runtime.base import RuntimeResult
from worldflux.runtime.replicate_plugin import ReplicatePlugin
from worldflux.testing import RuntimeSuite
from worldflux.testing.replicate_models import Model, python_model, runner_model
from worldflux.testing.replicate_server import TOKEN, ReplicateServer

SECRET = {"type": "string", "format": "password", "x-cog-secret": True}
PLAIN = {
    "prompt": {"type": "string"},
    "steps": {"type": "integer", "minimum": 1, "default": 3},
    "image": {"type": "string", "format": "uri"},
    "key": SECRET,
    "style": {"allOf": [{"$ref": "#/components/schemas/Input/properties/prompt"}]},
}
HELLO = """
import json, os, sys, time
given = json.load(sys.stdin)
for step in range(given.get("steps", 3)):
    print("step", step, given["prompt"], flush=True)
    time.sleep(0.02)
with open(os.environ["OUT"] + "/video.bin", "wb") as f:
    f.write(b"DATA" * 1000)
"""
SLEEP = "import time; print('sleeping', flush=True); time.sleep(600)"


class Bench:
    """A server, a token and a way to call models; the suite's own tools, without its tests."""

    python = "python"
    place = RuntimeSuite.place
    context = RuntimeSuite.context
    carry_out = RuntimeSuite.carry_out
    script = RuntimeSuite.script

    @pytest.fixture(autouse=True)
    def server(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[None]:
        monkeypatch.setenv("REPLICATE_API_TOKEN", TOKEN)
        self.models: list[Model] = [runner_model(tmp_path_factory.mktemp("runner") / "r")]
        with ReplicateServer(self.models) as self.world:
            yield

    def make_plugin(self, served: Model | None = None, **options: Any) -> ReplicatePlugin:
        model = served or self.models[0]
        if model not in self.models:
            self.models.append(model)
        hosts = [self.world.delivery_host]
        defaults = {"poll_seconds": 0.05, "output_hosts": hosts, "api_url": self.world.url}
        return ReplicatePlugin(**{"model": model.pinned, **defaults, **options})

    def hello(self, name: str = "me/hello", text: str = HELLO, **more: Any) -> Model:
        return python_model(name, text, properties=PLAIN, required=("prompt",), **more)

    def predict(self, place: Path, plugin: ReplicatePlugin, *words: str, **changes: Any) -> RuntimeResult:
        self.ctx = self.context(place, **changes)
        return self.carry_out(plugin, self.ctx, ["predict", *words])

    def output(self) -> Any:
        return json.loads((self.ctx.output_dir / "artifacts" / "output.json").read_text())
