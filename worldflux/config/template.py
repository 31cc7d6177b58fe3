"""One composition for all runs of the same shape: other numbers as seed and among the parameters.

A number that is the seed, or stands under `params`, needs no other check than its kind, and neither do
the words of a command that refer to it. So such runs are made of a composition that was checked
before, without Hydra and without pydantic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from worldflux.config.request import RunRequest
from worldflux.config.variation import (
    Path,
    Unclear,
    Variation,
    are_nested,
    are_related,
    leads_to,
    numeric_change,
)

#: A word as it was typed, or the key of a number that was left out.
Shape = tuple[Any, ...]

#: Lists of words, which may be any text.
_WORDS = ("command", "extra_args")
#: Where a reference to such a number leaves nothing to check.
REFERRING = (*_WORDS, "params")


def shape_of(overrides: Sequence[str]) -> tuple[Shape, dict[str, int | float]]:
    """What runs have in common that differ in their seed and in numbers under `params`; and those numbers.

    A number is part of what they have in common when another word sets its place, too: the last one wins.
    """
    shape: list[Any] = []
    changes: dict[str, int | float] = {}
    for text in overrides:
        change = numeric_change(text)
        if change is not None and _is_free(*change):
            shape.append((change[0],))
            changes[change[0]] = change[1]
        else:
            shape.append(text)
    others = [text.lstrip("+~").partition("=")[0] for text in shape if isinstance(text, str)]
    if any(are_related(key, other) for key in changes for other in others):
        return tuple(overrides), {}
    return tuple(shape), changes


def _is_free(key: str, value: int | float) -> bool:
    return key.startswith("params.") or (key == "seed" and isinstance(value, int) and 0 <= value < 2**63)


def are_unchecked(changes: Iterable[str], texts: Mapping[Path, list[Any]]) -> bool:
    """Whether no text that refers to one of these numbers stands where it has to be checked."""
    keys = [tuple(key.split(".")) for key in changes]
    return not any(
        path[0] not in REFERRING
        and any(are_nested(place, key) for place in leads_to(path, texts) for key in keys)
        for path in texts
    )


def as_text(value: Any) -> Any:
    """A number or truth value in a command or variable, which is meant as its text; others as they are."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


class Template:
    """A composition of which others of its shape are made.

    Args:
        request: the composition.
        keys: of the numbers that may differ; without any it is good for the same words only.
        texts: as in `Variation`.
    """

    def __init__(self, request: RunRequest, keys: Sequence[str], texts: Mapping[Path, list[Any]]) -> None:
        self._request = request
        self._variation = Variation(request.config, request.parameters, keys, texts) if keys else None

    def write(self, overrides: Sequence[str], changes: Mapping[str, Any]) -> RunRequest | None:
        """The run of these words, with these numbers in it; None when it has to be composed."""
        if self._variation is None:
            return self._request
        try:
            plain, values = self._variation.write(changes)
        except Unclear:
            return None
        fields: dict[str, Any] = {
            **vars(self._request.spec),
            **{name: values[name] for name in ("seed", "params") if name in values},
            **{name: tuple(map(as_text, values[name])) for name in _WORDS if name in values},
        }
        spec = cast(Any, SimpleNamespace(**fields))
        return replace(self._request, spec=spec, overrides=tuple(overrides), config=plain, parameters=values)
