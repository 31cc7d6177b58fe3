"""From one command line to the jobs of a sweep.

Axes multiply: every value of one with every value of the others, the last one varying fastest.
Beyond that, set by `sweep.*` on the command line:

    sweep.seeds=5                     an axis seed=0..4
    sweep.zip=[params.a,params.b]     these axes go together, first with first
    sweep.file=jobs.csv               rows of KEY columns (CSV), or a list of mappings (YAML)
    sweep.include="params.a > `1`"    JMESPath over the resolved configuration; keep what is true
    sweep.exclude="..."               drop what is true
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from worldflux.config.faults import override_fault
from worldflux.config.grammar import as_override, cell_override
from worldflux.config.plan import MAX_JOBS, PLANNING, Plan
from worldflux.config.project import Project
from worldflux.errors import ConfigError, Fault


def plan_jobs(arguments: Sequence[str], params: Mapping[str, Any], project: Project) -> Plan:
    """The overrides of every job.

    Args:
        arguments: overrides as typed, swept or not.
        params: axes from `hydra.sweeper.params`.

    Raises:
        ConfigError: an axis, a file or a setting is wrong, or there are more than `MAX_JOBS` jobs.
    """
    texts = [f"{key}={value}" for key, value in params.items()] + list(arguments)
    plan = Plan()
    faults: list[Fault] = []
    axes: list[tuple[str, list[list[str]]]] = []
    for override in _parse(texts, project, faults):
        name = override.key_or_group
        if name.startswith("sweep.") and name[6:] in PLANNING:
            plan.settings[name[6:]] = override.value()
            continue
        axes.append((name, _choices(override)))
    axes += _more_axes(plan.settings, project, faults)
    groups = _zipped(axes, plan.settings.get("zip") or [], faults)
    count = 1
    for group in groups:
        count *= max(1, len(group))
    if count > MAX_JOBS:
        faults.append(Fault("sweep", f"describes {count:,} jobs; the limit is {MAX_JOBS:,}", "split it up"))
    if faults:
        raise ConfigError(faults, "nothing was run")
    plan.jobs = [[text for part in parts for text in part] for parts in product(*groups)]
    return plan


def _parse(texts: Sequence[str], project: Project, faults: list[Fault]) -> Iterator[Override]:
    parser = OverridesParser.create()
    for text in texts:
        try:
            yield parser.parse_override(text)
        except HydraException as error:
            faults.append(override_fault(text, error, project))


def _choices(override: Override) -> list[list[str]]:
    if not override.is_discrete_sweep():
        return [[str(override.input_line)]]
    key = override.get_key_element()
    values = override.sweep_string_iterator()
    return [[f"{key}={value}"] for _, value in zip(range(MAX_JOBS + 1), values, strict=False)]


def _more_axes(
    settings: Mapping[str, Any], project: Project, faults: list[Fault]
) -> list[tuple[str, list[list[str]]]]:
    axes: list[tuple[str, list[list[str]]]] = []
    seeds = settings.get("seeds")
    if seeds is not None:
        if isinstance(seeds, bool) or not isinstance(seeds, int) or not 0 < seeds <= MAX_JOBS:
            faults.append(Fault(f"sweep.seeds={seeds}", f"must be a number from 1 to {MAX_JOBS}"))
        else:
            axes.append(("seed", [[f"seed={seed}"] for seed in range(seeds)]))
    name = settings.get("file")
    if name is not None:
        rows = _rows(project.root / str(name), str(name), faults)
        axes.append(("sweep.file", rows))
    return axes


def _rows(path: Path, label: str, faults: list[Fault]) -> list[list[str]]:
    """Overrides of the jobs of a file: a CSV with a header of keys, or a YAML list of mappings."""
    if path.suffix.lower() in (".yaml", ".yml"):
        from worldflux.config.yaml_file import read_yaml

        content, found = read_yaml(path, label)
        faults += found
        if not found and not (
            isinstance(content, list) and all(isinstance(row, dict) and row for row in content)
        ):
            faults.append(Fault(label, "must be a list of mappings, one a job"))
            return []
        return [[as_override(key, value) for key, value in row.items()] for row in content or []]
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restkey="")
            rows = [dict(row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        faults.append(Fault(label, f"can not be read: {error}", "sweep.file=PATH is relative to the project"))
        return []
    for number, row in enumerate(rows, 2):
        if "" in row or None in row.values():
            faults.append(Fault(f"{label}:{number}", "has more or fewer cells than the header"))
            return []
    if not rows:
        faults.append(Fault(label, "holds no job", "the first line names keys, each other line is a job"))
    return [[cell_override(key, cell) for key, cell in row.items()] for row in rows]


def _zipped(
    axes: Sequence[tuple[str, list[list[str]]]], wanted: Any, faults: list[Fault]
) -> list[list[list[str]]]:
    """The axes as they multiply: those of `sweep.zip` joined into one at the place of the first."""
    names = [str(name) for name in wanted] if isinstance(wanted, list) else [str(wanted)]
    known = [name for name, _ in axes]
    missing = [name for name in names if name not in known]
    if missing:
        faults.append(Fault(f"sweep.zip=[{','.join(names)}]", f"there is no axis {', '.join(missing)}"))
        return []
    members = [choices for name, choices in axes if name in names]
    if len({len(choices) for choices in members}) > 1:
        sizes = ", ".join(f"{name} has {len(choices)}" for name, choices in axes if name in names)
        faults.append(Fault(f"sweep.zip=[{','.join(names)}]", f"the axes differ in length: {sizes}"))
        return []
    joined = [[text for part in parts for text in part] for parts in zip(*members, strict=True)]
    groups: list[list[list[str]]] = []
    for name, choices in axes:
        if name not in names:
            groups.append(choices)
        elif joined:
            groups.append(joined)
            joined = []
    return groups
