"""The whole catalog, built in and imported: look one entry up, or pick those that match."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from worldflux.catalog import builtin
from worldflux.catalog.entry import LEVELS, TASKS, Entry
from worldflux.catalog.floor import judge
from worldflux.errors import UsageError


def did_you_mean(name: str, known: Iterable[str], *, limit: int = 8) -> str:
    """A sentence with the nearest known name, or with the choices when none is near; may be empty."""
    import difflib

    choices = sorted(known)
    lowered = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{lowered[close[0]]}`?"
    if not choices:
        return ""
    more = ", ..." if len(choices) > limit else ""
    return f"known: {', '.join(choices[:limit])}{more}"


def all_entries(home: Path | None = None) -> dict[str, Entry]:
    """Every adapter by id: the built-in ones first, then what was imported.

    Args:
        home: the folder of `$WORLDFLUX_HOME`; None takes it from the environment.
    """
    from worldflux.catalog.shelf import Shelf

    return {**builtin.adapters(), **Shelf.at(home).policies()}


def get(adapter_id: str, home: Path | None = None) -> Entry:
    """The entry with that id, built in or imported; `lerobot:OWNER/NAME@COMMIT` names one import.

    Raises:
        UsageError: there is none; the hint has the nearest name, or how to import it.
    """
    found = find(adapter_id, home)
    if found is not None:
        return found
    if adapter_id.startswith("lerobot:"):
        hint = f"import it: worldflux import {adapter_id}"
    else:
        near = did_you_mean(adapter_id, [*builtin.adapters(), *builtin.environments()])
        hint = f"{near} All of them: worldflux curated list"
    raise UsageError(f"the catalog has no entry `{adapter_id}`", hint, code="unknown_adapter")


def find(adapter_id: str, home: Path | None = None) -> Entry | None:
    """The entry with that id in any letter case, or None."""
    exact = builtin.adapter(adapter_id)
    if exact is not None:
        return exact
    if adapter_id.startswith("lerobot:"):
        from worldflux.catalog.shelf import Shelf

        return Shelf.at(home).policy(adapter_id)
    lowered = {key.lower(): entry for key, entry in builtin.adapters().items()}
    return lowered.get(adapter_id.lower())


def pick(
    entries: Iterable[Entry],
    *,
    family: str | None = None,
    task: str | None = None,
    runtime: str | None = None,
    level: str | None = None,
    cards: Sequence[int] | None = None,
    fits: bool = False,
) -> list[Entry]:
    """The entries that match every filter given.

    Args:
        family: a family, or the start of its name.
        task: the entry must know this task.
        runtime: the entry must not be disabled there, for the task or for all of its tasks.
        level: with `runtime`, the support it must have there.
        cards: the machine for `fits`, bytes a card; None is an unknown machine, which nothing fits.
        fits: keep what is known to fit: unknown floors are left out.

    Raises:
        UsageError: an unknown task, family or level.
    """
    pool = list(entries)
    _check_words(pool, family, task, level)
    kept = []
    for entry in pool:
        if family and not entry.family.startswith(family.lower()):
            continue
        if task and task not in entry.tasks:
            continue
        tasks = (task,) if task else entry.tasks
        if runtime:
            wanted = (level,) if level else ("production", "experimental")
            tasks = tuple(name for name in tasks if entry.support_on(runtime, name).level in wanted)
        if fits:
            tasks = tuple(name for name in tasks if judge(entry, name, cards).runs)
        if tasks:
            kept.append(entry)
    return kept


def _check_words(pool: Sequence[Entry], family: str | None, task: str | None, level: str | None) -> None:
    families = {entry.family for entry in pool}
    if family and not any(known.startswith(family.lower()) for known in families):
        raise UsageError(f"no entry is of the family `{family}`", did_you_mean(family, families, limit=20))
    if task and task not in TASKS:
        raise UsageError(f"`{task}` is not a task", f"tasks: {', '.join(TASKS)}")
    if level and level not in LEVELS:
        raise UsageError(f"`{level}` is not a level of support", f"levels: {', '.join(LEVELS)}")
