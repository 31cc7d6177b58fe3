"""The command to type next, when an override names what is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from worldflux.errors import ConfigError, Fault

_MEANT = r"did you mean `([^`]+)`\?"
_WRITE = r"write (\+recipe=\S+)"
#: Config groups, and what lists their options.
_LISTS = {"recipe": "worldflux recipe list", "runtime": "worldflux runtime list"}


@contextmanager
def with_next_command(overrides: Sequence[str], command: Callable[[list[str]], str]) -> Iterator[None]:
    """Give the faults of a configuration that is composed in this block a hint that can be typed.

    Args:
        overrides: as they were typed, in Hydra's form.
        command: the whole command with other overrides in their places.
    """
    try:
        yield
    except ConfigError as error:
        hint = _next(error.faults, list(overrides), command)
        if not hint:
            raise
        raise ConfigError(error.faults, f"{error.hint}\n{hint}".lstrip()) from None


def _next(faults: Sequence[Fault], overrides: list[str], command: Callable[[list[str]], str]) -> str:
    """The command as it was meant; else what lists the choices; empty when neither would help."""
    right = list(overrides)
    left = []
    for fault in faults:
        meant = _meant(fault)
        if meant and fault.where in right:
            right[right.index(fault.where)] = meant
        else:
            left.append(fault)
    if any(new.startswith("+recipe=") and new != old for new, old in zip(right, overrides, strict=True)):
        # Without its recipe every setting of it looks wrong.
        left = [
            each for each in left if each.where != "recipe" and not each.problem.startswith("there is no key")
        ]
    return _listing(left[0], overrides) if left else f"next: {command(right)}"


def _meant(fault: Fault) -> str:
    """An override with the right name in it; empty when none is near."""
    import re

    if written := re.fullmatch(_WRITE, fault.hint):
        return written[1]
    found = re.search(_MEANT, fault.hint)
    key, sign, value = fault.where.partition("=")
    name = key.lstrip("+~")
    if found is None or "@" in name:
        return ""
    if sign and fault.problem == f"there is no {name} `{value}`":
        return f"{key}={found[1]}"
    parent, _, _ = name.rpartition(".")
    kept = "~" if key.startswith("~") else ""
    return f"{kept}{parent}{'.' if parent else ''}{found[1]}{sign}{value}"


def _listing(fault: Fault, overrides: Sequence[str]) -> str:
    import shlex

    name = fault.where.partition("=")[0].lstrip("+~")
    if name in _LISTS:
        return f"next: {_LISTS[name]}"
    chosen = next((text for text in overrides if text.startswith("+recipe=")), "")
    if fault.where not in overrides or not chosen or not fault.problem.startswith(("there is no", "unknown")):
        return ""
    return f"next: worldflux-run {shlex.quote(chosen)} --cfg job"
