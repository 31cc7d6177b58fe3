"""Compositions of the plainest form, made without Hydra, which takes longer to load than many runs to do.

Understood are words such as `+recipe=r`, `runtime=local`, `params.n=3` and `timeout=5m`, files of plain
YAML, defaults in the primary configuration alone, and references such as `${params.n}`. Whatever is more
than that, or has a fault, is left to `worldflux.config.compose`; a test compares both over many trees.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worldflux.config import variation
from worldflux.config.checked import faultless
from worldflux.config.project import Project, builtin_dir
from worldflux.config.recipe_files import RecipeFiles
from worldflux.config.recipes import RECIPE_GROUP
from worldflux.config.request import RunRequest
from worldflux.config.variation import Unclear, Variation, numeric_change, raw_texts, referring
from worldflux.config.yaml_file import read_yaml

PRIMARY, SELF = "worldflux", "_self_"
#: OmegaConf's own word for a value that must be given.
MISSING = "???"
_SUFFIXES = (".yaml", ".yml")
_RECIPE = re.compile(rf"\+?{RECIPE_GROUP}=([A-Za-z][\w-]*(?:/[A-Za-z][\w-]*)*)", re.ASCII)
_WORD = re.compile(
    r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)=([A-Za-z][\w-]*|[1-9][0-9]{0,9}(?:ms|s|m|h|d))", re.ASCII
)
_GROUP, _OPTION = re.compile(r"[A-Za-z_]\w*", re.ASCII), re.compile(r"[A-Za-z][\w-]*", re.ASCII)
#: Words that are no texts in Hydra's grammar, in any case.
_VALUES = {"true": True, "false": False, "null": None}
_FLOATS = ("nan", "inf")
#: What Hydra reads at the top of a file, in its first 512 characters.
_HEADER = re.compile(r"^\s*#\s*@", re.MULTILINE)


@dataclass
class _Asked:
    """What the words choose and change; of equal keys the last one holds."""

    recipe: str = ""
    options: dict[str, str] = field(default_factory=dict)
    changes: list[tuple[str, Any]] = field(default_factory=list)


class PlainMerge:
    """Composes runs of one project that are of the plainest form; reads each file once."""

    def __init__(self, project: Project) -> None:
        from worldflux.config.spec import prepare

        prepare()
        self._project = project
        self._files = RecipeFiles(project)
        self._folders = (project.root / "conf", builtin_dir("conf"))
        self._contents: dict[Path, dict[str, Any]] = {}

    def compose(
        self, overrides: Sequence[str]
    ) -> tuple[RunRequest, Mapping[variation.Path, list[Any]]] | None:
        """What `Composer.compose` gives, and the texts with references in it, as in `Variation`.

        None when the composer has to be asked, also about any fault.
        """
        try:
            plain = self._merged(self._asked(overrides))
            texts = referring(plain)
            if texts is None or any(text == MISSING for _, text in raw_texts(plain)):
                return None
            plain, values = Variation(plain, plain, (), texts).write({})
        except Unclear:
            return None
        request = faultless(plain, values, tuple(overrides), self._files)
        return None if request is None else (request, texts)

    def _asked(self, overrides: Sequence[str]) -> _Asked:
        """The words sorted out.

        Raises:
            Unclear: one is not of the plainest form, or no single recipe is chosen.
        """
        asked = _Asked()
        for word in (*self._project.overrides, *overrides):
            if recipe := _RECIPE.fullmatch(word):
                if asked.recipe:
                    raise Unclear
                asked.recipe = recipe[1]
                continue
            change = numeric_change(word) or _text_change(word)
            if change is None:
                raise Unclear
            key, value = change
            if not self._is_group(key):
                asked.changes.append(change)
            elif isinstance(value, str) and _OPTION.fullmatch(value):
                asked.options[key] = value
            else:
                raise Unclear
        if not asked.recipe or self._is_group(RECIPE_GROUP):  # a group of that name would come first
            raise Unclear
        return asked

    def _merged(self, asked: _Asked) -> dict[str, Any]:
        """The unresolved configuration.

        Raises:
            Unclear: there is more in its files than is understood here.
        """
        primary = dict(self._conf(PRIMARY))
        config: dict[str, Any] = {}
        unused = dict(asked.options)
        for group, option in _defaults(primary.pop("defaults", None)):
            if group == SELF:
                _merge(config, primary)
            else:
                _merge(config, {group: self._conf(f"{group}/{unused.pop(group, option)}")})
        found = self._files.locate(asked.recipe)
        if unused or found is None:
            raise Unclear
        _merge(config, {**self._content(found[0]), RECIPE_GROUP: asked.recipe})
        config.pop("hydra", None)
        for key, value in asked.changes:
            _change(config, key.split("."), value)
        return config

    def _is_group(self, name: str) -> bool:
        return name == "hydra" or ("." not in name and any((each / name).is_dir() for each in self._folders))

    def _conf(self, name: str) -> dict[str, Any]:
        """A file of the `conf` folders, the project's first; one in a group has no defaults of its own."""
        files = (folder / f"{name}{suffix}" for folder in self._folders for suffix in _SUFFIXES)
        file = next((file for file in files if file.is_file()), None)
        content = self._content(file, name == PRIMARY) if file is not None else {}
        if file is None or _HEADER.search(file.read_text("utf-8", "replace")[:512]):
            raise Unclear
        return content

    def _content(self, file: Path, may_have_defaults: bool = False) -> dict[str, Any]:
        if file not in self._contents:
            content, faults = read_yaml(file, "")
            if faults or not isinstance(content, dict) or (not may_have_defaults and "defaults" in content):
                raise Unclear
            self._contents[file] = content
        return self._contents[file]


