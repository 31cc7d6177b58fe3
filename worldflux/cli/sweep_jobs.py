"""The jobs of a sweep: composed or remembered, and checked before the first one starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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

    def compose() -> list[Job]:
        from worldflux.config.sweep import compose_jobs, plan_jobs

        plan = plan_jobs(arguments, params, project)
        return compose_jobs(plan.jobs, project, plan.settings)

    of_a_file = any("sweep.file" in text for text in arguments)
    return compose() if params or of_a_file else _remembered(arguments, project, compose)


def listed(overrides: Sequence[Sequence[str]], project: Project) -> list[Job]:
    """The jobs of a list of overrides, one a job.

    Raises:
        ConfigError: with the faults of all jobs.
    """

    def compose() -> list[Job]:
        from worldflux.config.sweep import compose_jobs

        return compose_jobs(overrides, project, {})

    return _remembered(["sweep.resume", *map(str, overrides)], project, compose)


def _remembered(words: Sequence[str], project: Project, compose: Callable[[], list[Job]]) -> list[Job]:
    """The jobs of a sweep; those of one that was composed before are not composed again."""
    from worldflux.config.cache import compose_all_cached
    from worldflux.config.job import Job, job_id_of

    requests = compose_all_cached(project, words, lambda: [job.request for job in compose()])
    return [Job(job_id_of(request), request) for request in requests]


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
