"""Jobs that differ in plain values only: composed once, then written out with other values.

A sweep over seeds and parameters repeats one composition with other numbers in the same places.
What depends on them are texts with references (`${params.n}`), which are resolved here in the one
simple form that leaves no doubt. Everything else is for Hydra and OmegaConf: typed nodes, relative
references, resolvers, escapes, lists, keys that are added or removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import AnyNode, DictConfig, ListConfig

from worldflux.config.resolve import raw_texts

Path = tuple[Any, ...]

#: A number of plain digits means itself in Hydra's grammar; it need not be asked.
_NUMBER = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)=(-?(?:0|[1-9][0-9]{0,17}))", re.ASCII)
_KEY = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
_REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\}", re.ASCII)


def numeric_change(text: str) -> tuple[str, int] | None:
    """Key and value of an override such as `params.n=3`; None for every other one."""
    found = _NUMBER.fullmatch(text)
    return (found[1], int(found[2])) if found else None


def plain_change(override: Override) -> tuple[str, Any] | None:
    """Key and value of an override that sets a key to a number, a truth value, null or a plain text."""
    if override.type != OverrideType.CHANGE or override.package is not None or override.is_sweep_override():
        return None
    value = override.value()
    if not _KEY.fullmatch(override.key_or_group) or type(value) not in (int, float, bool, str, type(None)):
        return None
    if isinstance(value, str) and ("$" in value or "\\" in value or value == "???"):
        return None
    return override.key_or_group, value


class Unclear(Exception):
    """Not of the simple form after all."""


class Variation:
    """A composition that can be written out with other values at some keys."""

    def __init__(
        self,
        plain: dict[str, Any],
        values: dict[str, Any],
        keys: Iterable[str],
        texts: Mapping[Path, list[Any]],
    ) -> None:
        self._plain, self._values = plain, values
        self._texts = texts
        self._keys = {key: tuple(key.split(".")) for key in keys}
        self._in_plain = _skeleton(self._keys.values())
        self._in_values = _skeleton([*self._keys.values(), *texts])

    @classmethod
    def of(
        cls, config: DictConfig, plain: dict[str, Any], values: dict[str, Any], keys: Sequence[str]
    ) -> Variation | None:
        """The variation of a composition at these keys; None when it is not of the simple form.

        Args:
            config: the composition.
            plain: its unresolved values.
            values: its resolved values.
        """
        paths = [tuple(key.split(".")) for key in keys]
        texts = {path: _pieces(text) for path, text in raw_texts(plain) if "$" in text or "\\" in text}
        indexed = {_indexed(plain, path): pieces for path, pieces in texts.items()}
        for path in (*paths, *indexed):
            if not _is_plain_node(config, path):
                return None
        found: dict[Path, list[Any]] = {}
        for path, pieces in indexed.items():
            if pieces is None:
                return None
            found[path] = pieces
        variation = cls(plain, values, keys, found)
        try:
            same = {key: _at(plain, path) for key, path in variation._keys.items()}
            again = variation.write(same)
        except Unclear:
            return None
        return variation if _identical(again, (plain, values)) else None

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
        for path in self._texts:
            _set(values, path, self._resolved(plain, path, known, 0))
        return plain, values

    def _resolved(self, plain: Any, path: Path, known: dict[Path, Any], depth: int) -> Any:
        if path not in self._texts:
            value = _at(plain, path)
            if isinstance(value, (dict, list)) or value == "???":
                raise Unclear
            return value
        if path not in known:
            if depth > 20:
                raise Unclear
            pieces = [
                self._resolved(plain, piece, known, depth + 1) if isinstance(piece, tuple) else piece
                for piece in self._texts[path]
            ]
            known[path] = pieces[0] if len(pieces) == 1 else "".join(map(str, pieces))
        return known[path]


def _pieces(text: str) -> list[Any] | None:
    """A text as literal pieces and paths it refers to; None when there is more in it."""
    split = _REFERENCE.split(text)
    if any("$" in piece or "\\" in piece for piece in split[::2]):
        return None
    return [
        tuple(piece.split(".")) if index % 2 else piece
        for index, piece in enumerate(split)
        if index % 2 or piece
    ]


def _indexed(plain: Any, path: Sequence[str]) -> Path:
    """A path of names as one that leads through lists by number."""
    steps: list[Any] = []
    for step in path:
        steps.append(int(step) if isinstance(plain, list) else step)
        plain = plain[steps[-1]] if not isinstance(plain, dict) or step in plain else None
        if plain is None:
            break
    return tuple(steps)


def _is_plain_node(config: DictConfig, path: Path) -> bool:
    """Whether a value stands there that takes any other value as it is."""
    node: Any = config
    for step in path:
        if not isinstance(node, (DictConfig, ListConfig)) or node._is_interpolation() or node._is_none():
            return False
        node = node._get_node(step)
    return type(node) is AnyNode


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


def _identical(one: Any, other: Any) -> bool:
    """Equal, types and order of names included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(_identical(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_identical, one, other))
    return bool(one == other)
