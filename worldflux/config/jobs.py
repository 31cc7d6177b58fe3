"""The jobs of a plan: composed, told apart and filtered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from worldflux.config.job import Job, job_id_of
from worldflux.config.request import RunRequest
from worldflux.errors import ConfigError, Fault


def compose_jobs(
    jobs: Sequence[Sequence[str]],
    compose: Callable[[Sequence[str]], RunRequest],
    settings: Mapping[str, Any],
) -> list[Job]:
    """Every job composed and checked; equal ones once; filtered by `include` and `exclude`.

    Args:
        jobs: the overrides of each.
        compose: that of a `Composer` or a `Memory`.
        settings: of the plan.

    Raises:
        ConfigError: the faults of all jobs together; one that several jobs share is named once.
    """
    found: dict[str, Job] = {}
    faults: list[tuple[Fault, int]] = []
    keep = _condition(settings)
    for index, overrides in enumerate(jobs):
        try:
            request = compose(overrides)
        except ConfigError as error:
            faults += [(fault, index) for fault in error.faults]
            continue
        if keep(request.parameters):
            job_id = job_id_of(request)
            found.setdefault(job_id, Job(job_id, request))
    if faults:
        raise ConfigError(_merged(faults, len(jobs)), "nothing was run")
    if not found:
        raise ConfigError([Fault("sweep", "no job is left", "look at sweep.include and sweep.exclude")])
    return list(found.values())


def _condition(settings: Mapping[str, Any]) -> Any:
    """A test of resolved values by `include` and `exclude`."""
    if not settings.get("include") and not settings.get("exclude"):
        return lambda values: True
    import jmespath
    from jmespath.exceptions import JMESPathError

    compiled: dict[str, list[Any]] = {"include": [], "exclude": []}
    for kind, expressions in compiled.items():
        given = settings.get(kind)
        for text in given if isinstance(given, list) else [given] if given else []:
            try:
                expressions.append(jmespath.compile(str(text)))
            except JMESPathError as error:
                where = f"sweep.{kind}={text}"
                problem = f"is not a JMESPath expression: {str(error).splitlines()[0]}"
                raise ConfigError([Fault(where, problem, "such as: seed < `3` && task == 'eval'")]) from None

    def keep(values: Any) -> bool:
        wanted = all(expression.search(values) for expression in compiled["include"])
        return wanted and not any(expression.search(values) for expression in compiled["exclude"])

    return keep


def _merged(faults: Sequence[tuple[Fault, int]], jobs: int) -> list[Fault]:
    """Equal faults once, with the jobs they were found in."""
    found: dict[Fault, list[int]] = {}
    for fault, index in faults:
        found.setdefault(fault, []).append(index)
    merged = []
    for fault, indexes in found.items():
        shown = ", ".join(str(index) for index in indexes[:5]) + (", ..." if len(indexes) > 5 else "")
        label = "" if len(indexes) == jobs else f"job{'s' if len(indexes) > 1 else ''} {shown}"
        merged.append(Fault(fault.where, fault.problem, fault.hint, label))
    return merged
