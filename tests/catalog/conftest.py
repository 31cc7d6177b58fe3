"""A stand-in Hub, and small policies and datasets as LeRobot writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_standin import StandInHub, standing_hub
from lerobot_files import ACT_CONFIG, dataset_info, episodes_table, processor, safetensors


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    """An empty Hub that HF_ENDPOINT points to."""
    with standing_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def act() -> dict[str, bytes]:
    """The files of an ACT policy as lerobot 0.6.1 writes them; 160,000 bytes of weights."""
    return {
        ".gitattributes": b"*.safetensors filter=lfs\n",
        "README.md": b"---\nlicense: apache-2.0\ndatasets: lerobot/pusht\n---\n# act\n",
        "config.json": json.dumps(ACT_CONFIG).encode(),
        "train_config.json": json.dumps(
            {
                "dataset": {"repo_id": "lerobot/pusht", "revision": None},
                "env": {"type": "pusht"},
                "steps": 400,
                "batch_size": 8,
                "seed": 1000,
            }
        ).encode(),
        "policy_preprocessor.json": processor(("normalizer_processor", {"eps": 1e-8})),
        "policy_postprocessor.json": processor(("unnormalizer_processor", {"eps": 1e-8})),
        "policy_preprocessor_step_0_normalizer_processor.safetensors": safetensors(
            {"state.mean": ("F32", [2])}
        ),
        "model.safetensors": safetensors({"model.weight": ("F32", [200, 200])}),
    }


@pytest.fixture
def pusht(tmp_path: Path) -> dict[str, bytes]:
    """The files of a v3.0 dataset: six episodes, two in each of three data and video files."""
    rows = [
        {
            "episode_index": episode,
            "length": 60,
            "data/chunk_index": 0,
            "data/file_index": episode // 2,
            "videos/observation.image/chunk_index": 0,
            "videos/observation.image/file_index": episode // 2,
        }
        for episode in range(6)
    ]
    files = {
        "README.md": b"---\nlicense: mit\ntask_categories: [robotics]\n---\n# pusht\n",
        "meta/info.json": json.dumps(dataset_info()).encode(),
        "meta/stats.json": b"{}",
        "meta/tasks.parquet": b"PAR1" + b"\0" * 50 + b"PAR1",
        "meta/episodes/chunk-000/file-000.parquet": episodes_table(tmp_path / "episodes.parquet", rows),
    }
    for index in range(3):
        files[f"data/chunk-000/file-{index:03d}.parquet"] = bytes([index]) * 3000
        files[f"videos/observation.image/chunk-000/file-{index:03d}.mp4"] = bytes([16 + index]) * 9000
    return files
