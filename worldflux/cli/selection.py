"""The runs that somebody names: single ones, and all runs of a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from worldflux.errors import UsageError
from worldflux.run import store
from worldflux.run.comparison import Sample
from worldflux.run.ledger import sweep_ids


def selected(wanted: Sequence[str], runs_dir: Path) -> tuple[list[Sample], dict[str, int]]:
    """The succeeded runs among those that are named, and how many others there were.

    Args:
        wanted: runs and sweeps; every run of the folder when empty. `last` is the newest sweep,
            or the newest run where there is no sweep.

    Returns:
        Runs, oldest first, each once; status -> number of runs that did not succeed.

    Raises:
        UsageError: a name means nothing or several things, or no run succeeded.
    """
    names = [_resolved(each, runs_dir) for each in wanted]
    found: dict[str, store.StoredRun] = {}
    for stored in _all(names, runs_dir) if names else store.newest(runs_dir):
        found[stored.run_id] = stored
    others: dict[str, int] = {}
    samples = []
    for run_id in sorted(found):
        manifest = found[run_id].manifest
        status = "unreadable" if manifest is None else manifest.status
        if manifest is not None and status == "succeeded":
            samples.append(Sample.of(run_id, found[run_id].folder, manifest))
        else:
            others[status] = others.get(status, 0) + 1
    if not samples:
        told = ", ".join(f"{count} {status}" for status, count in others.items()) or "no run at all"
        raise UsageError(f"there is no succeeded run to compare ({told})", "worldflux runs list")
    return samples, others


def _resolved(wanted: str, runs_dir: Path) -> tuple[str, bool]:
    """The id that is meant, and whether it is a sweep's."""
    sweeps = sweep_ids(runs_dir)
    if wanted == "last" and sweeps:
        return sweeps[0], True
    text = wanted.lower()
    mine = [each for each in sweeps if text and (each.startswith(text) or each.endswith(text))]
    runs = [
        each for each in store.run_ids(runs_dir) if text and (each.startswith(text) or each.endswith(text))
    ]
    if len(mine) == 1 and len(runs) != 1:
        return mine[0], True
    if len(mine) > 1 or (mine and runs):
        shown = ", ".join([*mine[:2], *runs[:2]])
        raise UsageError(
            f"`{wanted}` means several sweeps or runs: {shown}", "type more characters of the id"
        )
    if not runs and store.RUN_ID.match(text):
        return text, True
    return store.find(runs_dir, wanted).run_id, False


def _all(names: Iterable[tuple[str, bool]], runs_dir: Path) -> Iterator[store.StoredRun]:
    for name, is_sweep in names:
        yield from of_sweep(name, runs_dir) if is_sweep else [store.load(runs_dir, name)]


def of_sweep(sweep_id: str, runs_dir: Path) -> Iterator[store.StoredRun]:
    """Runs whose manifest names the sweep; ids are ordered by time, so none is older than it."""
    seen = False
    for run_id in store.run_ids(runs_dir):
        if run_id < sweep_id:
            break
        stored = store.load(runs_dir, run_id)
        if stored.manifest is None or stored.manifest.run.get("sweep_id") == sweep_id:
            seen = seen or stored.manifest is not None
            yield stored
    if not seen:
        raise UsageError(f"there is no run of a sweep {sweep_id}", "worldflux runs list")
