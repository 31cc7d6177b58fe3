"""Faults in the words of the person who wrote the configuration: which file or override, which key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from worldflux.config.nearest import did_you_mean
from worldflux.config.project import Project
from worldflux.config.recipes import (
    RECIPE_GROUP,
    all_recipes,
    group_names,
    group_options,
    locate_recipe,
    recipe_label,
)
from worldflux.config.yaml_file import read_yaml
from worldflux.errors import Fault

if TYPE_CHECKING:
    from pydantic import BaseModel


class Origin:
    """Tells where a value of one composed configuration was written."""

    def __init__(self, project: Project, overrides: Sequence[str], config: DictConfig) -> None:
        self.project = project
        self.overrides = overrides
        self.config = config
        self._recipe: tuple[str, Any] | None = None

    def where(self, path: Sequence[str]) -> str:
        """The override or `file:key` that set the value at `path`."""
        key = ".".join(path)
        for override in reversed(self.overrides):
            name = override.split("=", 1)[0].lstrip("+~")
            if name and (key == name or key.startswith(name + ".") or name.startswith(key + ".")):
                return override
        label, content = self._recipe_content()
        node = content
        for part in path:
            if isinstance(node, dict) and part in node:
                node = node[part]
            elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
                node = node[int(part)]
            else:
                break
        if label and isinstance(content, dict) and path and path[0] in content:
            return f"{label}:{key}"
        if label and path and path[0] not in ("runtime", "cost_guard"):
            return f"{label}:{key}"
        return key

    def fault(self, error: Mapping[str, Any]) -> Fault:
        """One fault from one pydantic error."""
        path = [str(part) for part in error["loc"] if part not in ("str", "tuple[str, ...]", "float", "int")]
        message = str(error["msg"])
        if error["type"] == "extra_forbidden":
            return Fault(self.where(path), "unknown key", did_you_mean(path[-1], _known_keys(path[:-1])))
        if error["type"] == "value_error":
            message = message.removeprefix("Value error, ")
        else:
            message = _plain_words(error, message)
        where = self.where(path) if path else self._recipe_content()[0] or "configuration"
        return Fault(where, message, _example(error, path))

    def no_recipe(self) -> Fault:
        known = all_recipes(self.project)
        shown = ", ".join(known[:12]) or "none; `worldflux init` writes one"
        return Fault("recipe", "no recipe is chosen", f"add +recipe=NAME; recipes: {shown}")

    def _recipe_content(self) -> tuple[str, Any]:
        if self._recipe is None:
            name = OmegaConf.select(self.config, RECIPE_GROUP, throw_on_missing=False)
            found = locate_recipe(self.project, name) if isinstance(name, str) else None
            self._recipe = ("", None)
            if found is not None:
                label = recipe_label(*found)
                self._recipe = (label, read_yaml(found[0], label)[0])
        return self._recipe


def override_fault(text: str, error: Exception, project: Project, config: DictConfig | None = None) -> Fault:
    """The fault of one override that Hydra can not parse or apply."""
    key, sign, value = text.partition("=")
    name = key.lstrip("+~").split("@")[0]
    groups = group_names(project)
    if not sign and not text.startswith("~"):
        hint = f"write +recipe={text}" if text in all_recipes(project) else "write KEY=VALUE"
        return Fault(text, "is not an override", hint)
    if name in groups and sign:
        options = group_options(project, name)
        if value not in options:
            return Fault(text, f"there is no {name} `{value}`", did_you_mean(value, options))
    if config is not None:
        parent, _, last = name.rpartition(".")
        node = OmegaConf.select(config, parent) if parent else config
        known = [str(k) for k in node] if isinstance(node, DictConfig) else []
        params = OmegaConf.select(config, "params")
        if not parent and isinstance(params, DictConfig) and last in params:
            return Fault(text, f"there is no key `{name}`", f"did you mean `params.{last}`?")
        if last not in known:
            known = list(dict.fromkeys([k for k in known if k != "hydra"] + (groups if not parent else [])))
            hint = did_you_mean(last, known)
            return Fault(text, f"there is no key `{name}`", hint)
    top = [*groups, *_known_keys([])]
    if "." not in name and name not in top and config is None:
        close = did_you_mean(name, top)
        return Fault(text, f"there is no config group or key `{name}`", close)
    message = _first_line(error)
    hint = "quote a value that holds , = { } [ ] or spaces: key='value'" if config is None else ""
    return Fault(text, f"is not a valid override: {message}" if config is None else message, hint)


def _first_line(error: Exception) -> str:
    """What an error of Hydra says, without its own advice, which speaks of other commands."""
    for source in (error.__cause__, error):
        lines = [line.strip() for line in str(source or "").splitlines() if line.strip() not in ("", "None")]
        if lines:
            return lines[0]
    return type(error).__name__


def _known_keys(path: Sequence[str]) -> list[str]:
    """Keys that may stand at a path of the configuration."""
    return [f.alias or name for name, f in _model(path).model_fields.items()]


def _model(path: Sequence[str]) -> type[BaseModel]:
    """The model at a path of the configuration; beyond the last one that is known, that one."""
    import typing

    from pydantic import BaseModel

    from worldflux.config.spec import RunSpec

    model: type[BaseModel] = RunSpec
    for part in path:
        field = model.model_fields.get(part)
        candidates = [field.annotation] if field is not None else []
        for inner in [*candidates, *(a for c in candidates for a in typing.get_args(c))]:
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                model = inner
    return model


def _example(error: Mapping[str, Any], path: Sequence[str]) -> str:
    """What could stand there; empty when the fault says it itself."""
    import typing

    kind = error["type"].partition("_")[0]
    if kind not in ("int", "float", "bool"):
        return ""
    key = ".".join(path)
    example = {"int": "3", "float": "2.5", "bool": "true"}[kind]
    field = _model(path[:-1]).model_fields.get(path[-1])
    unset = field is not None and type(None) in typing.get_args(field.annotation)
    return f"such as {key}={example}" + (f", or {key}=null to leave it out" if unset else "")


def _plain_words(error: Mapping[str, Any], message: str) -> str:
    """pydantic's message with the value that was given, shortened."""
    given = error.get("input")
    shown = "" if isinstance(given, dict | list) else f" (given: {str(given)[:60]!r})"
    kinds = {"int": "must be a whole number", "float": "must be a number", "bool": "must be true or false"}
    kind, _, fault = error["type"].partition("_")
    if kind in kinds and fault in ("parsing", "type", "from_float"):
        return kinds[kind] + shown
    words = message[:1].lower() + message[1:]
    return words.replace("input should be", "must be").replace("input should", "must") + shown
