"""Whether a composition is of the simple form that `Variation` can write out: asked of OmegaConf's own nodes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import AnyNode, DictConfig, ListConfig

from worldflux.config.variation import Path, Unclear, Variation, referring

_KEY = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)


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


def variation_of(
    config: DictConfig, plain: dict[str, Any], values: dict[str, Any], keys: Sequence[str]
) -> Variation | None:
    """The variation of a composition at these keys; None when it is not of the simple form.

    Args:
        config: the composition.
        plain: its unresolved values.
        values: its resolved values.
    """
    paths = [tuple(key.split(".")) for key in keys]
    texts = referring(plain)
    if texts is None or not all(_is_plain_node(config, path) for path in (*paths, *texts)):
        return None
    variation = Variation(plain, values, keys, texts)
    try:
        again = variation.write(variation.values_at(plain))
    except Unclear:
        return None
    return variation if _identical(again, (plain, values)) else None


def _is_plain_node(config: DictConfig, path: Path) -> bool:
    """Whether a value stands there that takes any other value as it is."""
    node: Any = config
    for step in path:
        if not isinstance(node, (DictConfig, ListConfig)) or node._is_interpolation() or node._is_none():
            return False
        node = node._get_node(step)
    return type(node) is AnyNode


def _identical(one: Any, other: Any) -> bool:
    """Equal, types and order of names included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(_identical(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_identical, one, other))
    return bool(one == other)
