"""What was asked: one frozen, fully typed description of a run.

The field names are the keys that people write, at the same place in the tree, so that a fault's
path is the key to mend. Values arrive resolved; nothing here reads files or the environment.
"""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from worldflux.config.template import as_text
from worldflux.manifest.names import PROJECT_NAME

Task = Literal["generate", "rollout", "eval", "train"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+\Z")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
MAX_SECONDS = 366 * 86400.0


def parse_seconds(value: Any) -> Any:
    """Seconds from a number or a text such as `90s`, `1h30m`, `2d`; what is no text passes unchanged.

    Raises:
        ValueError: another text.
    """
    if not isinstance(value, str):
        return value
    if _DURATION.match(value.strip()):
        return sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(value))
    try:
        return float(value)
    except ValueError:
        raise ValueError(
            f"must be seconds, or a duration such as 90s or 1h30m (given: {value[:60]!r})"
        ) from None


def _relative_pattern(value: str) -> str:
    parts = value.replace("\\", "/").split("/")
    if value.startswith(("/", "~")) or ".." in parts or ":" in parts[0]:
        raise ValueError("must stay inside the run's folder: no `..`, no absolute path")
    if not value.strip() or any(ord(c) < 32 for c in value):
        raise ValueError("must be a path or a pattern such as `videos/*.mp4`")
    return value


def _not_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


Seconds = Annotated[
    float,
    BeforeValidator(parse_seconds),
    BeforeValidator(_not_bool),
    Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False),
]
Dollars = Annotated[float, BeforeValidator(_not_bool), Field(gt=0, lt=1e9, allow_inf_nan=False, strict=False)]


