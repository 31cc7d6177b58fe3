"""The house rule: imports point down, never up, never sideways, and each heavy library has one home."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "worldflux"
EVERYTHING = {
    "catalog", "cli", "config", "errors", "evidence", "interrupts", "manifest", "run", "runtime", "server", "sync",
    "testing",
}  # fmt: skip
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    # How Ctrl-C comes to be an exception: needs nothing of ours.
    "interrupts": set(),
    # `worldflux.log`, for programs that a run starts: needs nothing of ours.
    "metrics": set(),
    "manifest": {"errors"},
    "config": {"manifest", "errors"},
    "runtime": {"manifest", "errors", "interrupts"},
    "catalog": {"manifest", "errors"},
    "evidence": {"manifest", "errors"},
    # Ending what a dead run left behind, and the variables a recipe may have, are the runtime's rooms.
    "run": {
        "config.request", "config.spec", "runtime.base", "runtime.dispatcher", "runtime.environment",
        "runtime.process", "runtime.survivors", "catalog", "manifest", "errors", "interrupts",
    },
    "sync": {"run.machine", "run.store", "manifest", "errors"},
    # Intervals of a mean are pure arithmetic.
    "server": {"manifest", "errors", "evidence.merkle", "evidence.verify", "run.statistics"},
    "testing": {"runtime", "manifest", "errors"},
    "cli": EVERYTHING,
}  # fmt: skip
#: Library -> the parts that may import it.
HOMES: dict[str, set[str]] = {
    "hydra": {"config"},
    "omegaconf": {"config"},
    "pydantic": {"config", "server", "runtime.external"},
    "keyring": {"sync.credentials", "sync.keyring_child"},
    "requests": {"sync", "catalog", "runtime.replicate"},
    "pyarrow": {"catalog.lerobot_dataset"},
    "fastapi": {"server"},
    "sqlalchemy": {"server"},
    "alembic": {"server"},
    "uvicorn": {"server"},
    "jinja2": {"server"},
    "orjson": {"server"},
    "jsonschema_rs": {"server"},
    "argon2": {"server"},
    "prometheus_client": {"server"},
    "cryptography": {"evidence", "server"},
    "sigstore": {"evidence.keyless"},
    "boto3": {"runtime.aws_ec2", "runtime.aws_ec2_plugin", "server.blob_s3"},
    "modal": {"runtime.modal", "runtime.modal_plugin", "runtime.modal_command"},
    "replicate": {"runtime.replicate", "runtime.replicate_plugin"},
    "uv": {"runtime"},
    "rich": {"cli.evidence_packing", "cli.sweep", "cli.sweep_table", "cli.sync_bar", "cli.transfer_bar"},
    "matplotlib": {"cli.plot_png"},
    "plotly": {"cli.plot_html"},
}
PLUGINS = {
    "local_plugin", "modal_plugin", "aws_ec2_plugin", "replicate_plugin", "local_command", "modal_command",
}  # fmt: skip
FILES = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Absolute dotted names of what a file imports; relative imports resolved."""
    package = ["worldflux", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [node.module] if node.module else []
            yield from (".".join([*base, *module, alias.name]) for alias in node.names)


def within(name: str, area: str) -> bool:
    return name == area or name.startswith(area + ".")


def problems(me: str, names: Iterator[str] | list[str]) -> Iterator[str]:
    layer = me.split(".")[0]
    for name in names:
        if within(name, "worldflux"):
            target = name.removeprefix("worldflux").lstrip(".")
            if layer == "runtime" and within(target, "runtime") and _plugin(me) and _plugin(target):
                if _plugin(me) != _plugin(target):
                    yield f"{me} imports its sibling {target}"
            elif target not in ("", "__version__") and not _allowed(target, layer):
                yield f"{me} may not import {target}"
        elif (homes := HOMES.get(name.split(".")[0])) and not any(within(me, home) for home in homes):
            yield f"{name} belongs in {', '.join(sorted(homes))}, not in {me}"


def _allowed(target: str, layer: str) -> bool:
    return any(within(target, area) for area in (layer, *MAY_IMPORT[layer]))


def _plugin(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in PLUGINS else ""


def test_every_layer_is_placed() -> None:
    """A new folder or file at the top must be given a place here."""
    assert {dotted(path).split(".")[0] for path in FILES} <= set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_imports_point_down(path: Path) -> None:
    """No file reaches up, sideways, or for a library that lives elsewhere."""
    assert list(problems(dotted(path), imports(path))) == []


@pytest.mark.parametrize(
    ("me", "name"),
    [
        ("manifest.io", "worldflux.run.engine"),
        ("runtime.base", "worldflux.config.spec"),
        ("runtime.local_plugin", "worldflux.runtime.modal_plugin.ModalPlugin"),
        ("run.engine", "worldflux.config.compose"),
        ("run.engine", "hydra"),
        ("server.app", "worldflux.sync.client"),
        ("cli.run", "keyring"),
        ("errors", "worldflux.manifest.model"),
    ],
)
def test_a_planted_violation_is_found(me: str, name: str) -> None:
    """The rule is able to fail."""
    assert list(problems(me, [name]))
