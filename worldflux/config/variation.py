"""Jobs that differ in plain values only: composed once, then written out with other values.

A sweep over seeds and parameters repeats one composition with other numbers in the same places.
What depends on them are texts with references (`${params.n}`), which are resolved here in the one
simple form that leaves no doubt. Everything else is for Hydra and OmegaConf: typed nodes, relative
references, resolvers, escapes, items of lists, keys that are added or removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Path = tuple[Any, ...]

_REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\}", re.ASCII)
#: References that are followed from one to the next.
MAX_DEPTH = 20
#: A number of plain digits means itself in Hydra's grammar; it need not be asked.
_NUMBER = re.compile(
    r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)=(?:(-?(?:0|[1-9][0-9]{0,17}))|(-?(?:0|[1-9][0-9]{0,14})\.[0-9]{1,15}))",
    re.ASCII,
)


def numeric_change(text: str) -> tuple[str, int | float] | None:
    """Key and value of an override such as `params.n=3` or `params.lr=0.5`; None for every other one."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    return found[1], int(found[2]) if found[2] else float(found[3])


def are_related(one: str, other: str) -> bool:
    """Whether two keys are the same, or one of them stands in the other."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def raw_texts(plain: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Place and text of every text in an unresolved configuration; lists are gone through by number."""
    if isinstance(plain, dict):
        for key, value in plain.items():
            yield from raw_texts(value, (*path, key))
    elif isinstance(plain, list):
        for index, value in enumerate(plain):
            yield from raw_texts(value, (*path, index))
    elif isinstance(plain, str):
        yield path, plain


def referring(plain: Any) -> dict[Path, list[Any]] | None:
    """Place of each text with references -> its pieces, as in `Variation`; None when one is not of the simple form."""
    found: dict[Path, list[Any]] = {}
    for path, text in raw_texts(plain):
        if "$" in text or "\\" in text:
            split = _REFERENCE.split(text)
            if any("$" in piece or "\\" in piece for piece in split[::2]):
                return None
            pieces = [tuple(piece.split(".")) if index % 2 else piece for index, piece in enumerate(split)]
            found[path] = [piece for piece in pieces if piece]
    return found


def leads_to(path: Path, texts: Mapping[Path, list[Any]]) -> set[Path]:
    """Places that a text refers to, and those that the texts there refer to in turn."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        places = {piece for piece in texts[waiting.pop()] if isinstance(piece, tuple)} - found
        found |= places
        waiting += [text for text in texts if any(are_nested(text, place) for place in places)]
    return found


def are_nested(one: Path, other: Path) -> bool:
    """Whether two places are the same, or one of them is in the other."""
    return all(first == second for first, second in zip(one, other, strict=False))


class Unclear(Exception):
    """Not of the simple form after all."""


class Variation:
    """A composition that can be written out with other values at some keys.

    Attributes:
        texts: place of each text with references -> its pieces: literal ones, and paths it refers to.
    """

    def __init__(
        self,
        plain: dict[str, Any],
        values: dict[str, Any],
        keys: Iterable[str],
        texts: Mapping[Path, list[Any]],
    ) -> None:
        self._plain, self._values = plain, values
        self.texts = texts
        self._keys = {key: tuple(key.split(".")) for key in keys}
        self._in_plain = _skeleton(self._keys.values())
        self._in_values = _skeleton([*self._keys.values(), *texts])

    def values_at(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        """What a composition has at the keys.

        Raises:
            Unclear: it has no such place.
        """
        return {key: _at(tree, path) for key, path in self._keys.items()}

    def write(self, changes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Unresolved and resolved values with other values at the keys; they share what is the same.

        Raises:
            Unclear: a text refers to something that is no plain value.
        """
        plain = _copied(self._plain, self._in_plain)
        values = _copied(self._values, self._in_values)
        for key, path in self._keys.items():
            _set(plain, path, changes[key])
            _set(values, path, changes[key])
        known: dict[Path, Any] = {}
        for path in self.texts:
            _set(values, path, self._resolved(plain, path, known, 0))
        return plain, values

    def _resolved(self, plain: Any, path: Path, known: dict[Path, Any], depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise Unclear
        if path not in self.texts:
            value = _at(plain, path)
            if isinstance(value, dict):
                return {key: self._resolved(plain, (*path, key), known, depth + 1) for key in value}
            if isinstance(value, list):
                return [self._resolved(plain, (*path, i), known, depth + 1) for i in range(len(value))]
            if value == "???":
                raise Unclear
            return value
        if path not in known:
            pieces = [
                self._resolved(plain, piece, known, depth + 1) if isinstance(piece, tuple) else piece
                for piece in self.texts[path]
            ]
            if len(pieces) > 1 and any(isinstance(piece, (dict, list)) for piece in pieces):
                raise Unclear
            known[path] = pieces[0] if len(pieces) == 1 else "".join(map(str, pieces))
        return known[path]


def _at(tree: Any, path: Path) -> Any:
    try:
        for step in path:
            tree = tree[step]
    except (LookupError, TypeError):
        raise Unclear from None
    return tree


def _set(tree: Any, path: Path, value: Any) -> None:
    for step in path[:-1]:
        tree = tree[step]
    tree[path[-1]] = value


def _skeleton(paths: Iterable[Path]) -> dict[Any, Any]:
    """The containers on the way to some places, as nested names."""
    found: dict[Any, Any] = {}
    for path in paths:
        here = found
        for step in path[:-1]:
            here = here.setdefault(step, {})
    return found


def _copied(tree: Any, skeleton: Mapping[Any, Any]) -> Any:
    """A tree of which only the containers of the skeleton are new."""
    copy = tree.copy()
    for step, inner in skeleton.items():
        copy[step] = _copied(tree[step], inner)
    return copy
