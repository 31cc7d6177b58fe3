"""What a policy's files tell, of real files and of broken ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lerobot_files import ACT_CONFIG, processor

from worldflux.catalog.builtin import adapters
from worldflux.catalog.lerobot_policy import PROCESSORS, TYPES, PolicyFacts, config_of, facts_of
from worldflux.catalog.safetensors import Header
from worldflux.errors import UsageError

SAMPLES = Path(__file__).parents[1] / "fixtures" / "lerobot"
HEADER = Header(("model.w",), 10, 40, {"F32": 10}, 100)


def facts(files: dict[str, bytes], header: Header | None = HEADER, **config: Any) -> PolicyFacts:
    return facts_of({**ACT_CONFIG, **config}, files.get, frozenset(files), header)


def with_processors(**more: bytes) -> dict[str, bytes]:
    return {name: processor() for name in PROCESSORS} | more


def codes(found: PolicyFacts) -> set[str]:
    return {problem.code for problem in found.problems}


def test_a_real_config() -> None:
    """The config that lerobot 0.6.1 wrote for ACT is read: features, chunk, keys."""
    config = config_of((SAMPLES / "policy_config_act.json").read_bytes(), "me/act")
    found = facts_of(config, lambda name: None, frozenset(PROCESSORS), HEADER)
    assert (
        found.data["type"] == "act" and found.data["chunk_size"] == 16 and found.data["n_action_steps"] == 8
    )
    assert found.data["inputs"]["observation.environment_state"] == {"type": "ENV", "shape": [16]}
    assert "temporal_ensemble_coeff" in found.data["config_keys"] and len(found.data["config_keys"]) == len(
        config
    )
    assert codes(found) == {"newer-config"}


def test_known_types_lead_to_built_in_entries() -> None:
    """Every type that borrows figures borrows them from an entry that exists."""
    assert {entry for entry in TYPES.values() if entry is not None} <= set(adapters())
    assert len(TYPES) == 19


@pytest.mark.parametrize("text", [None, b"", b"[]", b"{}", b'{"type": 3}', b"\xff\xfe"])
def test_what_is_no_policy(text: bytes | None) -> None:
    """Missing, broken or foreign config.json is told with what a policy looks like."""
    with pytest.raises(UsageError) as caught:
        config_of(text, "me/x")
    assert caught.value.code == "not_a_policy" and caught.value.hint


def test_generations() -> None:
    """Processor files, buffers inside the weights, or neither: each is told apart."""
    legacy = Header(("unnormalize_outputs.buffer_action.std",), 2, 8, {"F32": 2}, 50)
    assert facts(with_processors()).data["generation"] == "processors"
    assert facts({}, legacy).data["generation"] == "legacy-normalization"
    assert facts({}).data["generation"] == "no-processors"
    assert codes(facts({}, legacy)) == {"legacy-normalization", "newer-config"}
    assert "no-processors" in codes(facts({PROCESSORS[0]: b"{}"}))


def test_weights_and_adapters() -> None:
    """A policy without weights is pointed out, unless it is a PEFT adapter, which names its base."""
    assert "no-weights" in codes(facts(with_processors(), None))
    peft = facts(
        with_processors(**{"adapter_config.json": b'{"base_model_name_or_path": "lerobot/pi0_base"}'}), None
    )
    assert peft.data["peft"] and "no-weights" not in codes(peft)
    assert peft.data["needs"][0] == {
        "repo": "lerobot/pi0_base",
        "key": "base_model_name_or_path",
        "gated": False,
    }


def test_second_repos_are_found_by_name_not_by_path() -> None:
    """Names of repos count; local paths and nonsense do not."""
    found = facts(
        with_processors(),
        vlm_model_name="HuggingFaceTB/SmolVLM2",
        tokenizer_path="/data/tok",
        base_model_path=3,
    )
    assert [need["repo"] for need in found.data["needs"]] == ["HuggingFaceTB/SmolVLM2"]


def test_training_comes_from_the_run_or_the_card() -> None:
    """train_config.json says what it was trained on; without it the card does."""
    run = b'{"dataset": {"repo_id": "me/data", "revision": "v3.0"}, "steps": 5, "env": {"type": "aloha"}}'
    trained = facts(with_processors(**{"train_config.json": run})).data["training"]
    assert (trained["dataset"], trained["dataset_revision"], trained["env"]) == ("me/data", "v3.0", "aloha")
    card = facts(with_processors(**{"README.md": b"---\ndatasets: [me/other]\nbase_model: a/b\n---\n"}))
    assert card.data["training"]["dataset"] == "me/other" and card.data["training"]["base_model"] == "a/b"


@pytest.mark.parametrize(
    "junk", [b"", b"null", b"[1]", b'"x"', b'{"steps": 3}', b'{"steps": [1, {"config": []}]}', b"\xff"]
)
def test_broken_side_files_do_not_stop_an_import(junk: bytes) -> None:
    """Processor, training and adapter files of any content are survived."""
    files = dict.fromkeys((*PROCESSORS, "train_config.json", "adapter_config.json", "README.md"), junk)
    assert facts(files).data["generation"] == "processors"


def test_text_of_strangers_is_made_harmless() -> None:
    """No control character of a config reaches the record."""
    found = facts(
        with_processors(), type="act\x1b[2J", input_features={"a\nb": {"type": "\x07", "shape": ["x", 2]}}
    )
    text = json.dumps(found.data, ensure_ascii=False)
    assert not any(ord(sign) < 32 for sign in text)
    assert found.data["inputs"] == {"a b": {"type": None, "shape": [2]}}
