"""What the catalog says about a run before it starts: support, memory, inputs.

Looked up once. What makes the run impossible as written is raised at once and leaves nothing
behind; what a guard refuses is told by `Findings.refused`, so that it becomes a record.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from worldflux.catalog.policy import Decision
    from worldflux.config.request import RunRequest
    from worldflux.manifest.parts import Adapter, Input

#: Runtimes whose command sees the files of this machine.
_SAME_FILES = ("local", "local-command")


@dataclass(frozen=True)
class Findings:
    """What goes to the manifest and to the command.

    Attributes:
        adapter: the manifest's adapter; None when the recipe names none.
        inputs: the manifest's inputs, imports with commit and digest.
        variables: for the command: `WORLDFLUX_INPUT_<ROLE>` (where the files are, when it runs on
            this machine), `_REF` and `_REVISION`; a second input of a role is `<ROLE>_2`.
        warnings: to be told before the run starts.
        refused: why the run must not start.
    """

    adapter: Adapter | None = None
    inputs: list[Input] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    refused: RefusedError | None = None


def look_up(request: RunRequest) -> Findings:
    """Ask the catalog about the request's adapter, requirements and inputs.

    Raises:
        UsageError: the adapter is unknown, or an input is not here.
    """
    spec = request.spec
    if spec.adapter is None and not spec.inputs and spec.requires.vram_gb is None:
        return Findings()
    decision = _decide(request)
    if decision.code == "unknown_adapter":
        raise UsageError(f"adapter: {decision.refuse}", decision.hint, code=decision.code)
    refused = RefusedError(decision.refuse, decision.hint, code=decision.code) if decision.refuse else None
    adapter: Adapter | None = None
    if spec.adapter is not None:
        adapter = {"id": decision.adapter_id, "facts": decision.facts}
        if decision.level is not None:
            adapter["support"] = decision.level
        if decision.revision is not None:
            adapter["revision"] = decision.revision
    found = Findings(adapter, warnings=list(decision.warnings), refused=refused)
    try:
        return _with_inputs(request, found)
    except RefusedError as error:
        return Findings(adapter, _as_written(request), {}, found.warnings, refused or error)


def _decide(request: RunRequest) -> Decision:
    from worldflux.catalog.finding import find
    from worldflux.catalog.floor import claims_for
    from worldflux.catalog.policy import check, check_floor

    spec = request.spec
    requires = {} if spec.requires.vram_gb is None else {"vram_gb": spec.requires.vram_gb}
    entry = find(spec.adapter) if spec.adapter is not None else None
    # Asking the driver takes time: only when an answer could matter.
    matters = bool(requires)
    if entry is not None:
        on_cpu = entry.works_on_cpu(spec.task)
        matters = matters or bool(claims_for(entry, spec.task)) or (on_cpu is not None and not on_cpu.works)
    memory = _memory(spec.runtime.name, spec.runtime.options) if matters else None
    if spec.adapter is None:
        return check_floor(requires, memory)
    return check(spec.adapter, spec.task, spec.runtime.name, spec.policy, memory, requires)


def _with_inputs(request: RunRequest, found: Findings) -> Findings:
    if not request.spec.inputs:
        return found
    from worldflux.catalog.inputs import locate

    wanted = [{"role": each.role, "ref": each.ref} for each in request.spec.inputs]
    variables: dict[str, str] = {}
    inputs: list[Any] = []
    for located in locate(wanted, base=request.source_dir):
        entry = located.manifest
        name = _free_name(entry["role"], variables)
        variables[f"{name}_REF"] = entry.get("ref") or entry.get("uri", "")
        if "revision" in entry:
            variables[f"{name}_REVISION"] = entry["revision"]
        if located.path is not None and request.spec.runtime.name in _SAME_FILES:
            variables[name] = str(located.path.resolve())
        inputs.append(entry)
    return Findings(found.adapter, inputs, variables, found.warnings, found.refused)


def _free_name(role: str, taken: Mapping[str, str]) -> str:
    base = f"WORLDFLUX_INPUT_{role.upper()}"
    number, name = 1, base
    while f"{name}_REF" in taken:
        number += 1
        name = f"{base}_{number}"
    return name


def _as_written(request: RunRequest) -> list[Input]:
    return [{"role": each.role, "ref": each.ref} for each in request.spec.inputs]


def _memory(runtime: str, options: Mapping[str, Any]) -> float | None:
    """Memory of the largest GPU in GB (10^9 bytes); 0 without one, None when it is not known."""
    from worldflux.catalog.machines import known_cards

    sizes = own_cards() if runtime in _SAME_FILES else known_cards(runtime, options)
    if sizes is None:
        return None
    return max(sizes, default=0) / 1e9


def own_cards(environ: Mapping[str, str] = os.environ) -> list[int] | None:
    """Bytes of memory of each GPU of this machine that the run may use; None when not known.

    Only NVIDIA's driver is asked: a machine with another kind of GPU is not one without.
    """
    from worldflux.run.machine import hardware

    found = hardware()["accelerators"]
    if not found:
        other = sys.platform == "darwin" or Path("/dev/kfd").exists()
        return None if other else []
    return visible([each["memory_bytes"] for each in found], environ.get("CUDA_VISIBLE_DEVICES"))


def visible(sizes: Sequence[int | None], chosen: str | None) -> list[int] | None:
    """The cards that CUDA_VISIBLE_DEVICES leaves to a run; None when one of unknown size is among them.

    Args:
        chosen: the variable; indexes are understood, names of devices leave all of them.
    """
    if chosen is not None:
        parts = [part.strip() for part in chosen.split(",") if part.strip() not in ("", "-1")]
        if all(part.isdigit() for part in parts):
            sizes = [sizes[int(part)] for part in parts if int(part) < len(sizes)]
    known = [size for size in sizes if size is not None]
    return known if len(known) == len(sizes) else None
