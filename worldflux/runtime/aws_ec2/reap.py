"""Machines of ours that are past their deadline, found by tag and ended. Nothing else is touched."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from worldflux.errors import WorldFluxError
from worldflux.runtime.aws_ec2.cloud import Cloud, deadline_of, shared, tags
from worldflux.runtime.aws_ec2.memory import SHORT

#: The machine's own fuses come first.
GRACE_SECONDS = 60.0


@dataclass(frozen=True)
class Found:
    """A machine of ours. `ended` says whether it was terminated just now."""

    instance_id: str
    region: str
    run_id: str
    state: str
    deadline: float
    ended: bool
    why: str = ""


def look(
    regions: Iterable[str],
    *,
    runs: Sequence[str] = (),
    end: bool = True,
    grace: float = GRACE_SECONDS,
    cloud: Callable[[str], Cloud] = shared,
) -> tuple[list[Found], list[str]]:
    """Every machine of ours in these regions; those that should be gone are ended.

    Ended are machines past their deadline, machines that were stopped (ours never stop on
    purpose), and machines of the named runs.

    Args:
        runs: runs to end now, whatever their deadline.
        end: false only looks.
        grace: seconds past the deadline before a machine is ended here.

    Returns:
        The machines, and one line for each region that could not be asked.
    """
    found, problems = [], []
    for region in regions:
        try:
            place = cloud(region)
            for instance in place.tagged():
                found.append(_judge(place, instance, runs, end, grace))
        except WorldFluxError as error:
            problems.append(f"{region}: {error.problem}")
    return found, problems


def clear_the_way(cloud: Cloud, regions: tuple[str, ...], say: Callable[[str], None]) -> None:
    """End what is late before a launch; within a minute only once, whoever launches.

    Args:
        say: told in short lines what was ended.
    """

    def ask() -> bool:
        for found in look(regions)[0]:
            if found.ended:
                say(f"ended {found.instance_id} of run {found.run_id}: {found.why}")
        return True

    cloud.memory.recall(("late", regions), SHORT, ask)


def _judge(cloud: Cloud, instance: dict[str, Any], runs: Sequence[str], end: bool, grace: float) -> Found:
    labels = tags(instance)
    deadline = deadline_of(labels) or 0.0
    state = instance["State"]["Name"]
    why = ""
    if state in ("stopping", "stopped"):
        why = "stopped instead of terminated"
    elif time.time() > deadline + grace:
        why = "past its deadline"
    elif labels["run-id"] in runs:
        why = "asked for"
    if why and end and state != "shutting-down":
        cloud.terminate(instance["InstanceId"])
    return Found(
        instance["InstanceId"], cloud.region, labels["run-id"], state, deadline, bool(why) and end, why
    )
