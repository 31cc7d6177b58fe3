"""A Modal server that the real SDK talks to, for the tests of runtime=modal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from worldflux.runtime.modal_plugin import ModalPlugin
from worldflux.testing.modal_box import why_not_isolated
from worldflux.testing.modal_server import ModalServer


def require_isolation() -> None:
    """Skip where boxes can not be isolated; a failure where everything must run."""
    reason = why_not_isolated()
    if reason and os.environ.get("WORLDFLUX_TEST_REQUIRE_ALL"):
        pytest.fail(f"boxes can not be isolated: {reason}")
    if reason:
        pytest.skip(f"boxes can not be isolated: {reason}")


class Bench:
    """A server and a way to make plugins for it.

    Attributes:
        gpu: the SDK chooses the first version of its protocol for a GPU, the second without.
    """

    gpu: str | None = None
    python = "python"

    @pytest.fixture(autouse=True)
    def server(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
        require_isolation()
        with ModalServer(tmp_path / "environments") as self.world:
            for name, value in self.world.variables().items():
                monkeypatch.setenv(name, value)
            monkeypatch.setenv("MODAL_CONFIG_PATH", str(tmp_path / "no-modal.toml"))
            yield
            assert self.world.problems == [] and self.world.unknown == []

    def make_plugin(self, **options: Any) -> ModalPlugin:
        defaults = {"app": "worldflux-tests", "gpu": self.gpu, "max_seconds": 120, "start_seconds": 60}
        return ModalPlugin(**{**defaults, **options})
