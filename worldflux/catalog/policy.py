"""May this run start? Support policy, memory floor and known blockers, before anything is paid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worldflux.catalog.entry import Entry, Level, License, Support
from worldflux.catalog.finding import get
from worldflux.catalog.floor import Verdict, judge
from worldflux.errors import UsageError


@dataclass(frozen=True)
class Decision:
    """What the catalog says about a run.

    Attributes:
        refuse: why the run must not start; None when it may.
        hint: what to do about the refusal.
        code: short name of the refusal: unknown_adapter, support, vram.
        warnings: what the user should know before it starts, one sentence each.
        facts: what the manifest keeps under `adapter.facts`; plain JSON.
        adapter_id: the entry's own spelling of the id.
        revision: the commit an imported adapter is pinned to.
        level: support on this runtime for this task; None for an unknown adapter.
    """

    refuse: str | None = None
    hint: str = ""
    code: str = ""
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    adapter_id: str = ""
    revision: str | None = None
    level: Level | None = None


def check(
    adapter_id: str,
    task: str,
    runtime: str,
    policy: str | None = None,
    vram_gb_available: float | None = None,
    requires: Mapping[str, Any] | None = None,
    home: Path | None = None,
) -> Decision:
    """Decide whether `adapter_id` may do `task` on `runtime`.

    Args:
        policy: `production` refuses everything the catalog does not back with evidence.
        vram_gb_available: memory of the largest GPU in GB (10^9 bytes); 0 is a machine without
            one, None is not known and never refuses.
        requires: the recipe's own `requires`. Its `vram_gb` is a floor that refuses too. Where it
            is lower than the catalog's, the recipe is taken at its word and the catalog's figure
            becomes a warning, except under `policy: production`.
        home: the folder of `$WORLDFLUX_HOME`; None takes it from the environment.
    """
    try:
        entry = get(adapter_id, home)
    except UsageError as error:
        return Decision(error.problem, error.hint, error.code, adapter_id=adapter_id)
    support = entry.support_on(runtime, task)
    cards = None if vram_gb_available is None else _cards(vram_gb_available)
    verdict = judge(entry, task, cards)
    warnings = _issues(entry, task)
    refused = _by_support(entry, task, support, policy, runtime)
    if refused is None:
        refused = _by_floor(entry, verdict, policy, vram_gb_available, requires or {}, warnings)
    if task not in entry.tasks:
        warnings.append(f"`{entry.id}` is known for {', '.join(entry.tasks)}, not for {task}")
    if support.level != "production":
        warnings.append(f"`{entry.id}` on {runtime} is {support.level}" + _because(support))
    problem, hint, code = refused or (None, "", "")
    return Decision(
        refuse=problem,
        hint=hint,
        code=code,
        warnings=warnings,
        facts=facts_of(entry, task, support, verdict),
        adapter_id=entry.id,
        revision=entry.revision,
        level=support.level,
    )


def check_floor(requires: Mapping[str, Any], vram_gb_available: float | None) -> Decision:
    """The recipe's own floor alone, for a run that names no adapter."""
    refused = _own_floor(requires, vram_gb_available)
    return Decision(*refused) if refused else Decision()


def _cards(vram_gb: float) -> list[int]:
    return [round(vram_gb * 10**9)] if vram_gb > 0 else []


def _because(support: Support) -> str:
    return f": {support.reason}" if support.reason else ""


def _by_support(
    entry: Entry, task: str, support: Support, policy: str | None, runtime: str
) -> tuple[str, str, str] | None:
    see = f"see: worldflux curated inspect {entry.id}"
    if support.level == "disabled":
        reason = f"`{entry.id}` can not {task} on {runtime}{_because(support)}"
        return reason, f"choose another runtime; {see}", "support"
    if policy == "production" and support.level != "production":
        backed = [
            s.runtime for s in entry.support if s.level == "production" and task in (s.tasks or entry.tasks)
        ]
        where = (
            f"production-backed on: {', '.join(backed)}" if backed else "nothing backs it for production yet"
        )
        problem = (
            f"policy: production refuses `{entry.id}` ({task}) on {runtime}: it is {support.level} there"
        )
        return problem, f"{where}; run it without `policy: production`, or {see}", "support"
    return None


def _own_floor(requires: Mapping[str, Any], available: float | None) -> tuple[str, str, str] | None:
    own = requires.get("vram_gb")
    if own is None or available is None or available >= float(own):
        return None
    problem = f"the recipe requires {float(own):g} GB of GPU memory, the largest GPU has {available:.1f} GB"
    return problem, "choose a larger machine, or correct requires.vram_gb in the recipe", "vram"


def _by_floor(
    entry: Entry,
    verdict: Verdict,
    policy: str | None,
    available: float | None,
    requires: Mapping[str, Any],
    warnings: list[str],
) -> tuple[str, str, str] | None:
    """The refusal for want of memory, if any; what does not refuse is added to `warnings`."""
    refused = _own_floor(requires, available)
    if refused is not None:
        return refused
    own, floor = requires.get("vram_gb"), verdict.floor
    said = f"`{entry.id}` ({verdict.task}) {verdict.why}"
    trusted = own is not None and floor is not None and available and policy != "production"
    if verdict.refuses and trusted:
        warnings.append(
            f"{said}; the recipe states {float(own or 0):g} GB of its own and is taken at its word"
        )
    elif verdict.refuses:
        hint = "choose a larger machine"
        if floor is not None:
            hint += ", or state what this recipe really takes with requires.vram_gb" + _smaller(
                entry, verdict
            )
        return said, f"{hint}; see: worldflux curated inspect {entry.id}", "vram"
    elif (
        verdict.state in ("doubtful", "tight")
        or (verdict.state == "cpu" and floor is not None)
        or (verdict.state == "unknown" and (available is None or available > 0))
    ):
        warnings.append(said)
    return None


def _smaller(entry: Entry, verdict: Verdict) -> str:
    floor = verdict.floor
    lower = [c for c in entry.vram if c.task == verdict.task and c.variant and floor and c.gb < floor.gb]
    if not lower:
        return ""
    return " (" + ", ".join(f"{claim.variant}: {claim.text}" for claim in lower) + ")"


def _issues(entry: Entry, task: str) -> list[str]:
    """Open issues that stop the task, as warnings."""
    return [
        f"`{entry.id}`: {issue.text} ({', '.join(source.name for source in issue.sources)})"
        for issue in entry.issues
        if task in issue.stops and issue.open is not False
    ]


def facts_of(entry: Entry, task: str, support: Support, verdict: Verdict) -> dict[str, Any]:
    """What a manifest keeps of an entry: enough to judge the run years later, as plain JSON."""
    facts: dict[str, Any] = {
        "origin": entry.origin,
        "title": entry.title,
        "family": entry.family,
        "maturity": entry.maturity,
        "license": {"code": _license(entry.license_code), "weights": _license(entry.license_weights)},
        "support": {"level": support.level, "reason": support.reason},
        "floor": None if verdict.floor is None else verdict.floor.json(),
        "fit": verdict.state,
        "known_issues": [source.name for issue in entry.issues for source in issue.sources],
        "upstream": dict(entry.upstream),
    }
    if entry.params:
        facts["params"] = entry.params
    if support.evidence:
        facts["support"]["evidence"] = [text for text, _ in support.evidence]
    if "imported" in entry.extra:
        facts["imported"] = entry.extra["imported"]
    return facts


def _license(license_: License) -> str | None:
    return license_.name
