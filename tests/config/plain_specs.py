"""A run's description as text, the same for a checked one and a remembered one."""

from __future__ import annotations

from typing import Any

from worldflux.config.cache import _plain, _view


def plain_spec(spec: Any) -> str:
    """Names, types and values of all its fields."""
    return repr(_view(_plain(spec)))
