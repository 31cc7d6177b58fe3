"""Values of a configuration: resolved for the run, and a view of them that is safe to store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import omegaconf
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from worldflux.config.variation import raw_texts

ENVIRONMENT_RESOLVER = "oc.env"


def resolved(config: DictConfig) -> dict[str, Any]:
    """All values, interpolations resolved, without Hydra's own node."""
    values: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True, enum_to_str=True)
    values.pop("hydra", None)
    return dict(values)


def public_view(config: DictConfig, plain: Any, values: dict[str, Any]) -> dict[str, Any]:
    """The resolved values with everything that was read from the environment left unread.

    Args:
        plain: the unresolved values.
        values: the resolved ones.

    A value such as `${oc.env:TOKEN}` is resolved to its own text, also where another key takes it
    over, so that no variable's value reaches the record.
    """
    if not any(f"{ENVIRONMENT_RESOLVER}:" in text for _, text in raw_texts(plain)):
        return values
    _register(_unread)
    try:
        return resolved(config)
    finally:
        from omegaconf.resolvers import oc

        _register(oc.env)


def _register(resolver: Any) -> None:
    # OmegaConf 2.4 gave the function the name that in 2.3 belongs to another one.
    older = omegaconf.__version__.startswith(("2.2", "2.3"))
    register: Any = OmegaConf.register_new_resolver if older else OmegaConf.register_resolver
    register(ENVIRONMENT_RESOLVER, resolver, replace=True)


def _unread(name: str, default: Any = None) -> str:
    return f"${{{ENVIRONMENT_RESOLVER}:{name}}}"


def unresolvable(config: DictConfig, plain: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """Path of each value that can not be resolved, and why."""
    for path, text in raw_texts(plain):
        names = tuple(map(str, path))
        if text == "???":
            yield names, "is missing"
        elif "${" in text:
            node: Any = config
            try:
                for step in path:
                    node = node[step]
            except (OmegaConfBaseException, ValueError, TypeError) as error:
                yield names, f"can not be resolved: {str(error).splitlines()[0]}"
