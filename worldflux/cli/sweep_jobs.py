"""The jobs of a sweep: composed or remembered, and checked before the first one starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from worldflux.errors import ConfigError, Fault, UsageError

if TYPE_CHECKING:
    from worldflux.config.job import Job
    from worldflux.config.project import Project


def described(arguments: Sequence[str], params: Mapping[str, Any], project: Project) -> list[Job]:
    """The jobs that a command line describes.

    Args:
        arguments: overrides as typed, swept or not.
        params: axes from `hydra.sweeper.params`.

    Raises:
        ConfigError: with the faults of all jobs.
    """
    from worldflux.config.cache import Memory
    from worldflux.config.jobs import compose_jobs
    from worldflux.config.plan import plain_plan

    plan = plain_plan(arguments) if not params else None
    if plan is None:
        from worldflux.config.sweep import plan_jobs

        plan = plan_jobs(arguments, params, project)
    return compose_jobs(plan.jobs, Memory(project).compose, plan.settings)


def listed(overrides: Sequence[Sequence[str]], project: Project) -> list[Job]:
    """The jobs of a list of overrides, one a job.

    Raises:
        ConfigError: with the faults of all jobs.
    """
    from worldflux.config.cache import Memory
    from worldflux.config.jobs import compose_jobs

    return compose_jobs(overrides, Memory(project).compose, {})


def check(jobs: Sequence[Job], project: Project) -> None:
    """Every runtime, adapter and input that a job needs is here.

    Raises:
        ConfigError: with the faults of all jobs, each once.
        UsageError: a runtime does not exist, or does not take one of its options.
        RefusedError: a runtime's class is not allowed.
    """
    _check_plugins(jobs, project)
    _check_catalog(jobs)


def _check_plugins(jobs: Sequence[Job], project: Project) -> None:
    """Every runtime that is chosen exists, is allowed and takes its options."""
    from worldflux.cli.session import make_plugin

    seen: set[str] = set()
    for job in jobs:
        runtime = job.request.spec.runtime
        key = f"{runtime.target} {sorted(runtime.options.items(), key=lambda item: item[0])}"
        if key not in seen:
            make_plugin(job.request, project)
            seen.add(key)


def _check_catalog(jobs: Sequence[Job]) -> None:
    """Every adapter is known and every input is here; what a guard refuses is left to its own run.

    Raises:
        ConfigError: with the faults of all jobs, each once.
    """
    from worldflux.run.preflight import look_up

    seen: set[tuple[Any, ...]] = set()
    faults: list[Fault] = []
    for job in jobs:
        spec = job.request.spec
        key = (spec.adapter, spec.inputs)
        if key in seen:
            continue
        seen.add(key)
        try:
            look_up(job.request)
        except UsageError as error:
            faults.append(Fault(spec.recipe, error.problem, error.hint))
    if faults:
        raise ConfigError(faults, "nothing was run")
