"""External manifests are read strictly and let no provider variable through unasked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from worldflux.errors import ConfigError, RefusedError, UsageError
from worldflux.runtime import external

GOOD: dict[str, Any] = {"schema": external.SCHEMA_ID, "name": "wrap", "command": ["nice", "{command}"]}


def read(**changes: Any) -> external.ExternalManifest:
    document = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    return external.parse(json.dumps(document).encode(), "m.yaml")


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        ({"comand": []}, "m.yaml:comand", "unknown key"),
        ({"schema": "https://worldflux.dev/schemas/external-command/v2"}, "m.yaml:schema", "v1"),
        ({"schema": None}, "m.yaml:schema", "required"),
        ({"name": "a b"}, "m.yaml:name", "pattern"),
        ({"command": ["nice"]}, "m.yaml:command", "{command}"),
        ({"command": ["{command}", "{command}"]}, "m.yaml:command", "once"),
        ({"command": "nice {command}"}, "m.yaml:command", "list"),
        ({"command": ["nice", "{home}", "{command}"]}, "m.yaml:command", "{home}"),
        ({"command": ["nice", 10, "{command}"]}, "m.yaml:command.1", "string"),
        ({"provider_env": ["HF_*"]}, "m.yaml:provider_env.0", "exact name"),
        ({"provider_env": ["WORLDFLUX_API_KEY"]}, "m.yaml:provider_env.0", "never"),
        ({"inherit": ["LD_PRELOAD"]}, "m.yaml:inherit.0", "never"),
        ({"inherit": ["AWS_SECRET_ACCESS_KEY"]}, "m.yaml:inherit", "provider_env"),
        ({"set": {"HF_TOKEN": "hf_x"}}, "m.yaml:set", "provider_env"),
        ({"set": {"A": 1}}, "m.yaml:set.A", "string"),
        ({"modal": {"cpu": -1}}, "m.yaml:modal.cpu", "greater"),
        ({"modal": {"gpus": "T4"}}, "m.yaml:modal.gpus", "unknown key"),
        ({"modal": {"apt": ["; rm -rf /"]}}, "m.yaml:modal.apt.0", "pattern"),
    ],
)
def test_a_faulty_manifest_is_refused_with_its_place(changes: dict[str, Any], where: str, what: str) -> None:
    """Every fault names the file and the key, and says what is wrong there."""
    with pytest.raises(ConfigError) as caught:
        read(**changes)
    faults = {fault.where: fault.problem for fault in caught.value.faults}
    assert where in faults and what in faults[where]


def test_all_faults_come_at_once() -> None:
    """One report holds every fault, not the first one."""
    with pytest.raises(ConfigError) as caught:
        read(name="", command=[], extra=1)
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize(
    "text", ["name: a\nname: b\n", "a: [1,", "1: x", "- 1", "", "\x00", "a: &x [*x]"], ids=repr
)
def test_what_is_no_manifest_is_a_config_error(text: str) -> None:
    """Broken YAML, a key written twice and other documents end in one clear block."""
    with pytest.raises(ConfigError):
        external.parse(text.encode(), "m.yaml")


def test_a_key_written_twice_names_the_line() -> None:
    """The second one is refused where it stands, instead of winning silently."""
    with pytest.raises(ConfigError, match=r"m.yaml:3: the key name is written twice"):
        external.parse(b"name: a\ncommand: [x]\nname: b\n", "m.yaml")


def test_the_published_schema_agrees() -> None:
    """The schema that is published takes what the reader takes and refuses unknown keys."""
    schema = external.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    full = {
        **GOOD,
        "set": {"A": "b"},
        "inherit": ["LANG"],
        "provider_env": ["HF_TOKEN?"],
        "modal": {"gpu": "T4"},
    }
    assert validator.is_valid(full) and external.parse(json.dumps(full).encode(), "m")
    for wrong in ({**GOOD, "x": 1}, {**GOOD, "modal": {"x": 1}}, {**GOOD, "command": []}, {"name": "a"}):
        assert not validator.is_valid(wrong)


def test_words_are_put_in_place_of_the_recipe() -> None:
    """`{command}` becomes the recipe's words unchanged; other marks are filled in inside a word."""
    manifest = read(command=["box", "-v{source}:/src", "--name={run_id}", "{command}", "end{output}"])
    words = manifest.words(["python", "{source}", "a b"], source="/s", output="/o", run_id="r1")
    assert words == ["box", "-v/s:/src", "--name=r1", "python", "{source}", "a b", "end/o"]


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "AWS_REGION", "aws_profile", "MODAL_TOKEN_ID", "MY_API_KEY", "DB_PASSWORD", "WANDB_MODE"],
)
def test_a_provider_variable_needs_the_allowlist(name: str) -> None:
    """What a provider issued is refused by name, and goes through once the manifest lists it."""
    given = {name: "v", "OMP_NUM_THREADS": "1", "WORLDFLUX_RUN_ID": "r"}
    with pytest.raises(RefusedError, match=name):
        read().variables(given)
    assert read(provider_env=[name]).variables(given) == given


def test_a_refusal_never_shows_the_value() -> None:
    """The message has names only."""
    with pytest.raises(RefusedError) as caught:
        read().variables({"HF_TOKEN": "hf_planted_value"})
    assert "hf_planted_value" not in str(caught.value) + json.dumps(caught.value.details)


def test_a_required_variable_must_be_there() -> None:
    """A listed variable that no run was given is an error, unless it is marked with `?`."""
    with pytest.raises(UsageError, match="HF_TOKEN"):
        read(provider_env=["HF_TOKEN"]).variables({})
    assert read(provider_env=["HF_TOKEN?"], set={"A": "1"}).variables({"B": "2"}) == {"A": "1", "B": "2"}


def test_a_manifest_is_found_beside_the_recipe_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path means the recipe's source, then the current folder; a missing one is named."""
    source, here = tmp_path / "source", tmp_path / "here"
    for folder, name in ((source, "beside"), (here, "near")):
        folder.mkdir()
        (folder / "m.yaml").write_text(json.dumps({**GOOD, "name": name}))
    monkeypatch.chdir(here)
    assert external.load("m.yaml", source)[1]["name"] == "beside"
    (source / "m.yaml").unlink()
    assert external.load("m.yaml", source)[1]["name"] == "near"
    with pytest.raises(UsageError, match="no file other"):
        external.load("other.yaml", source)
