"""The built-in entries: true to their form, true to their sources, and quick to read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from worldflux.catalog import builtin
from worldflux.catalog.entry import KINDS, TASKS

DATA = builtin.DATA
SCHEMAS = DATA / "schema"


def schema(name: str) -> Draft202012Validator:
    document = json.loads((SCHEMAS / f"{name}.v1.schema.json").read_bytes())
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document, format_checker=FormatChecker())


def files(folder: str) -> list[Path]:
    found = sorted((DATA / folder).glob("*.json"))
    assert found
    return found


@pytest.mark.parametrize("folder", ["adapters", "environments"])
def test_every_entry_has_the_published_form(folder: str) -> None:
    """Each data file fits its schema, which refuses unknown keys, unsourced figures and bare promises."""
    validator = schema(folder[:-1])
    for path in files(folder):
        faults = [
            f"{path.name}: {error.json_path} {error.message}" for error in validator.iter_errors(load(path))
        ]
        assert faults == []


def load(path: Path) -> Any:
    return json.loads(path.read_bytes())


def test_production_without_evidence_is_not_a_valid_entry() -> None:
    """Nobody can write `production` into an entry without evidence, nor `disabled` without a reason."""
    entry = load(DATA / "adapters" / "lerobot--act.json")
    validator = schema("adapter")
    for bad in ({"runtime": "modal", "level": "production"}, {"runtime": "modal", "level": "disabled"}):
        assert not validator.is_valid({**entry, "support": [bad]})
    proven = {
        "runtime": "modal",
        "level": "production",
        "evidence": [{"text": "it ran", "source": "measured"}],
    }
    assert validator.is_valid({**entry, "support": [proven]})


def test_the_file_name_is_the_id() -> None:
    """An entry is found in the file that bears its name, so none is there twice."""
    for folder in ("adapters", "environments"):
        for path in files(folder):
            assert path.stem == load(path)["id"].replace("/", "--").lower()


def test_all_sources_are_known_and_used() -> None:
    """Every reference of an entry leads somewhere, and no source is listed for nothing."""
    text = "".join(path.read_text() for folder in ("adapters", "environments") for path in files(folder))
    for name in builtin.sources():
        assert f'"{name}"' in text, name
    for entry in builtin.adapters().values():
        for issue in entry.issues:
            assert issue.sources
            for source in issue.sources:
                assert source.name and (source.url is None or source.url.startswith("https://"))


def test_a_thread_becomes_a_link() -> None:
    """`owner/repo#12` is shown with the address of that thread; an unknown short name is refused."""
    found = builtin.source("huggingface/lerobot#4047")
    assert found.url == "https://github.com/huggingface/lerobot/issues/4047"
    with pytest.raises(KeyError):
        builtin.source("no_such_source")


def test_28_adapters_and_9_environments_are_there() -> None:
    """The catalog holds what was gathered: 28 adapters and 9 environments, sorted by id."""
    assert len(builtin.adapters()) == 28
    assert len(builtin.environments()) == 9
    assert list(builtin.adapters()) == sorted(builtin.adapters())


def test_entries_speak_of_known_tasks_and_kinds_only() -> None:
    """Claims and support concern tasks the entry has, and every claim says what kind of figure it is."""
    for entry in builtin.adapters().values():
        assert set(entry.tasks) <= set(TASKS)
        for claim in entry.vram:
            assert claim.task in entry.tasks, entry.id
            assert claim.kind in KINDS
            assert claim.up_to_gb is None or claim.up_to_gb > claim.gb
        for statement in entry.support:
            assert set(statement.tasks) <= set(entry.tasks), entry.id
        assert {issue_task for issue in entry.issues for issue_task in issue.stops} <= set(entry.tasks)


@pytest.mark.parametrize(
    ("adapter", "claims"),
    [
        (
            "openpi/pi0",
            {("eval", None, 8), ("eval", None, 14), ("train", "lora", 22.5), ("train", "full", 70)},
        ),
        ("lerobot/smolvla", {("eval", None, 2), ("train", None, 10), ("train", None, 1.99)}),
        (
            "openvla/openvla-7b",
            {("eval", None, 16), ("eval", None, 11), ("eval", "int4", 6), ("train", "lora", 27)},
        ),
        ("nvidia/gr00t-n1.7-3b", {("eval", None, 16), ("train", None, 40), ("train", None, 35)}),
        ("nvidia/cosmos-predict2-14b-video2world", {("generate", None, 56.38)}),
    ],
)
def test_contradicting_claims_are_all_kept(adapter: str, claims: set[tuple[str, str | None, float]]) -> None:
    """Where sources disagree, each figure stays with its own source."""
    entry = builtin.adapters()[adapter]
    assert claims <= {(claim.task, claim.variant, claim.gb) for claim in entry.vram}


def test_what_upstream_does_not_say_stays_unknown() -> None:
    """No floor is made up for models that publish none, and no license for weights that state none."""
    for adapter in ("dreamerv3/size12m", "1x/genie-138m", "diamond/atari", "nvidia/gr00t-n1.5"):
        assert builtin.adapters()[adapter].vram == ()
    assert builtin.adapters()["lerobot/smolvla"].license_weights.name is None
    assert builtin.adapters()["tdmpc2/5m"].license_weights.name is None


def test_code_and_weights_have_licenses_of_their_own() -> None:
    """The license of the code is not taken for that of the weights."""
    entry = builtin.adapters()["openvla/openvla-7b"]
    assert entry.license_code.name == "MIT"
    assert entry.license_weights.name == "Llama 2 Community License"


def test_only_tiny_jepa_is_production_backed() -> None:
    """`production` stands only where figures of the author were reproduced: two entries, on local."""
    backed = {
        (entry.id, statement.runtime)
        for entry in builtin.adapters().values()
        for statement in entry.support
        if statement.level == "production"
    }
    assert backed == {("tiny-jepa/orby-v1", "local"), ("tiny-jepa/orby-hier-v1", "local")}


def test_no_text_needs_a_terminal_to_be_careful() -> None:
    """The data is plain ASCII text, without control characters."""
    for path in [*files("adapters"), *files("environments"), DATA / "sources.json", DATA / "machines.json"]:
        assert re.search(r"[^\n\x20-\x7e]", path.read_text(encoding="utf-8")) is None, path.name
