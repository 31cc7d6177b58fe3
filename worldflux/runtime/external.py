"""External manifests: how to wrap a recipe's command in a command of one's own.

A manifest is a small YAML or JSON file that a person writes once for a tool, a container or a
launcher, and that `runtime=local-command` and `runtime=modal-command` read:

    schema: https://worldflux.dev/schemas/external-command/v1
    name: nice
    command: [nice, -n, "10", "{command}"]
    provider_env: [HF_TOKEN]

The published schema is `worldflux schema external-command`. Unknown keys are refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr, ValidationError, field_validator

from worldflux.errors import ConfigError, Fault, RefusedError, UsageError
from worldflux.manifest.secret_names import is_secret_name
from worldflux.runtime.environment import is_forbidden

SCHEMA_ID = "https://worldflux.dev/schemas/external-command/v1"
MAX_BYTES = 256 * 1024
COMMAND = "{command}"

#: A variable with one of these beginnings belongs to a provider, whatever its name says.
PROVIDERS = (
    "ANTHROPIC_", "AWS_", "AZURE_", "CLOUDFLARE_", "COHERE_", "COMET_", "DATABRICKS_", "DIGITALOCEAN_",
    "GCP_", "GH_", "GITHUB_", "GITLAB_", "GOOGLE_", "GROQ_", "HF_", "HUGGINGFACE_", "HUGGING_FACE_",
    "LAMBDA_", "MISTRAL_", "MLFLOW_", "MODAL_", "NEPTUNE_", "NGC_", "OPENAI_", "REPLICATE_", "RUNPOD_",
    "TOGETHER_", "VAST_", "WANDB_",
)  # fmt: skip


def _variable(name: str) -> str:
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", name) is None:
        raise ValueError("must be the exact name of a variable; patterns are not supported")
    if is_forbidden(name) or name.startswith("WORLDFLUX_"):
        raise ValueError("is never handed to a command")
    return name


def _optional_variable(name: str) -> str:
    _variable(name.removesuffix("?"))
    return name


Word = Annotated[StrictStr, Field(max_length=4096)]
Variable = Annotated[StrictStr, AfterValidator(_variable)]
OptionalVariable = Annotated[StrictStr, AfterValidator(_optional_variable)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


class ModalPart(_Part):
    """The machine that `modal-command` asks for; `local-command` does not read it."""

    registry: Annotated[StrictStr, Field(min_length=1, max_length=512)] | None = Field(
        default=None, description="container image with a Python, instead of Debian with the recipe's Python"
    )
    apt: list[Annotated[StrictStr, Field(pattern=r"^[a-z0-9][a-z0-9.+-]*$")]] = Field(
        default=[], description="Debian packages"
    )
    gpu: Annotated[StrictStr, Field(max_length=64)] | None = None
    cpu: Annotated[float, Field(gt=0, le=256, strict=False)] | None = Field(
        default=None, description="physical cores"
    )
    memory_mb: Annotated[int, Field(ge=64, le=2**22)] | None = Field(default=None, description="MiB")


class ExternalManifest(_Part):
    """One wrapped command.

    Attributes:
        command: words of the command; `{command}` stands for all words of the recipe's command,
            `{source}`, `{output}` and `{run_id}` may stand inside a word.
        set: variables with fixed, harmless values.
        inherit: variables taken from this machine by exact name, when set (`local-command`).
        provider_env: provider variables that may be handed over, by exact name; `?` marks one
            that may be missing. Everything else that a provider issued is refused.
    """

    schema_: Literal["https://worldflux.dev/schemas/external-command/v1"] = Field(alias="schema")
    name: Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    description: Annotated[StrictStr, Field(max_length=2000)] = ""
    command: Annotated[list[Word], Field(min_length=1, max_length=1000)]
    set: dict[Variable, StrictStr] = {}
    inherit: list[Variable] = []
    provider_env: list[OptionalVariable] = []
    modal: ModalPart = ModalPart()

    @field_validator("command")
    @classmethod
    def _runs_the_recipe(cls, words: list[str]) -> list[str]:
        if words.count(COMMAND) != 1:
            raise ValueError(f"must hold the word {COMMAND} once: it stands for the recipe's command")
        for word in words:
            names = set(re.findall(r"{(\w+)}", word)) - {"source", "output", "run_id"}
            if word != COMMAND and names:
                raise ValueError(
                    f"`{word}`: only {{source}}, {{output}} and {{run_id}} may stand inside a word"
                )
        return words

    @field_validator("set", "inherit")
    @classmethod
    def _holds_no_secret(cls, names: Any) -> Any:
        for name in names:
            if is_provider_variable(name):
                raise ValueError(f"{name} is a provider's variable: list it under provider_env")
        return names

    def words(self, command: Sequence[str], *, source: str, output: str, run_id: str) -> list[str]:
        """The whole command for one run."""
        values = {"{source}": source, "{output}": output, "{run_id}": run_id}
        result: list[str] = []
        for word in self.command:
            if word == COMMAND:
                result += command
                continue
            result.append(re.sub(r"{\w+}", lambda match: values.get(match[0], match[0]), word))
        return result

    def variables(self, given: Mapping[str, str]) -> dict[str, str]:
        """The variables of a run that this manifest lets through, with its own fixed ones.

        Args:
            given: what the recipe sets and forwards, and the WORLDFLUX_* of the run.

        Raises:
            RefusedError: a provider's variable is among them that `provider_env` does not list.
            UsageError: a variable that `provider_env` requires is not among them.
        """
        allowed = {name.removesuffix("?") for name in self.provider_env}
        refused = sorted(name for name in given if is_provider_variable(name) and name not in allowed)
        if refused:
            names = ", ".join(refused)
            raise RefusedError(
                f"{names}: the external manifest `{self.name}` does not allow it",
                f"if the command needs it, add `provider_env: [{names}]` to the manifest; "
                "otherwise take it out of the recipe's env.pass",
                code="variable-not-allowed",
                details={"names": refused},
            )
        missing = [name for name in self.provider_env if not name.endswith("?") and not given.get(name)]
        if missing:
            raise UsageError(
                f"the external manifest `{self.name}` needs {', '.join(missing)}, which no run was given",
                f"set it and add runtime.env.pass=[{','.join(missing)}], or write `{missing[0]}?` there",
                code="variable",
            )
        return {**self.set, **given}


def is_provider_variable(name: str) -> bool:
    """Whether a variable may hold what a provider issued: by its prefix, or as it reads like a secret."""
    if name.startswith("WORLDFLUX_") and name != "WORLDFLUX_API_KEY":
        return False
    return name.upper().startswith(PROVIDERS) or is_secret_name(name)


def load(named: str, source_dir: Path) -> tuple[ExternalManifest, dict[str, str]]:
    """Read a manifest; returns it with the facts that go into the run's record.

    Args:
        named: absolute, or relative to the recipe's source or else to the current folder.

    Raises:
        UsageError: there is no such file, or it is too large.
        ConfigError: with every fault in it.
    """
    path = locate(named, source_dir)
    data = path.read_bytes()
    if len(data) > MAX_BYTES:
        raise UsageError(
            f"{named}: an external manifest has at most {MAX_BYTES // 1024} KiB", "is it the right file?"
        )
    manifest = parse(data, path.name)
    return manifest, {"name": manifest.name, "path": named, "sha256": hashlib.sha256(data).hexdigest()}


def locate(named: str, source_dir: Path | None) -> Path:
    """The file that a `manifest` option names.

    Raises:
        UsageError: there is none.
    """
    tried = (
        [Path(named).expanduser()] if source_dir is None else [source_dir / named, Path(named).expanduser()]
    )
    found = next((path for path in tried if path.is_file()), None)
    if found is None:
        raise UsageError(
            f"runtime.manifest: there is no file {named}",
            "the path is relative to the recipe's source or to the current folder; "
            "worldflux schema external-command says what belongs in it",
        )
    return found


def parse(data: bytes, label: str) -> ExternalManifest:
    """A manifest from YAML or JSON.

    Raises:
        ConfigError: with every fault in it.
    """
    try:
        document = yaml.load(data, Loader=_StrictLoader)  # noqa: S506 - built on SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{label}:{mark.line + 1}" if mark else label
        raise ConfigError(
            [Fault(where, str(getattr(error, "problem", None) or error).splitlines()[0])]
        ) from None
    try:
        return ExternalManifest.model_validate(document)
    except ValidationError as error:
        faults = [_fault(label, item) for item in error.errors(include_url=False, include_context=False)]
        raise ConfigError(faults, "worldflux schema external-command") from None


def schema() -> dict[str, Any]:
    """The published JSON Schema of external manifests."""
    document = ExternalManifest.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **document,
        "title": "WorldFlux external command",
    }


def _fault(label: str, item: Mapping[str, Any]) -> Fault:
    path = ".".join(str(part) for part in item["loc"] if part != "[key]")
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        known = ModalPart if path.startswith("modal.") else ExternalManifest
        names = ", ".join("schema" if name == "schema_" else name for name in known.model_fields)
        return Fault(f"{label}:{path}", "unknown key", f"known: {names}")
    return Fault(f"{label}:{path}" if path else label, message)


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is written twice, which plain YAML silently lets the last one win."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str) or key in seen:
                problem = (
                    f"the key {key} is written twice" if isinstance(key, str) else f"the key {key} is no text"
                )
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)
