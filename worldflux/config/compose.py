"""From overrides to one frozen `RunSpec`, with every fault in one report.

Hydra's own loader builds the configuration, without its `hydra` node (which no run reads) and
without scanning for plugins: that makes a composition several times cheaper and does not change
its result; a test compares both over many trees.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.core_plugins.structured_config_source import StructuredConfigSource
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from worldflux.config.checked import faultless, request_of
from worldflux.config.faults import Origin, override_fault
from worldflux.config.project import Project, builtin_dir
from worldflux.config.recipe_files import RecipeFiles
from worldflux.config.recipes import RECIPE_GROUP
from worldflux.config.resolve import public_view, resolved, unresolvable
from worldflux.config.simple_form import plain_change, variation_of
from worldflux.config.sources import ProjectSource, RecipeSource, add_project_paths, collecting
from worldflux.config.variation import Unclear, Variation, are_related, numeric_change
from worldflux.errors import ConfigError, Fault

if TYPE_CHECKING:
    from worldflux.config.request import RunRequest
    from worldflux.config.spec import RunSpec, RuntimeSpec

PRIMARY = "worldflux"
#: What Hydra raises for files and overrides that do not fit; ValueError for `runtime=5`.
_REFUSALS = (HydraException, OmegaConfBaseException, ValueError)
#: Shapes of jobs that are remembered; a sweep over other things than plain values has one a job.
MAX_VARIATIONS = 100


class Composer:
    """Composes runs of one project; reads each file once."""

    def __init__(self, project: Project) -> None:
        from worldflux.config.spec import prepare

        prepare()
        self.project = project
        registry = SourcesRegistry.instance()
        for source in (StructuredConfigSource, RecipeSource, ProjectSource):
            registry.register(source)
        path = ConfigSearchPathImpl()
        path.append("main", f"{ProjectSource.scheme()}://{builtin_dir('conf')}")
        add_project_paths(path, project)
        path.append("schema", "structured://")
        self._loader = ConfigLoaderImpl(path)
        self._parser = OverridesParser.create()
        self._parsed: dict[str, Override] = {}
        self._files = RecipeFiles(project)
        self._bases: dict[tuple[str, ...], DictConfig | None] = {}
        self._groups: dict[str, bool] = {}
        self._variations: dict[tuple[str, ...], Variation | None] = {}

    def compose(self, overrides: Sequence[str], job: str = "") -> RunRequest:
        """The run that these overrides describe.

        Args:
            overrides: in Hydra's grammar; `recipe=NAME` and `+recipe=NAME` mean the same.
            job: label of the sweep job, for messages.

        Raises:
            ConfigError: with all faults of this run.
        """
        shape, changes = self._shape(overrides)
        varied = self._varied(shape, changes, tuple(overrides))
        if varied is not None:
            return varied
        with collecting() as faults:
            parsed = self._parse(overrides, faults)
            config = self._build(parsed, faults)
            composed = self._finish(config, tuple(overrides), faults) if config is not None else None
        if faults or composed is None or config is None:
            raise ConfigError([Fault(f.where, f.problem, f.hint, job) for f in faults])
        if changes and shape not in self._variations and len(self._variations) < MAX_VARIATIONS:
            self._variations[shape] = self._variation(config, composed, parsed, changes)
        return composed

    def texts(self, overrides: Sequence[str]) -> Mapping[tuple[Any, ...], list[Any]] | None:
        """Texts with references of a run that was composed, as in `Variation`; None when it can not be varied."""
        variation = self._variations.get(self._shape(overrides)[0])
        return variation.texts if variation is not None else None

    def _shape(self, overrides: Sequence[str]) -> tuple[tuple[str, ...], dict[str, Any]]:
        """What jobs have in common that differ in plain values only: texts, and keys; and those values."""
        shape: list[str] = []
        changes: dict[str, Any] = {}
        for text in overrides:
            change = numeric_change(text) or self._plain_change(text)
            if change is None or self._is_group(change[0]):
                shape.append(text)
            else:
                shape.append(f"{change[0]}=")
                changes[change[0]] = change[1]
        return tuple(shape), changes

    def _plain_change(self, text: str) -> tuple[str, Any] | None:
        """Key and value of an override of the simple form; None for others, also for those with faults."""
        if text.startswith(("+", "~", f"{RECIPE_GROUP}=")):
            return None
        try:
            override = self._parsed.get(text) or self._parser.parse_override(text)
        except HydraException:
            return None
        self._parsed[text] = override
        return plain_change(override)

    def _is_group(self, name: str) -> bool:
        if name not in self._groups:
            self._groups[name] = "." not in name and self._loader.repository.group_exists(name)
        return self._groups[name]

    def _variation(
        self, config: DictConfig, composed: RunRequest, parsed: list[Override], changes: dict[str, Any]
    ) -> Variation | None:
        """How to write other jobs of the same shape; None when they have to be composed."""
        key = tuple(str(override.input_line) for override in parsed if self._is_choice(override))
        given = len(self.project.overrides)  # what is typed comes after these, and wins
        names = [
            override.key_or_group
            for index, override in enumerate(parsed)
            if not self._is_choice(override)
            and (override.key_or_group not in changes or (index >= given and plain_change(override) is None))
        ]
        related = any(are_related(name, change) for name in names for change in changes)
        if related or self._bases.get(key) is None:
            return None
        return variation_of(config, composed.config, composed.parameters, list(changes))

    def _varied(
        self, shape: tuple[str, ...], changes: dict[str, Any], overrides: tuple[str, ...]
    ) -> RunRequest | None:
        """The run, written out from one of the same shape; None when there is none, or it has faults."""
        variation = self._variations.get(shape)
        if variation is None:
            return None
        try:
            plain, values = variation.write(changes)
        except Unclear:
            return None
        return faultless(plain, values, overrides, self._files)

    def finish(self, config: DictConfig, overrides: Sequence[str]) -> RunRequest:
        """Like `compose`, from a configuration that Hydra composed itself.

        Raises:
            ConfigError: with all faults of this run.
        """
        with collecting() as faults:
            composed = self._finish(config, tuple(overrides), faults)
        if faults or composed is None:
            raise ConfigError(faults)
        return composed

    def runtime(self, name: str) -> RuntimeSpec:
        """A runtime as this project configures it, without a run.

        Raises:
            ConfigError: its configuration has faults.
        """
        from pydantic import ValidationError

        from worldflux.config.spec import RuntimeSpec

        with collecting() as faults:
            parsed = self._parse([f"runtime={name}"], faults)
            config = self._build(parsed, faults)
        if faults or config is None:
            raise ConfigError(faults)
        values: Any = OmegaConf.to_container(config.runtime, resolve=True)
        try:
            return RuntimeSpec.model_validate(values)
        except ValidationError as error:
            raise ConfigError([Fault(f"conf/runtime/{name}.yaml", str(error).splitlines()[0])]) from None

    def _parse(self, overrides: Sequence[str], faults: list[Fault]) -> list[Override]:
        parsed: list[Override] = []
        for typed in (*self.project.overrides, *overrides):
            text = f"+{typed}" if typed.startswith(f"{RECIPE_GROUP}=") else typed
            try:
                override = self._parsed.get(text) or self._parser.parse_override(text)
            except HydraException as error:
                faults.append(override_fault(text, error, self.project))
                continue
            self._parsed[text] = override
            if override.key_or_group == RECIPE_GROUP and any(o.key_or_group == RECIPE_GROUP for o in parsed):
                faults.append(
                    Fault(text, "is a second recipe", "one run has one; to sweep: +recipe=A,B with -m")
                )
            elif override.is_sweep_override():
                faults.append(Fault(text, "describes several runs", "add --multirun (-m) to sweep over them"))
            else:
                parsed.append(override)
        return parsed

    def _build(self, parsed: list[Override], faults: list[Fault]) -> DictConfig | None:
        while True:
            try:
                config, values = self._base(parsed)
                break
            except _REFUSALS as error:
                culprit = next((o for o in parsed if self._breaks(o)), None)
                text = str(culprit.input_line) if culprit is not None else "configuration"
                faults.append(override_fault(text, error, self.project))
                if culprit is None:
                    return None
                parsed = [override for override in parsed if override is not culprit]
        OmegaConf.set_struct(config, True)
        for override in values:
            try:
                self._loader._apply_overrides_to_config([override], config)
            except (HydraException, OmegaConfBaseException) as error:
                faults.append(override_fault(str(override.input_line), error, self.project, config))
        return config

    def _base(self, parsed: list[Override]) -> tuple[DictConfig, list[Override]]:
        """The chosen files merged, and the overrides that are still to be applied.

        What the same choices give is kept and copied, as long as no choice depends on a value.
        """
        choices = [override for override in parsed if self._is_choice(override)]
        key = tuple(str(override.input_line) for override in choices)
        if key not in self._bases:
            config, _, fixed = self._merge(choices)
            self._bases[key] = config if fixed else None
        kept = self._bases[key]
        if kept is None:
            config, values, _ = self._merge(parsed)
            return config, values
        return copy.deepcopy(kept), [override for override in parsed if override not in choices]

    def _is_choice(self, override: Override) -> bool:
        name = override.key_or_group
        if override.package is not None:
            return True
        return self._is_group(name)

    def _merge(self, parsed: list[Override]) -> tuple[DictConfig, list[Override], bool]:
        """Hydra's own work: merged files, overrides of values, and whether no choice is interpolated."""
        # One repository a composition: Hydra merges into the configs that it caches.
        repository = CachingConfigRepository(self._loader.repository)
        defaults = create_defaults_list(
            repo=repository,
            config_name=PRIMARY,
            overrides_list=parsed,
            prepend_hydra=False,
            skip_missing=False,
        )
        config = self._loader._compose_config_from_defaults_list(defaults=defaults.defaults, repo=repository)
        read = [result for result in repository.cache.values() if result is not None]
        entries = [entry for result in read for entry in result.defaults_list or ()]
        return config, defaults.config_overrides, not any("${" in str(vars(entry)) for entry in entries)

    def _breaks(self, override: Override) -> bool:
        """Whether the configuration can not be built with this override alone."""
        try:
            self._base([override])
        except _REFUSALS:
            return True
        return False

    def _finish(
        self, config: DictConfig, overrides: tuple[str, ...], faults: list[Fault]
    ) -> RunRequest | None:
        origin = Origin(self.project, overrides, config)
        plain: Any = OmegaConf.to_container(config, resolve=False)
        plain.pop("hydra", None)
        name = plain.get(RECIPE_GROUP)
        found = self._files.locate(name) if isinstance(name, str) else None
        if found is None and not any(RECIPE_GROUP in fault.where for fault in faults):
            faults.append(origin.no_recipe())
        values = self._values(config, plain, origin, faults)
        checked: list[Fault] = []
        spec = _check_spec(values, origin, checked) if values is not None else None
        faults.extend(fault for fault in checked if found is not None or not _due_to_recipe(fault))
        if spec is None or found is None or values is None:
            return None
        parameters = public_view(config, plain, values)
        return request_of(spec, plain, parameters, overrides, self._files, found, faults)

    def _values(
        self, config: DictConfig, plain: Any, origin: Origin, faults: list[Fault]
    ) -> dict[str, Any] | None:
        """Resolved values, or None with the values that can not be resolved among the faults."""
        try:
            return resolved(config)
        except OmegaConfBaseException:
            found = [Fault(origin.where(path), problem) for path, problem in unresolvable(config, plain)]
            faults.extend(fault for fault in found if fault not in faults)
            return None


def _due_to_recipe(fault: Fault) -> bool:
    """Whether a fault only repeats that no recipe filled the configuration in."""
    return fault.where in ("command", RECIPE_GROUP) or fault.where.lstrip("+").startswith(f"{RECIPE_GROUP}=")


def _check_spec(values: dict[str, Any], origin: Origin, faults: list[Fault]) -> RunSpec | None:
    """The typed run of resolved values, or None with the faults noted."""
    from pydantic import ValidationError

    from worldflux.config.spec import RunSpec

    try:
        return RunSpec.model_validate(values)
    except ValidationError as error:
        faults.extend(origin.fault(item) for item in error.errors(include_url=False, include_context=False))
        return None
