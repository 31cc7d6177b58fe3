"""What a LeRobot policy repo is, read from its files; nothing of it is ever run.

config.json carries no LeRobot version, so the generation is told from what is there: processor
files (since the processor refactor), normalisation buffers inside the weights (before it), or
neither. Measured facts behind this: LeRobot 0.4.4 and 0.6.1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from worldflux.catalog.card import front_matter, license_of, plain, plain_list
from worldflux.catalog.safetensors import Header
from worldflux.errors import UsageError

#: Policy types of lerobot 0.6.1, and the built-in entry whose figures hold for them.
TYPES: dict[str, str | None] = {
    "act": "lerobot/act",
    "diffusion": "lerobot/diffusion",
    "eo1": None,
    "evo1": None,
    "fastwam": None,
    "gaussian_actor": None,
    "groot": "nvidia/gr00t-n1.7-3b",
    "lingbot_va": "robbyant/lingbot-va",
    "molmoact2": None,
    "multi_task_dit": None,
    "pi0": "openpi/pi0",
    "pi05": "openpi/pi05",
    "pi0_fast": None,
    "smolvla": "lerobot/smolvla",
    "tdmpc": "lerobot/tdmpc",
    "vla_jepa": None,
    "vqbet": "lerobot/vqbet",
    "wall_x": None,
    "xvla": "lerobot/xvla",
}

CONFIG, WEIGHTS, TRAINING, CARD = "config.json", "model.safetensors", "train_config.json", "README.md"
PROCESSORS = ("policy_preprocessor.json", "policy_postprocessor.json")

#: Read before the weights: enough to say what the policy is.
SMALL = (CONFIG, TRAINING, CARD, "adapter_config.json", *PROCESSORS)

#: Normalisation buffers of policies from before the processor refactor.
_LEGACY = ("normalize_inputs.", "unnormalize_outputs.", "normalize_targets.")

#: Files that run code when they are opened by the usual libraries.
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")

#: Keys that name a second repo, fetched when the policy is loaded.
_SECOND = (
    "base_model_name_or_path", "base_model_path", "pretrained_path", "text_tokenizer_name", "tokenizer_name",
    "tokenizer_path", "vlm_model_name", "wan_pretrained_path",
)  # fmt: skip

#: Repos known to be gated; the tokenizer of the pi family (LeRobot pi0.5 page).
GATED = ("google/paligemma-3b-pt-224",)

_REPO_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+\Z")


@dataclass(frozen=True)
class Problem:
    """Something about this policy that breaks, or that its user must know.

    Attributes:
        code: short stable name.
        stops: tasks that can not run because of it.
        sources: references as in `builtin.source`.
    """

    code: str
    text: str
    stops: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """As the record of the import keeps it."""
        return {
            "code": self.code,
            "text": self.text,
            "stops": list(self.stops),
            "sources": list(self.sources),
        }


@dataclass(frozen=True)
class PolicyFacts:
    """What was read; `data` is plain JSON for the record of the import."""

    data: dict[str, Any]
    license: str | None
    license_from: str
    problems: tuple[Problem, ...]


def config_of(text: bytes | None, repo: str) -> dict[str, Any]:
    """The config of a policy.

    Raises:
        UsageError: there is none, or the repo holds another kind of model.
    """
    see = "a LeRobot policy has a config.json with a `type`, such as act or smolvla"
    if text is None:
        raise UsageError(f"{repo} is not a LeRobot policy: it has no config.json", see, code="not_a_policy")
    try:
        config = json.loads(text)
    except ValueError:
        raise UsageError(f"the config.json of {repo} is not JSON", see, code="not_a_policy") from None
    kind = config.get("type") if isinstance(config, dict) else None
    if not isinstance(kind, str):
        other = plain(config.get("model_type")) if isinstance(config, dict) else None
        seems = f"; it looks like a `{other}` model for the transformers library" if other else ""
        raise UsageError(
            f"{repo} is not a LeRobot policy: its config.json names no type{seems}", see, code="not_a_policy"
        )
    return dict(config)


def facts_of(
    config: Mapping[str, Any],
    read: Callable[[str], bytes | None],
    names: frozenset[str],
    header: Header | None,
    tags: tuple[str, ...] = (),
) -> PolicyFacts:
    """Everything the files tell.

    Args:
        read: gives the bytes of a small file of the repo, None when it is not there.
        names: every file of the repo.
        header: that of model.safetensors; None when there is none.
        tags: the Hub's tags of the repo.
    """
    card = front_matter((read(CARD) or b"").decode("utf-8", "replace"))
    steps = {name: _steps(read(name)) for name in PROCESSORS if name in names}
    generation = _generation(names, header)
    license_, license_from = license_of(card, tags, config.get("license"))
    adapter = _object(read("adapter_config.json"))
    needs = _second_repos(config, steps, adapter)
    data: dict[str, Any] = {
        "type": plain(config["type"], 64),
        "known_type": config["type"] in TYPES,
        "generation": generation,
        "config_keys": sorted(plain_list(list(config), 500)),
        "n_obs_steps": _number(config, "n_obs_steps"),
        "chunk_size": _number(config, "chunk_size", "horizon"),
        "n_action_steps": _number(config, "n_action_steps"),
        "inputs": _features(config.get("input_features")),
        "outputs": _features(config.get("output_features")),
        "parameters": header.parameters if header else None,
        "tensor_bytes": header.tensor_bytes if header else None,
        "dtypes": header.dtypes if header else {},
        "processors": {name: found for name, found in steps.items() if found},
        "peft": bool(config.get("use_peft")) or bool(adapter),
        "training": _training(_object(read(TRAINING)), card),
        "needs": needs,
    }
    return PolicyFacts(data, license_, license_from, tuple(_problems(data, names, config, header)))


def _generation(names: frozenset[str], header: Header | None) -> str:
    if all(name in names for name in PROCESSORS):
        return "processors"
    if header is not None and any(name.startswith(_LEGACY) for name in header.names):
        return "legacy-normalization"
    return "no-processors"


def _problems(
    data: Mapping[str, Any],
    names: frozenset[str],
    config: Mapping[str, Any],
    header: Header | None,
) -> list[Problem]:
    found = []
    if not data["known_type"]:
        text = f"its type `{data['type']}` is not one of lerobot 0.6.1: it needs a plugin package"
        found.append(Problem("plugin-type", text, ("eval", "train")))
    if data["generation"] == "legacy-normalization":
        text = (
            "written before LeRobot's processor files: lerobot-eval 0.6.1 stops with FileNotFoundError, "
            "and its migration tool is broken (empty config.json)"
        )
        found.append(
            Problem(
                "legacy-normalization",
                text,
                ("eval",),
                ("huggingface/lerobot#4047", "huggingface/lerobot#4649"),
            )
        )
    if data["generation"] == "no-processors":
        text = "has no processor files: lerobot-eval 0.6.1 stops with FileNotFoundError"
        found.append(Problem("no-processors", text, ("eval",), ("huggingface/lerobot#4047",)))
    if header is None and not data["peft"]:
        found.append(Problem("no-weights", f"has no {WEIGHTS}", ("eval",)))
    if "pretrained_revision" in config:
        text = "its config.json (field pretrained_revision) is refused by lerobot 0.4.4; use 0.6 or newer"
        found.append(Problem("newer-config", text, (), ("measured",)))
    for need in data["needs"]:
        gated = " (gated: accept its conditions and set HF_TOKEN)" if need["gated"] else ""
        text = (
            f"fetches a second repo when it is loaded: {need['repo']}{gated}; it is not part of this import"
        )
        found.append(Problem("second-repo", text))
    pickles = sorted(name for name in names if name.lower().endswith(_PICKLES))
    if pickles:
        text = f"holds pickle files that run code when opened: {', '.join(plain_list(list(pickles), 3))}"
        found.append(Problem("pickle", text))
    return found


def _second_repos(
    config: Mapping[str, Any], steps: Mapping[str, list[dict[str, Any]]], adapter: Mapping[str, Any]
) -> list[dict[str, Any]]:
    places = [config, adapter, *(step["config"] for found in steps.values() for step in found)]
    found: dict[str, dict[str, Any]] = {}
    for place in places:
        for key in _SECOND:
            value = place.get(key)
            if isinstance(value, str) and _REPO_NAME.match(value):
                found.setdefault(value, {"repo": value, "key": key, "gated": value in GATED})
    for step in (step for each in steps.values() for step in each):
        step.pop("config")
    return list(found.values())


def _steps(text: bytes | None) -> list[dict[str, Any]]:
    """The steps of a processor file: registered name, state file, config."""
    found = []
    steps = _object(text).get("steps")
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, dict):
            name = plain(step.get("registry_name") or step.get("class"), 100)
            config = step.get("config")
            found.append(
                {
                    "name": name,
                    "state_file": plain(step.get("state_file")),
                    "config": config if isinstance(config, dict) else {},
                }
            )
    return found


def _training(train: Mapping[str, Any], card: Mapping[str, Any]) -> dict[str, Any]:
    dataset = train.get("dataset")
    env = train.get("env")
    repo = plain(dataset.get("repo_id")) if isinstance(dataset, dict) else None
    from_card = plain_list(card.get("datasets")) if card.get("datasets") else []
    return {
        "dataset": repo or (from_card[0] if from_card else None),
        "dataset_revision": plain(dataset.get("revision")) if isinstance(dataset, dict) else None,
        "env": plain(env.get("type")) if isinstance(env, dict) else None,
        "steps": _number(train, "steps"),
        "batch_size": _number(train, "batch_size"),
        "seed": _number(train, "seed"),
        "base_model": next(iter(plain_list(card.get("base_model"))), None),
    }


def _features(value: Any) -> dict[str, dict[str, Any]]:
    found = {}
    for name, feature in value.items() if isinstance(value, dict) else ():
        if isinstance(feature, dict):
            shape = feature.get("shape")
            sizes = [size for size in shape if isinstance(size, int)] if isinstance(shape, list) else []
            found[plain(name) or "?"] = {"type": plain(feature.get("type"), 32), "shape": sizes}
    return found


def _number(raw: Mapping[str, Any], *keys: str) -> int | None:
    for key in keys:
        value = raw.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _object(text: bytes | None) -> dict[str, Any]:
    try:
        raw = json.loads(text or b"{}")
    except ValueError:
        return {}
    return raw if isinstance(raw, dict) else {}
