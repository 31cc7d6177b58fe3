"""What a run left behind, read once it has ended: metrics, series, artifacts, log."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.manifest.model import json_number, success_metric
from worldflux.manifest.names import is_recordable_path, metric_name

if TYPE_CHECKING:
    from worldflux.config.spec import ArtifactSpec, MetricSpec
    from worldflux.manifest.parts import Artifact, Log, Metric, Series

MAX_METRIC_FILE = 256 * 2**20
MAX_METRIC_NAMES = 10_000
CHUNK = 2**20


@dataclass
class Collected:
    """Findings of one run. `faults` say what the recipe promised and the run did not bring."""

    metrics: dict[str, Metric] = field(default_factory=dict)
    series: Series | None = None
    artifacts: list[Artifact] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def collect(folder: Path, metrics: Mapping[str, MetricSpec], artifacts: Sequence[ArtifactSpec]) -> Collected:
    """Everything the recipe asks for from one run folder. Raises nothing for what the run wrote."""
    found = Collected()
    _read_series(folder, found)
    for name, wanted in metrics.items():
        _extract(folder / "artifacts", name, wanted, found)
    for name, metric in found.metrics.items():
        if isinstance(metric["value"], str) and metric["value"] in ("NaN", "Infinity", "-Infinity"):
            found.warnings.append(f"metric {name} is {metric['value']}")
    _find_artifacts(folder, artifacts, found)
    return found


def log_entry(folder: Path, path: Path, truncated: bool) -> Log:
    """The manifest's entry for a log file."""
    size, digest = digest_file(path)
    return {
        "name": "output",
        "path": path.relative_to(folder).as_posix(),
        "bytes": size,
        "sha256": digest,
        "truncated": truncated,
    }


def digest_file(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a regular file, read in constant memory; links are not followed.

    Raises:
        OSError: it is not a regular file, or can not be read.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path.name} is not a regular file")
        digest, size = hashlib.sha256(), 0
        while chunk := os.read(handle, CHUNK if status.st_size > size else 65536):
            digest.update(chunk)
            size += len(chunk)
    finally:
        os.close(handle)
    return size, digest.hexdigest()


def _read_series(folder: Path, found: Collected) -> None:
    """Metrics that the command appended to `metrics.jsonl`; the last value of a name counts."""
    path = folder / "metrics.jsonl"
    if path.is_symlink() or not path.is_file():
        return
    rows = bad = 0
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            row = _series_row(line)
            if row is None:
                bad += 1
                if line.endswith(b"\n") and bad <= 3:
                    found.warnings.append(f"metrics.jsonl line {number} is not a metric and was left out")
                continue
            rows += 1
            name, value, step = row
            if name not in found.metrics and len(found.metrics) >= MAX_METRIC_NAMES:
                continue
            found.metrics[name] = {"value": value, "kind": "value"}
            if step is not None:
                found.metrics[name]["step"] = step
    if bad > 3:
        found.warnings.append(f"metrics.jsonl: {bad} lines are not metrics and were left out")
    size, digest = digest_file(path)
    found.series = {"path": path.name, "bytes": size, "sha256": digest, "rows": rows}


def _series_row(line: bytes) -> tuple[str, int | float | str, int | None] | None:
    """Name, value and step of one line, or None when it is not `{"name": .., "value": ..}`."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    name, value, step = row.get("name"), _number(row.get("value")), row.get("step")
    name = metric_name(name) if isinstance(name, str) else ""
    if not name or value is None:
        return None
    whole = isinstance(step, int) and not isinstance(step, bool) and abs(step) < 2**53
    return name, value, step if whole else None


def _number(value: Any) -> int | float | str | None:
    """A value as the manifest holds numbers, or None when it is not a number."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity"):
        return value
    return json_number(value) if isinstance(value, int | float) else None


