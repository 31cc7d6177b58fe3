"""What `curated list` and `curated inspect` show, as plain JSON data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worldflux.catalog import builtin
from worldflux.catalog.entry import Entry, Issue, License, Source
from worldflux.catalog.floor import claims_for, floor_for, judge

#: Runtimes that support is stated for, in the order they are shown.
RUNTIMES = ("local", "modal", "aws-ec2", "replicate")


@dataclass(frozen=True)
class Machine:
    """What an entry is measured against.

    Attributes:
        name: `this machine`, or a runtime with its machine type.
        runtime: the runtime whose support is meant.
        cards: (name, bytes of memory) of each GPU; None when not known.
    """

    name: str
    runtime: str
    cards: tuple[tuple[str, int], ...] | None

    @property
    def sizes(self) -> list[int] | None:
        return None if self.cards is None else [size for _, size in self.cards]


def machine_json(machine: Machine) -> dict[str, Any]:
    """The machine as data; `gpus` is null when not known."""
    gpus = None
    if machine.cards is not None:
        gpus = [{"name": name, "gb": round(size / 1e9, 1)} for name, size in machine.cards]
    return {"name": machine.name, "runtime": machine.runtime, "gpus": gpus}


def summary(entry: Entry, machine: Machine, tasks: Sequence[str] | None = None) -> dict[str, Any]:
    """One line of the list.

    Args:
        tasks: those to speak of; None is all of the entry's.
    """
    shown = [task for task in entry.tasks if tasks is None or task in tasks]
    fits = {}
    for task in shown:
        verdict = judge(entry, task, machine.sizes)
        fits[task] = {"floor": verdict.floor.text if verdict.floor else None, "state": verdict.state}
    return {
        "id": entry.id,
        "title": entry.title,
        "family": entry.family,
        "origin": entry.origin,
        "revision": entry.revision,
        "maturity": entry.maturity,
        "params": entry.params,
        "tasks": fits,
        "license": {"code": entry.license_code.name, "weights": entry.license_weights.name},
        "support": {task: entry.support_on(machine.runtime, task).level for task in shown},
        "known_issues": len([issue for issue in entry.issues if issue.open is not False]),
    }


def details(entry: Entry, machine: Machine) -> dict[str, Any]:
    """Everything known of an entry."""
    return {
        **summary(entry, machine),
        "sizes": entry.extra.get("sizes"),
        "upstream": dict(entry.upstream),
        "license": {"code": _license(entry.license_code), "weights": _license(entry.license_weights)},
        "tasks": [_task(entry, task, machine) for task in entry.tasks],
        "needs": _needs(entry),
        "known_issues": [_issue(issue) for issue in entry.issues],
        "measured": [{"text": text, "source": _source(source)} for text, source in entry.measured],
        "support": [_support(entry, runtime) for runtime in RUNTIMES],
        "run": list(entry.steps),
        "recipe": entry.recipe,
        "base": entry.extra.get("base"),
        "imported": entry.extra.get("imported"),
    }


def environment(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Everything known of an environment; absent figures are null."""
    keys = (
        "id",
        "title",
        "install",
        "disk_mb",
        "steps_per_second",
        "metrics",
        "headless",
        "expert",
        "deterministic",
    )
    issues = [_issue(builtin.issue_from(issue)) for issue in raw["known_issues"]]
    return {**{key: raw.get(key) for key in keys}, "origin": "environment", "known_issues": issues}


def dataset(record: Mapping[str, Any]) -> dict[str, Any]:
    """One line of the list for an imported dataset."""
    facts = record["facts"]
    return {
        "id": record["id"],
        "revision": record["commit"],
        "names": record["names"],
        "robot_type": facts["robot_type"],
        "fps": facts["fps"],
        "episodes": facts["episodes"],
        "frames": facts["frames"],
        "selection": record["selection"],
        "complete": record["complete"],
        "files": record["files"],
        "bytes": record["bytes"],
        "license": record["license"],
        "imported_at": record["imported_at"],
    }


def _task(entry: Entry, task: str, machine: Machine) -> dict[str, Any]:
    verdict = judge(entry, task, machine.sizes)
    floor = floor_for(entry, task)
    counted = claims_for(entry, task)
    rest = [claim for claim in entry.vram if claim.task == task and claim not in counted]
    return {
        "task": task,
        "floor": None if floor is None else floor.json(),
        "state": verdict.state,
        "why": verdict.why,
        "refuses": verdict.refuses,
        "claims": [claim.json() for claim in (*counted, *rest)],
    }


def _needs(entry: Entry) -> dict[str, Any]:
    """Beside GPU memory: main memory, disk, other repos; null or empty where nothing is stated."""

    def amount(key: str) -> dict[str, Any] | None:
        raw = entry.extra.get(key)
        if raw is None:
            return None
        return {"gb": raw["gb"], "what": raw.get("what"), "source": _source(builtin.source(raw["source"]))}

    repos = entry.extra.get("needs") or entry.extra.get("imported", {}).get("facts", {}).get("needs") or ()
    return {
        "ram": amount("ram"),
        "disk": amount("disk"),
        "repos": [{"repo": r["repo"], "what": r.get("what"), "gated": r["gated"]} for r in repos],
    }


def _support(entry: Entry, runtime: str) -> dict[str, Any]:
    levels = {task: entry.support_on(runtime, task) for task in entry.tasks}
    return {
        "runtime": runtime,
        "tasks": {task: support.level for task, support in levels.items()},
        "reasons": _unique(f"{support.reason}" for support in levels.values() if support.reason),
        "evidence": _unique(text for support in levels.values() for text, _ in support.evidence),
    }


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _license(license_: License) -> dict[str, Any]:
    return {"name": license_.name, "note": license_.note}


def _issue(issue: Issue) -> dict[str, Any]:
    return {
        "text": issue.text,
        "open": issue.open,
        "reproduced": issue.reproduced,
        "stops": list(issue.stops),
        "affects": issue.affects,
        "checked_at": issue.checked_at,
        "sources": [_source(source) for source in issue.sources],
    }


def _source(source: Source) -> dict[str, Any]:
    return {"name": source.name, "url": source.url}