def _text_change(word: str) -> tuple[str, Any] | None:
    """Key and value of an override such as `task=eval` or `timeout=5m`; None for every other one."""
    found = _WORD.fullmatch(word)
    if found is None or found[2].lower() in _FLOATS:
        return None
    return found[1], _VALUES.get(found[2].lower(), found[2])


def _defaults(entries: Any) -> Iterable[tuple[str, str]]:
    """Group and option of each entry of a defaults list; the file's own place has no option.

    Raises:
        Unclear: it has entries of another form.
    """
    found: dict[str, str] = {}
    for each in entries if isinstance(entries, list) else ():
        pairs = [(SELF, "")] if each == SELF else [*each.items()] if isinstance(each, dict) else []
        if len(pairs) != 1:
            raise Unclear
        group, option = pairs[0]
        if group in (*found, RECIPE_GROUP):
            raise Unclear
        if each != SELF and not (
            isinstance(option, str) and _GROUP.fullmatch(group) and _OPTION.fullmatch(option)
        ):
            raise Unclear
        found[group] = option
    if found.get(SELF) != "":
        raise Unclear
    return found.items()


def _merge(config: dict[str, Any], content: Mapping[str, Any]) -> None:
    """Put the content of another file over a configuration, as OmegaConf merges plain values.

    Raises:
        Unclear: a container and something else meet, a reference is replaced, or a value is missing.
    """
    for key, value in content.items():
        before = config.get(key)
        if isinstance(value, dict):
            if before is not None and not isinstance(before, dict):
                raise Unclear
            config[key] = {} if before is None else before
            _merge(config[key], value)
            continue
        if isinstance(before, dict) or (isinstance(before, list) and not isinstance(value, list)):
            raise Unclear
        if value == MISSING or _refers(before):
            raise Unclear
        config[key] = value


def _refers(value: Any) -> bool:
    return isinstance(value, str) and "$" in value


def _change(config: Any, path: Sequence[str], value: Any) -> None:
    """Set a plain value in the place of another one.

    Raises:
        Unclear: no plain value stands there.
    """
    *parents, last = path
    for step in parents:
        config = config.get(step) if isinstance(config, dict) else None
    before = config.get(last, {}) if isinstance(config, dict) else {}
    if isinstance(before, (dict, list)) or _refers(before):
        raise Unclear
    config[last] = value