def _matching(pattern: str, meaning: str) -> AfterValidator:
    """A check by Python's `re`: pydantic's own patterns cost a millisecond each to compile."""

    def check(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            raise ValueError(f"must be {meaning}")
        return value

    return AfterValidator(check)


Name = Annotated[
    str, _matching(r"[A-Za-z0-9][A-Za-z0-9._/@+-]{0,127}", "a name: letters, digits and . _ / @ + -")
]
CatalogId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/@+:-]{0,255}$")]
Variable = Annotated[str, _matching(r"[A-Za-z_][A-Za-z0-9_]{0,127}", "the name of a variable")]
OptionalVariable = Annotated[
    str,
    _matching(
        r"[A-Za-z_][A-Za-z0-9_]{0,127}\??", "the exact name of a variable, with `?` if it may be missing"
    ),
]
PythonSpecifier = Annotated[
    str,
    _matching(
        r"|\s*(==|>=|<=|~=|!=|<|>)?\s*\d+(\.\d+)*(\.\*)?(\s*,\s*(==|>=|<=|~=|!=|<|>)\s*\d+(\.\d+)*(\.\*)?)*\s*",
        'a version such as ">=3.10" or "==3.11.*"',
    ),
]
DottedName = Annotated[
    str, _matching(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", "a class such as package.module.Class")
]
RuntimeName = Annotated[
    str, _matching(r"[a-z0-9][a-z0-9-]{0,63}", "a runtime's name: lower case letters, digits and -")
]
ProjectName = Annotated[
    str, _matching(PROJECT_NAME, "a project's name: letters, digits and . _ -, at most 64")
]
RunPath = Annotated[str, Field(max_length=1024), AfterValidator(_relative_pattern)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, defer_build=True)


Word = Annotated[str, BeforeValidator(as_text)]
Tag = Annotated[Word, Field(min_length=1, max_length=64)]


class EnvSpec(_Part):
    """The command's environment. `pass` names end in `?` when the variable may be missing."""

    python: PythonSpecifier = ""
    requirements: str | tuple[str, ...] | None = None
    allow_unpinned: bool = False
    pass_: tuple[OptionalVariable, ...] = Field(default=(), alias="pass")
    set: dict[Variable, Word] = Field(default_factory=dict)


class MetricSpec(_Part):
    """Where a metric is read from: a JSON file of the run and a JMESPath expression."""

    file: RunPath
    select: str = Field(min_length=1, max_length=1024)
    kind: Literal["value", "success"] = "value"
    unit: str | None = Field(default=None, max_length=32)
    optional: bool = False

    @field_validator("select")
    @classmethod
    def _jmespath(cls, value: str) -> str:
        import jmespath
        from jmespath.exceptions import JMESPathError

        try:
            jmespath.compile(value)
        except JMESPathError as error:
            raise ValueError(f"is not a JMESPath expression: {str(error).splitlines()[0]}") from None
        return value


class ArtifactSpec(_Part):
    """Files to record. `commit` ones are uploaded and packed; others leave their digest only."""

    path: RunPath
    commit: bool = False
    optional: bool = False


class InputSpec(_Part):
    role: Literal["dataset", "policy", "model", "simulator", "robot", "other"]
    ref: str = Field(min_length=1, max_length=512)


class RequiresSpec(_Part):
    vram_gb: float | None = Field(default=None, gt=0, lt=100_000)


class CostGuard(_Part):
    """Limits in US dollars; None is no limit."""

    max_usd: Dollars | None = None
    max_sweep_usd: Dollars | None = None
    price_per_hour: Dollars | None = None


class SweepSpec(_Part):
    """How a sweep goes about its jobs; the same for all of them."""

    resume: str | None = None
    max_parallel: Annotated[int, BeforeValidator(_not_bool), Field(ge=1, le=1000)] | None = None
    retries: Annotated[int, BeforeValidator(_not_bool), Field(ge=0, le=100)] = 0
    fail_fast: bool = False
    order: Literal["given", "reverse", "random"] = "given"
    seeds: int | None = None
    zip: tuple[str, ...] = ()
    file: str | None = None
    include: tuple[str, ...] | str | None = None
    exclude: tuple[str, ...] | str | None = None


class RuntimeEnvSpec(_Part):
    pass_: tuple[OptionalVariable, ...] = Field(default=(), alias="pass")


class RuntimeSpec(BaseModel):
    """The chosen runtime; keys beside `_target_`, `name` and `env` are the plugin's own options."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True, defer_build=True)

    target: DottedName = Field(alias="_target_")
    name: RuntimeName
    env: RuntimeEnvSpec = Field(default_factory=RuntimeEnvSpec)

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments for the plugin's class."""
        return dict(self.model_extra or {})


class RunSpec(_Part):
    """One run, as it was asked for."""

    recipe: Name
    description: str = Field(default="", max_length=2000)
    adapter: CatalogId | None = None
    task: Task = "eval"
    source: str | None = None
    command: tuple[Word, ...]
    params: dict[str, Any] = Field(default_factory=dict)
    seed: Annotated[int, BeforeValidator(_not_bool), Field(ge=0, lt=2**63)] | None = None
    env: EnvSpec = Field(default_factory=EnvSpec)
    inputs: tuple[InputSpec, ...] = ()
    timeout: Seconds | None = None
    metrics: dict[Name, MetricSpec] = Field(default_factory=dict)
    objective: Name | tuple[Name, ...] | None = None
    artifacts: tuple[ArtifactSpec, ...] = ()
    requires: RequiresSpec = Field(default_factory=RequiresSpec)
    deterministic: bool = False
    policy: Literal["production"] | None = None
    evidence: bool = False

    project: ProjectName | None = None
    name: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    tags: tuple[Tag, ...] = Field(default=(), max_length=64)
    runs_dir: str = "runs"
    sync: bool = False
    extra_args: tuple[Word, ...] = ()

    runtime: RuntimeSpec
    cost_guard: CostGuard = Field(default_factory=CostGuard)
    sweep: SweepSpec = Field(default_factory=SweepSpec)

    @field_validator("command", mode="before")
    @classmethod
    def _command_is_a_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            import shlex

            try:
                words = shlex.split(value)
            except ValueError:
                words = [value]
            quoted = ", ".join(repr(word) for word in words)
            raise ValueError(f"must be a list, no shell is involved: write [{quoted}]")
        if value in (None, [], ()):
            raise ValueError("is missing: a recipe says what to run, such as [python, run.py]")
        return value

    @model_validator(mode="after")
    def _pinned(self) -> RunSpec:
        if isinstance(self.env.requirements, tuple) and self.env.requirements and not self.env.allow_unpinned:
            raise ValueError(
                "env.requirements: an inline list is not pinned; write a requirements.lock with hashes, "
                "or set env.allow_unpinned: true"
            )
        return self


def prepare() -> None:
    """Build the validator of `RunSpec`, which the first use would do.

    Pydantic's plugins have no part in it: looking for some in every installed distribution takes
    longer than the rest.
    """
    name = "PYDANTIC_DISABLE_PLUGINS"
    before = os.environ.get(name)
    os.environ[name] = "__all__"
    try:
        RunSpec.model_rebuild()
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
