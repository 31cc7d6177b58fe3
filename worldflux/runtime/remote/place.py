"""Where things lie on the foreign machine, and what the command sees of it."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from worldflux.runtime.base import RuntimeContext
from worldflux.runtime.command import located
from worldflux.runtime.environment import FIXED
from worldflux.runtime.remote import agent, upload


@dataclass(frozen=True)
class Place:
    """Folders there: the recipe's source, and the run's own."""

    source: PurePosixPath
    run: PurePosixPath


def variables(ctx: RuntimeContext, there: Place) -> dict[str, str]:
    """What the command finds in its environment, with this machine's paths replaced.

    Nothing of this process's own environment is in it: only fixed values and what the context holds.
    """
    here = str(ctx.output_dir)
    given = {
        name: str(there.run) + value.removeprefix(here)
        if name.startswith("WORLDFLUX_") and (value == here or value.startswith(here + "/"))
        else value
        for name, value in ctx.env_vars.items()
    }
    seed = given.get("WORLDFLUX_SEED", "")
    hash_seed = {"PYTHONHASHSEED": seed} if re.fullmatch(r"[0-9]{1,9}", seed) else {}
    source = str(there.source)
    own = {"PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1", "WORLDFLUX_SOURCE_DIR": source}
    return {**FIXED, **hash_seed, **own, **given}


def words(ctx: RuntimeContext, command: Sequence[str], there: Place) -> list[str]:
    """The command's words with files of the recipe at their place there."""
    return [*located(command, ctx.source_dir, python="python", mounted=there.source), *ctx.extra_args]


def job(
    ctx: RuntimeContext,
    command: Sequence[str],
    there: Place,
    *,
    timeout: float | None,
    grace: float,
    wanted: Sequence[str],
    cap: int,
    log: bool = False,
) -> dict[str, Any]:
    """The agent's job file for one run; `command` is as the machine there runs it."""
    return {
        "root": str(there.run),
        "command": list(command),
        "timeout": timeout,
        "grace": grace,
        "mark": ctx.env_vars.get("WORLDFLUX_RUN_MARK", ""),
        "log": str(there.run / "output.log") if log else None,
        "wanted": list(wanted),
        "cap": cap,
    }


def stage(
    source_dir: Path, chosen: upload.Upload, target: Path, job_file: Mapping[str, Any], *, cap: int
) -> None:
    """Lay out what is uploaded: `source/`, the agent and its job.

    Raises:
        RefusedError: the source is larger than `cap` bytes.
    """
    upload.stage(source_dir, chosen, target / "source", cap=cap)
    shutil.copyfile(Path(agent.__file__), target / "agent.py")
    (target / "job.json").write_text(json.dumps(job_file), encoding="utf-8")


@contextlib.contextmanager
def scratch(output_dir: Path) -> Iterator[Path]:
    """A new folder for what is only needed inside, gone afterwards.

    It lies in the run's own `tmp`, which goes when the run is closed: what a killed client leaves
    there is taken away by the next command that looks at the run.
    """
    parent = output_dir / "tmp"
    parent.mkdir(mode=0o700, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            parent.rmdir()


def wanted_patterns(artifacts: Sequence[Any], metrics: Mapping[str, Any] | None) -> list[str]:
    """Files that the recipe names, from the options `artifacts` and `metrics` of a runtime."""
    found = [str(each["path"] if isinstance(each, Mapping) else each) for each in artifacts or ()]
    found += [
        str(each["file"]) for each in (metrics or {}).values() if isinstance(each, Mapping) and "file" in each
    ]
    return [pattern.removeprefix("./") for pattern in found]


def reported(record: Mapping[str, Any] | None, lock: str) -> dict[str, Any]:
    """Environment and hardware of the foreign machine in the manifest's terms; None without a record."""
    import hashlib

    facts = (record or {}).get("facts")
    if not isinstance(facts, dict):
        return {"environment": None, "hardware": None}
    gpus = [each for each in facts.get("gpus", []) if isinstance(each, dict)]
    return {
        "environment": {
            "os": str(facts.get("os", "")),
            "platform": str(facts.get("platform", "")),
            "python": dict(facts.get("python", {})),
            "lock": {"sha256": hashlib.sha256(lock.encode()).hexdigest()} if lock else None,
            "packages": dict(facts.get("packages", {})),
        },
        "hardware": {
            "cpu": {"physical": None, **dict(facts.get("cpu", {}))},
            "memory_bytes": facts.get("memory_bytes"),
            "accelerators": [
                {
                    "vendor": "nvidia",
                    "model": str(each.get("model")),
                    "memory_bytes": each.get("memory_bytes"),
                }
                for each in gpus
            ],
            "driver": str(gpus[0].get("driver")) if gpus else None,
            "cuda": None,
        },
    }
