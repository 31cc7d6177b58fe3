"""The runtimes by name.

Built-in plugins register when this module is imported; plugins of other packages come in by
entry points of group `worldflux.runtimes` and are imported when a name is asked for that the
built-in ones do not have, or when all are listed.
"""

from __future__ import annotations

from worldflux.errors import UsageError
from worldflux.runtime.aws_ec2_plugin import AwsEc2Plugin
from worldflux.runtime.base import RuntimePlugin
from worldflux.runtime.local_plugin import LocalPlugin
from worldflux.runtime.modal_plugin import ModalPlugin
from worldflux.runtime.replicate_plugin import ReplicatePlugin

ENTRY_POINTS = "worldflux.runtimes"

_plugins: dict[str, RuntimePlugin] = {}
_broken: dict[str, str] = {}
_strangers_loaded = False


def _register(plugin: RuntimePlugin) -> None:
    """Make a plugin known by its name; a name belongs to the first that takes it.

    Raises:
        ValueError: another plugin has the name.
    """
    if plugin.name in _plugins:
        raise ValueError(
            f"the runtime name {plugin.name!r} is taken by {type(_plugins[plugin.name]).__name__}"
        )
    _plugins[plugin.name] = plugin


def get_runtime(name: str) -> RuntimePlugin:
    """The one instance of a runtime, with its default options.

    Raises:
        UsageError: no runtime has the name; the message lists those that exist.
    """
    if name not in _plugins:
        _load_strangers()
    if name in _broken:
        raise UsageError(
            f"the runtime `{name}` can not be loaded: {_broken[name]}", "worldflux runtime doctor"
        )
    if name not in _plugins:
        raise UsageError(f"there is no runtime `{name}`", f"known: {', '.join(list_runtimes())}")
    return _plugins[name]


def list_runtimes() -> list[str]:
    """Names of all registered runtimes, sorted."""
    _load_strangers()
    return sorted(_plugins)


def doctor_all() -> dict[str, list[str]]:
    """Diagnostic lines of every runtime, by name; a plugin that can not be loaded is one error line."""
    report = {name: get_runtime(name).doctor() for name in list_runtimes()}
    return {**report, **{name: [f"error: can not be loaded: {why}"] for name, why in _broken.items()}}


def _load_strangers() -> None:
    """Register what other packages offer. A broken package is noted, not fatal for the others."""
    global _strangers_loaded
    if _strangers_loaded:
        return
    _strangers_loaded = True
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS):
        if point.name in _plugins:
            continue
        try:
            _register(point.load()())
        except Exception as error:
            _broken[point.name] = f"{type(error).__name__}: {error}"


_register(LocalPlugin())
_register(ModalPlugin())
_register(ReplicatePlugin())
_register(AwsEc2Plugin())
