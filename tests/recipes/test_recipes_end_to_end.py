"""The built-in recipes, each run for real through the command line, in the environment it asks for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import warm_python
from nightly import times

BIN = Path(sys.executable).parent


def carry_out(folder: Path, *words: str) -> tuple[dict[str, Any], Path]:
    """The manifest of one run, and its folder."""
    command = [str(BIN / "worldflux"), "--json", "run", *words]
    ended = warm_python.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    envelope = json.loads(ended.stdout)
    assert ended.returncode == 0, envelope["error"]
    path = Path(envelope["data"]["manifest"])
    return json.loads(path.read_bytes()), path.parent


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG file."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def test_cpu_smoke(tmp_path: Path) -> None:
    """Learns to cross the grid, and repeats itself with the same seed."""
    values = [carry_out(tmp_path, "cpu-smoke", "seed=3")[0]["metrics"] for _ in range(2)]
    assert values[0] == values[1] and values[0]["reached_goal"]["value"] > 0.5


@pytest.mark.slow
def test_tiny_jepa_eval(tmp_path: Path) -> None:
    """The authors' published benchmark is reproduced, planning beats chance, the dream is drawn."""
    manifest, folder = carry_out(tmp_path, "tiny-jepa-eval")
    metrics = {name: metric["value"] for name, metric in manifest["metrics"].items()}
    assert metrics["spatial_iq"] == pytest.approx(0.501, abs=0.001)
    assert metrics["pellets"] > 5 * metrics["pellets_random"]
    assert manifest["metrics"]["beats_random"]["n"] == 50
    assert picture_size(folder / "artifacts" / "filmstrip.png")[0] > 500
    assert "tiny-jepa" in manifest["environment"]["packages"]


@pytest.mark.slow
def test_gymnasium_eval(tmp_path: Path) -> None:
    """The heuristic lands, with an interval, and the landings are drawn."""
    manifest, folder = carry_out(tmp_path, "gymnasium-eval", "params.episodes=10")
    (success,) = [m for m in manifest["metrics"].values() if m["kind"] == "success"][:1]
    assert success["n"] == 10 and success["value"] >= 0.5 and success["interval"]["low"] > 0.1
    assert any(picture_size(path)[0] > 200 for path in (folder / "artifacts").rglob("*.png"))


@pytest.mark.slow
def test_mujoco_rollout(tmp_path: Path) -> None:
    """HalfCheetah moves; whether it was rendered is said either way."""
    episodes = f"params.episodes={times(3, 20)}"
    manifest, _ = carry_out(tmp_path, "mujoco-rollout", "params.render=never", episodes)
    assert manifest["metrics"] and manifest["run"]["status"] == "succeeded"


@pytest.mark.slow
def test_dreamer_light(tmp_path: Path) -> None:
    """It learns, and the curve of its loss is drawn: for a while here, nightly as long as it is made for."""
    manifest, folder = carry_out(tmp_path, "dreamer-light", f"params.steps={times(80, 400)}")
    assert manifest["series"]["rows"] > 10
    assert any(picture_size(path)[0] > 200 for path in (folder / "artifacts").rglob("*.png"))
