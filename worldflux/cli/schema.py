"""`worldflux schema`: the published contracts."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from worldflux.cli.answer import Answer

FOLDER = Path(__file__).resolve().parent / "schema"


def register(parser: argparse.ArgumentParser) -> None:
    purpose = (
        "manifest (default), recipe, external-command, or cli: the --json envelope and each command's data"
    )
    names = ["manifest", "cli", "recipe", "external-command"]
    parser.add_argument("name", nargs="?", default="manifest", choices=names, metavar="NAME", help=purpose)
    parser.set_defaults(function=schema)


def schema(args: argparse.Namespace) -> Answer:
    document = load(args.name)
    return Answer({"name": args.name, "schema": document}, json.dumps(document, indent=2, ensure_ascii=False))


def load(name: str) -> dict[str, Any]:
    """One published schema as a document."""
    if name == "recipe":
        return _recipe()
    if name == "external-command":
        from worldflux.runtime.external import schema as external_schema

        return external_schema()
    if name == "cli":
        path = FOLDER / "cli.v1.json"
    else:
        from worldflux.manifest.validator import SCHEMA_FILE as path
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _recipe() -> dict[str, Any]:
    """The keys of a recipe, from the model that checks them."""
    from worldflux.config.spec import RunSpec

    document = RunSpec.model_json_schema(by_alias=True)
    document["required"] = ["command"]
    document["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    document["$id"] = "https://worldflux.dev/schemas/recipe/v1"
    document["title"] = "WorldFlux recipe"
    for key in ("recipe", "runs_dir", "sweep"):
        document["properties"].pop(key, None)
    return document