def _extract(work: Path, name: str, wanted: MetricSpec, found: Collected) -> None:
    """One metric out of a JSON file of the run."""
    import jmespath
    from jmespath.exceptions import JMESPathError

    where = f"metric {name}"
    try:
        document = _read_json(work, wanted.file)
        selected = jmespath.search(wanted.select, document)
    except JMESPathError as error:
        found.faults.append(
            f"{where}: `{wanted.select}` does not fit {wanted.file}: {str(error).splitlines()[0]}"
        )
        return
    except (OSError, ValueError, RecursionError) as error:
        if not (wanted.optional and isinstance(error, FileNotFoundError)):
            found.faults.append(f"{where}: {_why(error, wanted.file)}")
        return
    metric = _success(selected) if wanted.kind == "success" else _value(selected)
    if metric is None:
        if wanted.optional and selected is None:
            return
        shape = "a list of true and false" if wanted.kind == "success" else "one number"
        found.faults.append(
            f"{where}: `{wanted.select}` in {wanted.file} gives {_shape(selected)}, not {shape}"
        )
        return
    if wanted.unit:
        metric["unit"] = wanted.unit
    found.metrics[name] = metric


def _read_json(work: Path, name: str) -> Any:
    path = work / name
    if not path.resolve().is_relative_to(work.resolve()):
        raise OSError(f"{name} leads out of the run's folder")
    if path.stat().st_size > MAX_METRIC_FILE:
        raise OSError(f"{name} is larger than {MAX_METRIC_FILE // 2**20} MiB")
    return json.loads(path.read_bytes())


def _why(error: Exception, name: str) -> str:
    if isinstance(error, FileNotFoundError):
        return f"the run wrote no file {name}"
    if isinstance(error, json.JSONDecodeError):
        return f"{name} is not JSON: line {error.lineno}: {error.msg}"
    if isinstance(error, ValueError | RecursionError):
        return f"{name} is not JSON"
    return str(error)


def _value(selected: Any) -> Metric | None:
    number = _number(selected)
    return None if number is None else {"value": number, "kind": "value"}


def _success(selected: Any) -> Metric | None:
    outcomes = [selected] if isinstance(selected, bool) else selected
    if not isinstance(outcomes, list) or not outcomes:
        return None
    if not all(isinstance(o, bool) or (isinstance(o, int | float) and o in (0, 1)) for o in outcomes):
        return None
    return success_metric(sum(bool(o) for o in outcomes), len(outcomes))


def _shape(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return f"a {type(value).__name__}"


def _find_artifacts(folder: Path, wanted: Sequence[ArtifactSpec], found: Collected) -> None:
    """Files that match the patterns, each once; `commit: true` wins over `false`."""
    work = folder / "artifacts"
    files = list(_regular_files(work, found.warnings)) if wanted else []
    commits: dict[str, bool] = {}
    for spec in wanted:
        matches = [name for name in files if _matches(name, spec.path)]
        for name in matches:
            commits[name] = commits.get(name, False) or spec.commit
        if not matches and not spec.optional:
            found.faults.append(f"artifact {spec.path}: the run wrote no such file")
    for name in sorted(commits):
        entry = _artifact(folder, name, commits[name], found)
        if entry is not None:
            found.artifacts.append(entry)


def _regular_files(work: Path, warnings: list[str]) -> Iterator[str]:
    """Paths of the regular files below `work`, relative to it; links are named and left out."""
    for root, folders, names in os.walk(work):
        folders.sort()
        for name in sorted(names + [f for f in folders if os.path.islink(os.path.join(root, f))]):
            path = Path(root, name)
            relative = path.relative_to(work).as_posix()
            if path.is_symlink():
                warnings.append(f"artifact {printable(relative)} is a link and was left out")
            elif path.is_file():
                yield relative


def _matches(name: str, pattern: str) -> bool:
    """Whether a path fits a pattern in which `*` stays within a folder and `**` crosses them."""
    return _match_parts(name.split("/"), pattern.removeprefix("./").rstrip("/").split("/"))


def _match_parts(parts: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return (
            any(_match_parts(parts[skip:], pattern[1:]) for skip in range(len(parts) + 1))
            or len(pattern) == 1
        )
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _match_parts(parts[1:], pattern[1:])


def _artifact(folder: Path, name: str, commit: bool, found: Collected) -> Artifact | None:
    import mimetypes

    if not is_recordable_path(f"artifacts/{name}"):
        found.warnings.append(f"artifact {printable(name)} has a name that can not be recorded")
        return None
    try:
        size, digest = digest_file(folder / "artifacts" / name)
    except OSError as error:
        found.warnings.append(f"artifact {name} can not be read: {error.strerror or error}")
        return None
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return {
        "path": f"artifacts/{name}",
        "bytes": size,
        "sha256": digest,
        "media_type": media_type,
        "commit": commit,
    }


def printable(text: str) -> str:
    """A name as it can be shown: control characters and lone surrogates escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)[:200]
