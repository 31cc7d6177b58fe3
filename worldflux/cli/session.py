"""Puts the parts together: a project's place, a request's plugin, one run carried out."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux import interrupts
from worldflux.config.project import Project
from worldflux.errors import UsageError

if TYPE_CHECKING:
    import inspect

    from worldflux.config.request import RunRequest
    from worldflux.config.spec import RuntimeSpec
    from worldflux.run.engine import Place, RunRecord
    from worldflux.run.observer import Observer
    from worldflux.runtime.base import RuntimePlugin


def home_dir() -> Path:
    """`$WORLDFLUX_HOME`, by default `~/.worldflux`."""
    named = os.environ.get("WORLDFLUX_HOME")
    return Path(named) if named else Path.home() / ".worldflux"


def make_place(project: Project, runs_dir: str = "runs", **more: Any) -> Place:
    """Where runs of this project go, with the secret gate of this process."""
    from worldflux.manifest.secrets import Gate, mask_argv
    from worldflux.run.engine import Place

    return Place(
        project=project.name,
        root=project.root,
        runs_dir=project.root / runs_dir,
        install_dir=home_dir() / "envs",
        allowed_variables=project.pass_env,
        environ=os.environ,
        gate=Gate.from_environment(os.environ, allow=project.allow_secrets),
        argv=tuple(mask_argv([Path(sys.argv[0]).name, *sys.argv[1:]])),
        evidence=lambda record: _evidence(project, record),
        **more,
    )


def _evidence(project: Project, record: RunRecord) -> str:
    from worldflux.cli.evidence_packing import after_run

    return after_run(project, record)


def make_plugin(request: RunRequest, project: Project) -> RuntimePlugin:
    """The runtime of a request, built from its options.

    Raises:
        RefusedError: the class is not allowed.
        UsageError: it does not exist, or does not take one of the options.
    """
    return plugin_of(request.spec.runtime, project)


def plugin_of(runtime: RuntimeSpec, project: Project) -> RuntimePlugin:
    """A runtime built from its options.

    Raises:
        RefusedError: the class is not allowed.
        UsageError: it does not exist, or does not take one of the options.
    """
    from worldflux.config.targets import load_class

    cls = load_class(runtime.target, runtime.options, project)
    _check_options(cls, runtime.name, runtime.options)
    try:
        plugin: RuntimePlugin = cls(**runtime.options)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"runtime.{runtime.name}: {error}", f"see the options in conf/runtime/{runtime.name}.yaml"
        ) from None
    return plugin


@cache
def _parameters(cls: type) -> Mapping[str, inspect.Parameter]:
    import inspect

    return inspect.signature(cls).parameters


def _check_options(cls: type, name: str, options: Mapping[str, Any]) -> None:
    from worldflux.config.nearest import did_you_mean

    parameters = _parameters(cls)
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    unknown = [key for key in options if key not in parameters]
    if unknown:
        hint = did_you_mean(unknown[0], parameters)
        raise UsageError(f"runtime.{unknown[0]}: runtime {name} has no such option", hint)


def carry_out(request: RunRequest, project: Project, observer: Observer, **more: Any) -> RunRecord:
    """One run from request to record, on the runtime it chose; `more` as for `make_place`."""
    from worldflux.run.engine import execute

    plugin = make_plugin(request, project)
    with interrupts.terminate_too():
        return execute(request, plugin, make_place(project, request.spec.runs_dir, **more), observer)
