"""A model's inputs: from words of the recipe's command to what the model's own schema takes."""

from __future__ import annotations

import base64
import json
import mimetypes
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from worldflux.errors import ConfigError, Fault, RefusedError, UsageError

#: First word of a command that calls a model as it is.
PREDICT = "predict"
#: Larger files are uploaded, smaller ones travel inside the request.
INLINE_BYTES = 256_000
_MODEL = re.compile(r"([a-z0-9][\w.-]*)/([a-z0-9][\w.-]*):([0-9a-f]{64})\Z", re.IGNORECASE)


def pinned(model: str) -> tuple[str, str, str]:
    """Owner, name and version of a model.

    Raises:
        UsageError: it is not pinned to one version.
    """
    found = _MODEL.match(model)
    if found is None:
        raise UsageError(
            f"runtime.model: `{model}` is not pinned",
            "write owner/name:version with the 64 digits of the version, so that every run uses the same one",
        )
    return found[1], found[2], found[3].lower()


class ModelSchema:
    """What a version of a model takes, as its OpenAPI document says it."""

    def __init__(self, version: Mapping[str, Any], model: str) -> None:
        document = version.get("openapi_schema")
        self.model = model
        self.document: dict[str, Any] = document if isinstance(document, dict) else {}
        schemas = self.document.get("components", {}).get("schemas", {})
        found = schemas.get("Input", {})
        self.properties: dict[str, Any] = found.get("properties", {}) if isinstance(found, dict) else {}
        if "Input" not in schemas:
            raise UsageError(
                f"{model} publishes no schema of its inputs", "choose a version that was pushed with cog"
            )

    @property
    def takes_commands(self) -> bool:
        """It is a WorldFlux runner: it carries out any recipe's command."""
        return {"worldflux_job", "worldflux_source", "worldflux_environment"} <= self.properties.keys()

    def is_secret(self, name: str) -> bool:
        """Replicate hides the value of this input from what it stores and shows."""
        return bool(self._resolved(name).get("x-cog-secret"))

    def is_file(self, name: str) -> bool:
        return bool(self._resolved(name).get("format") == "uri")

    def is_text(self, name: str) -> bool:
        return bool(self._resolved(name).get("type", "string") == "string")

    def _resolved(self, name: str) -> dict[str, Any]:
        """A property with what it refers to folded in."""
        own = self.properties.get(name)
        own = dict(own) if isinstance(own, dict) else {}
        for part in (own, *own.get("allOf", [])):
            reference = part.get("$ref", "") if isinstance(part, dict) else ""
            if reference.startswith("#/components/schemas/"):
                target = self.document["components"]["schemas"].get(reference.rpartition("/")[2], {})
                own = {**target, **own}
        return own

    def check(self, inputs: Mapping[str, Any]) -> None:
        """Compare inputs with the schema before anything is paid for.

        Raises:
            ConfigError: with every fault. Replicate itself ignores unknown names silently.
        """
        from jsonschema import Draft202012Validator

        where = f"{self.model} input"
        faults = [
            Fault(f"{where}.{name}", "the model has no such input", f"known: {', '.join(self.properties)}")
            for name in inputs
            if name not in self.properties
        ]
        schema = {**self.document, "$ref": "#/components/schemas/Input"}
        for error in Draft202012Validator(schema).iter_errors(dict(inputs)):
            path = ".".join(str(part) for part in error.absolute_path)
            secret = bool(error.absolute_path) and self.is_secret(str(error.absolute_path[0]))
            message = "does not fit the model's schema" if secret else error.message[:300]
            faults.append(Fault(f"{where}.{path}" if path else where, message))
        if faults:
            raise ConfigError(faults, "nothing was run")


def from_words(
    words: Sequence[str],
    schema: ModelSchema,
    source_dir: Path,
    secrets: Mapping[str, str],
    put: Callable[[Path], str],
) -> dict[str, Any]:
    """Inputs from `name=value` words; `name=@file` is a file of the recipe.

    Args:
        words: of the command, after `predict`.
        secrets: name of an input -> value, which must go to an input that hides it.
        put: stores a large file and returns its address.

    Raises:
        UsageError: a word is not of that form, a value does not parse, or a file is missing.
        RefusedError: a secret would go to an input that is stored and shown.
    """
    inputs: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise UsageError(f"`{word}` is no input of a model", "write name=value, or name=@file")
        if value.startswith("@"):
            inputs[name] = _file(value[1:], source_dir, put)
        elif schema.is_text(name):
            inputs[name] = value
        else:
            inputs[name] = _parsed(name, value)
    for name, value in secrets.items():
        if not schema.is_secret(name):
            raise RefusedError(
                f"the input `{name}` of {schema.model} is stored and shown by Replicate",
                "a secret may only go to an input that the model declares as secret",
                code="secret-input",
            )
        inputs[name] = value
    return inputs


def _parsed(name: str, value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        raise UsageError(
            f"the input `{name}` takes no text: `{value}` is not JSON", f"such as {name}=3, {name}=[1,2]"
        ) from None


def _file(named: str, source_dir: Path, put: Callable[[Path], str]) -> str:
    path = (source_dir / named).resolve()
    if not path.is_relative_to(source_dir.resolve()) or not path.is_file():
        raise UsageError(f"there is no file {named} in the recipe's source", "the path is relative to it")
    if path.stat().st_size > INLINE_BYTES:
        return put(path)
    return data_url(path.read_bytes(), mimetypes.guess_type(path.name)[0])


def data_url(data: bytes, media_type: str | None = None) -> str:
    return f"data:{media_type or 'application/octet-stream'};base64,{base64.b64encode(data).decode()}"
