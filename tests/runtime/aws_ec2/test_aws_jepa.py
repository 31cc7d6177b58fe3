"""A real recipe with a real environment on a machine: the evaluation of tiny-jepa, end to end."""

from __future__ import annotations

from pathlib import Path

import pytest
from aws_world import ROOT, World


@pytest.mark.slow
def test_tiny_jepa_end_to_end(world: World) -> None:
    """Metrics, filmstrip and cost are in the manifest, from an environment built on the machine."""
    assert (ROOT / "recipes" / "tiny-jepa-eval").is_dir()
    code, out = world.start(
        "params.episodes=2",
        "timeout=120",
        recipe="tiny-jepa-eval",
        setup_seconds=150,
        lifetime=400,
        beat_seconds=1,
    ).wait(170)
    assert code == 0, out[-3000:]
    manifest = world.manifest()
    assert 0 <= manifest["metrics"]["beats_random"]["value"] <= 1
    assert manifest["metrics"]["spatial_iq"]["value"] > 0
    filmstrip = Path(world.runs()[0], "artifacts", "filmstrip.png")
    assert filmstrip.read_bytes().startswith(b"\x89PNG")
    assert "artifacts/filmstrip.png" in [each["path"] for each in manifest["artifacts"]]
    assert manifest["cost"]["estimate_usd"] > 0
    assert world.alive == []
