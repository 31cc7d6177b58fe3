"""Against the real services, with a real account: opt-in, and costs cents.

They prove what no stand-in can: that the vendors' servers answer as ours do.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from worldflux.runtime.base import Adapter
from worldflux.runtime.modal_plugin import ModalPlugin
from worldflux.runtime.replicate_plugin import ReplicatePlugin
from worldflux.testing import RuntimeSuite

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.enable_socket]
_SUITE = RuntimeSuite()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("out", "source", "install"):
        (tmp_path / name).mkdir()
    return tmp_path


def asked_for(name: str, *needed: str) -> dict[str, str]:
    """Values of `WORLDFLUX_TEST_<name>`; skips unless `WORLDFLUX_TEST_LIVE` names the vendor."""
    if name not in os.environ.get("WORLDFLUX_TEST_LIVE", "").split(","):
        pytest.skip(f"set WORLDFLUX_TEST_LIVE={name} and {', '.join(needed)}")
    return {each: os.environ[f"WORLDFLUX_TEST_{each}"] for each in needed}


@pytest.mark.parametrize("gpu", [None, "T4"])
def test_modal(place: Path, monkeypatch: pytest.MonkeyPatch, gpu: str | None) -> None:
    """A sandbox comes up, its files come home, its tag is listed at once, and nothing is left."""
    for name, value in asked_for("modal", "MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET").items():
        monkeypatch.setenv(name, value)
    plugin = ModalPlugin(app="worldflux-live", gpu=gpu, cpu=0.25, memory_mb=256, cost_guard={"max_usd": 0.10})
    assert not [line for line in plugin.doctor() if line.startswith("error:")]
    adapter = Adapter("suite", python=">=3.10")
    plugin.build_env(adapter, place / "install")
    context = _SUITE.context(place, timeout=60.0)
    text = "import os, time; print('up', flush=True); open('a', 'w').write('x'); time.sleep(3); os.abort()"
    result = _SUITE.carry_out(plugin, context, _SUITE.script(place, text))
    assert result.exit_code == -6 and result.log_path.read_bytes().startswith(b"up\n")
    assert (context.output_dir / "artifacts" / "a").read_text() == "x"
    slow = _SUITE.context(place, timeout=5.0)
    ended = _SUITE.carry_out(plugin, slow, _SUITE.script(place, "import time; time.sleep(600)"))
    assert ended.metadata["outcome"] == "timeout"
    assert plugin.reap([context.run_id, slow.run_id]) == ([], [])


def test_replicate(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pinned public model takes `text`, ends, is priced, and its output comes home."""
    values = asked_for("replicate", "REPLICATE_API_TOKEN", "REPLICATE_MODEL", "REPLICATE_INPUT")
    monkeypatch.setenv("REPLICATE_API_TOKEN", values["REPLICATE_API_TOKEN"])
    plugin = ReplicatePlugin(
        model=values["REPLICATE_MODEL"],
        hardware="cpu",
        cost_guard={"max_usd": 0.10},
        api_url="https://api.replicate.com",
    )
    assert not [line for line in plugin.doctor() if line.startswith("error:")]
    context = _SUITE.context(place, timeout=300.0)
    result = _SUITE.carry_out(plugin, context, ["predict", values["REPLICATE_INPUT"]])
    assert result.exit_code == 0 and result.cost_estimate_usd is not None
    assert (context.output_dir / "artifacts" / "output.json").is_file()
    assert plugin.reap([context.run_id]) == ([], [])
