"""`worldflux doctor`: is this machine ready?"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from worldflux.cli.answer import Answer
from worldflux.errors import WorldFluxError

if TYPE_CHECKING:
    from worldflux.run.store import StoredRun

LEAST_FREE_BYTES = 2 * 10**9


def register(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Lines that start with `error:` block runs; the exit code is then 1."
    parser.set_defaults(function=doctor)


def doctor(args: argparse.Namespace) -> Answer:
    from worldflux.cli.runtime import report_answer
    from worldflux.runtime.dispatcher import doctor_all

    machine: list[str] = []
    for check in (
        _versions,
        _clock,
        _project,
        _runs_folder,
        _stale_runs,
        _home,
        _environments,
        _git,
        _accelerators,
        _imports,
    ):
        machine += _guarded(check)
    cloud = _guarded(_cloud_session)
    return report_answer(
        {"machine": machine, "cloud session": cloud, **{f"runtime {k}": v for k, v in doctor_all().items()}}
    )


def _guarded(check: Callable[[], list[str]]) -> list[str]:
    """The lines of a check; one that fails is a line itself, and the others still run."""
    try:
        return check()
    except WorldFluxError as error:
        return [f"error: {line}" if i == 0 else f"  {line}" for i, line in enumerate(str(error).splitlines())]
    except Exception as error:
        return [f"error: {check.__name__.strip('_')}: {type(error).__name__}: {error}"]


def _versions() -> list[str]:
    from worldflux import __version__

    return [
        f"worldflux {__version__}",
        f"python {'.'.join(map(str, sys.version_info[:3]))} on {sys.platform}",
    ]


def _project() -> list[str]:
    from worldflux.config.project import load_project

    project = load_project()
    source = "worldflux.yaml" if project.has_file else "no worldflux.yaml"
    return [f"project {project.name} at {project.root} ({source})"]


def _runs_folder() -> list[str]:
    from worldflux.config.project import find_root

    return [_writable("runs folder", find_root() / "runs")]


def _home() -> list[str]:
    from worldflux.cli.session import home_dir

    return [_writable("cache folder", home_dir())]


def _writable(what: str, folder: Path) -> str:
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"error: {what} {folder} can not be written; change its permissions or choose another"
    free = shutil.disk_usage(existing).free
    warning = "  warning: less than 2 GB free" if free < LEAST_FREE_BYTES else ""
    return f"{what} {folder}: {free / 1e9:.1f} GB free{warning}"


def _clock() -> list[str]:
    """A clock that is behind files made in the past makes ids, ages and certificates wrong."""
    import time

    newest = Path(__file__).stat().st_mtime
    if time.time() < newest - 86400:
        return [
            "error: the clock is behind: it says an earlier day than when WorldFlux was installed; set it"
        ]
    return [f"clock {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC"]


def _stale_runs() -> list[str]:
    """Runs whose process died are settled here, as by every command that looks at them."""
    from worldflux.config.project import find_root
    from worldflux.run import store

    runs_dir = find_root() / "runs"
    found = [each.run_id for each in store.newest(runs_dir, 200) if _is_interrupted(each)]
    if not found:
        return ["no run was left open"]
    return [f"{len(found)} of the newest runs were interrupted, the last is {found[0]}: worldflux runs show"]


def _is_interrupted(stored: StoredRun) -> bool:
    return stored.manifest is not None and stored.manifest.status == "interrupted"


def _environments() -> list[str]:
    from worldflux.cli.session import home_dir
    from worldflux.runtime.venvs.doctor import doctor as environments

    return environments(home_dir() / "envs")


def _git() -> list[str]:
    path = shutil.which("git")
    return [f"git at {path}" if path else "warning: git is not installed; runs will not record a commit"]


def _cloud_session() -> list[str]:
    """A server is not needed to run: what is wrong with it is a warning."""
    from worldflux.cli.cloud_session import doctor_lines

    return doctor_lines()


def _accelerators() -> list[str]:
    from worldflux.run.provenance import hardware

    found = hardware()
    lines = [
        f"GPU {each['model']}, {(each['memory_bytes'] or 0) / 2**30:.0f} GiB"
        for each in found["accelerators"]
    ]
    if found["driver"]:
        lines.append(f"NVIDIA driver {found['driver']}, runs CUDA up to {found['cuda'] or 'unknown'}")
    elif Path("/dev/nvidiactl").exists():
        lines.append(
            "warning: there is an NVIDIA device, but its driver does not answer: nvidia-smi tells why"
        )
    return lines or ["no GPU seen"]


def _imports() -> list[str]:
    """Imported policies, and which of them LeRobot's evaluator is known to stop at."""
    from worldflux.catalog.lerobot_eval import policy_faults
    from worldflux.catalog.shelf import Shelf

    shelf = Shelf.at()
    policies, datasets = shelf.entries("policy"), shelf.entries("dataset")
    lines = []
    if policies or datasets:
        lines.append(f"imports: {len(policies)} policies, {len(datasets)} datasets")
    for record in policies:
        where = f"{record['id']} at {record['commit'][:10]}"
        lines += [f"warning: lerobot-eval will stop at {where}: {fault}" for fault in policy_faults(record)]
    return lines
