"""What the tables hold of a manifest: its columns, metrics, parameters, tags and artifacts.

The manifest's bytes are kept as they are; these rows are for finding and comparing. PostgreSQL has no
U+0000 in text and an index row has a longest size, so what free text brings of either is replaced or cut.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from worldflux.server.ingest import reading

#: Longest text of a parameter, and of an error's message, in characters.
MAX_TEXT = 500

#: Parameters of one run that can be searched for.
MAX_PARAMS = 2000

Row = dict[str, Any]

_NOT_FINITE = {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}


def plain(text: str) -> str:
    """Free text as both databases hold it."""
    return text[:MAX_TEXT].replace("\0", "\N{REPLACEMENT CHARACTER}")


def columns(document: Mapping[str, Any]) -> Row:
    """The columns of `runs` that come from the manifest; `name` among them."""
    run, adapter, git = document["run"], document["adapter"] or {}, document["git"] or {}
    error, seed = run["error"], document["determinism"]["seed"]
    return {
        "name": plain(run["name"]),
        "recipe": document["recipe"]["name"],
        "task": document["recipe"]["task"],
        "adapter": adapter.get("id"),
        "support": adapter.get("support") or document["runtime"].get("support"),
        "runtime": document["runtime"]["name"],
        "attempt": run["attempt"],
        "sweep_id": run.get("sweep_id"),
        "parent_id": run.get("parent_id"),
        "seed": None if seed is None else plain(str(seed)),
        "exit_code": run["exit_code"],
        "error_code": error["code"] if error else None,
        "error_message": plain(error["message"]) if error else None,
        "created_at": run["created_at"],
        "started_at": run["started_at"],
        "finished_at": run["finished_at"],
        "duration_seconds": _double(run["duration_seconds"]),
        "cost_usd": _double(document["cost"]["estimate_usd"]),
        "git_commit": git.get("commit"),
        "git_branch": plain(git["branch"]) if git.get("branch") else None,
        "git_dirty": git.get("dirty"),
    }


def metrics(document: Mapping[str, Any]) -> Iterator[Row]:
    """One row for each metric, without the run's own keys."""
    for name, metric in reading.known_metrics(document):
        value, interval = metric["value"], metric.get("interval") or {}
        yield {
            "name": name,
            "value": None if value == "NaN" else float(value),  # infinities have their place in an order
            "kind": _NOT_FINITE[value] if isinstance(value, str) else "finite",
            "measure": metric.get("kind", "value"),
            "low": _double(interval.get("low")),
            "high": _double(interval.get("high")),
            "k": metric.get("k"),
            "n": metric.get("n"),
            "unit": metric.get("unit"),
            "step": metric.get("step"),
        }


def params(document: Mapping[str, Any]) -> Iterator[Row]:
    """One row for each leaf of the resolved configuration, at most `MAX_PARAMS`."""
    count, seen = 0, set()
    leaves = list(_leaves(document["config"]["resolved"], ""))
    others = {name for name, _ in leaves if not name.startswith("params.")}
    for name, value in leaves:
        # A recipe's own parameters are asked for as `params.NAME`, and so are all other settings.
        short = name.removeprefix("params.")
        name = plain(name if short in others else short)[:200]
        if not name or name in seen:
            continue
        seen.add(name)
        number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield {"name": name, "text": plain(text), "number": number}
        count += 1
        if count == MAX_PARAMS:
            return


def tags(document: Mapping[str, Any]) -> list[str]:
    """The manifest's own tags."""
    return list(document["run"]["tags"])


def artifacts(document: Mapping[str, Any]) -> Iterator[Row]:
    """One row for each artifact, committed or not."""
    for entry in document["artifacts"]:
        yield {
            "path": entry["path"],
            "sha256": entry["sha256"],
            "bytes": entry["bytes"],
            "media_type": entry["media_type"],
            "committed": entry["commit"],
        }


def _leaves(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    # The depth of what comes here is bounded by `reading.MAX_DEPTH`.
    if not isinstance(value, dict) or (not value and prefix):
        yield prefix, value
        return
    for key, inner in value.items():
        yield from _leaves(inner, f"{prefix}.{key}" if prefix else str(key))


def _double(value: float | None) -> float | None:
    return None if value is None else float(value)
