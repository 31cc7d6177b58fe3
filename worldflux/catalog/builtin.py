"""The built-in entries: JSON files of this package, read once and never fetched."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worldflux.catalog.entry import Claim, Entry, Issue, License, OnCpu, Source, Support

DATA = Path(__file__).parent / "data"

_ID = re.compile(r"[a-z0-9][a-z0-9.-]*(/[a-z0-9][a-z0-9.-]*)?\Z")
_THREAD = re.compile(r"([\w.-]+/[\w.-]+)#(\d+)\Z")


@functools.cache
def sources() -> dict[str, Source]:
    """Named sources by their short name."""
    raw = json.loads((DATA / "sources.json").read_bytes())
    return {key: Source(**value) for key, value in raw.items()}


def source(reference: str) -> Source:
    """The source behind a reference: a short name of `sources.json`, or a thread `owner/repo#12`.

    Raises:
        KeyError: it is neither.
    """
    thread = _THREAD.match(reference)
    if thread:
        return Source(reference, f"https://github.com/{thread[1]}/issues/{thread[2]}")
    return sources()[reference]


@functools.cache
def adapters() -> dict[str, Entry]:
    """Every built-in adapter by id, in order of id."""
    found = (entry_from(json.loads(path.read_bytes())) for path in (DATA / "adapters").glob("*.json"))
    return {entry.id: entry for entry in sorted(found, key=lambda entry: entry.id)}


def adapter(adapter_id: str) -> Entry | None:
    """The built-in adapter of exactly that id; reads its file alone."""
    path = DATA / "adapters" / (adapter_id.replace("/", "--") + ".json")
    if adapters.cache_info().currsize:
        return adapters().get(adapter_id)
    if not _ID.match(adapter_id) or not path.is_file():
        return None
    entry = entry_from(json.loads(path.read_bytes()))
    return entry if entry.id == adapter_id else None


@functools.cache
def environments() -> dict[str, dict[str, Any]]:
    """Every built-in environment by id: what it installs, how fast it steps, what breaks."""
    found = (json.loads(path.read_bytes()) for path in (DATA / "environments").glob("*.json"))
    return {entry["id"]: entry for entry in sorted(found, key=lambda entry: str(entry["id"]))}


def entry_from(raw: Mapping[str, Any]) -> Entry:
    """An entry from its JSON, with every source resolved."""
    licenses = raw["license"]
    run = raw.get("run", {})
    known = ("ram", "disk", "needs", "sizes")
    return Entry(
        id=raw["id"],
        title=raw["title"],
        family=raw["family"],
        maturity=raw["maturity"],
        params=raw.get("params"),
        tasks=tuple(raw["tasks"]),
        upstream=dict(raw["upstream"]),
        license_code=License(**licenses["code"]),
        license_weights=License(**licenses["weights"]),
        vram=tuple(Claim(**{**claim, "source": source(claim["source"])}) for claim in raw["vram"]),
        cpu=tuple(OnCpu(fact["task"], fact["works"], source(fact["source"])) for fact in raw["cpu"]),
        measured=tuple((fact["text"], source(fact["source"])) for fact in raw["measured"]),
        issues=tuple(issue_from(issue) for issue in raw["known_issues"]),
        support=tuple(_support(statement) for statement in raw["support"]),
        recipe=run.get("recipe"),
        steps=tuple(run.get("steps", ())),
        extra={key: raw[key] for key in known if key in raw},
    )


def issue_from(raw: Mapping[str, Any]) -> Issue:
    """A known issue from its JSON, with its sources resolved."""
    return Issue(
        text=raw["text"],
        sources=tuple(source(reference) for reference in raw["sources"]),
        open=raw["open"],
        checked_at=raw["checked_at"],
        reproduced=raw.get("reproduced", False),
        stops=tuple(raw.get("stops", ())),
        affects=raw.get("affects"),
        checkpoint=raw.get("checkpoint", False),
    )


def _support(raw: Mapping[str, Any]) -> Support:
    return Support(
        runtime=raw["runtime"],
        level=raw["level"],
        tasks=tuple(raw.get("tasks", ())),
        reason=raw.get("reason"),
        evidence=tuple((fact["text"], source(fact["source"])) for fact in raw.get("evidence", ())),
    )
