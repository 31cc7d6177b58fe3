"""Which classes `runtime._target_` may name, decided before anything is imported.

Importing a module runs its code, so the name is checked first: the built-in plugins, classes
that an installed package offers under the entry point group `worldflux.runtimes`, and modules
that the project file lists. What is imported must be a runtime plugin. A nested `_target_` is
refused: only the runtime itself is built from configuration.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

from worldflux.config.nearest import did_you_mean
from worldflux.config.project import Project
from worldflux.errors import RefusedError, UsageError

ENTRY_POINTS = "worldflux.runtimes"
BUILT_IN = frozenset(
    {
        "worldflux.runtime.local_plugin.LocalPlugin",
        "worldflux.runtime.modal_plugin.ModalPlugin",
        "worldflux.runtime.aws_ec2_plugin.AwsEc2Plugin",
        "worldflux.runtime.replicate_plugin.ReplicatePlugin",
        "worldflux.runtime.local_command.LocalCommand",
        "worldflux.runtime.modal_command.ModalCommand",
    }
)


def check_target(target: str, options: Mapping[str, Any], project: Project) -> None:
    """Refuse a class that is not allowed, without importing anything.

    Raises:
        RefusedError: the class is not on the list, or an option holds a `_target_` of its own.
    """
    nested = _nested_target(options)
    if nested:
        raise RefusedError(
            f"runtime.{nested}: a nested _target_ is not built",
            "only runtime._target_ chooses a class; pass plain values to it",
            code="target",
        )
    if target in BUILT_IN or target in _offered() or _listed(target, project):
        return
    hint = did_you_mean(target, BUILT_IN)
    raise RefusedError(
        f"runtime._target_: `{target}` is not an allowed runtime class",
        f"{hint}\na class of your own: list its module under `plugins:` in worldflux.yaml, "
        f"or offer it as an entry point of group {ENTRY_POINTS}",
        code="target",
    )


def load_class(target: str, options: Mapping[str, Any], project: Project) -> type:
    """The class that an allowed `_target_` names.

    Raises:
        RefusedError: see `check_target`; or the class is not a runtime plugin.
        UsageError: the module or the class does not exist.
    """
    check_target(target, options, project)
    module_name, _, class_name = target.rpartition(".")
    if target not in BUILT_IN and str(project.root) not in sys.path:
        sys.path.insert(0, str(project.root))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and not module_name.startswith(error.name):
            raise
        raise UsageError(
            f"runtime._target_: there is no module `{module_name}`", "check the name and the project's folder"
        ) from None
    found = vars(module).get(class_name)
    if found is None:
        known = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise UsageError(
            f"runtime._target_: `{module_name}` has no class `{class_name}`", did_you_mean(class_name, known)
        )
    methods = ("doctor", "build_env", "run", "teardown")
    if not isinstance(found, type) or not all(callable(getattr(found, name, None)) for name in methods):
        raise RefusedError(
            f"runtime._target_: `{target}` is not a runtime plugin",
            f"a plugin is a class with a name and the methods {', '.join(methods)}",
            code="target",
        )
    return found


def _listed(target: str, project: Project) -> bool:
    module = target.rpartition(".")[0]
    return module in project.plugins


def _offered() -> set[str]:
    from importlib.metadata import entry_points

    return {point.value.replace(":", ".") for point in entry_points(group=ENTRY_POINTS)}


def _nested_target(value: Any, path: str = "") -> str:
    """Path of the first `_target_` below the runtime's own, or an empty text."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            here = f"{path}.{key}" if path else str(key)
            if key == "_target_":
                return here
            found = _nested_target(inner, here)
            if found:
                return found
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            found = _nested_target(inner, f"{path}[{index}]")
            if found:
                return found
    return ""
