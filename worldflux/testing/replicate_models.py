"""Models of the Replicate stand-in: local commands behind a schema."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worldflux.runtime.remote import agent

_RUNNER = """
import base64, json, os, sys, urllib.request
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import agent, carry_out
given = json.load(sys.stdin)
with urllib.request.urlopen(given["worldflux_source"]) as answer:
    source = Path(os.environ["OUT"]).parent / "source.tar"
    source.write_bytes(answer.read())
tar = carry_out.carry_out(agent, given["worldflux_job"], source, given["worldflux_environment"],
                          given.get("worldflux_requirements", ""))
os.replace(tar, Path(os.environ["OUT"]) / "results.tar")
"""


@dataclass
class Model:
    """A model: its inputs and the command that gets them as JSON on its standard input.

    What the command prints is the log. Files that it writes to `$OUT` are the output; a file
    `output.json` there is the output itself, with `{delivery}` for the address of the files.

    Attributes:
        name: owner/name.
        properties: JSON Schema of each input.
        boot: seconds before it starts.
    """

    name: str
    command: Sequence[str]
    properties: Mapping[str, Any] = field(default_factory=dict)
    required: Sequence[str] = ()
    boot: float = 0.0

    @property
    def version(self) -> str:
        return hashlib.sha256(json.dumps([self.name, list(self.command)]).encode()).hexdigest()

    @property
    def pinned(self) -> str:
        """What is written as `runtime.model`."""
        return f"{self.name}:{self.version}"

    def document(self) -> dict[str, Any]:
        """The version as the API shows it."""
        schema = {"type": "object", "properties": dict(self.properties), "required": list(self.required)}
        output = {"type": "string", "format": "uri"}
        schemas = {"Input": schema, "Output": output}
        return {
            "id": self.version,
            "created_at": "2026-01-01T00:00:00Z",
            "cog_version": "0.16.0",
            "openapi_schema": {"openapi": "3.0.2", "components": {"schemas": schemas}},
        }

    @property
    def secrets(self) -> set[str]:
        return {name for name, each in self.properties.items() if each.get("x-cog-secret")}


def python_model(name: str, text: str, **more: Any) -> Model:
    """A model that is a Python program."""
    return Model(name, (sys.executable, "-c", text), **more)


def runner_model(folder: Path) -> Model:
    """The runner that WorldFlux publishes, run as it would be inside a prediction.

    Args:
        folder: for copies of its files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    here = Path(agent.__file__)
    shutil.copyfile(here, folder / "agent.py")
    carry_out = here.parents[1] / "replicate" / "runner" / "carry_out.py"
    shutil.copyfile(carry_out, folder / "carry_out.py")
    secret = {"type": "string", "format": "password", "writeOnly": True, "x-cog-secret": True}
    properties = {
        "worldflux_job": {"type": "string"},
        "worldflux_source": {"type": "string", "format": "uri"},
        "worldflux_environment": secret,
        "worldflux_requirements": {"type": "string", "default": ""},
    }
    required = ("worldflux_job", "worldflux_source", "worldflux_environment")
    command = (sys.executable, "-c", _RUNNER, str(folder))
    return Model("worldflux/runner", command, properties, required)
