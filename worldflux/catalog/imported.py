"""An import's record as an entry of the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worldflux.catalog import builtin
from worldflux.catalog.entry import Claim, Entry, Issue, License, Source, Support
from worldflux.catalog.lerobot_policy import TYPES

_RUNTIMES = ("local", "modal", "aws-ec2", "replicate")


def entry_of(record: Mapping[str, Any]) -> Entry:
    """The entry that a record of an imported policy makes.

    Memory claims and support are those of the built-in entry of its type; what the files
    themselves show is added: weights in memory as a lower bound, and what breaks.
    """
    facts = record["facts"]
    base = builtin.adapter(TYPES.get(facts["type"]) or "")
    issues = tuple(_issue(problem, record["imported_at"][:10]) for problem in record["problems"])
    return Entry(
        id=record["id"],
        title=f"{facts['type']} policy {record['repo']}",
        family=base.family if base else "imported-policy",
        maturity="imported",
        tasks=("eval", "train"),
        upstream={"repo": "huggingface/lerobot", "weights": record["repo"]},
        license_code=base.license_code if base else License("Apache-2.0", "LeRobot"),
        license_weights=License(record["license"], None if record["license"] else record["license_from"]),
        params=_count(facts["parameters"]),
        vram=(*(base.vram if base else ()), *_weights_in_memory(facts)),
        cpu=base.cpu if base else (),
        issues=(*issues, *(issue for issue in (base.issues if base else ()) if not issue.checkpoint)),
        support=_support(facts, base),
        recipe="lerobot-eval",
        steps=_steps(record),
        origin="imported",
        revision=record["commit"],
        extra={"imported": _summary(record), **({"base": base.id} if base else {})},
    )


def _issue(problem: Mapping[str, Any], date: str) -> Issue:
    return Issue(
        text=problem["text"],
        sources=tuple(builtin.source(reference) for reference in problem["sources"])
        or (Source("read in its files"),),
        open=None,
        checked_at=date,
        stops=tuple(problem["stops"]),
    )


def _weights_in_memory(facts: Mapping[str, Any]) -> tuple[Claim, ...]:
    if not facts["tensor_bytes"]:
        return ()
    gigabytes = float(f"{facts['tensor_bytes'] / 1e9:.3g}")
    source = Source("size of its tensors: weights only, a lower bound")
    return (Claim("eval", gigabytes, "derived", source, precision=next(iter(facts["dtypes"]), None)),)


def _support(facts: Mapping[str, Any], base: Entry | None) -> tuple[Support, ...]:
    if not facts["known_type"]:
        reason = f"its type `{facts['type']}` belongs to a plugin; WorldFlux runs no plugin code"
        return tuple(Support(runtime, "disabled", reason=reason) for runtime in _RUNTIMES)
    if base is None:
        return ()
    # Evidence for a type is none for a checkpoint somebody else made.
    return tuple(
        Support(s.runtime, "experimental" if s.level == "production" else s.level, s.tasks, s.reason)
        for s in base.support
    )


def _steps(record: Mapping[str, Any]) -> tuple[str, ...]:
    env = record["facts"]["training"]["env"] or "ENV"
    return (f"worldflux run lerobot-eval params.policy={record['id']} params.env={env}",)


def _summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """What inspect shows and the manifest keeps of an import."""
    keys = (
        "repo",
        "commit",
        "names",
        "imported_at",
        "complete",
        "files",
        "bytes",
        "sha256",
        "origin",
        "license_from",
    )
    return {**{key: record[key] for key in keys}, "facts": record["facts"]}


def _count(parameters: int | None) -> str | None:
    """450 million as 450M, exact below a million."""
    if parameters is None:
        return None
    for size, sign in ((10**9, "B"), (10**6, "M")):
        if parameters >= size:
            return f"{parameters / size:.3g}{sign}"
    return f"{parameters:,}"
