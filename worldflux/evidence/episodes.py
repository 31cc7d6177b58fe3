"""The single outcomes behind success rates, so that anybody can count again.

One line for each trial: `{"episode":0,"metric":"reached_goal","success":true}`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.evidence.contents import is_regular, open_regular

if TYPE_CHECKING:
    from worldflux.manifest.model import Manifest

#: Largest file of a run that outcomes are read from, as when the run was recorded; in bytes.
MAX_SOURCE = 256 * 1024 * 1024
MAX_ROWS = 1_000_000


def rows_of(folder: Path, manifest: Manifest) -> bytes:
    """The outcomes of every success rate whose file is still there and still says the same; may be empty.

    A rate whose outcomes no longer give its k and n is left out: rows that contradict the manifest
    would prove nothing.
    """
    lines: list[str] = []
    for name in sorted(manifest.metrics):
        outcomes = outcomes_of(folder, manifest, name)
        if len(lines) + len(outcomes) > MAX_ROWS:
            break
        lines += [_line(name, index, outcome) for index, outcome in enumerate(outcomes)]
    return "".join(lines).encode()


def outcomes_of(folder: Path, manifest: Manifest, name: str) -> list[bool]:
    """The outcomes behind one success rate, in order; empty when the run folder no longer gives its k and n."""
    metric = manifest.metrics[name]
    specs = manifest.config["resolved"].get("metrics")
    spec = specs.get(name) if isinstance(specs, Mapping) else None
    if metric.get("kind") != "success" or not isinstance(spec, Mapping):
        return []
    outcomes = _outcomes(folder / "artifacts", spec)
    if outcomes is None or (sum(outcomes), len(outcomes)) != (metric.get("k"), metric.get("n")):
        return []
    return outcomes


def counts(rows: bytes) -> dict[str, tuple[int, int]]:
    """Metric -> (successes, trials) in rows of this form.

    Raises:
        ValueError: a line has another form, or a trial is missing or told twice.
    """
    found: dict[str, list[int]] = {}
    for line in rows.splitlines():
        row = json.loads(line)
        if not isinstance(row, dict) or set(row) != {"metric", "episode", "success"}:
            raise ValueError("a line has other fields than metric, episode and success")
        name, episode, success = row["metric"], row["episode"], row["success"]
        if not isinstance(name, str) or not isinstance(success, bool) or type(episode) is not int:
            raise ValueError("a field of a line is of another kind")
        tally = found.setdefault(name, [0, 0])
        if episode != tally[1]:
            raise ValueError(f"the episodes of {name} do not count up from 0")
        tally[0] += success
        tally[1] += 1
    return {name: (k, n) for name, (k, n) in found.items()}


def _line(name: str, index: int, outcome: bool) -> str:
    return f'{{"episode":{index},"metric":{json.dumps(name)},"success":{str(outcome).lower()}}}\n'


def _outcomes(work: Path, spec: Mapping[str, Any]) -> list[bool] | None:
    """What a metric's file says now; None when it does not say."""
    import jmespath
    from jmespath.exceptions import JMESPathError

    file, select = spec.get("file"), spec.get("select")
    if not isinstance(file, str) or not isinstance(select, str):
        return None
    path = work / file
    try:
        inside = os.path.realpath(path).startswith(os.path.realpath(work) + os.sep)
        if not inside or not is_regular(path) or path.stat().st_size > MAX_SOURCE:
            return None
        with open_regular(path) as stream:
            selected = jmespath.search(select, json.load(stream))
    except (OSError, ValueError, RecursionError, JMESPathError):
        return None
    values: Iterable[Any] = [selected] if isinstance(selected, bool) else selected or ()
    if not isinstance(values, list) or not all(isinstance(v, int | float) and v in (0, 1) for v in values):
        return None
    return [bool(value) for value in values]
